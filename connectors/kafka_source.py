"""A topic of somebody else's as a source of lines. In: records of JSON or plain lines. Out: a Feed for each partition.

An input `kafka:TOPIC` (on the deployment's cluster; the prefix is not put before it) or `kafka://host:port/TOPIC` (on
another one, without a login). A partition is read without a group from its beginning; the log remembers how far. The
cursor's offset is `offset of the record * 2^20 + lines of it that were given`: a record may hold many lines; its
generation counts how often the topic was found to be made anew, which is then read from its beginning.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from connectors.cursor import Cursor
from connectors.feed import Feed
from connectors.kafka_clients import consumer_options
from connectors.kafka_errors import advising, missing_topic
from connectors.kafka_settings import KafkaSettings
from connectors.tail import Found
from models.errors import BrokerError, ConfigError
from models.shipped_record import read_shipped
from models.timestamp import Zone

__all__ = ["KafkaFeed", "KafkaTopic", "open_topic", "topic_source_ids"]

_ADDRESS = re.compile(r"kafka:(?://([^/]+)/)?([A-Za-z0-9._-]{1,249})")
_ROWS: Final = 1 << 20
_POLL_RECORDS: Final = 500
_MOST_WAITING: Final = 2_000
"""Records of a partition in memory, before it is read no further."""


class _Row(NamedTuple):
    """A line, the cursor's offset behind it, and when its record was sent (ms)."""

    line: bytes
    after: int
    sent_at: int


class KafkaTopic:
    """One topic's consumer, shared by the feeds of its partitions. `once`: what is there at the beginning is all."""

    def __init__(self, name: str, settings: KafkaSettings, *, once: bool) -> None:
        """Raises ConfigError for a name that is none, BrokerError where it cannot be read."""
        self.settings, self.topic = _parse(name, settings)
        with advising(self.settings, f"read {self.topic}"):
            self._consumer = KafkaConsumer(
                **consumer_options(self.settings, "source"), allow_auto_create_topics=False, metrics_enabled=False
            )
            found = self._consumer.partitions_for_topic(self.topic) or ()
            if not found:
                self._consumer.close()
                raise missing_topic(self.settings, self.topic)
            self.partitions = sorted(found)
            places = [TopicPartition(self.topic, partition) for partition in self.partitions]
            self._consumer.assign(places)
            ends = self._consumer.end_offsets(places) if once else {}
        self._ends: Mapping[int, int] = {place.partition: end for place, end in ends.items()}
        self._waiting: dict[int, deque[Any]] = {partition: deque() for partition in self.partitions}
        self._open = set(self.partitions)

    def seek(self, partition: int, offset: int) -> None:
        """Read on from there."""
        place = TopicPartition(self.topic, partition)
        with advising(self.settings, f"read {self.topic}"):
            first = self._consumer.beginning_offsets([place])[place]
            self._consumer.seek(place, max(offset, first))

    def end(self, partition: int) -> int:
        """The offset of the next record to come."""
        place = TopicPartition(self.topic, partition)
        with advising(self.settings, f"read {self.topic}"):
            return int(self._consumer.end_offsets([place])[place])

    def take(self, partition: int) -> list[Any]:
        """What has come of this partition. Never waits."""
        waiting = self._waiting[partition]
        if not waiting:
            with advising(self.settings, f"read {self.topic}"):
                for place, records in self._consumer.poll(timeout_ms=0, max_records=_POLL_RECORDS).items():
                    self._waiting[place.partition].extend(records)
                    if len(self._waiting[place.partition]) > _MOST_WAITING:
                        self._consumer.pause(place)
        found = [waiting.popleft() for _ in range(min(len(waiting), _POLL_RECORDS))]
        place = TopicPartition(self.topic, partition)
        if found and not waiting and place in self._consumer.paused():
            self._consumer.resume(place)
        return found

    def over(self, partition: int) -> bool:
        """All that there was at the beginning was taken."""
        end = self._ends.get(partition)
        if end is None or self._waiting[partition]:
            return False
        reached = self._consumer.position(TopicPartition(self.topic, partition))
        return reached is not None and reached >= end

    def close(self, partition: int) -> None:
        """Let go of the consumer with the last partition."""
        self._open.discard(partition)
        if not self._open:
            self._consumer.close(autocommit=False)


class PartitionTail:
    """One partition, as a Feed sees it: it has no bytes and no files, only a place."""

    inode = 0
    head = b""

    def __init__(self, topic: KafkaTopic, partition: int, source_id: str, position: int, generation: int = 0) -> None:
        self.topic, self.partition, self.source_id, self.position = topic, partition, source_id, position
        self.generation = generation
        self.modified_at = 0
        topic.seek(partition, position // _ROWS)

    def read(self, size: int) -> bytes:  # noqa: ARG002 - the port's name
        """Nothing: records are taken as they are."""
        return b""

    def look(self) -> Found:
        """Nothing follows a partition."""
        return Found.NOTHING

    def move_on(self) -> None:
        """There is nowhere to go."""

    def over(self) -> bool:
        """All that there was at the beginning was taken."""
        return self.topic.over(self.partition)

    def rows(self) -> list[_Row]:
        """The lines that have come, behind `position`, which moves on. Raises BrokerError where offsets go back."""
        found = []
        for record in self.topic.take(self.partition):
            if record.offset < self.position // _ROWS:
                raise BrokerError(
                    f"{self.topic.topic!r} was deleted and made anew. Start again: it is then read from 0."
                )
            lines = read_shipped(record.value or b"", record.timestamp)[: _ROWS - 1]
            for number, line in enumerate(lines, 1):
                after = record.offset * _ROWS + number if number < len(lines) else (record.offset + 1) * _ROWS
                if after > self.position:
                    found.append(_Row(line, after, record.timestamp))
        return found

    def close(self) -> None:
        """Let go of it."""
        self.topic.close(self.partition)


class KafkaFeed(Feed):
    """Reads records instead of bytes."""

    tail: PartitionTail

    def fill(self, now: int, size: int) -> bool:  # noqa: ARG002 - as a Feed's
        """Read on; False where there is nothing to read now."""
        if self.ended:
            return False
        rows = self.tail.rows()
        if not rows:
            if self.tail.over():
                self.ended = True
                self.tail.close()
            return False
        self.tail.modified_at = max(row.sent_at for row in rows)
        steps = np.array([row.after for row in rows], dtype=np.int64) - self.tail.position
        self.hold_lines(b"".join(row.line + b"\n" for row in rows), self.tail.position, now, steps)
        self.tail.position = rows[-1].after
        return True

    def location(self, cursor: Cursor) -> tuple[str, int, int]:
        """The topic, partition and offset of the record that ends at `cursor`, or is under way there."""
        return self.tail.topic.topic, self.tail.partition, (cursor.offset - 1) // _ROWS


def topic_source_ids(name: str, settings: KafkaSettings) -> list[str]:
    """What the topic's partitions are called in the log. Raises ConfigError, BrokerError."""
    topic = KafkaTopic(name, settings, once=False)
    for partition in topic.partitions:
        topic.close(partition)
    return [f"{name}/{partition}" for partition in topic.partitions]


def open_topic(
    topic: KafkaTopic, partition: int, source_id: str, about: tuple[str, Zone], known: Sequence[Cursor]
) -> Feed:
    """The feed of one partition, where the first of `known` left off; from the beginning where the topic ends before
    the furthest of them: it was made anew. `about`: its lines' service ("": the topic), their zone.
    """
    service, zone = about
    resume = known[0] if known else Cursor()
    furthest = max(known, key=lambda cursor: (cursor.generation, cursor.offset), default=resume)
    generation = furthest.generation + (furthest.offset > topic.end(partition) * _ROWS)
    position = resume.offset if resume.generation == generation else 0
    tail = PartitionTail(topic, partition, source_id, position, generation)
    return KafkaFeed(tail, service or topic.topic, zone, resume)


def _parse(name: str, settings: KafkaSettings) -> tuple[KafkaSettings, str]:
    found = _ADDRESS.fullmatch(name)
    if found is None:
        raise ConfigError(f"no topic: {name!r}", key="inputs", advice="Write kafka:TOPIC or kafka://host:port/TOPIC.")
    if not found[1]:
        return settings, found[2]
    return KafkaSettings(bootstrap_servers=(found[1],), client_id=settings.client_id), found[2]
