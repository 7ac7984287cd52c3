"""JSON log lines of a block as columns. In: lines that begin with `{`. Out: what models/json_line.py reads from each.

Hundreds of lines are parsed at once, and records that have the same of the usual names are read name by name. A line
that is no JSON, and the few of a rare kind, are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from models.json_line import (
    LEVELS,
    MAX_SERVICE,
    MESSAGES,
    SERVICES,
    TIME_BEGINS,
    TIMES,
    cut_time,
    message_of,
    one_line,
    read_record,
    service_name,
    severity_of,
)
from models.timestamp import Zone, utc
from models.timestamp_columns import parse_timestamps

__all__ = ["JsonColumns", "ServiceTable"]

_TOGETHER = (512, 32)
"""Lines parsed together; and how many of them, where one of those is no JSON."""
_MARK = 702_174_917_203_551_119
"""The number that stands between lines parsed together. Odd and beyond 2^53: no float equals it."""
_FEWEST = 8
"""Records of one kind that are worth a turn of their own."""
_MAX_SPELLINGS = 10_000
"""Services' names remembered for the next lines of a source."""
_BEGINS = np.isin(np.arange(256), np.frombuffer(TIME_BEGINS, np.uint8))

Int64s = NDArray[np.int64]
Record = dict[str, Any]


class _Names(NamedTuple):
    """Which of the usual names a record has, in their order."""

    messages: tuple[str, ...]
    times: tuple[str, ...]
    levels: tuple[str, ...]
    services: tuple[str, ...]


class ServiceTable:
    """Services by number: `names[0]` is "": none. Numbers do not change; a table that is `full` is to be replaced."""

    def __init__(self) -> None:
        self.names = [""]
        self._places = {"": 0}
        self._spelt: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """It holds more than a source's lines are likely to need again."""
        return max(len(self.names), len(self._spelt)) > _MAX_SPELLINGS

    def place(self, service: str) -> int:
        """The number of a service."""
        place = self._places.setdefault(service, len(self.names))
        if place == len(self.names):
            self.names.append(service)
        return place

    def places(self, values: Sequence[object]) -> Int64s:
        """The numbers of the services that values name (see `service_name`)."""
        if set(map(type, values)) != {str}:
            return np.array([self.place(service_name(value)) for value in values], dtype=np.int64)
        texts, known = cast("Sequence[str]", values), self._spelt
        new = sorted(set(texts).difference(known))
        for text in new:
            known[text] = self.place(service_name(text))
        found = np.fromiter(map(known.__getitem__, texts), np.int64, len(texts))
        for text in new:
            if len(text) > MAX_SERVICE:
                del known[text]  # what is remembered must be bounded in bytes, too
        return found


class JsonColumns:
    """What lines say, one item a line. `messages[i]` None: it is no JSON object with a message; `ms` -1: no time;
    `severity` 0: none; `service`: its number in the table that was given.
    """

    def __init__(self, lines: Sequence[bytes], services: ServiceTable, reference: int, zone: Zone = utc) -> None:
        """Read lines of valid UTF-8 that begin with `{` and hold no newline, each as `read_json_line` does."""
        size = len(lines)
        self.messages: list[bytes | None] = [None] * size
        self.ms = np.full(size, -1, dtype=np.int64)
        self.severity = np.zeros(size, dtype=np.int64)
        self.service = np.zeros(size, dtype=np.int64)
        self._services, self._reference, self._zone = services, reference, zone
        records = _parse(lines, _TOGETHER)
        for names, rows in _alike(records).items():
            if not names.messages:
                continue
            if len(rows) < _FEWEST:
                self._read_each(rows, records)
            elif len(rows) == size:
                self._read_alike(slice(None), records, names)
            else:
                self._read_alike(np.array(rows), [records[row] for row in rows], names)

    def _read_each(self, rows: Sequence[int], records: Sequence[Record]) -> None:
        for row in rows:
            found = read_record(records[row], self._reference, self._zone)
            if found is not None:
                self.messages[row] = found.message
                self.ms[row] = -1 if found.ms is None else found.ms
                self.severity[row] = found.severity
                self.service[row] = self._services.place(found.service)

    def _read_alike(self, rows: NDArray[np.intp] | slice, records: Sequence[Record], names: _Names) -> None:
        """Records that have the same of the usual names, name by name."""
        ms = _first_found(
            records, names.times, -1, lambda values: parse_timestamps(values, self._reference, self._zone)
        )
        messages, dated = _messages(records, names.messages[0])
        for i in dated:
            messages[i], stamped = self._cut(messages[i])
            ms[i] = stamped if ms[i] < 0 else ms[i]
        self.ms[rows] = ms
        self.severity[rows] = _first_found(records, names.levels, 0, _severities)
        self.service[rows] = _first_found(records, names.services, 0, self._services.places)
        if isinstance(rows, slice):
            self.messages = messages
        else:
            for row, message in zip(rows.tolist(), messages, strict=True):
                self.messages[row] = message

    def _cut(self, message: bytes | None) -> tuple[bytes | None, int]:
        """A message without the time that it may begin with and without newlines, and that time (ms; -1: none)."""
        if message is None:
            return None, -1
        rest, ms = cut_time(message, self._reference, self._zone)
        return one_line(rest), -1 if ms is None else ms


def _parse(lines: Sequence[bytes], sizes: tuple[int, ...]) -> list[Record]:
    """Each line's object; an empty one where it is no JSON."""
    if not sizes:
        return [_parse_one(line) for line in lines]
    found: list[Record] = []
    for start in range(0, len(lines), sizes[0]):
        part = lines[start : start + sizes[0]]
        found += _parse_together(part) or _parse(part, sizes[1:])
    return found


def _parse_one(line: bytes) -> Record:
    try:
        record = from_json(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _parse_together(lines: Sequence[bytes]) -> Sequence[Record] | None:
    """The objects of lines that begin with `{`; None unless every line is one object.

    The lines become one array, with a number between each two. Its digits stand nowhere else; so where every other
    element has its value, each of those stands between two lines, none is part of what two lines make up together, and
    the one element between two of them is one line.
    """
    mark = b"%d" % _MARK
    text = b"[" + (b"," + mark + b",").join(lines) + b"]"
    if text.count(mark) != len(lines) - 1:
        return None
    try:
        found = from_json(text, cache_strings="keys")
    except ValueError:
        return None
    return cast("list[Record]", found[::2]) if found[1::2] == [_MARK] * (len(lines) - 1) else None


def _alike(records: Sequence[Record]) -> Mapping[_Names, Sequence[int]]:
    """The records' rows by the usual names that they have."""
    kinds = list(map(tuple, records))
    names = {kind: _names_among(kind) for kind in set(kinds)}
    if len(set(names.values())) == 1:
        return {names[kinds[0]]: range(len(kinds))}
    found: dict[_Names, list[int]] = {}
    for row, kind in enumerate(kinds):
        found.setdefault(names[kind], []).append(row)
    return found


def _names_among(keys: Iterable[str]) -> _Names:
    known = set(keys)
    return _Names(*(tuple(filter(known.__contains__, usual)) for usual in (MESSAGES, TIMES, LEVELS, SERVICES)))


def _messages(records: Sequence[Record], name: str) -> tuple[list[bytes | None], Sequence[int]]:
    """The records' messages, of which `name` is the first name; and which of them may begin with a time or hold a
    newline.
    """
    values = [record[name] for record in records]
    if set(map(type, values)) != {str}:
        return [message_of(record) for record in records], range(len(records))
    text = "\0".join(values).encode()
    found: list[bytes | None] = list(text.split(b"\0"))
    if len(found) != len(values) or b"\n" in text:
        return [value.encode() for value in values], range(len(records))
    data = np.frombuffer(b"\0" + text + b"\0", np.uint8)
    return found, np.flatnonzero(_BEGINS[data[np.flatnonzero(data == 0)[:-1] + 1]]).tolist()


def _severities(values: Sequence[object]) -> Int64s:
    if set(map(type, values)) in ({str}, {int}):
        known = {value: int(severity_of(value)) for value in set(values)}
        return np.fromiter(map(known.__getitem__, values), np.int64, len(values))
    return np.array([int(severity_of(value)) for value in values], dtype=np.int64)


def _first_found(
    records: Sequence[Record], names: Sequence[str], none: int, read: Callable[[Sequence[object]], Int64s]
) -> Int64s:
    """What `read` finds under the first of the names that has something; `none` where none has."""
    if not names:
        return np.full(len(records), none, dtype=np.int64)
    found = read([record[names[0]] for record in records])
    for name in names[1:]:
        rows = np.flatnonzero(found == none).tolist()
        if rows:
            found[rows] = read([records[row][name] for row in rows])
    return found
