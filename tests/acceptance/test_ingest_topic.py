"""`foreshock ingest` of a topic that others write: what Vector, Fluent Bit and an OTLP exporter put there becomes lines
on `logs`, under the service, time and severity that they mean; what is no text, a dead letter.
"""

from __future__ import annotations

import json

from fork_server import fork_server
from ingest_rig import Line, Process, arguments, batches, lines_of, logged_lines, make_ingest_topics, wait_until
from kafka import KafkaProducer
from kafka_broker import make_topics

from connectors.kafka_log import KafkaLog
from models.audit import DeadLetter
from models.log import Severity
from streams.reading import events_of

T = 1_777_888_800_000
"""2026-05-04T10:00:00Z"""
VECTOR = {"message": "disk full", "timestamp": "2026-05-04T10:00:00Z", "service": "pay", "level": "error"}
FLUENT_BIT = {"date": T / 1000 + 1, "log": "GET / 200\n", "kubernetes": {"labels": {"app": "cart"}}}
OTLP = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "search"}}]},
            "scopeLogs": [
                {
                    "logRecords": [
                        {"timeUnixNano": f"{T + 2_000}000000", "severityNumber": 17, "body": {"stringValue": "boom"}},
                        {"timeUnixNano": f"{T + 3_000}000000", "body": {"stringValue": "again"}},
                    ]
                }
            ],
        }
    ]
}


def test_what_shippers_write_to_a_topic_becomes_lines_once(kafka_settings, tmp_path):
    make_ingest_topics(kafka_settings)
    theirs = f"{kafka_settings.prefix}shipped"
    make_topics(kafka_settings.model_copy(update={"prefix": theirs}), 2, ["audit"])
    topic = f"{theirs}audit"
    producer = KafkaProducer(bootstrap_servers=list(kafka_settings.bootstrap_servers), compression_type="gzip")

    def ship(*values: bytes) -> None:
        for number, value in enumerate(values):
            producer.send(topic, value, partition=number % 2)
        producer.flush()

    shipped = [json.dumps(value).encode() for value in (VECTOR, FLUENT_BIT, OTLP)]
    with fork_server() as server:
        args = arguments(kafka_settings, tmp_path / "data", "--input", f"kafka:{topic}")
        ship(*shipped, b"2026-05-04T10:00:04Z WARN a plain line", bytes(range(32)) * 3)
        process = Process(server, args)
        try:
            wait_until(lambda: logged_lines(kafka_settings) == 5, "not all lines came")
            process.kill()
            ship(b"2026-05-04T10:00:05Z after the kill")
            process = Process(server, args)
            wait_until(lambda: logged_lines(kafka_settings) >= 6, "the last line did not come")
            assert process.stop() == 0
        finally:
            process.process.kill()
    producer.close()
    assert lines_of(batches(kafka_settings)) == {
        "pay": [Line("pay", T, "disk full")],
        "cart": [Line("cart", T + 1_000, "GET / 200")],
        "search": [Line("search", T + 2_000, "boom"), Line("search", T + 3_000, "again")],
        topic: [Line(topic, T + 4_000, "WARN a plain line"), Line(topic, T + 5_000, "after the kill")],
    }
    severities = {
        batch.services[index]: severity
        for each in batches(kafka_settings).values()
        for batch in each
        for index, severity in zip(batch.service_index, batch.severity, strict=True)
        if severity >= Severity.ERROR
    }
    assert severities == {"pay": Severity.ERROR, "search": Severity.ERROR}
    log = KafkaLog(kafka_settings, "test")
    (letter,) = {
        (each.data.topic, each.data.partition, each.data.offset) for each in events_of(log, "dead-letters", DeadLetter)
    }
    log.close()
    assert letter == (topic, 0, 2)
