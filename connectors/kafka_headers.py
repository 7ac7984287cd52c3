"""A Kafka message's headers: CloudEvents 1.0 in binary mode, the correlation id, and the time of a virtual log.

In: the value as connectors/codec.py wrote it. Out: headers that any consumer can route and filter by without a look at
the value. Binding: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

__all__ = ["LOGGED_AT", "kafka_headers", "logged_at_of"]

LOGGED_AT: Final = "logged-at"
"""Header of a deployment on a virtual clock: when the message was logged (ms, decimal), whatever the broker's clock."""
_BODY: Final = b',"data":'  # in a JSON string its quotes would be escaped, so it cannot stand within one
_EPOCH: Final = datetime(1970, 1, 1)  # UTC, without saying so: isoformat would write +00:00
_MOST_DIGITS: Final = 18


def kafka_headers(value: bytes, logged_at: int | None = None) -> list[tuple[str, bytes]]:
    """The headers of a message; of what is no event of ours, none but `logged-at`. A few microseconds: only the
    envelope before the payload is read.
    """
    headers = _cloud_event(value)
    if logged_at is not None:
        headers.append((LOGGED_AT, b"%d" % logged_at))
    return headers


def logged_at_of(headers: Iterable[tuple[str, bytes | None]], timestamp_ms: int, virtual: bool) -> int:
    """When a record was logged (ms): what the broker stamped, or on a virtual clock its header, where it has one."""
    if virtual:
        for name, text in headers:
            if name == LOGGED_AT and text is not None and text.isdigit() and len(text) <= _MOST_DIGITS:
                return int(text)
    return timestamp_ms


def _cloud_event(value: bytes) -> list[tuple[str, bytes]]:
    end = value.find(_BODY)
    if end < 0:
        return []
    try:
        head: dict[str, Any] = orjson.loads(value[:end] + b"}")
        run, key, cid = head["run"], head["key"], head["cid"]
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", head["id"].encode()),
            ("ce_source", f"foreshock/{run}".encode() if run else b"foreshock"),
            ("ce_type", f"foreshock.{head['type']}.v{head['v']}".encode()),
            ("content-type", b"application/json"),
        ]
        if (time := _rfc3339(head["at"])) is not None:
            headers.append(("ce_time", time))
        if key:  # the attribute is optional, but must not be empty
            headers.append(("ce_subject", key.encode()))
        if cid:
            headers.append(("correlation-id", cid.encode()))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return []
    return headers


def _rfc3339(at: int) -> bytes | None:
    """None for a time that the calendar does not have."""
    try:
        return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").encode() + b"Z"
    except OverflowError:
        return None
