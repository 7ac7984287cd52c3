"""The recorded log, read for people: events of a topic in the order in which they were logged.

In: a log opened beside whoever runs it. Out: records and events. Reading goes by pages, so a topic may be of any
size, and ends where the topic ended when it began: a topic that grows as fast as it is read would have no end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from connectors.codec import decode_record
from connectors.ports import Record
from connectors.shared_log import SharedLog
from models.errors import ContractError
from models.event import Contract, Event
from models.topics import TOPICS

__all__ = ["ReadableLog", "Recent", "events_of", "read_back", "read_topic"]

C = TypeVar("C", bound=Contract)
_PAGE: Final = 2_000
_PAGE_OF: Final = {"logs": 128, "counts": 128}
"""Records read at once: a batch of lines has up to 512 KB."""
_STRIDE_MOST: Final = 1_000_000
_READ_BY_PLACE: Final = "logs"


class ReadableLog(Protocol):
    """What reading needs of a log (connectors/ports.py: Log)."""

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Up to `limit` records from `offset` on."""
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first kept offset and the next to be written."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        ...


class Recent:
    """A log as if its topics began with what was logged at `since` (ms), and ended when they are first asked for.
    Compacted topics are whole, and so is `logs`, which is read by pointers. `cut`: the topics of which something older
    is kept, as far as they have been read.
    """

    def __init__(self, log: SharedLog, since: int) -> None:
        self._log, self._since = log, since
        self._bounds: dict[tuple[str, int], tuple[int, int]] = {}
        self.cut: set[str] = set()

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See ports.Log."""
        return self._log.read(topic, partition, max(offset, self.bounds(topic, partition)[0]), limit)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """See ports.Log."""
        known = self._bounds.get((topic, partition))
        if known is None:
            first, end = self._log.bounds(topic, partition)
            begin = first
            if not TOPICS[topic].compacted and topic != _READ_BY_PLACE:
                begin = max(first, self._log.offset_at(topic, partition, self._since))
            if begin > first:
                self.cut.add(topic)
            known = self._bounds[topic, partition] = (begin, max(begin, end))
        return known

    def partitions(self, topic: str) -> int:
        """See ports.Log."""
        return self._log.partitions(topic)


def read_topic(log: ReadableLog, topic: str, begin: Mapping[int, int] | None = None) -> Iterator[Record]:
    """The records of a topic, partitions merged by `logged_at`; from the offsets in `begin` (default: the first) to
    where the topic ends now.
    """
    starts = begin or {}
    parts = [_read_partition(log, topic, part, starts.get(part, 0)) for part in range(log.partitions(topic))]
    return heapq.merge(*parts, key=lambda record: (record.logged_at, record.partition, record.offset))


def read_back(log: ReadableLog, topic: str, partition: int) -> Iterator[Record]:
    """A partition's records, newest first."""
    first, end = log.bounds(topic, partition)
    stride = _PAGE_OF["logs"]
    while end > first:
        start = max(first, end - stride)
        page = list(_read_range(log, topic, partition, start, end))
        yield from reversed(page)
        # Compaction leaves holes of any length.
        stride = _PAGE_OF["logs"] if page else min(stride * 2, _STRIDE_MOST)
        end = start


def events_of(log: ReadableLog, topic: str, *kinds: type[C], about: Sequence[str] | None = None) -> Iterator[Event[C]]:
    """The topic's events of these kinds; where `about` is given, only those in whose bytes one of its words stands.

    What cannot be decoded is left out: `tap` shows it.
    """
    words = None if about is None else [word.encode("utf-8", "surrogateescape") for word in about]
    names = [f'"type":"{kind.TYPE}"'.encode() for kind in kinds]
    for record in read_topic(log, topic):
        if _holds(record.value, names) and (words is None or _holds(record.value, words)):
            event = _decoded(record)
            if event is not None and isinstance(event.data, kinds):
                yield event


def _holds(value: bytes, names: Sequence[bytes]) -> bool:
    """A cheap first look, so that only what may be wanted is decoded; decoding decides."""
    return any(name in value for name in names)


def _decoded(record: Record) -> Event[Any] | None:
    try:
        return decode_record(record)
    except ContractError:
        return None


def _read_partition(log: ReadableLog, topic: str, partition: int, offset: int) -> Iterator[Record]:
    first, end = log.bounds(topic, partition)
    return _read_range(log, topic, partition, max(first, offset), end)


def _read_range(log: ReadableLog, topic: str, partition: int, offset: int, end: int) -> Iterator[Record]:
    limit = _PAGE_OF.get(topic, _PAGE)
    while offset < end and (page := log.read(topic, partition, offset, min(limit, end - offset))):
        yield from (record for record in page if record.offset < end)
        offset = page[-1].offset + 1
