"""Log lines that are JSON objects. In: a line's bytes. Out: its message, time, severity and service, where it has them.

This is what a JSON line means; models/json_columns.py reads many at once, and gives the same. The names are those of
common loggers and shippers: structlog, zap, bunyan, pino, logrus, Docker, ECS, OpenTelemetry.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from models.log import NEWLINE_IN_MESSAGE, Severity
from models.timestamp import MONTHS, WEEKDAYS, Zone, parse_timestamp, read_timestamp, utc

__all__ = [
    "LEVELS",
    "MAX_SERVICE",
    "MESSAGES",
    "SERVICES",
    "TIMES",
    "TIME_BEGINS",
    "JsonLine",
    "cut_time",
    "message_of",
    "one_line",
    "read_json_line",
    "read_record",
    "service_name",
    "severity_of",
]

MESSAGES = ("message", "msg", "log", "body", "event")
TIMES = ("timestamp", "time", "ts", "@timestamp", "datetime", "timeUnixNano", "observedTimestamp")
LEVELS = ("level", "severity", "severityText", "log.level", "levelname", "lvl", "loglevel")
SERVICES = ("service", "service.name", "app", "application", "logger")
"""Names of a record's message, time, level and service, the first that has a value of use before the others."""
MAX_SERVICE = 200
"""Characters of a service's name that are kept."""
_NEWLINE = NEWLINE_IN_MESSAGE.encode()
_FIRST = frozenset(bytes([byte]) for byte in b"0123456789[<")
_NAMES = frozenset((*MONTHS, *WEEKDAYS))
TIME_BEGINS = bytes(sorted({begin[0] for begin in _FIRST | _NAMES}))
"""First bytes of a message that may begin with a time."""

_WORDS = {
    "trace": Severity.DEBUG,
    "debug": Severity.DEBUG,
    "verbose": Severity.DEBUG,
    "fine": Severity.DEBUG,
    "info": Severity.INFO,
    "information": Severity.INFO,
    "informational": Severity.INFO,
    "notice": Severity.INFO,
    "warn": Severity.WARNING,
    "warning": Severity.WARNING,
    "err": Severity.ERROR,
    "error": Severity.ERROR,
    "severe": Severity.ERROR,
    "fatal": Severity.FATAL,
    "crit": Severity.FATAL,
    "critical": Severity.FATAL,
    "alert": Severity.FATAL,
    "emerg": Severity.FATAL,
    "emergency": Severity.FATAL,
    "panic": Severity.FATAL,
    "dpanic": Severity.FATAL,
}
_SYSLOG = (*(Severity.FATAL,) * 3, Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.INFO, Severity.DEBUG)


class JsonLine(NamedTuple):
    """What a JSON line says, its message without newlines. `ms` None: no time of its own; `severity` 0: none;
    `service` "": none.
    """

    message: bytes
    ms: int | None
    severity: int
    service: str


def read_json_line(line: bytes, reference: int, zone: Zone = utc) -> JsonLine | None:
    """Read a line; None where it is no JSON object or has no message: it is plain text then."""
    try:
        record = from_json(line)
    except ValueError:
        return None
    return read_record(record, reference, zone) if isinstance(record, dict) else None


def read_record(record: dict[str, Any], reference: int, zone: Zone = utc) -> JsonLine | None:
    """Read a parsed line; None where it has no message."""
    message = message_of(record)
    if message is None:
        return None
    message, stamped = cut_time(message, reference, zone)
    ms = _time(record, reference, zone)
    ms = stamped if ms is None else ms
    return JsonLine(one_line(message), ms, _severity(record), _service(record))


def cut_time(message: bytes, reference: int, zone: Zone = utc) -> tuple[bytes, int | None]:
    """The message without the time that it begins with, and that time (ms); None where it begins with none."""
    if message[:1] in _FIRST or message[:3] in _NAMES:
        stamp = read_timestamp(message, reference, zone)
        if stamp is not None and stamp.cut:
            return message[stamp.cut :], stamp.ms
    return message, None


def one_line(message: bytes) -> bytes:
    """The message without the newlines at its end, and with NEWLINE_IN_MESSAGE for those within."""
    return message.replace(b"\r\n", b"\n").rstrip(b"\n").replace(b"\n", _NEWLINE)


def service_name(value: object) -> str:
    """The service that a value names: a text, or an object with a `name`; "": none."""
    if isinstance(value, dict):
        value = value.get("name")
    return " ".join(value.split())[:MAX_SERVICE] if isinstance(value, str) else ""


def severity_of(value: object) -> Severity:
    """The severity that a level's word or number names: 0-7 as syslog's, 10 and more as bunyan's (60 is fatal)."""
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower(), Severity.UNKNOWN)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1_000:
        return Severity.UNKNOWN
    if value < 8:
        return _SYSLOG[int(value)]
    for limit, severity in ((30, Severity.DEBUG), (40, Severity.INFO), (50, Severity.WARNING), (60, Severity.ERROR)):
        if value < limit:
            return severity
    return Severity.FATAL


def message_of(record: dict[str, Any]) -> bytes | None:
    """The first text under a message's name; else the first other value there, as JSON."""
    for name in MESSAGES:
        value = record.get(name)
        if isinstance(value, str):
            return value.encode()
    for name in MESSAGES:
        value = record.get(name)
        if value is not None:
            return to_json(value)
    return None


def _time(record: dict[str, Any], reference: int, zone: Zone) -> int | None:
    for name in TIMES:
        if name in record and (ms := parse_timestamp(record[name], reference, zone)) is not None:
            return ms
    return None


def _severity(record: dict[str, Any]) -> int:
    for name in LEVELS:
        if name in record and (severity := severity_of(record[name])):
            return int(severity)
    return 0


def _service(record: dict[str, Any]) -> str:
    for name in SERVICES:
        if text := service_name(record.get(name)):
            return text
    return ""
