"""What log shippers put into a message: Vector, Fluent Bit, OpenTelemetry's JSON, plain text. In: a message's bytes and
time. Out: lines as models/line.py reads them, each with a time.

OTLP/JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import from_json, to_json

from models.line import control_ratio
from models.timestamp import read_timestamp

__all__ = ["read_shipped"]

_TIMES: Final = ("timestamp", "time", "ts", "@timestamp", "datetime", "timeUnixNano", "observedTimestamp")
_SERVICES: Final = ("service", "service.name", "app", "application", "logger")
_APP_LABELS: Final = ("app.kubernetes.io/name", "app", "k8s-app")
_BINARY_RATIO: Final = 0.3
_OTLP_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "fatal")
"""Four numbers each, from 1 on: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber"""
_NS_PER_MS: Final = 1_000_000


def read_shipped(value: bytes, at: int) -> list[bytes]:
    """The lines of a message (without newlines) that was sent at `at` (ms): what has no time of its own gets that.

    Nothing is one empty line. What is no text is one line that begins with a NUL: models/line.py drops it as binary.
    """
    if not value.strip():
        return [b""]
    if control_ratio(value) > _BINARY_RATIO:
        return [b"\0" + value.replace(b"\n", b"\0")]
    if value.lstrip()[:1] in (b"{", b"["):
        objects = _objects(value)
        if objects is not None:
            return [to_json(each) for item in objects for each in _flatten(item, at)]
    lines = [line.rstrip(b"\r") for line in value.split(b"\n")]
    return [each for line in lines if line for each in _line(line, at)]


def _line(line: bytes, at: int) -> list[bytes]:
    objects = _objects(line) if line[:1] == b"{" else None
    if objects is not None:
        return [to_json(each) for item in objects for each in _flatten(item, at)]
    if read_timestamp(line, at) is not None:
        return [line]
    return [to_json({"time": at, "message": line.decode("utf-8", "replace")})]


def _objects(text: bytes) -> list[dict[str, Any]] | None:
    """The object, or the objects of the list, that this is; None where it is anything else."""
    try:
        found = from_json(text)
    except ValueError:
        return None
    items = found if isinstance(found, list) else [found]
    return items if items and all(isinstance(item, dict) for item in items) else None


def _flatten(item: dict[str, Any], at: int) -> Iterator[dict[str, Any]]:
    if isinstance(item.get("resourceLogs"), list):
        yield from _otlp(item["resourceLogs"], at)
        return
    found = dict(item)
    if not any(found.get(name) is not None for name in _TIMES):
        found["time"] = found["date"] if isinstance(found.get("date"), int | float | str) else at
    if not any(found.get(name) for name in _SERVICES) and (service := _kubernetes(found.get("kubernetes"))):
        found["service"] = service
    yield found


def _kubernetes(about: Any) -> str:
    """The service that Fluent Bit's or Vector's description of a pod names: by its labels, else its container."""
    if not isinstance(about, dict):
        return ""
    labels = about.get("labels", about.get("pod_labels"))
    named = [labels.get(name) for name in _APP_LABELS] if isinstance(labels, dict) else []
    return next((name for name in (*named, about.get("container_name")) if isinstance(name, str) and name), "")


def _otlp(resources: list[Any], at: int) -> Iterator[dict[str, Any]]:
    for resource in _dicts(resources):
        about = resource.get("resource")
        attributes = _attributes(about.get("attributes")) if isinstance(about, dict) else {}
        service = attributes.get("service.name", "")
        for scope in _dicts(resource.get("scopeLogs")):
            for record in _dicts(scope.get("logRecords")):
                body = _value(record.get("body"))
                text = body if isinstance(body, str) else to_json(body).decode()
                level = record.get("severityText") or _level(record.get("severityNumber"))
                line: dict[str, Any] = {"time": _moment(record, at), "message": text, "severityText": level}
                yield {**line, "service": service} if isinstance(service, str) and service else line


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _attributes(value: Any) -> dict[str, Any]:
    return {item["key"]: _value(item.get("value")) for item in _dicts(value) if isinstance(item.get("key"), str)}


def _value(value: Any) -> Any:
    """An AnyValue: the one thing in it, whatever its type; lists and maps as they are."""
    return next(iter(value.values()), "") if isinstance(value, dict) and len(value) == 1 else value or ""


def _level(number: Any) -> str:
    return _OTLP_LEVELS[(number - 1) // 4] if isinstance(number, int) and 1 <= number <= 24 else ""


def _moment(record: dict[str, Any], at: int) -> int:
    """`timeUnixNano`, else `observedTimeUnixNano`: 64 bits, so JSON has them as text; 0 is unknown."""
    for name in ("timeUnixNano", "observedTimeUnixNano"):
        text = str(record.get(name, ""))
        if text.isdigit() and len(text) < 20 and int(text):
            return int(text) // _NS_PER_MS
    return at
