"""The simulated cloud as a process: its world's lines go to `logs`, its events to `signals`, and act calls its API.

In: a world's spec (`sim:SEED?...`), the deployment's configuration, its clock. Out: messages at the pace of that clock,
until a signal comes. After a kill -9 it goes on where the topic `logs` ends: the world is made again from its seed and
the journal of its actions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from connectors.clock import PacedClock, WallClock
from connectors.cloud_journal import ActionJournal, read_head
from connectors.cloud_server import Cloud, CloudServer
from connectors.codec import decode_record
from connectors.data_folder import hold
from connectors.kafka_log import KafkaLog
from connectors.ports import Log
from connectors.runbooks import load_runbooks
from connectors.settings import Configuration
from connectors.simulator import SimulatorSource, Tail, open_simulation
from connectors.simulator_spec import SimulatorSpec
from connectors.world import STEP_MS
from connectors.world_shop import simulated_catalog
from models.catalog import Catalog
from models.errors import ConfigError, ContractError
from models.log import LogBatch
from streams.catalog import CatalogLog, publish_catalog
from streams.deployment import deployment_clock
from streams.wiring import RUNBOOKS

__all__ = ["Address", "CloudProcess", "open_cloud", "refuse_replacing", "tail_cursors", "world_catalog"]

_JOURNAL: Final = "actions.jsonl"
_FOLDER: Final = "simulator"
_WAIT_SECONDS: Final = 0.01
_LOOK_BACK: Final = 1_000
"""Records from the end of a partition of `logs` in which a simulator's batch is looked for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API listens (`port` 0: a free one), and the token that opens it."""

    token: str
    host: str = "127.0.0.1"
    port: int = 0


class CloudProcess:
    """A world between its clock, its log and its API."""

    def __init__(
        self, source: SimulatorSource, cloud: Cloud, url: str, *, log: Log, clock: WallClock | PacedClock
    ) -> None:
        self.url = url
        self._source, self._cloud, self._log, self._clock = source, cloud, log, clock

    def run(self, stop: threading.Event) -> None:
        """Give what is due until `stop` is set; when the world's time is over, the API goes on. Raises BrokerError."""
        while not stop.is_set():
            if self._source.ended or self._source.next_end > self._clock.now():
                stop.wait(_WAIT_SECONDS)
            else:
                self.give()

    def give(self) -> None:
        """The next chunk. Signals go first: where a chunk's lines are in the log, its signals are, too."""
        with self._cloud.lock:
            messages = self._source.poll(self._clock.now())
        signals = [message for message in messages if message.topic == "signals"]
        lines = [message for message in messages if message.topic != "signals"]
        for batch in (signals, lines):
            if batch:
                self._log.append(batch, self._clock.now())


@contextmanager
def open_cloud(
    configuration: Configuration, spec: SimulatorSpec, address: Address, *, publish: bool = True
) -> Iterator[CloudProcess]:
    """A simulated cloud on the configured brokers, listening; `publish`: the world's catalog, where the configuration
    names no applications.

    Raises ConfigError, BrokerError, DataFolderError where another simulator works in the data folder.
    """
    settings = configuration.settings
    clock = deployment_clock(configuration)
    folder = configuration.data / _FOLDER
    if spec.speed:
        advice = "Leave speed= away: a world in a process of its own follows the deployment's clock (kafka.clock)."
        raise ConfigError("a pace of its own", file="sim", key="speed", advice=advice)
    log = KafkaLog(settings.kafka, "simulate", virtual=bool(settings.kafka.clock))
    with hold(folder):
        try:
            head = _head(folder / _JOURNAL, spec, clock, settings.kafka.run)
            spec = replace(spec, start=head["start"])
            with ActionJournal(folder / _JOURNAL, head) as journal:
                tail = Tail(
                    tail_cursors(log, settings.partitions),
                    journal.actions,
                    max((action.at for action in journal.actions), default=0),
                )
                simulation = open_simulation(spec, partitions=settings.partitions, run=settings.kafka.run, tail=tail)
                if publish and not configuration.catalog.applications:
                    made = world_catalog(configuration, spec)
                    refuse_replacing(log, made)
                    publish_catalog(log, made, clock.now(), at_once=False, run=settings.kafka.run)
                cloud = Cloud(simulation, journal)
                with _listening(cloud, address) as server:
                    yield CloudProcess(simulation.source, cloud, server.url, log=log, clock=clock)
        finally:
            log.close()


def refuse_replacing(log: CatalogLog, world: Catalog) -> None:
    """Raises ConfigError where applications that are not the world's are published: what may be acted on would be
    replaced by a simulated shop.
    """
    last = log.newest("catalog", "catalog")
    if last is None:
        return
    try:
        standing = decode_record(last).data
    except ContractError:
        return
    names = [application.name for application in standing.applications] if isinstance(standing, Catalog) else []
    if names and names != [application.name for application in world.applications]:
        raise ConfigError(
            f"the catalog of {', '.join(names)} is published here, and a simulated world would replace it",
            key="kafka.prefix",
            advice="Give the simulated deployment a kafka.prefix of its own (FORESHOCK_KAFKA__PREFIX=sim-).",
        )


def world_catalog(configuration: Configuration, spec: SimulatorSpec) -> Catalog:
    """The simulated application's catalog under the configured policies, with the configured runbooks or those that
    come with Foreshock.
    """
    catalog = configuration.catalog
    books = catalog.runbooks or load_runbooks([RUNBOOKS])
    return simulated_catalog(spec.seed, books, catalog.policy, catalog.detection)


def tail_cursors(log: Log, partitions: int) -> dict[str, str]:
    """Each simulated source's cursor in its newest batch on `logs`; sources without one are left out."""
    cursors: dict[str, str] = {}
    for partition in range(partitions):
        first, end = log.bounds("logs", partition)
        for offset in range(end - 1, max(first, end - _LOOK_BACK) - 1, -1):
            found = _batch_cursors(log, partition, offset)
            if found:
                cursors.update(found)
                break
    return cursors


def _batch_cursors(log: Log, partition: int, offset: int) -> Mapping[str, str]:
    """Of one record; empty where it is no simulator's batch. Every batch of a simulator names all of its sources."""
    try:
        data = [decode_record(record).data for record in log.read("logs", partition, offset, 1)]
    except ContractError:
        return {}
    batches = [each for each in data if isinstance(each, LogBatch)]
    return {
        item.source_id: item.cursor_to for each in batches for item in each.sources if item.source_id.startswith("sim:")
    }


def _head(path: Path, spec: SimulatorSpec, clock: WallClock | PacedClock, run: str) -> dict[str, Any]:
    """What the journal's first line says, or is to say. On the wall's clock a new world begins now."""
    known = read_head(path)
    start = spec.start
    if isinstance(clock, WallClock):
        start = int(known["start"]) if known and "start" in known else clock.now() // STEP_MS * STEP_MS
    return {"world": replace(spec, start=start).world, "start": start, "run": run}


@contextmanager
def _listening(cloud: Cloud, address: Address) -> Iterator[CloudServer]:
    try:
        server = CloudServer(cloud, address.token, host=address.host, port=address.port)
    except OSError as error:
        advice = "Give --port another number, or stop who listens there."
        where = f"{address.host}:{address.port}"
        raise ConfigError(f"cannot listen on {where} ({error.strerror})", key="actuator", advice=advice) from error
    with server:
        yield server
