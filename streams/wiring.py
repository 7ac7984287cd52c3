"""The composition root: the one place where steps, host, sources and doors are put together.

In: a configuration and what is to be read. Out: an opened `Pipeline`, ready to run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from connectors.actuators import Perform, act_performers, perform_health
from connectors.clock import VirtualClock, WallClock
from connectors.codec import decode_record
from connectors.collector import collect_seldom
from connectors.data_folder import DataFolder
from connectors.history import recall_history
from connectors.inputs import InputOptions, LineSource
from connectors.keys import load_keys
from connectors.local_predictor import answer_locally
from connectors.opening import NamedInput, open_all
from connectors.runbooks import load_runbooks
from connectors.settings import Configuration
from connectors.simulator import Simulation, Tail, open_simulation, recorded_actions
from connectors.simulator_spec import parse_simulator_spec
from connectors.sources import Source
from connectors.sqlite import SqliteStore
from connectors.sqlite_readers import SqliteReaders
from connectors.world_shop import simulated_catalog
from models.catalog import Catalog
from models.errors import ConfigError, ContractError
from models.signal import EffectAnswered
from models.topics import TOPICS
from streams.act import ActStep
from streams.case import CaseStep
from streams.catalog import publish_catalog
from streams.detect import Detect
from streams.effects import Performer
from streams.embedded import EmbeddedHost
from streams.mine import Mine
from streams.step import AnyStep

__all__ = ["RUNBOOKS", "Opening", "Pipeline", "build_steps"]

RUNBOOKS: Final = Path(__file__).parent.parent / "infra" / "runbooks"
"""The runbooks that come with Foreshock."""
_SIMULATOR: Final = "sim:"
_READ_ALL: Final = 1_000_000


def build_steps(data: Path, run: str, given_keys: Mapping[str, str] | None = None, current: str = "") -> list[AnyStep]:
    """The pipeline's steps in order. Keys are the given ones, or those of the data folder."""
    keys = load_keys(data, given_keys or {}, current)
    return [Mine(), Detect(), CaseStep(keys, run), ActStep(keys, run)]


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open a pipeline. `once`: read to the end in the input's own time; `catalog`: instead of the configured;
    `tell` hears what a person should know of the inputs.
    """

    once: bool = False
    catalog: Catalog | None = None
    tell: Callable[[str], None] = lambda _: None


class Pipeline:
    """A data folder held, its host and its sources; use as a context manager.

    Raises ConfigError for inputs that cannot be read, DataFolderError for a folder that cannot be used.
    """

    def __init__(self, configuration: Configuration, opening: Opening) -> None:
        settings = configuration.settings
        catalog = opening.catalog or _catalog(configuration)
        self.simulation: Simulation | None = None
        self.lockstep = opening.once or _simulated(configuration)
        # In the input's own time nothing is done to the world that a power cut could not make undone by reading again.
        self.folder = DataFolder(configuration.data, partitions=settings.partitions, durable=not self.lockstep)
        try:
            self.store = self.folder.store
            steps = build_steps(configuration.data, self.folder.run, configuration.signing_keys, settings.signing_key)
            reached = int(self.store.meta("clock") or 0)
            self.sources = self._open_sources(configuration, opening, reached)
            self.host = EmbeddedHost(
                self.store,
                steps,
                self._performers(),
                clock=VirtualClock(reached) if self.lockstep else WallClock(reached),
                run=self.folder.run,
                region=settings.region,
                retention={
                    topic.name: settings.retention.logs_bytes
                    if topic.name == "logs"
                    else settings.retention.topic_bytes
                    for topic in TOPICS.values()
                    if not topic.compacted
                },
            )
            publish_catalog(self.store, catalog, self.host.clock.now(), run=self.folder.run)
        except BaseException:
            self.folder.close()
            raise

    @property
    def line_source(self) -> LineSource | None:
        """The source of files and pipes, where there is one: it counts lines."""
        return next((source for source in self.sources if isinstance(source, LineSource)), None)

    def run(self, stop: threading.Event) -> None:
        """Until the input ends or `stop` is set; everything is saved at the end."""
        collect_seldom()
        if self.lockstep:
            self.host.run_lockstep(self.sources, stop)
        else:
            self.host.run(self.sources, stop)

    def step(self) -> bool:
        """One input in lockstep; False when the input has ended."""
        inputs = [out for source in self.sources for out in source.poll(self.host.clock.now())]
        if inputs:
            self.host.take(inputs, {name: at for source in self.sources for name, at in source.cursors.items()})
        return not all(source.ended for source in self.sources)

    def close(self) -> None:
        """Let go of everything."""
        for source in self.sources:
            source.close()
        self.folder.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_sources(self, configuration: Configuration, opening: Opening, reached: int) -> list[Source]:
        settings = configuration.settings
        cursors = self.store.cursors()
        if _simulated(configuration):
            if len(settings.inputs) > 1:
                raise ConfigError(
                    "a simulated world cannot be mixed with other inputs",
                    key="inputs",
                    advice="Give sim:SEED alone: its time is not the time of files.",
                )
            spec = parse_simulator_spec(settings.inputs[0].path)
            tail = Tail(cursors, recorded_actions(_replies(self.store)), reached)
            self.simulation = open_simulation(
                spec, partitions=settings.partitions, run=self.folder.run, tail=tail, pace=WallClock()
            )
            return [self.simulation.source]
        options = InputOptions(
            partitions=settings.partitions,
            once=opening.once,
            # A step of virtual time must be too short for a source to look stalled in it.
            span_ms=min(60_000, int(settings.detection.stall_seconds * 500)),
            run=self.folder.run,
            region=settings.region,
            kafka=settings.kafka,
            tell=opening.tell,
        )
        inputs = [NamedInput(item.path, item.service, item.service_pattern, item.timezone) for item in settings.inputs]
        return [open_all(inputs, options, cursors)] if inputs else []

    def _performers(self) -> dict[str, Performer]:
        readers = SqliteReaders(self.store.path)
        performers: dict[str, Performer] = {"recall_history": recall_history(readers), "ask_model": answer_locally}
        if self.simulation is None:  # without a door to act through, an action is answered "not configured"
            return {**performers, "probe_health": perform_health(readers)}
        acting: dict[str, Perform] = act_performers(self.simulation.actuator, readers)
        return {**performers, **acting}


def _catalog(configuration: Configuration) -> Catalog:
    """The configured catalog; for a simulated world without configured applications, that world's own."""
    catalog = configuration.catalog
    if not _simulated(configuration) or catalog.applications:
        return catalog
    seed = parse_simulator_spec(configuration.settings.inputs[0].path).seed
    books = catalog.runbooks or load_runbooks([RUNBOOKS])
    return simulated_catalog(seed, books, catalog.policy, catalog.detection)


def _simulated(configuration: Configuration) -> bool:
    return any(item.path.startswith(_SIMULATOR) for item in configuration.settings.inputs)


def _replies(store: SqliteStore) -> list[dict[str, object]]:
    """What the simulator's actuator answered so far, in the log's order of time."""
    found = []
    for partition in range(store.partitions("commands")):
        for record in store.read("commands", partition, 0, _READ_ALL):
            try:
                data = decode_record(record).data
            except ContractError:  # act has made a dead letter of it
                continue
            if isinstance(data, EffectAnswered) and data.kind == "call_action" and data.ok:
                found.append((record.logged_at, partition, record.offset, data.result["reply"]))
    return [reply for *_, reply in sorted(found, key=lambda item: item[:3])]
