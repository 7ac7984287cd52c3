"""What stands on a topic, as a test looks at it: everything, and what a subscriber keeps of it."""

from __future__ import annotations

from collections.abc import Iterable

from connectors.codec import decode_record
from connectors.kafka_log import KafkaLog
from connectors.ports import Record
from models.event import Cause

__all__ = ["read_all", "unique"]


def read_all(log: KafkaLog, topic: str) -> list[Record]:
    """Everything on a topic, partition by partition."""
    found: list[Record] = []
    for partition, end in log.ends(topic).items():
        at = log.bounds(topic, partition)[0]
        while at < end and (page := log.read(topic, partition, at, 1_000)):
            found += page
            at = page[-1].offset + 1
    return found


def unique(records: Iterable[Record]) -> list[Record]:
    """Without re-emissions: of each origin, on each partition, what is not above the highest rank seen. Emissions of an
    origin for different keys may lie on different partitions: order holds within each.
    """
    highest: dict[tuple[str, int], tuple[int, int, int]] = {}
    kept = []
    for record in records:
        cause = Cause.parse(decode_record(record).cause)
        if cause is not None:
            place = (cause.origin, record.partition)
            if cause.rank <= highest.get(place, (-1, -1, -1)):
                continue
            highest[place] = cause.rank
        kept.append(record)
    return kept
