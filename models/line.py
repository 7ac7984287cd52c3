"""Log lines as columns. In: whole lines as bytes, what is known of their source. Out: messages, times, severities.

Plain text and JSON lines may be mixed. Of plain text the timestamp at its start is cut off, and nothing else; a JSON
line gives its message, time, severity and service by their usual names (models/json_line.py, models/json_columns.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from models.json_columns import JsonColumns, ServiceTable
from models.log import MAX_MESSAGE_BYTES, Severity
from models.timestamp import Zone, read_timestamp, utc
from models.timestamp_columns import MAX_SHAPES, PAD, Shape

__all__ = [
    "FUTURE_MS",
    "LineMemory",
    "LineRules",
    "Lines",
    "OwnServices",
    "control_ratio",
    "cut_message",
    "decode_lines",
    "syslog_severity",
]

FUTURE_MS = 3_600_000
"""A line that claims to be further ahead of its reference than this is given the reference's time instead."""
_BINARY_RATIO = 0.3
_CONTROL = bytes(sorted({*range(32), 127} - {*b"\t\n\r\x1b\x08\x0c"}))
_BLANKS = b" \t"
_BOM = b"\xef\xbb\xbf"


class LineRules(NamedTuple):
    """What a source's lines are read by. `reference` (ms): when they were written at the latest (a file's mtime, the
    clock): it settles dates without a year, and a time more than FUTURE_MS ahead of it is not believed.
    """

    reference: int
    zone: Zone = utc


@dataclass(slots=True)
class LineMemory:
    """What one source's lines leave for the next ones: the last line's time (ms; -1 before any), and, only to be
    fast, the notations and the services met.
    """

    last: int = -1
    shapes: list[Shape] = field(default_factory=list)
    services: ServiceTable = field(default_factory=ServiceTable)


class OwnServices(NamedTuple):
    """The services that lines name themselves: line i's is `names[places[i]]`; `names[0]` is "": none."""

    names: list[str]
    places: NDArray[np.int64]


class Lines(NamedTuple):
    """Physical lines in order, in columns. `ends[i]`: bytes of the block up to and with line i's newline.

    `severity` and `services` are None where no line has one of its own. `dropped` gives the reason (`blank`, `binary`)
    of each line that is no record; `truncated` lists those cut at 8 KB, `future` those whose time was not believed;
    `counts` counts `untimed`, `future`, `invalid_utf8` and `json`.
    """

    messages: list[bytes]
    times: NDArray[np.int64]
    ends: NDArray[np.int64]
    severity: list[int] | None
    services: OwnServices | None
    dropped: dict[int, str]
    truncated: list[int]
    future: list[int]
    counts: Counter[str]


def decode_lines(block: bytes, rules: LineRules, memory: LineMemory) -> Lines:
    """Read a block of whole lines, each ended by a newline. Changes `memory`.

    However lines are divided into blocks, they are read the same.
    """
    data = np.frombuffer(block + bytes(PAD), np.uint8)
    ends = np.flatnonzero(data == 10) + 1
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1])) if len(ends) else ends
    lines = block.split(b"\n")
    lines.pop()
    counts: Counter[str] = Counter()
    if lines and lines[0].startswith(_BOM):
        lines[0] = lines[0][3:]
        starts[0] += 3
    if b"\r" in block:
        lines = [line.rstrip(b"\r") for line in lines]
    dropped = _dropped(block, lines, data[starts])
    if not block.isascii():
        _repair(block, lines, counts)
    work = _Work(data, starts, lines, rules, len(lines))
    work.todo[list(dropped)] = False
    if memory.services.full:
        memory.services = ServiceTable()
    work.read_json(memory.services, counts)
    work.read_plain(memory.shapes)
    future = np.flatnonzero(work.times > rules.reference + FUTURE_MS).tolist()
    work.times[future] = rules.reference
    counts["future"] += len(future)
    times = _settle(work.times, dropped, rules, memory, counts)
    truncated = [i for i in _truncate(lines, np.diff(ends, prepend=0)) if i not in dropped]
    return Lines(lines, times, ends, work.severity, work.services, dropped, truncated, future, counts)


def control_ratio(data: bytes) -> float:
    """The share of bytes that text does not hold (control characters but tab, newline, escape and the like)."""
    return 1 - len(data.translate(None, _CONTROL)) / len(data) if data else 0.0


def cut_message(message: bytes) -> bytes:
    """At most MAX_MESSAGE_BYTES of a message in UTF-8, no character torn."""
    if len(message) <= MAX_MESSAGE_BYTES:
        return message
    return message[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore").encode()


def syslog_severity(priority: int) -> Severity:
    """RFC 5424, 6.2.1: the severity of a PRI is its last three bits, 0 (emergency) to 7 (debug)."""
    return ((Severity.FATAL,) * 3 + (Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.INFO, Severity.DEBUG))[
        priority & 7
    ]


class _Work:
    """One block under way: `times` are -1 where unknown; `todo` marks the lines still to be read."""

    def __init__(
        self, data: NDArray[np.uint8], starts: NDArray[np.int64], lines: list[bytes], rules: LineRules, size: int
    ) -> None:
        self.data, self.starts, self.lines, self.rules = data, starts, lines, rules
        self.times = np.full(size, -1, dtype=np.int64)
        self.todo = np.ones(size, dtype=np.bool_)
        self.severity: list[int] | None = None
        self.services: OwnServices | None = None

    def read_json(self, table: ServiceTable, counts: Counter[str]) -> None:
        """Lines that are a JSON object with a message."""
        rows = np.flatnonzero((self.data[self.starts] == 0x7B) & self.todo)
        if not len(rows):
            return
        lines = self.lines if len(rows) == len(self.lines) else [self.lines[i] for i in rows.tolist()]
        found = JsonColumns(lines, table, self.rules.reference, self.rules.zone)
        read = np.array([message is not None for message in found.messages])
        if lines is self.lines and read.all():
            self.lines[:] = cast("list[bytes]", found.messages)
        else:
            for i, message in zip(rows.tolist(), found.messages, strict=True):
                if message is not None:
                    self.lines[i] = message
        counts["json"] += int(read.sum())
        self.todo[rows] = ~read
        self.times[rows] = found.ms
        if found.severity.any():
            severity = np.zeros(len(self.lines), dtype=np.int64)
            severity[rows] = found.severity
            self.severity = severity.tolist()
        if found.service.any():
            places = np.zeros(len(self.lines), dtype=np.int64)
            places[rows] = found.service
            self.services = OwnServices(table.names, places)

    def read_plain(self, shapes: list[Shape]) -> None:
        """The rest, by the notations in `shapes` and those found on the way; new ones are added to it."""
        for shape in tuple(shapes):
            if not self._by_shape(shape):
                shapes.remove(shape)
                shapes.append(shape)
        new = 0
        for i in np.flatnonzero(self.todo).tolist():
            if not self.todo[i]:
                continue
            found = self._one(i)
            if found is not None and new < MAX_SHAPES:
                new += 1
                shapes.insert(0, found)
                del shapes[MAX_SHAPES:]
                self._by_shape(found)

    def _by_shape(self, shape: Shape) -> bool:
        rows = np.flatnonzero(self.todo)
        if not len(rows):
            return False
        reading = shape.read(self.data, self.starts[rows], self.rules.reference, self.rules.zone)
        if not reading.fits.all():
            rows = rows[reading.fits]
        self.times[rows] = reading.ms
        self.todo[rows] = False
        cut = shape.cut
        if not cut:
            return bool(len(rows))
        if len(rows) == len(self.lines):
            self.lines[:] = [line[cut:].lstrip(_BLANKS) for line in self.lines]
        else:
            for i in rows.tolist():
                self.lines[i] = self.lines[i][cut:].lstrip(_BLANKS)
        if reading.priority is not None:
            for i, priority in zip(rows.tolist(), reading.priority.tolist(), strict=True):
                self._set_severity(i, syslog_severity(priority))
        return bool(len(rows))

    def _one(self, i: int) -> Shape | None:
        """Read one line by itself; the shape of its time, where it stands at the line's start."""
        self.todo[i] = False
        line = self.lines[i]
        stamp = read_timestamp(line, self.rules.reference, self.rules.zone)
        if stamp is None:
            return None
        self.times[i] = stamp.ms
        self.lines[i] = line[stamp.cut :]
        if stamp.priority >= 0:
            self._set_severity(i, syslog_severity(stamp.priority))
        return Shape.of(line, stamp)

    def _set_severity(self, i: int, severity: int) -> None:
        if self.severity is None:
            self.severity = [0] * len(self.lines)
        self.severity[i] = int(severity)


def _dropped(block: bytes, lines: list[bytes], first: NDArray[np.uint8]) -> dict[int, str]:
    """Lines that are no records; `first` holds each line's first byte (its newline, where it has no other)."""
    dropped = {i: "blank" for i in np.flatnonzero(first <= 0x20).tolist() if not lines[i] or lines[i].isspace()}
    if b"\0" in block:
        for i, line in enumerate(lines):
            if b"\0" in line and control_ratio(line) > _BINARY_RATIO:
                dropped[i] = "binary"
    return dropped


def _repair(block: bytes, lines: list[bytes], counts: Counter[str]) -> None:
    """Replace what is no UTF-8 by U+FFFD, line by line where the block has any."""
    try:
        block.decode()
    except UnicodeDecodeError:
        for i, line in enumerate(lines):
            text = line.decode("utf-8", "replace").encode()
            if text != line:
                lines[i] = text
                counts["invalid_utf8"] += 1


def _settle(
    times: NDArray[np.int64], dropped: dict[int, str], rules: LineRules, memory: LineMemory, counts: Counter[str]
) -> NDArray[np.int64]:
    """Give a line without a time that of the line before. Moves `memory.last`."""
    if not len(times):
        return times
    unknown = times < 0
    if unknown.any():
        counts["untimed"] += int(unknown.sum()) - sum(1 for i in dropped if unknown[i])
        source = np.maximum.accumulate(np.where(unknown, -1, np.arange(len(times))))
        before = memory.last if memory.last >= 0 else rules.reference
        times = np.where(source < 0, before, times[np.maximum(source, 0)])
    memory.last = int(times[-1])
    return times


def _truncate(lines: list[bytes], lengths: NDArray[np.int64]) -> list[int]:
    if int(lengths.max(initial=0)) <= MAX_MESSAGE_BYTES // 3:
        return []  # not even three bytes for each invalid one could make it too long
    long = [i for i, line in enumerate(lines) if len(line) > MAX_MESSAGE_BYTES]
    for i in long:
        lines[i] = cut_message(lines[i])
    return long
