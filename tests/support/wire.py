"""Messages of our topics as a stranger's consumer sees them, and what each must be: valid by its exported JSON Schema,
with CloudEvents headers (https://github.com/cloudevents/spec, Kafka binding, binary mode) and the correlation id.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
from kafka import KafkaConsumer
from topic_reading import read_all

from connectors.kafka_clients import consumer_options
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings

__all__ = ["check_message", "messages", "schema_of"]

_SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def messages(settings: KafkaSettings, topic: str) -> list[Any]:
    """All that stand on a topic, of kafka-python's type. On compacted topics those that are left."""
    options = consumer_options(settings, "stranger") | {"consumer_timeout_ms": 5_000}
    log = KafkaLog(settings, "tests")
    count = len(read_all(log, topic))
    log.close()
    consumer = KafkaConsumer(settings.topic(topic), **options)
    found = [next(consumer) for _ in range(count)]
    consumer.close()
    return found


@functools.cache
def schema_of(kind: str) -> jsonschema.Draft202012Validator:
    """The exported schema of a type of message."""
    return jsonschema.Draft202012Validator(json.loads((_SCHEMAS / f"{kind}.json").read_text()))


def check_message(message: Any) -> str:
    """Returns the message's type. AssertionError or ValidationError where it is not what it must be."""
    value = json.loads(message.value)
    schema_of(value["type"]).validate(value)
    headers = {name: text.decode() for name, text in message.headers}
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_id"] == value["id"]
    assert headers["ce_source"].startswith("foreshock")
    assert headers["ce_type"] == f"foreshock.{value['type']}.v{value['v']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", headers["ce_time"])
    assert headers.get("ce_subject", "") == value["key"] == message.key.decode()
    assert headers["content-type"] == "application/json"
    assert headers.get("correlation-id", "") == value["cid"]
    return str(value["type"])
