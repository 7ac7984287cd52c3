"""Log lines that are JSON objects. In: a line's bytes. Out: its message, time, severity and service, where it has them.

The names are those of common loggers and shippers: structlog, zap, bunyan, pino, logrus, Docker, ECS, OpenTelemetry.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from models.log import Severity
from models.timestamp import MONTHS, WEEKDAYS, Zone, parse_timestamp, read_timestamp, utc

__all__ = ["JsonLine", "read_json_line", "severity_of"]

_MESSAGES = ("message", "msg", "log", "body", "event")
_TIMES = ("timestamp", "time", "ts", "@timestamp", "datetime", "timeUnixNano", "observedTimestamp")
_LEVELS = ("level", "severity", "severityText", "log.level", "levelname", "lvl", "loglevel")
_SERVICES = ("service", "service.name", "app", "application", "logger")
_MAX_SERVICE = 200
_FIRST = frozenset(bytes([byte]) for byte in b"0123456789[<")
_NAMES = frozenset((*MONTHS, *WEEKDAYS))
"""What a message that begins with a time can begin with."""

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
    """What a JSON line says. `ms` None: no time of its own; `severity` 0: none; `service` "": none."""

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
    if not isinstance(record, dict):
        return None
    message = _message(record)
    if message is None:
        return None
    ms = _time(record, reference, zone)
    if message[:1] in _FIRST or message[:3] in _NAMES:
        stamp = read_timestamp(message, reference, zone)
        if stamp is not None and stamp.cut:
            message = message[stamp.cut :]
            ms = stamp.ms if ms is None else ms
    return JsonLine(message, ms, _severity(record), _service(record))


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


def _message(record: dict[str, Any]) -> bytes | None:
    """The first text under a message's name; else the first other value there, as JSON."""
    for name in _MESSAGES:
        value = record.get(name)
        if isinstance(value, str):
            return value.encode()
    for name in _MESSAGES:
        value = record.get(name)
        if value is not None:
            return to_json(value)
    return None


def _time(record: dict[str, Any], reference: int, zone: Zone) -> int | None:
    for name in _TIMES:
        if name in record and (ms := parse_timestamp(record[name], reference, zone)) is not None:
            return ms
    return None


def _severity(record: dict[str, Any]) -> int:
    for name in _LEVELS:
        if name in record and (severity := severity_of(record[name])):
            return int(severity)
    return 0


def _service(record: dict[str, Any]) -> str:
    for name in _SERVICES:
        value = record.get(name)
        if isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, str) and (text := " ".join(value.split())):
            return text[:_MAX_SERVICE]
    return ""
