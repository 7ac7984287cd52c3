"""What shippers write becomes lines with the message, time, severity and service that they mean."""

from __future__ import annotations

import json

import pytest

from models.json_line import JsonLine
from models.line import LineMemory, LineRules, decode_lines
from models.log import Severity
from models.shipped_record import read_shipped

AT = 1_777_888_800_500
"""2026-05-04T10:00:00.500Z"""
T = 1_777_888_800_000


def read(value: object) -> list[tuple[str, int, int, str]]:
    """Message, time, severity and service of each line that a record becomes."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    found = []
    for line in read_shipped(raw, AT):
        lines = decode_lines(line + b"\n", LineRules(AT + 60_000), LineMemory())
        severity = lines.severity[0] if lines.severity else 0
        service = lines.services.names[lines.services.places[0]] if lines.services else ""
        assert not lines.dropped
        found.append((lines.messages[0].decode(), int(lines.times[0]), severity, service))
    return found


def test_vector() -> None:
    record = {
        "message": "disk full",
        "timestamp": "2026-05-04T10:00:00Z",
        "host": "web-1",
        "service": "pay",
        "source_type": "file",
        "level": "error",
    }
    assert read(record) == [("disk full", T, Severity.ERROR, "pay")]


def test_vector_from_kubernetes_names_the_pods_label() -> None:
    record = {"message": "up", "timestamp": "2026-05-04T10:00:00Z", "kubernetes": {"pod_labels": {"app": "cart"}}}
    assert read(record) == [("up", T, 0, "cart")]


def test_fluent_bit() -> None:
    assert read({"date": T / 1000, "log": "GET / 200\n", "stream": "stdout"}) == [("GET / 200", T, 0, "")]
    record = {
        "@timestamp": "2026-05-04T10:00:00.000Z",
        "log": "x",
        "kubernetes": {"container_name": "web", "labels": {}},
    }
    assert read(record) == [("x", T, 0, "web")]


def test_otlp_json() -> None:
    records = [
        {"timeUnixNano": str(T * 1_000_000), "severityNumber": 17, "body": {"stringValue": "boom"}},
        {
            "timeUnixNano": "0",
            "observedTimeUnixNano": str(T * 1_000_000),
            "severityText": "WARN",
            "body": {"intValue": "7"},
        },
        {"body": {"kvlistValue": {"values": []}}},
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "search"}}]}
    export = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {}, "logRecords": records}]}]}
    assert read(export) == [
        ("boom", T, Severity.ERROR, "search"),
        ("7", T, Severity.WARNING, "search"),
        ('{"values":[]}', AT, 0, "search"),
    ]


def test_what_has_no_time_gets_that_of_its_message() -> None:
    assert read({"message": "m", "service": "s"}) == [("m", AT, 0, "s")]
    assert read(b"plain text") == [("plain text", AT, 0, "")]
    assert read(b"2026-05-04T10:00:00Z plain text") == [("plain text", T, 0, "")]


def test_a_record_may_hold_many_lines() -> None:
    assert [line[0] for line in read(b"one\r\ntwo\n\nthree\n")] == ["one", "two", "three"]
    assert [line[0] for line in read([{"message": "a"}, {"message": "b"}])] == ["a", "b"]
    lines = b'{"message":"a","service":"s"}\n{"message":"b","service":"t"}\n'
    assert [(line[0], line[3]) for line in read(lines)] == [("a", "s"), ("b", "t")]
    assert [line[0] for line in read(b'{\n "message": "a"\n}')] == ["a"]


def test_json_that_is_no_object_with_a_message_stays_as_it_is() -> None:
    assert read(b"[1, 2]") == [("[1, 2]", AT, 0, "")]
    assert read(b"{broken") == [("{broken", AT, 0, "")]
    assert next(line[0] for line in read(b'{"a": 1}')).startswith('{"a":1')


@pytest.mark.parametrize("value", [b"", b"  \n"])
def test_nothing_is_blank(value: bytes) -> None:
    lines = decode_lines(read_shipped(value, AT)[0] + b"\n", LineRules(AT), LineMemory())
    assert lines.dropped == {0: "blank"}


@pytest.mark.parametrize("value", [b"\x00\x01\x02\x03ab\n\x05\x06\x07", bytes(range(32)) + b"\n" * 3, b"\x01\x02\x03"])
def test_what_is_no_text_is_one_binary_line(value: bytes) -> None:
    (line,) = read_shipped(value, AT)
    assert decode_lines(line + b"\n", LineRules(AT), LineMemory()).dropped == {0: "binary"}


@pytest.mark.parametrize(
    "value",
    [
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [7, {"body": 3}]}, 1]}, None]},
        {"resourceLogs": [{"resource": 5, "scopeLogs": 6}]},
        {"message": {"a": 1}, "time": [], "kubernetes": {"labels": 3}},
        {
            "resourceLogs": [
                {"scopeLogs": [{"logRecords": [{"body": {}, "timeUnixNano": "9" * 30, "severityNumber": True}]}]}
            ]
        },
    ],
)
def test_hostile_records_do_not_break_it(value: object) -> None:
    for line in read_shipped(json.dumps(value).encode(), AT):
        assert b"\n" not in line
        assert isinstance(JsonLine(line, None, 0, ""), JsonLine)
