"""A data folder's log copied to Kafka, and the configuration that leads a command there."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from kafka_broker import make_topics

from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from connectors.sqlite import SqliteStore
from models.topics import TOPICS

__all__ = ["copy_to_kafka", "corner", "write_config"]


def corner(address: str, partitions: int, names: Sequence[str] | None = None) -> KafkaSettings:
    """A deployment of one's own on the shared broker, its topics made (`names`: only these)."""
    settings = KafkaSettings(bootstrap_servers=tuple(address.split(",")), prefix=f"t{secrets.token_hex(5)}-")
    if names is None or names:
        make_topics(settings, partitions, names)
    return settings


def write_config(file: Path, settings: KafkaSettings, partitions: int, data: Path) -> Path:
    """A configuration of that deployment; `data` is where its signing keys are."""
    servers = ", ".join(f'"{server}"' for server in settings.bootstrap_servers)
    kafka = f"kafka:\n  bootstrap_servers: [{servers}]\n  prefix: {settings.prefix}\n"
    file.write_text(f"data: {data}\npartitions: {partitions}\n{kafka}")
    return file


def copy_to_kafka(store: SqliteStore, settings: KafkaSettings, topics: Iterable[str] = TOPICS) -> int:
    """Every record onto the same partition of the same topic; returns how many. Offsets stay where nothing is compacted
    or deleted.
    """
    log = KafkaLog(settings, "tests")
    copied = 0
    for topic in topics:
        for partition in range(store.partitions(topic)):
            records = store.read(topic, partition, 0, 1_000_000)
            log.append([Outbound(topic, r.key, r.value, partition) for r in records], 0)
            copied += len(records)
    log.close()
    return copied
