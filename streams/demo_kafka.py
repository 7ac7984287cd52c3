"""The demo's stories through a deployment on Kafka: roles as processes, a simulated cloud that act calls, one clock.

In: a stage (streams/demo_stage.py). Out: moments as its topics tell them, beside the same world without Foreshock, and
whether the stories ended well. Time goes fast where nothing is to be done, and slowly where an effect, which takes some
50 ms of the machine's time, must land within its deadline in the world's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from connectors.codec import decode_record
from connectors.kafka_follow import KafkaFollower
from connectors.ports import Record
from connectors.simulator_spec import SimulatorSpec
from connectors.world import World
from connectors.world_shop import SHOP
from connectors.world_state import Failure
from models.anomaly import ServiceHealth
from models.command import Outcome
from models.errors import ActionError, ForeshockError
from models.log import Severity
from models.template import BUCKET_MS
from models.window import BUCKETS_A_MINUTE, learning_delay
from streams.demo import FORK_AT, TOLD, Side, Truth, demo_catalog, truths
from streams.demo_stage import PARTITIONS, Stage
from streams.pacing import Stretch

__all__ = ["SCENES", "KafkaSide", "Scene", "TwinSide", "play", "verdict"]

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_POLL_SECONDS: Final = 0.1
_TRUTH_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 900.0
_SETTLED_MS: Final = 20_000
"""Detection closes windows of 10 s: once it is so near to a time that stands still, it has seen everything."""
LEAK, LOSS = "scale-database", "replace-instance"


class Scene(NamedTuple):
    """A stretch of the world's time, `until` from its start (ms). `ends_with`: a runbook whose outcome ends it early.
    `settles`: wait at the end until everything is taken in.
    """

    until: int
    speed: float
    slack: int
    ends_with: str = ""
    settles: bool = False


_FAST, _SLOW = 1_500.0, 20.0
SCENES: Final = (
    Scene(FORK_AT, _FAST, 10 * _MINUTE, settles=True),
    Scene(7 * _HOUR, 300.0, 2 * _MINUTE, settles=True),
    Scene(8 * _HOUR - _MINUTE, _SLOW, _MINUTE, ends_with=LEAK),
    Scene(8 * _HOUR - _MINUTE, 600.0, 2 * _MINUTE, settles=True),
    Scene(8 * _HOUR + 20 * _MINUTE, _SLOW, _MINUTE, ends_with=LOSS),
    Scene(8 * _HOUR + 25 * _MINUTE, 600.0, 2 * _MINUTE, settles=True),
)
"""The first is the past of both worlds (`play`): from then on Foreshock may act in one of them."""


class KafkaSide(Side):
    """The world in which Foreshock acts, as its topics tell of it."""

    def __init__(self, name: str, stage: Stage, spec: SimulatorSpec, fork: int) -> None:
        super().__init__(name)
        self._fork = fork
        self.outcomes: dict[str, Outcome] = {}
        """The outcome of each runbook."""
        self._stage, self._spec = stage, spec
        self._marks: dict[str, int] = {}
        self._failures: list[Truth] = []
        self._asked_at = 0.0

    @property
    def reached(self) -> int:
        """The world's time (ms) up to which every service's lines are judged; never less than `_SETTLED_MS` behind."""
        if len(self._marks) < len(SHOP):
            return self._spec.start
        by = self.now - _SETTLED_MS
        return min(by if mark >= _told_last(name, by) else mark for name, mark in self._marks.items())

    @property
    def failures(self) -> list[Truth]:
        """See Side."""
        return self._failures

    @property
    def now(self) -> int:
        """See Side."""
        return self._stage.pacer.now

    def see(self, records: Sequence[Record]) -> None:
        """See Side; of `health` only how far detection is, and of `counts` only those of the stories."""
        newest = {(record.topic, record.key): record for record in records if record.topic == "health"}
        for record in newest.values():
            data = decode_record(record).data
            if isinstance(data, ServiceHealth):
                self._marks[data.service] = data.watermark
        super().see([record for record in records if record.topic in TOLD or record.logged_at >= self._fork])
        for record in records:
            if record.topic == "signals" and isinstance(data := decode_record(record).data, Outcome):
                self.outcomes[data.runbook_id] = data

    def ask_truth(self) -> None:
        """Ask the world what has failed since the worlds parted, now and then. While it does not answer (it may just be
        started again), what it said last holds.
        """
        if time.monotonic() - self._asked_at < _TRUTH_SECONDS:
            return
        self._asked_at = time.monotonic()
        try:
            told = self._stage.cloud.world()["failures"]
        except ActionError:
            return
        failed = [Failure(**each) for each in told]
        self._failures = truths([each for each in failed if each.at >= self._fork])


class TwinSide(Side):
    """The same world, in which nobody watches: made from the same seed and faults, in this process."""

    def __init__(self, name: str, spec: SimulatorSpec) -> None:
        super().__init__(name)
        self._world = World(spec.seed, spec.faults, start=spec.start, volume=spec.volume, jobs=spec.jobs)
        self._before = 0

    @property
    def failures(self) -> list[Truth]:
        """See Side."""
        return truths(self._world.failures[self._before :])

    @property
    def now(self) -> int:
        """See Side."""
        return self._world.now

    def part(self, at: int) -> None:
        """Come to where the worlds part (ms)."""
        self._world.advance(at, texts=False)
        self._before = len(self._world.failures)

    def follow(self, to: int) -> None:
        """Go on to the second that `to` (ms) is in."""
        tick = self._world.advance(max(self._world.now, to // 1_000 * 1_000))
        for lines in tick.lines.values():
            for at, severity in zip(lines.times, lines.severity, strict=True):
                if severity >= Severity.ERROR:
                    self.errors[at // _MINUTE] = self.errors.get(at // _MINUTE, 0) + 1


def play(
    stage: Stage, spec: SimulatorSpec, scenes: Sequence[Scene] = SCENES, told: Callable[[float], None] = lambda _: None
) -> Iterator[tuple[KafkaSide, TwinSide]]:
    """Play the scenes. Yields both worlds as they move; while the past that they share goes by, `told` hears the share
    that is done. Raises ForeshockError where the processes ended, or do not get on.
    """
    fork = spec.start + scenes[0].until
    sides = KafkaSide("with Foreshock", stage, spec, fork), TwinSide("alone", spec)
    topics = [*sorted(TOLD), "counts", "health"]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    stage.publish(demo_catalog(spec, acting=False))
    with KafkaFollower(stage.settings, "demo", topics, partitions=PARTITIONS, virtual=True) as follower:
        for number, scene in enumerate(scenes):
            if number == 1:
                sides[1].part(fork)
                stage.publish(demo_catalog(spec, acting=True))
            until = spec.start + scene.until
            stage.pacer.begin(Stretch(until, scene.speed, scene.slack))
            while not _is_over(scene, sides[0], until):
                stage.check()
                if time.monotonic() > deadline:
                    raise ForeshockError(_stuck(stage, sides[0], until))
                sides[0].see(follower.poll(_POLL_SECONDS))
                stage.pacer.mind(sides[0].reached)
                if number == 0:
                    told((sides[0].reached - spec.start) / scene.until)
                    continue
                sides[0].ask_truth()
                sides[1].follow(sides[0].reached)
                yield sides
            stage.pacer.stand()
            yield sides


def _told_last(service: str, by: int) -> int:
    """When a service last tells its health until `by` (ms): once a minute, each at a bucket of its own."""
    delay = learning_delay(service)
    return ((by // BUCKET_MS - delay) // BUCKETS_A_MINUTE * BUCKETS_A_MINUTE + delay) * BUCKET_MS


def _is_over(scene: Scene, side: KafkaSide, until: int) -> bool:
    if scene.ends_with in side.outcomes:
        return True
    return side.reached >= until - _SETTLED_MS if scene.settles else side.now >= until


def _stuck(stage: Stage, side: KafkaSide, until: int) -> str:
    behind = (stage.pacer.now - side.reached) // 1_000
    lately = "; ".join(f"{one.name} {one.what}: {one.text}" for one in list(stage.happenings)[-3:])
    return (
        f"the demo did not end within {_PATIENCE_SECONDS:.0f} s: {(until - side.reached) // 1_000} s of the world's "
        f"time are left, detection is {behind} s behind. Lately: {lately}. "
        "Try it again when the machine has less to do."
    )


def verdict(side: KafkaSide, twin: TwinSide) -> list[str]:
    """What did not go well: empty where the leak's failure was prevented and the lost instance replaced."""
    wrong = []
    for runbook in (LEAK, LOSS):
        outcome = side.outcomes.get(runbook)
        if outcome is None:
            wrong.append(f"{runbook} has no outcome")
        elif outcome.result != "recovered":
            wrong.append(f"{runbook}: {outcome.result}: {outcome.reason}")
    down = {truth.what for truth in side.failures if truth.what.endswith("service_down")}
    wrong += [f"{what.replace('_', ' ')} was not prevented" for what in sorted(down)]
    if not any(truth.what == "checkout service_down" for truth in twin.failures):
        wrong.append("checkout did not fail in the world without Foreshock, either")
    return wrong
