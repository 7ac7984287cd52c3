"""`foreshock recompute`: the recorded inboxes through the steps again; what they emit must be what was recorded.

In: a data folder (a host may be running it) and fresh steps. Out: for each step and partition, how many emissions are
equal byte for byte, and the first that is not. Emissions are matched by cause: step, source record, part and number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import typer

from connectors.data_folder import open_reader
from connectors.ports import Checkpoint, Crash, Outbound, Record, UnitName
from connectors.settings import read_settings
from connectors.sqlite import SqliteStore
from models.audit import DeadLetter
from models.errors import GapError, PoisonError
from models.event import Cause
from models.topics import TOPICS, partition_of
from streams.reading import events_of
from streams.rendering import put_json, put_table
from streams.runtime import QUARANTINE_AFTER, Shard, Unit
from streams.step import AnyStep, NothingKeeper
from streams.wiring import build_steps

__all__ = ["Comparison", "compare_unit", "recompute_command"]

_PAGE: Final = 256
_NOT_BY_STEPS: Final = ("connectors", "operator")
Rank = tuple[int, int, int]


@dataclass
class Comparison:
    """What came of one step on one partition. `not_kept` emissions have no recorded counterpart any more (retention,
    compaction); `error` says why it could not be recomputed at all.
    """

    step: str
    partition: int
    records: int = 0
    emissions: int = 0
    equal: int = 0
    different: int = 0
    not_kept: int = 0
    first_difference: str = ""
    error: str = ""

    @property
    def holds(self) -> bool:
        """Recomputed, and nothing differs."""
        return not self.error and not self.different

    def differs(self, what: str) -> None:
        """Count a difference; the first is told."""
        self.different += 1
        self.first_difference = self.first_difference or what


def recompute_command(data: Path, *, step: str, partition: int | None, as_json: bool) -> None:
    """Compare, print, and exit 1 where anything differs or could not be recomputed."""
    store = open_reader(data)
    configuration = read_settings(options={"data": str(data)})
    deployment = store.meta("run") or ""

    def fresh() -> list[AnyStep]:
        return build_steps(data, deployment, configuration.signing_keys, configuration.settings.signing_key)

    steps = fresh()
    names = [known.name for known in steps]
    if step and step not in names:
        raise typer.BadParameter(f"--step {step}: there are {', '.join(names)}")
    results = []
    region = configuration.settings.region
    for place in (number for number, name in enumerate(names) if step in ("", name)):
        for part in range(store.partitions(steps[place].inbox)):
            if partition in (None, part):  # a step may keep things beside its state: each unit gets one of its own
                results.append(compare_unit(store, fresh()[place], part, run=deployment, region=region))
    if not results:
        raise typer.BadParameter(f"--partition {partition}: there are {store.partitions(steps[0].inbox)}, from 0 on")
    _show(results, as_json)
    if not all(result.holds for result in results):
        raise typer.Exit(1)


def compare_unit(store: SqliteStore, step: AnyStep, partition: int, *, run: str, region: str = "") -> Comparison:
    """Feed the inbox of one step's partition, as far as the live step has come, through a fresh Unit."""
    result = Comparison(step.name, partition)
    name = UnitName(step.name, partition)
    saved = store.load(name)
    end = saved.emitted if saved else 0
    first = store.bounds(step.inbox, partition)[0]
    stateless = isinstance(step.shared, NothingKeeper) and isinstance(step.state, NothingKeeper)
    if first > 0 and not stateless:
        result.error = (
            f"retention has taken {step.inbox}/{partition}@0 to @{first - 1} away, and {step.name} remembers what it "
            "has read: it can be recomputed from the first record only"
        )
        return result
    start = Checkpoint((), None, first, first) if first else None
    shard = Shard(partition, store.partitions(step.inbox), run, region)
    unit = Unit(step, shard, saved=start, crashes=_quarantined(store, step, partition))
    recorded = _Recorded(store, step, partition, (first, end), result)
    try:
        for record in _inbox(store, step.inbox, partition, (first, end)):
            result.records += 1
            for out in unit.apply(record):
                recorded.compare(out)
    except PoisonError as error:
        result.differs(f"the step fails where it did not before: {error}")
    except GapError as error:
        result.error = f"retention took records away meanwhile ({error}); try again"
    else:
        recorded.finish()
    return result


class _Stream(NamedTuple):
    """The recorded emissions of one unit on one partition of a topic, with one looked-at record in front."""

    records: Iterator[tuple[Rank, Record]]
    front: list[tuple[Rank, Record] | None]
    cut: bool
    """Its beginning is gone, or it is compacted: an emission may have no counterpart."""


class _Recorded:
    """What the log has of one unit, consumed in step with what the unit emits now: a merge by rank."""

    def __init__(
        self, store: SqliteStore, step: AnyStep, partition: int, span: tuple[int, int], result: Comparison
    ) -> None:
        self._store, self._result, self._span = store, result, span
        self._origin = f"{step.name}:{step.inbox}/{partition}"
        self._last: dict[tuple[str, str], bool] = {}
        self._streams = {
            (topic.name, part): self._open(topic.name, part)
            for topic in TOPICS.values()
            if topic.name != step.inbox and topic.written_by not in _NOT_BY_STEPS
            for part in range(store.partitions(topic.name))
        }

    def compare(self, out: Outbound) -> None:
        """One emission of now against its recorded counterpart."""
        self._result.emissions += 1
        partition = out.partition
        if partition is None:
            partition = partition_of(out.key, self._store.partitions(out.topic))
        cause = Cause.parse(orjson.loads(out.value)["cause"])
        stream = self._streams.get((out.topic, partition))
        if cause is None or stream is None:
            self._result.differs(f"{self._origin} emitted to {out.topic}/{partition}, where it has recorded nothing")
            return
        matched = self._match(stream, cause, out)
        if TOPICS[out.topic].compacted:
            self._last[out.topic, out.key] = matched

    def finish(self) -> None:
        """What is recorded must all have been emitted; the newest value of a compacted key must be there."""
        for (topic, partition), stream in self._streams.items():
            while (front := stream.front[0]) is not None:
                self._result.differs(f"{front[1].position} ({topic}/{partition}) is recorded, but not emitted now")
                stream.front[0] = next(stream.records, None)
        for (topic, key), matched in self._last.items():
            if not matched:
                self._result.differs(f"the newest value of {key!r} on {topic} is not the recorded one")

    def _match(self, stream: _Stream, cause: Cause, out: Outbound) -> bool:
        result = self._result
        while (front := stream.front[0]) is not None and front[0] < cause.rank:
            result.differs(f"{front[1].position} is recorded, but not emitted now")
            stream.front[0] = next(stream.records, None)
        if front is None or front[0] > cause.rank:
            if stream.cut:
                result.not_kept += 1
            else:
                result.differs(f"{cause} is emitted now, but not recorded on {out.topic}")
            return False
        record = front[1]
        stream.front[0] = next(stream.records, None)
        if (record.key, record.value) == (out.key, out.value):
            result.equal += 1
        else:
            result.differs(f"{cause}: {record.position} is recorded with other bytes")
        return True

    def _open(self, topic: str, partition: int) -> _Stream:
        records = self._of_unit(topic, partition)
        cut = TOPICS[topic].compacted or self._store.bounds(topic, partition)[0] > 0
        return _Stream(records, [next(records, None)], cut)

    def _of_unit(self, topic: str, partition: int) -> Iterator[tuple[Rank, Record]]:
        """Its records in order; a re-emission after a crash has an equal rank and is passed over."""
        begin, end = self._span
        mark, seen = f'"cause":"{self._origin}@'.encode(), (-1, -1, -1)
        for record in _inbox(self._store, topic, partition, (0, self._store.bounds(topic, partition)[1])):
            if mark not in record.value:
                continue
            cause = Cause.parse(orjson.loads(record.value)["cause"])
            if cause is None or cause.origin != self._origin or not begin <= cause.position.offset < end:
                continue
            if cause.rank > seen:
                seen = cause.rank
                yield cause.rank, record


def _inbox(store: SqliteStore, topic: str, partition: int, span: tuple[int, int]) -> Iterator[Record]:
    at, end = span
    while at < end and (page := store.read(topic, partition, at, min(_PAGE, end - at))):
        for record in page:
            if record.offset >= end:
                return
            yield record
        at = page[-1].offset + 1


def _quarantined(store: SqliteStore, step: AnyStep, partition: int) -> Mapping[int, Crash]:
    """Records the live step has given up on: their dead letters say so."""
    return {
        event.data.offset: Crash(event.data.offset, QUARANTINE_AFTER, event.data.detail)
        for event in events_of(store, "dead-letters", DeadLetter, about=["quarantined"])
        if event.data.reason == "quarantined" and (event.data.topic, event.data.partition) == (step.inbox, partition)
    }


def _show(results: Sequence[Comparison], as_json: bool) -> None:
    if as_json:
        for result in results:
            put_json({**asdict(result), "holds": result.holds})
        return
    put_table(
        ["step", "records", "emissions", "equal", "different", "not kept", "verdict"],
        [[f"{r.step}/{r.partition}", *map(str, _numbers(r)), _verdict(r)] for r in results],
    )


def _numbers(result: Comparison) -> tuple[Any, ...]:
    return (result.records, result.emissions, result.equal, result.different, result.not_kept)


def _verdict(result: Comparison) -> str:
    if result.error:
        return f"cannot be recomputed: {result.error}"
    if result.different:
        return f"NOT as recorded: {result.first_difference}"
    if not result.emissions:
        return "nothing was emitted, as recorded" if result.records else "nothing was read yet"
    return "as recorded, byte for byte" + (", as far as it is kept" if result.not_kept else "")
