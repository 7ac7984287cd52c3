"""Event times of many lines at once. In: whole lines as one array of bytes, or texts of times. Out: columns of times.

A log file keeps to one or two notations. `Shape.of` takes the notation from a line that models/timestamp.py has read:
which bytes are digits, which are a name, which are fixed. `Shape.read` checks that against all lines and computes their
times column by column. A line that does not fit is left to `read_timestamp`; one that fits gets what that would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from models.timestamp import DAY_MS, MONTHS, WEEKDAYS, Stamp, Zone, parse_timestamp, read_timestamp, utc, zone_offset

__all__ = ["MAX_SHAPES", "PAD", "Reading", "Shape", "parse_timestamps"]

Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]
PAD = 256
"""Bytes that must follow the last line in the array given to `Shape.read`, so that no head reaches beyond it."""

MAX_SHAPES = 8
"""Notations tried on a block; what is in others is read one by one."""
_QUARTER_MS = 900_000
_LENGTHS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)
_NUMBERS = "YymdHMSfiex"
_MAX_WIDTH = 96


class Reading(NamedTuple):
    """What `Shape.read` found: which lines fit; of those, in order, the time (ms) and the syslog PRI (or None)."""

    fits: NDArray[np.bool_]
    ms: Int64s
    priority: Int64s | None


def _code(names: tuple[bytes, ...]) -> Int64s:
    return np.array([int.from_bytes(name, "big") for name in names], dtype=np.int64)


_MONTH_CODES = _code(MONTHS)
_MONTH_ORDER = np.argsort(_MONTH_CODES)
_WEEKDAY_CODES = _code(WEEKDAYS)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A notation, down to the byte. It stands behind `words` words, each followed by one blank.

    It is `width` bytes long; the message begins at `cut` of the line, or after blanks there.
    """

    words: int
    width: int
    cut: int
    digits: NDArray[np.intp]
    fixed: NDArray[np.intp]
    text: Bytes
    fields: dict[str, list[int]]
    names: dict[str, int]
    offset: int | None
    guard: str

    @classmethod
    def of(cls, line: bytes, stamp: Stamp) -> Shape | None:
        """The shape of a line that has been read as `stamp`; None where other lines are not likely to be like it."""
        match = stamp.match
        if match is None:
            return None
        groups = {name for name, value in match.groupdict().items() if value is not None}
        first = min(match.start(name) for name in groups)
        start = 0 if stamp.cut else line.rfind(b" ", 0, first) + 1
        if line[:start].endswith(b" | "):  # compose's bar is no word that may be any other
            start -= 2
        head = (line + b"\n")[start : match.end() + 1]
        if len(head) > _MAX_WIDTH or b"  " in line[:start] or (start and line[:1].isdigit()):
            return None
        kind = bytearray(b"t" * len(head))
        fields: dict[str, list[int]] = {}
        for name in sorted(groups & {"p", *_NUMBERS}):
            fields[name] = [at - start for at in range(*match.span(name)) if 48 <= line[at] <= 57]
            for at in fields[name]:
                kind[at] = ord("d")
        if "e" in fields and b"." in match["e"]:
            fields["e"], fields["f"] = fields["e"][:10], fields["e"][10:]
        names = {name: match.start(name) - start for name in "bw" if name in groups}
        for at in names.values():
            kind[at : at + 3] = b"nnn"
        guard = _guard(head, "z" in match.re.groupindex and "z" not in groups, not groups & {"e", "f", "i"})
        if guard == "refuse":
            return None
        kinds = np.frombuffer(bytes(kind), np.uint8)
        fixed = np.flatnonzero(kinds == ord("t"))
        return cls(
            words=line[:start].count(b" "),
            width=len(head) - 1,
            cut=match.end() if stamp.cut else 0,
            digits=np.flatnonzero(kinds == ord("d")),
            fixed=fixed,
            text=np.frombuffer(head, np.uint8)[fixed],
            fields=fields,
            names=names,
            offset=zone_offset(match["z"]) if "z" in groups else None,
            guard=guard,
        )

    def read(self, data: Bytes, starts: Int64s, reference: int, zone: Zone = utc) -> Reading:
        """Read the lines that begin at `starts`. `data` goes on for PAD bytes after the last line."""
        at, sure = (starts, None) if not self.words else _behind_words(data, starts, self.words)
        heads = np.lib.stride_tricks.sliding_window_view(data, self.width + 3)[at]
        fits = (heads[:, self.fixed] == self.text).all(axis=1)
        fits &= ((heads[:, self.digits] - np.uint8(48)) <= 9).all(axis=1)
        fits &= ~self._unsure(heads)
        if sure is not None:
            fits &= sure
        numbers = heads[fits] if not fits.all() else heads
        ms, valid = self._times(numbers, reference, zone)
        if not valid.all():
            fits[np.flatnonzero(fits)[~valid]] = False
            ms, numbers = ms[valid], numbers[valid]
        return Reading(fits, ms, self._number(numbers, "p") if "p" in self.fields else None)

    def _unsure(self, heads: Bytes) -> NDArray[np.bool_]:
        """Lines that might go on with a zone or a fraction that the example did not have."""
        after, second = heads[:, self.width + 1], heads[:, self.width + 2]
        digit = (after - np.uint8(48)) <= 9
        if self.guard == "zone":
            signed = ((after == 43) | (after == 45)) & ((second - np.uint8(48)) <= 9)
            return np.asarray(signed | np.isin(after, np.frombuffer(b"ZzUG", np.uint8)))
        return digit if self.guard == "fraction" else np.zeros(len(heads), dtype=np.bool_)

    def _number(self, heads: Bytes, name: str, digits: int = 19) -> Int64s:
        value = np.zeros(len(heads), dtype=np.int64)
        for column in self.fields.get(name, [])[:digits]:
            value = value * 10 + (heads[:, column] - np.uint8(48))
        return value

    def _times(self, heads: Bytes, reference: int, zone: Zone) -> tuple[Int64s, NDArray[np.bool_]]:
        if "e" in self.fields:
            return self._epochs(heads)
        hour, minute, second = (self._number(heads, name) for name in "HMS")
        valid: NDArray[np.bool_] = (hour <= 23) & (minute <= 59) & (second <= 60)
        of_day = (hour * 60 + minute) * 60_000 + second * 1_000 + self._milliseconds(heads)
        month, day = self._number(heads, "m"), self._number(heads, "d")
        if "b" in self.names:
            code = self._name(heads, "b")
            place = np.minimum(np.searchsorted(_MONTH_CODES, code, sorter=_MONTH_ORDER), 11)
            valid &= _MONTH_CODES[_MONTH_ORDER][place] == code
            month = _MONTH_ORDER[place] + 1
        if "w" in self.names:
            valid &= np.isin(self._name(heads, "w"), _WEEKDAY_CODES)
        valid &= (month >= 1) & (month <= 12) & (day >= 1)
        month = np.where(valid, month, 1)
        year = self._number(heads, "Y") if "Y" in self.fields else self._number(heads, "y") + 2_000
        if "Y" not in self.fields and "y" not in self.fields:
            year = _years(month, day, of_day, reference)
        leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
        valid &= day <= _LENGTHS[month] + ((month == 2) & leap)
        naive = _days(year, month, day) * DAY_MS + of_day
        offset = _offsets(naive, zone) if self.offset is None else self.offset
        ms = np.asarray(naive - offset, dtype=np.int64)
        return ms, valid & (ms >= 0)

    def _epochs(self, heads: Bytes) -> tuple[Int64s, NDArray[np.bool_]]:
        whole, size = self._number(heads, "e"), len(self.fields["e"])
        ms = whole * 1_000 + self._milliseconds(heads) if size == 10 else whole // np.int64(10 ** (size - 13))
        return np.asarray(ms, dtype=np.int64), whole >= 10 ** (size - 1)

    def _milliseconds(self, heads: Bytes) -> Int64s:
        if "i" in self.fields:
            return self._number(heads, "i")
        columns = self.fields.get("f", [])[:3]
        return (
            self._number(heads, "f", 3) * 10 ** (3 - len(columns)) if columns else np.zeros(len(heads), dtype=np.int64)
        )

    def _name(self, heads: Bytes, name: str) -> Int64s:
        at = self.names[name]
        wide = heads[:, at : at + 3].astype(np.int64)
        return np.asarray((wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2])


def parse_timestamps(values: Sequence[object], reference: int, zone: Zone = utc) -> Int64s:
    """The times (ms) in a field of many JSON lines, each as `parse_timestamp` reads it; -1 where it finds none."""
    kinds = set(map(type, values))
    if kinds == {str}:
        return _parse_texts(cast("Sequence[str]", values), reference, zone)
    if kinds == {int} or kinds == {float}:
        return _parse_epochs(values)
    return _parse_each(values, reference, zone)


def _parse_texts(texts: Sequence[str], reference: int, zone: Zone) -> Int64s:
    """By the notations of the first that are left, each tried on all others; then one by one."""
    block = "\n".join(texts).encode("utf-8", "replace") + b"\n"
    data = np.frombuffer(block + bytes(PAD), np.uint8)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), np.flatnonzero(data == 10)[:-1] + 1))
    if len(starts) != len(texts):
        return _parse_each(texts, reference, zone)
    ms = np.full(len(texts), -1, dtype=np.int64)
    todo = np.arange(len(texts))
    for _ in range(MAX_SHAPES):
        if not len(todo):
            return ms
        first, todo = int(todo[0]), todo[1:]
        ms[first : first + 1] = _parse_each(texts[first : first + 1], reference, zone)
        shape = _shape_of(texts[first], int(ms[first]), reference, zone)
        if shape is None:
            continue
        settled, found, _ = shape.read(data, starts[todo], reference, zone)
        ms[todo[settled]] = found
        if "S" in shape.fields:  # parse_timestamp takes a 60th second in some notations only
            settled = settled & (data[starts[todo] + shape.fields["S"][0]] != ord("6"))
        todo = todo[~settled]
    ms[todo] = _parse_each([texts[i] for i in todo.tolist()], reference, zone)
    return ms


def _shape_of(text: str, ms: int, reference: int, zone: Zone) -> Shape | None:
    """The shape of a text that is a time and nothing else."""
    line = text.encode("utf-8", "replace")
    stamp = read_timestamp(line, reference, zone)
    if stamp is None or stamp.ms != ms or stamp.match is None or not stamp.cut or stamp.match.end() < len(line):
        return None
    return Shape.of(line, stamp)


def _parse_epochs(values: Sequence[object]) -> Int64s:
    """Epochs in seconds or milliseconds, all of one type, by the rules of `epoch_ms`; others one by one."""
    numbers = np.array(values)
    if numbers.dtype.kind not in "if" or not ((numbers > 0) & (numbers < 1e14)).all():
        return _parse_each(values, 0, utc)
    whole = np.rint(np.where(numbers < 1e11, numbers * 1_000, np.floor(numbers)))
    return np.asarray(whole, dtype=np.int64)


def _parse_each(values: Sequence[object], reference: int, zone: Zone) -> Int64s:
    found = (parse_timestamp(value, reference, zone) for value in values)
    return np.array([-1 if ms is None else ms for ms in found], dtype=np.int64)


def _guard(head: bytes, zone_may_follow: bool, fraction_may_follow: bool) -> str:
    """What to ask of the bytes behind the head, so that no other line is read shorter than it is."""
    after = head[-1:]
    if after in (b"Z", b"z", b"U", b"G", b"+", b"-"):
        return "refuse"
    if zone_may_follow and after == b" ":
        return "zone"
    return "fraction" if fraction_may_follow and after in (b".", b",", b":") else ""


def _behind_words(data: Bytes, starts: Int64s, words: int) -> tuple[Int64s, NDArray[np.bool_]]:
    """Where the text behind each line's first words begins; and which lines have such words, and cannot be of a
    notation that starts the line.
    """
    breaks = np.flatnonzero((data == 0x20) | (data == 0x0A))
    nth = np.searchsorted(breaks, starts)[:, None] + np.arange(words)
    sure = nth[:, -1] < len(breaks)
    ends = breaks[np.minimum(nth, len(breaks) - 1)]
    sure &= (data[ends] == 0x20).all(axis=1) & (ends[:, 0] > starts) & (np.diff(ends, axis=1) > 1).all(axis=1)
    opened = starts + (data[starts] == 0x5B)
    first = data[opened]
    code = (first.astype(np.int64) << 16) | (data[opened + 1].astype(np.int64) << 8) | data[opened + 2]
    sure &= ((first - np.uint8(48)) > 9) & (first != 0x3C) & (first != 0x09)
    sure &= ~np.isin(code, np.concatenate((_MONTH_CODES, _WEEKDAY_CODES)))
    other = np.flatnonzero((data - np.uint8(9) <= 4) & (data != 0x0A))  # a tab is in no word
    sure &= np.searchsorted(other, starts) == np.searchsorted(other, ends[:, -1])
    return np.where(sure, ends[:, -1] + 1, starts), sure


def _days(year: Int64s, month: Int64s, day: Int64s) -> Int64s:
    """Days since 1970-01-01: days_from_civil, as in models.timestamp.to_ms."""
    shifted = year - (month <= 2)
    of_year = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    return np.asarray(shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719_468)


def _years(month: Int64s, day: Int64s, of_day: Int64s, reference: int) -> Int64s:
    """The nearest past year of each date; 29 February is looked for further back and then not valid here."""
    this = np.int64(np.datetime64(reference, "ms").astype("datetime64[Y]").astype(np.int64) + 1970)
    latest = reference + DAY_MS
    year = np.full(len(month), this + 1, dtype=np.int64)
    for _ in range(2):
        year -= _days(year, month, day) * DAY_MS + of_day > latest
    return year


def _offsets(naive: Int64s, zone: Zone) -> Int64s:
    """The zone's offset of each naive time; zones change at quarter hours, so it is asked once a quarter."""
    if zone is utc or not len(naive):
        return np.zeros(len(naive), dtype=np.int64)
    quarters, inverse = np.unique(naive // _QUARTER_MS, return_inverse=True)
    return np.array([zone(int(quarter) * _QUARTER_MS) for quarter in quarters], dtype=np.int64)[inverse]
