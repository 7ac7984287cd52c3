"""The demo's two stories, played by the real pipeline in the simulated world, in accelerated time.

In: a folder. Out: moments as they happen, in two worlds that are one until Foreshock may act in the first of them; what
really failed in each comes from the world itself, not from Foreshock.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from connectors.codec import decode_record
from connectors.data_folder import LOCK, hold
from connectors.ports import Record
from connectors.runbooks import load_runbooks
from connectors.settings import Configuration, InputSettings, Settings
from connectors.simulator_spec import SimulatorSpec, parse_simulator_spec
from connectors.world_shop import simulated_catalog
from connectors.world_state import Failure
from models.catalog import Catalog
from models.errors import ConfigError
from models.event import Event
from models.incident import Incident
from models.log import Severity
from models.policy import Mode, Policy
from models.runbook import Prior
from models.template import TemplateCounts
from streams.story import Moment, tell
from streams.wiring import RUNBOOKS, Opening, Pipeline

__all__ = [
    "DEMO_WORLD",
    "FORK_AT",
    "TOLD",
    "Demo",
    "PipelineSide",
    "Side",
    "Truth",
    "demo_catalog",
    "prepare",
    "truths",
]

SEED: Final = 7
DECLARED: Final = Prior(ok=7, bad=1)
"""What the demo's operator believes of every runbook: as if seven outcomes had been good and one bad."""
DEMO_WORLD: Final = (
    f"sim:{SEED}?hours=8.5&faults=pool_leak@05:10,hotfix@05:55,pool_leak@07:00,instance_terminated@08:00"
)
"""Five hours to learn what is normal; a leak that people mend after it failed; the same leak again; a lost instance."""
FORK_AT: Final = 6 * 3_600_000 + 55 * 60_000
TOLD: Final = frozenset(
    ("anomalies", "signals", "incidents", "predictions", "alerts", "commands", "journal", "history")
)
"""The topics whose events may be moments."""
_MARK: Final = "made-by-foreshock-demo"


class Truth(NamedTuple):
    """Something that really failed in a world: when (ms), what, through what."""

    at: int
    what: str
    cause: str


class Side(ABC):
    """One of the two worlds, and what is known of it so far. `errors`: lines of severity ERROR or worse, by minute
    since the epoch.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.moments: list[Moment] = []
        self.errors: dict[int, int] = {}
        self._told: set[tuple[str, str, str]] = set()
        self._cids: dict[str, str] = {}

    @property
    @abstractmethod
    def failures(self) -> list[Truth]:
        """What really failed since the worlds parted, as the world itself knows."""

    @property
    @abstractmethod
    def now(self) -> int:
        """The world's time (ms)."""

    def cid_of(self, moment: Moment) -> str:
        """The incident a moment belongs to, an anomaly's too; "" where there is none."""
        return moment.cid or self._cids.get(moment.subject, "")

    def see(self, records: Sequence[Record]) -> None:
        """Take in what was committed, in order."""
        for record in records:
            if record.topic == "counts":
                self._count(record)
            elif record.topic in TOLD:
                event = decode_record(record)
                if record.topic != "signals" or event.type != "anomaly":  # that was told from `anomalies`
                    self._hear(event)

    def _hear(self, event: Event[Any]) -> None:
        moment = tell(event)
        if moment is not None and (moment.cid, moment.verb, moment.subject) not in self._told:
            self._told.add((moment.cid, moment.verb, moment.subject))
            self.moments.append(moment)
        if isinstance(event.data, Incident):
            self._cids.update((signal.anomaly_id, event.data.correlation_id) for signal in event.data.signals)

    def _count(self, record: Record) -> None:
        data = decode_record(record).data
        if not isinstance(data, TemplateCounts):
            return
        for section in data.sections:
            for place, bucket, lines in zip(section.template, section.bucket, section.n, strict=True):
                if section.severities[place] >= Severity.ERROR:
                    self.errors[bucket // 6] = self.errors.get(bucket // 6, 0) + lines


class PipelineSide(Side):
    """A world in this process, with its own pipeline."""

    def __init__(self, name: str, pipeline: Pipeline) -> None:
        super().__init__(name)
        self.pipeline = pipeline
        self._failed_before = 0

    def part(self) -> None:
        """From here on this world is one of two: what failed before is the past of both."""
        simulation = self.pipeline.simulation
        self._failed_before = len(simulation.world.failures) if simulation else 0

    @property
    def failures(self) -> list[Truth]:
        """See Side."""
        simulation = self.pipeline.simulation
        return truths(simulation.world.failures[self._failed_before :]) if simulation else []

    @property
    def now(self) -> int:
        """See Side."""
        return self.pipeline.host.clock.now()


@dataclass(slots=True)
class Demo:
    """The demo in its folder: `warm_up` once, then `play` to the end."""

    folder: Path
    spec: SimulatorSpec
    held: IO[str]

    @property
    def acting_folder(self) -> Path:
        """The data folder of the world in which Foreshock may act."""
        return self.folder / "with-foreshock"

    def warm_up(self, told: Callable[[float], None]) -> list[Moment]:
        """Let the world go by until the stories begin, observing only; `told` hears the share that is done."""
        side = self._open("warm-up", self.acting_folder, acting=False)
        with side.pipeline as pipeline:
            while side.now < self.spec.start + FORK_AT and pipeline.step():
                told(max(0.0, (side.now - self.spec.start) / FORK_AT))
            pipeline.host.finish()
        return side.moments

    def play(self) -> Iterator[tuple[Side, Side]]:
        """Both worlds, side by side, a chunk of world time at a time."""
        alone = self.folder / "without"
        shutil.copytree(self.acting_folder, alone)
        sides = self._open("with Foreshock", self.acting_folder, acting=True), self._open("alone", alone, acting=False)
        for side in sides:
            side.part()
        with sides[0].pipeline, sides[1].pipeline:
            more = True
            while more:
                more = sides[0].pipeline.step() & sides[1].pipeline.step()
                yield sides
            for side in sides:
                side.pipeline.host.finish()

    def _open(self, name: str, data: Path, *, acting: bool) -> PipelineSide:
        catalog = demo_catalog(self.spec, acting=acting)
        settings = Settings.model_construct(inputs=(InputSettings(path=DEMO_WORLD),))
        configuration = Configuration(file="", data=data, settings=settings, catalog=catalog)
        side = PipelineSide(name, Pipeline(configuration, Opening()))
        side.pipeline.host.observe(side.see)
        return side


def truths(failures: Sequence[Failure]) -> list[Truth]:
    """A world's own record of what failed, in the demo's words."""
    return [Truth(each.at, f"{each.service} {each.kind}", each.cause) for each in failures]


def demo_catalog(spec: SimulatorSpec, *, acting: bool) -> Catalog:
    """The shop's catalog with the demo's policy: `observe`, or `act` with declared priors."""
    books = tuple(book.model_copy(update={"prior": DECLARED}) for book in load_runbooks([RUNBOOKS]))
    return simulated_catalog(spec.seed, books, Policy(mode=Mode.ACT if acting else Mode.OBSERVE))


def prepare(folder: Path) -> Demo:
    """An empty folder for the demo, held until its end; what an earlier demo left there is removed.

    Raises ConfigError for a folder that holds anything else, DataFolderError while another demo plays in it.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise ConfigError(
            f"{folder} holds something else", key="--data", advice="Give the demo an empty folder of its own."
        )
    held = hold(folder)
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            shutil.rmtree(child)
        elif child.name != LOCK:
            child.unlink()
    (folder / _MARK).touch()
    return Demo(folder, parse_simulator_spec(DEMO_WORLD), held)
