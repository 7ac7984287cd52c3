"""How far the steps are behind: in records and seconds by group and partition, and in event time.

In: a log that knows its groups. Out: a LagReport. Two kinds of lag are told apart: records that a role has not taken
yet, and event time that no source has covered yet (a source that stands still makes no records to lag behind).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from connectors.codec import decode_record
from connectors.ports import Record
from connectors.shared_log import READERS, Group, SharedLog
from models.anomaly import ServiceHealth
from models.errors import ContractError, MissingTopicError
from models.template import TemplateCounts
from streams.reading import read_topic

__all__ = ["LagReport", "PartitionLag", "Watermark", "Watermarks", "measure_lag", "partition_lags", "require_topics"]

_LOOK_BACK: Final = (8, 64, 512)
"""Records looked through for the newest counts: ticks, catalogs and baselines stand between them."""


class PartitionLag(NamedTuple):
    """One partition that a role reads. `committed` None: nothing has been read. `records`: at most so many are unread
    (offsets may have holes); `oldest_seconds`: for how long the first of them has been in the log, None without one.
    """

    role: str
    topic: str
    partition: int
    committed: int | None
    end: int
    records: int
    oldest_seconds: float | None
    member: str


class Watermark(NamedTuple):
    """One partition in event time. `covered_until` (ms) is the newest promise of a source that stands on `counts`,
    None where there is none; `service` the living service that detect judges furthest behind, as its last health said.
    """

    partition: int
    covered_until: int | None
    delay_seconds: float | None
    service: str
    service_delay_seconds: float | None


@dataclass(frozen=True, slots=True)
class LagReport:
    """As of `at` (ms)."""

    at: int
    groups: Sequence[Group]
    partitions: Sequence[PartitionLag]
    watermarks: Sequence[Watermark]


def measure_lag(log: SharedLog, watermarks: Watermarks) -> LagReport:
    """Everything, as of now."""
    groups = log.groups()
    now = log.now()
    return LagReport(now, groups, partition_lags(log, groups, now), watermarks.look(now))


def require_topics(log: SharedLog, options: str) -> None:
    """Raises MissingTopicError where a role's inbox is not there; `options`: those that lead a command to this log.

    A cluster on which nothing has ever been has no coordinator of groups either, and would only say that.
    """
    missing = []
    for reader in READERS:
        try:
            log.partitions(reader.inbox)
        except MissingTopicError as error:
            missing.append(error)
    if len(missing) == len(READERS):
        raise MissingTopicError(f"no topics yet in {log.place}: `foreshock topics apply{options}` creates them")
    if missing:
        raise missing[0]


def partition_lags(log: SharedLog, groups: Sequence[Group], now: int) -> list[PartitionLag]:
    """The partitions of all that the groups read, in order."""
    return [
        _partition_lag(log, group, partition, end, now)
        for group in groups
        for partition, end in sorted(log.ends(group.topic).items())
    ]


def _partition_lag(log: SharedLog, group: Group, partition: int, end: int, now: int) -> PartitionLag:
    topic = group.topic
    committed = group.committed.get(partition)
    begin = max(committed or 0, log.bounds(topic, partition)[0])
    unread = log.read(topic, partition, begin, 1) if begin < end else ()
    age = max(0, now - unread[0].logged_at) / 1_000 if unread else None
    member = group.owners.get(partition, "")
    return PartitionLag(group.role, topic, partition, committed, end, max(0, end - begin), age, member)


class Watermarks:
    """Event time by partition; looked at again, it reads only what has been added to `health`."""

    def __init__(self, log: SharedLog) -> None:
        self._log = log
        self._health: dict[str, tuple[int, ServiceHealth]] = {}
        self._read_up_to: dict[int, int] = {}

    def look(self, now: int) -> list[Watermark]:
        """One Watermark for each partition of `counts`."""
        self._read_health()
        return [self._watermark(partition, now) for partition in range(self._log.partitions("counts"))]

    def _watermark(self, partition: int, now: int) -> Watermark:
        covered = _covered_until(self._log, partition)
        alive = [health for part, health in self._health.values() if part == partition and health.alive]
        behind = min(alive, key=lambda health: health.watermark, default=None)
        return Watermark(
            partition,
            covered,
            None if covered is None else (now - covered) / 1_000,
            behind.service if behind else "",
            (now - behind.watermark) / 1_000 if behind else None,
        )

    def _read_health(self) -> None:
        for record in read_topic(self._log, "health", self._read_up_to):
            self._read_up_to[record.partition] = record.offset + 1
            health = _data(record)
            if isinstance(health, ServiceHealth):
                self._health[record.key] = (record.partition, health)


def _covered_until(log: SharedLog, partition: int) -> int | None:
    first, end = log.bounds("counts", partition)
    for back in _LOOK_BACK:
        begin = max(first, end - back)
        for record in reversed(log.read("counts", partition, begin, back)):
            counts = _data(record)
            if isinstance(counts, TemplateCounts) and counts.sources:
                return max(source.covered_until for source in counts.sources)
    return None


def _data(record: Record) -> Any:
    """What cannot be decoded says nothing about time: `foreshock dead-letters` has it."""
    try:
        return decode_record(record).data
    except ContractError:
        return None
