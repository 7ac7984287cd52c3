"""Replaying a topic to learn baselines anew, beside a running system.

In: a plan and the log. Out: generations of baselines for detect's inbox, one a service; and, unless it is only to be
shown what would come of it, a file of progress, so that a replay that was killed goes on where it was and writes the
same bytes.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from connectors.codec import encode
from connectors.ports import Log, Outbound
from models.baseline import TESTABLE
from models.errors import DataFolderError
from models.event import Event, digest
from models.retraining import table_of
from models.series import FIRST_TEMPLATE, TOTAL
from models.service_state import ServiceState
from models.snapshot import BaselineSnapshot, ReplayRange, Span, Training, parts_of
from models.template import BUCKET_MS
from models.template_rules import RULES_VERSION
from models.topics import partition_of
from models.window import BUCKETS_A_MINUTE
from streams.replay_plan import LeftOutByService, Plan, ReplayError, ReplayPlace, Request, generation_of
from streams.retrain import Trainer

__all__ = ["Learned", "Progress", "Replay", "progress_file", "write_generations"]

_PAGE: Final = 256
_SAVE_SECONDS: Final = 5.0
_SAVING_SHARE: Final = 0.1
_FORMAT: Final = 2
Tell = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay has come: records read of all there are, lines in them."""

    done: int
    total: int
    lines: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of one service: its generation's id and messages, or the `reason` why there are none."""

    service: str
    state: ServiceState
    training: Training
    generation: str = ""
    messages: Sequence[Outbound] = ()
    reason: str = ""

    @property
    def series(self) -> int:
        """How many templates it has."""
        return self.state.series.used - FIRST_TEMPLATE


@dataclass
class Replay:
    """One replay. `file` keeps its progress (None: nothing does); `resumed` says that it had some."""

    log: Log
    plan: Plan
    file: Path | None
    resumed: bool = False
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._next = {each.partition: each.begin for each in self.plan.ranges}
        left_out = LeftOutByService(self.plan)
        self._trainers = {
            each.partition: Trainer(
                each.partition,
                self.plan.partitions,
                self.plan.catalog,
                service=self.plan.request.service,
                left_out=left_out,
            )
            for each in self.plan.ranges
        }

    @classmethod
    def resume(cls, log: Log, file: Path, *, keep: bool = True) -> Replay | None:
        """The replay whose progress the file holds; None where there is no file. Not to `keep` it leaves the file as it
        is. Raises ReplayError for a file of another program.
        """
        try:
            raw = orjson.loads(file.read_bytes())
            if raw["format"] != _FORMAT:
                raise ReplayError(f"{file} is of another version of Foreshock. Begin anew with --restart.")
            replay = cls(log, Plan.model_validate(raw["plan"]), file if keep else None, resumed=True)
            for place in raw["partitions"]:
                replay._next[place["partition"]] = place["next"]
                replay._trainers[place["partition"]].load(place["trainer"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ReplayError(
                f"{file} is no progress of a replay ({type(error).__name__}). Begin anew with --restart."
            ) from error
        return replay

    @property
    def progress(self) -> Progress:
        """Where it is now."""
        done = sum(self._next[each.partition] - each.begin for each in self.plan.ranges)
        total = sum(each.end - each.begin for each in self.plan.ranges)
        return Progress(done, total, sum(trainer.lines for trainer in self._trainers.values()))

    def run(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> list[Learned]:
        """Read to the end of the plan, telling how far it is after every page; progress is saved now and then, at most
        a tenth of the time. Raises ReplayError where retention was faster.
        """
        saved_at, pause = clock(), _SAVE_SECONDS
        if not self.resumed:
            self.save()  # the plan stands, whatever is logged from now on
        for within in self.plan.ranges:
            while self._next[within.partition] < within.end:
                self._read_page(within)
                tell(self.progress)
                if clock() - saved_at >= pause:
                    begun = clock()
                    self.save()
                    saved_at = clock()
                    pause = max(_SAVE_SECONDS, (saved_at - begun) / _SAVING_SHARE)
        self.save()
        for trainer in self._trainers.values():
            self.skipped.update(trainer.skipped)
        return self._learned()

    def save(self) -> None:
        """Keep the progress, all or nothing."""
        if self.file is None:
            return
        partitions = [
            {"partition": number, "next": self._next[number], "trainer": trainer.dump()}
            for number, trainer in self._trainers.items()
        ]
        raw = {"format": _FORMAT, "plan": self.plan.model_dump(mode="json"), "partitions": partitions}
        replace_file(self.file, orjson.dumps(raw))

    def forget(self) -> None:
        """It is over: its progress is of no use any more."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def _read_page(self, within: ReplayRange) -> None:
        topic, at = self.plan.request.topic, self._next[within.partition]
        page = self.log.read(topic, within.partition, at, min(_PAGE, within.end - at))
        if (not page or page[0].offset > at) and self.log.bounds(topic, within.partition)[0] > at:
            place = f"{topic}/{within.partition}@{at}"
            raise ReplayError(f"retention has taken {place} away. Begin anew with --restart, and a later --from.")
        trainer = self._trainers[within.partition]
        for record in page:
            if record.offset < within.end:
                trainer.take(record)
        reached = page[-1].offset + 1 if page else within.end  # Kafka's offsets may have a hole up to the end
        self._next[within.partition] = min(within.end, reached)

    def _learned(self) -> list[Learned]:
        found = []
        for within in self.plan.ranges:
            states = self._trainers[within.partition].states
            found += [self._of_service(states[name], within) for name in sorted(states)]
        return found

    def _of_service(self, state: ServiceState, within: ReplayRange) -> Learned:
        plan, minutes = self.plan, int(state.base.n[TOTAL])
        training = Training(
            topic=plan.request.topic,
            ranges=(within,),
            rules_version=RULES_VERSION,
            minutes=minutes,
            minute=max(0, state.lessons_until),
            left_out=self._left_out(state, within),
        )
        if minutes < TESTABLE:
            return Learned(state.service, state, training, reason=f"{minutes} minutes learnt, {TESTABLE} are needed")
        generation = generation_of(plan, state.service, within)
        parts = parts_of(generation, state.service, training, table_of(state))
        messages = [_message(part) for part in parts]
        return Learned(state.service, state, training, generation, messages)

    def _left_out(self, state: ServiceState, within: ReplayRange) -> tuple[Span, ...]:
        """The spans left out, as far as the service's part of the range reaches: an incident may have no end yet."""
        first = self._trainers[within.partition].began[state.service] * BUCKET_MS
        last = max(0, state.next_bucket) * BUCKET_MS
        clipped = [
            Span(start=max(span.start, first), end=min(span.end, last))
            for span in self.plan.left_out(state.service).spans
        ]
        return tuple(span for span in clipped if span.start < span.end)


def progress_file(folder: Path, place: ReplayPlace, request: Request) -> Path:
    """Where a request's progress is kept: what was learnt from one log must not go on in another."""
    return folder / f"replay-{request.name}-{place.log_name(request.topic)}.json"


def replace_file(file: Path, content: bytes) -> None:
    """Write a file so that it holds all of the content or is as it was. Raises DataFolderError where that fails."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise DataFolderError(
            f"{file} cannot be written ({error.strerror}). Free some space, or give --state a folder of yours."
        ) from error


def write_generations(log: Log, learned: Sequence[Learned], now: int) -> int:
    """Append every generation to detect's inbox, on its service's partition; returns how many messages."""
    count = log.partitions("counts")
    batch = [
        message._replace(partition=partition_of(message.key, count)) for each in learned for message in each.messages
    ]
    log.append(batch, now)
    return len(batch)


def _message(part: BaselineSnapshot) -> Outbound:
    """The part as detect's inbox takes it: the same bytes for the same part."""
    at = part.training.minute * BUCKETS_A_MINUTE * BUCKET_MS
    event = Event(
        id=digest("baselines", part.generation, str(part.part)),
        at=at,
        key=part.service,
        data=part,
        run=f"replay-{part.generation[:8]}",
    )
    return Outbound("counts", part.service, encode(event), at=at)
