"""The recorded log, read for people: events of a topic in the order in which they were logged.

In: a store opened beside whoever runs it. Out: records and events. Reading goes by pages, so a topic may be of any
size; what is appended while reading may or may not be seen.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from connectors.codec import decode_record
from connectors.ports import Log, Record
from models.errors import ContractError
from models.event import Contract, Event

__all__ = ["events_of", "read_back", "read_topic"]

C = TypeVar("C", bound=Contract)
_PAGE: Final = 128
"""Records read at once: a batch of lines has up to 256 KB."""


def read_topic(log: Log, topic: str, begin: Mapping[int, int] | None = None) -> Iterator[Record]:
    """All records of a topic, partitions merged by `logged_at`; from the offsets in `begin` (default: the first)."""
    starts = begin or {}
    parts = [_read_partition(log, topic, part, starts.get(part, 0)) for part in range(log.partitions(topic))]
    return heapq.merge(*parts, key=lambda record: (record.logged_at, record.partition, record.offset))


def read_back(log: Log, topic: str, partition: int) -> Iterator[Record]:
    """A partition's records, newest first."""
    first, end = log.bounds(topic, partition)
    while end > first:
        start = max(first, end - _PAGE)
        page = [record for record in log.read(topic, partition, start, end - start) if record.offset < end]
        yield from reversed(page)
        end = start


def events_of(log: Log, topic: str, *kinds: type[C], about: Sequence[str] | None = None) -> Iterator[Event[C]]:
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


def _read_partition(log: Log, topic: str, partition: int, offset: int) -> Iterator[Record]:
    while page := log.read(topic, partition, offset, _PAGE):
        yield from page
        offset = page[-1].offset + 1
