"""Event time from the text of a log line. In: a line's bytes and a reference time. Out: a `Stamp`, or None.

One row of `_ROWS` per notation: ISO 8601 and its kin, RFC 3164 and 5424 syslog, Apache's error and access logs, log4j's
dates, RFC 5322 dates, epochs in s, ms, µs and ns, and some clusters' own. A row either starts the line (what it matched
is cut from the message) or stands within it (nothing is cut). The rows exclude each other by their characters, so which
row is tried first changes nothing; models/timestamp_columns.py relies on that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

__all__ = [
    "DAY_MS",
    "MONTHS",
    "WEEKDAYS",
    "Stamp",
    "Zone",
    "epoch_ms",
    "parse_timestamp",
    "read_timestamp",
    "to_ms",
    "utc",
    "zone_offset",
]

DAY_MS = 86_400_000
MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
WEEKDAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTH_NUMBER = {name: number for number, name in enumerate(MONTHS, 1)}
_HEAD = 160
"""Bytes of a line that are looked at: the longest notation, behind a syslog priority or one word, is shorter."""

Zone = Callable[[int], int]
"""From a naive time (ms, as if it were UTC) to its offset from UTC (ms, east positive)."""


class Stamp(NamedTuple):
    """A time found: `ms` since the epoch, UTC; the message begins at byte `cut` (0: the time stands within it).

    `priority` is the syslog PRI (-1: none). `match` says which characters are what; None where there was no line.
    """

    ms: int
    cut: int
    priority: int
    match: re.Match[bytes] | None


def utc(naive_ms: int) -> int:  # noqa: ARG001 - a Zone
    """The default zone of times that name none: UTC."""
    return 0


_MON = rb"(?P<b>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DOW = rb"(?P<w>Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_HMS = rb"(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
_FRACTION = (
    rb"(?:[.,](?P<f>\d{1,9})|:(?P<i>\d{1,3}))?"  # behind a colon stand milliseconds, not a fraction: 22:15:35:11
)
_ZONE = rb"(?: ?(?P<z>(?:[Zz]|[+-]\d\d:?\d\d|[+-]\d\d|UTC|GMT)(?!\w)))?"
_ISO = (
    rb"(?P<Y>\d{4})[-/.](?P<m>\d\d)[-/.](?P<d>\d\d)(?:[Tt_ -])(?P<H>\d\d)[:.](?P<M>\d\d)[:.](?P<S>\d\d)"
    + _FRACTION
    + _ZONE
)
_ACCESS = rb"(?P<d>\d\d)/" + _MON + rb"/(?P<Y>\d{4}):" + _HMS + _ZONE
_FRONT = rb"(?:<(?P<p>\d{1,3})>(?:1 )?)?\[?"
_END = rb"(?!\d)\]?"
_ROWS: tuple[tuple[bytes, bytes], ...] = (
    # the bytes a line of this row can begin with; the notation
    (b"0123456789", _ISO),  # 2015-10-18 18:01:47,978; 2005-06-03T15:42:50Z; nginx, Go: 2009/01/23 01:23:23
    (b"0123456789", rb"(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)[Tt](?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)" + _FRACTION + _ZONE),
    (
        b"0123456789",
        rb"(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)[-T ](?P<H>\d\d?):(?P<M>\d\d?):(?P<S>\d\d?)" + _FRACTION + _ZONE,
    ),
    (b"0123456789", rb"(?P<y>\d\d)/(?P<m>\d\d)/(?P<d>\d\d) " + _HMS + _FRACTION),  # log4j, Spark: 17/06/09 20:10:40
    (b"0123456789", rb"(?P<y>\d\d)(?P<m>\d\d)(?P<d>\d\d) (?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)"),  # HDFS: 081109 203615
    (b"0123456789", rb"(?P<m>\d\d)[-.](?P<d>\d\d) " + _HMS + _FRACTION),  # Android, Proxifier
    (b"0123456789", _ACCESS),
    (b"0123456789", rb"(?P<d>\d\d?) " + _MON + rb" (?P<Y>\d{4}) " + _HMS + _FRACTION + _ZONE),  # RFC 5322 without a day
    (b"JFMASOND", _MON + rb" (?P<d>[ 0-3]?\d) (?:(?P<Y>\d{4}) )?" + _HMS + _FRACTION),  # RFC 3164
    (b"MTWFS", _DOW + rb" " + _MON + rb" (?P<d>[ 0-3]?\d) " + _HMS + _FRACTION + rb" (?P<Y>\d{4})"),  # Apache, ctime
    (b"MTWFS", _DOW + rb", (?P<d>\d\d?) " + _MON + rb" (?P<Y>\d{4}) " + _HMS + _FRACTION + _ZONE),  # RFC 5322
    (b"0123456789", rb"(?P<e>[1-9](?:\d{18}|\d{15}|\d{12}|\d{9}(?:\.\d{1,9})?))(?=[\s:;,|\]]|$)"),
)
_FRONT_ROWS: dict[int, tuple[re.Pattern[bytes], ...]] = {
    first: tuple(re.compile(_FRONT + row + _END) for begins, row in _ROWS if first in begins)
    for first in b"0123456789JFMASONDTW"
}
_WITHIN_ROWS = tuple(
    re.compile(row)
    for row in (
        rb"\S+ +(?:\| )?\[?" + _ISO + _END,  # OpenStack's file name, compose's container, a level
        rb"\S+ \S+ \S+ \[" + _ACCESS + rb"\]",  # the common log format
        rb"\S+ (?P<e>[1-9]\d{9}) (?P<x>\d{4}\.\d\d\.\d\d) ",  # BGL, Thunderbird: label, epoch, date
        rb"\d+ \S+ \S+ \S+ (?P<e>[1-9]\d{9}) -?\d ",  # HPC cluster: id, node, component, state, epoch, flag
    )
)
_OPENING = re.compile(rb"(?:<\d{1,3}>(?:1 )?)?\[?")
_BLANKS = b" \t"
_COMMON = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def read_timestamp(line: bytes, reference: int, zone: Zone = utc) -> Stamp | None:
    """The time of a log line, or None where it has none (or one before 1970, or one no calendar knows).

    `reference` (ms) settles dates without a year: the nearest past one, where a day ahead still counts as past.
    """
    head = line[:_HEAD]
    opening = _OPENING.match(head)
    start = opening.end() if opening else 0
    first = head[start] if start < len(head) else 0
    for pattern in _FRONT_ROWS.get(first, ()):
        match = pattern.match(head)
        if match is not None and (ms := _ms_of(match, reference, zone)) is not None:
            return Stamp(ms, len(line) - len(line[match.end() :].lstrip(_BLANKS)), _priority(match), match)
    if first in b" \t":
        return None
    for pattern in _WITHIN_ROWS:
        match = pattern.match(head)
        if match is not None and (ms := _ms_of(match, reference, zone)) is not None:
            return Stamp(ms, 0, -1, match)
    return None


def parse_timestamp(value: object, reference: int, zone: Zone = utc) -> int | None:
    """The time (ms) in a field of a JSON line: an epoch as number or text, or any notation a line may begin with."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return epoch_ms(value)
    if not isinstance(value, str):
        return None
    if _COMMON.fullmatch(value):  # 10 times as fast, and the same
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        if moment.tzinfo is not None and moment >= _EPOCH:
            return (moment - _EPOCH) // _MILLISECOND
    stamp = read_timestamp(value.strip().encode("utf-8", "replace"), reference, zone)
    return stamp.ms if stamp is not None and stamp.cut else None


def epoch_ms(value: float) -> int | None:
    """An epoch in s, ms, µs or ns, told apart by size (seconds reach 10^11 in the year 5138); None outside of them."""
    for limit, per_ms in ((1e11, 0.001), (1e14, 1), (1e17, 1_000), (1e20, 1_000_000)):
        if 0 < value < limit:
            return round(value * 1_000) if per_ms == 0.001 else int(value // per_ms)
    return None


def to_ms(year: int, month: int, day: int) -> int | None:
    """Midnight (ms, UTC) of a date of the proleptic Gregorian calendar; None where there is no such day.

    Days are counted as in H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= month <= 12 and 1 <= day <= lengths[month - 1]):
        return None
    shifted = year - (month <= 2)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719_468) * DAY_MS


def _ms_of(match: re.Match[bytes], reference: int, zone: Zone) -> int | None:
    fields = match.groupdict()
    if (epoch := fields.get("e")) is not None:
        whole, _, fraction = epoch.partition(b".")
        return int(whole) * 1_000 + int(fraction[:3].ljust(3, b"0")) if len(whole) == 10 else epoch_ms(int(whole))
    hour, minute, second = int(fields["H"]), int(fields["M"]), int(fields["S"])
    if hour > 23 or minute > 59 or second > 60:
        return None
    millisecond = int(fields["i"]) if fields.get("i") else int((fields.get("f") or b"")[:3].ljust(3, b"0"))
    of_day = (hour * 60 + minute) * 60_000 + second * 1_000 + millisecond
    name = fields.get("b")
    month = _MONTH_NUMBER[name] if name is not None else int(fields["m"])
    day = int(fields["d"])
    if (year := fields.get("Y")) is not None:
        midnight = to_ms(int(year), month, day)
    elif (year := fields.get("y")) is not None:
        midnight = to_ms(2000 + int(year), month, day)
    else:
        midnight = _nearest_past(month, day, of_day, reference)
    if midnight is None:
        return None
    naive = midnight + of_day
    offset = zone_offset(fields.get("z"))
    if offset is None:
        offset = zone(naive)
    return naive - offset if -DAY_MS < offset < DAY_MS and naive >= offset else None


def _nearest_past(month: int, day: int, of_day: int, reference: int) -> int | None:
    """Midnight of the last such date not more than a day ahead of the reference; 29 February may be 8 years back."""
    year = 1970 + int(reference // (365.2425 * DAY_MS)) + 1
    for candidate in range(year, year - 10, -1):
        midnight = to_ms(candidate, month, day)
        if midnight is not None and midnight + of_day <= reference + DAY_MS:
            return midnight
    return None


def zone_offset(text: bytes | None) -> int | None:
    """The offset from UTC (ms) that `+01:00`, `-0700`, `+02` or `Z` names; None where nothing does."""
    if text is None:
        return None
    if text[0] not in b"+-":
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:] if len(text) > 3 else b"0")
    return (-1 if text[0] == 0x2D else 1) * (hours * 60 + minutes) * 60_000


def _priority(match: re.Match[bytes]) -> int:
    text = match["p"]
    return int(text) if text is not None else -1
