"""Kafka as the log: the port Log over kafka-python, and what only a cluster can tell.

In: outbound messages. Out: records, the ends of logs, the newest value of a key. Topics are named as in models.topics;
what the cluster calls them is the settings' business.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from connectors.kafka_clients import client_options, consumer_options, producer_options
from connectors.kafka_errors import advising, missing_topic
from connectors.kafka_headers import kafka_headers, logged_at_of
from connectors.kafka_settings import KafkaSettings
from connectors.offset_search import search_offset
from connectors.ports import Outbound, Record
from models.errors import BrokerError
from models.event import digest
from models.topics import partition_of

__all__ = ["KafkaLog", "record_of"]

_PATIENCE: Final = 30.0
"""Seconds in which a record that is known to exist must arrive."""
_POLL_MS: Final = 500
_FETCH_WAIT_MS: Final = 10
"""A fetch with nothing to give must not hold up the next request on its connection: only what exists is waited for."""
_PAGE: Final = 2_000
_CLOSE_SECONDS: Final = 5
"""All that was appended is acknowledged by then, unless appending failed."""


def record_of(topic: str, message: Any, virtual: bool = False) -> Record:
    """A consumed message as a record of `topic` (its name without prefix). Keys that are no UTF-8 are shown escaped;
    no key and no value are empty ones.
    """
    return Record(
        topic,
        message.partition,
        message.offset,
        (message.key or b"").decode("utf-8", "backslashreplace"),
        message.value or b"",
        logged_at_of(message.headers, message.timestamp, virtual),
    )


class KafkaLog:
    """The port Log over a cluster. Several threads may use it; reads wait for each other. Clients are made at first
    use. `virtual`: the deployment's clock is not the wall's, so `logged_at` is carried in a header and read from there.
    `connect_seconds`: how long a first connection or a look-up may take.

    Every method raises BrokerError: no broker, no such topic, not allowed, not acknowledged.
    """

    def __init__(
        self, settings: KafkaSettings, client: str, *, virtual: bool = False, connect_seconds: float = 30
    ) -> None:
        self._settings, self._client, self._virtual = settings, client, virtual
        self._lookup_ms = int(connect_seconds * 1_000)
        self._common = {"bootstrap_timeout_ms": self._lookup_ms}
        self._lock = threading.RLock()
        self._made_consumer: KafkaConsumer | None = None
        self._made_producer: KafkaProducer | None = None
        self._made_admin: KafkaAdminClient | None = None
        self._at: tuple[TopicPartition, int, int] | None = None
        self._known_end = 0
        self._counts: dict[str, int] = {}
        self._newest: dict[str, _Newest] = {}

    # -- Log -------------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Outbound], logged_at: int) -> Sequence[Record]:
        """See ports.Log; returns when all in-sync replicas have all of it. An error may leave a prefix of each
        partition's messages, or all of them with the answer lost: append the same again, consumers know them by id.

        A record's `logged_at` is the broker's, unless the log is virtual.
        """
        with advising(self._settings, "append"):
            producer = self._producer()
            sent = [(out, self._send(producer, out, logged_at)) for out in batch]
            if sent:
                producer.flush()
            return [self._appended(out, future.get(), logged_at) for out, future in sent]

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See ports.Log. Offsets may have holes (compaction, transactions). Reading on from where the last read of the
        same partition ended costs no seek.
        """
        place = self._place(topic, partition)
        with self._lock, advising(self._settings, f"read {place.topic}"):
            if not self._stands_at(place, offset):
                consumer = self._consumer()
                consumer.assign([place])
                consumer.seek(place, offset)
                self._at, self._known_end = (place, offset, offset), 0
            if offset >= self._known_end:
                self._known_end = self._end(place)
            return self._fetch(topic, place, offset, limit)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """See ports.Log."""
        place = self._place(topic, partition)
        with self._lock, advising(self._settings, f"look up the bounds of {place.topic}"):
            return self._consumer().beginning_offsets([place], timeout_ms=self._lookup_ms)[place], self._end(place)

    def partitions(self, topic: str) -> int:
        """See ports.Log; asked once."""
        with self._lock, advising(self._settings, f"look up {self._settings.topic(topic)}"):
            count = self._counts.get(topic)
            if count is None:
                name = self._settings.topic(topic)
                count = self._counts[topic] = len(self._consumer().partitions_for_topic(name))
                if not count:
                    del self._counts[topic]
                    raise missing_topic(self._settings, name)
            return count

    # -- what a cluster can tell -------------------------------------------------------------------------------------

    def ends(self, topic: str) -> dict[int, int]:
        """The next offset to be written, of each partition."""
        places = [self._place(topic, partition) for partition in range(self.partitions(topic))]
        with self._lock, advising(self._settings, f"look up the ends of {topic}"):
            found = self._consumer().end_offsets(places, timeout_ms=self._lookup_ms)
        return {place.partition: found[place] for place in places}

    def newest(self, topic: str, key: str) -> Record | None:
        """The newest record of `key` on a compacted topic; None where there is none, or its newest value is empty.

        The first call reads the topic, later ones what has been added since.
        """
        with self._lock:
            known = self._newest.setdefault(topic, _Newest())
            for partition, end in self.ends(topic).items():
                while (at := known.read_up_to.get(partition, 0)) < end:
                    page = self.read(topic, partition, at, _PAGE)
                    known.take(page)
                    known.read_up_to[partition] = page[-1].offset + 1 if page else end
            return known.records.get(key)

    def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """The first offset logged at `at_ms` or later; the end of the log where there is none."""
        if self._virtual:
            return search_offset(self, topic, partition, at_ms)
        place = self._place(topic, partition)
        with self._lock, advising(self._settings, f"look up a time of {place.topic}"):
            found = self._consumer().offsets_for_times({place: max(0, at_ms)}, timeout_ms=self._lookup_ms)[place]
            return found.offset if found is not None else self._end(place)

    def log_id(self, topic: str) -> str:
        """Eight hex digits that differ when the topic has been deleted and made anew."""
        name = self._settings.topic(topic)
        with self._lock, advising(self._settings, f"describe {name}"):
            if self._made_admin is None:
                self._made_admin = KafkaAdminClient(**client_options(self._settings, self._client), **self._common)
            (found,) = self._made_admin.describe_topics([name])
        if found["error_code"] or not found["partitions"]:
            raise missing_topic(self._settings, name)
        return digest(str(found["topic_id"]), size=4)

    def close(self) -> None:
        """Close the clients; what was appended stays."""
        with self._lock:
            if self._made_producer is not None:
                self._made_producer.close(timeout=_CLOSE_SECONDS)
            if self._made_consumer is not None:
                self._made_consumer.close(autocommit=False, timeout_ms=_CLOSE_SECONDS * 1_000)
            if self._made_admin is not None:
                self._made_admin.close()
            self._made_producer = self._made_consumer = self._made_admin = None

    # -- small pieces --------------------------------------------------------------------------------------------------

    def _send(self, producer: KafkaProducer, out: Outbound, logged_at: int) -> Any:
        partition = out.partition
        if partition is None:
            partition = partition_of(out.key, self.partitions(out.topic))
        place = self._place(out.topic, partition)
        return producer.send(
            place.topic,
            value=out.value,
            key=out.key.encode(),
            partition=partition,
            headers=kafka_headers(out.value, logged_at if self._virtual else None),
        )

    def _appended(self, out: Outbound, stored: Any, logged_at: int) -> Record:
        stamp = logged_at if self._virtual else stored.timestamp
        return Record(out.topic, stored.partition, stored.offset, out.key, out.value, stamp)

    def _stands_at(self, place: TopicPartition, offset: int) -> bool:
        """Whether the consumer would give `offset` next: between the last record and its position there is a hole."""
        return self._at is not None and self._at[0] == place and self._at[1] <= offset <= self._at[2]

    def _fetch(self, topic: str, place: TopicPartition, offset: int, limit: int) -> list[Record]:
        consumer = self._consumer()
        found: list[Record] = []
        position, deadline = offset, time.monotonic() + _PATIENCE
        while len(found) < limit and position < self._known_end:
            rows = consumer.poll(timeout_ms=_POLL_MS, max_records=limit - len(found)).get(place, ())
            found += [record_of(topic, row, self._virtual) for row in rows]
            reached = consumer.position(place)
            if reached is not None and reached > position:
                position, deadline = reached, time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise self._silent(place, position)
        self._at = (place, found[-1].offset + 1 if found else offset, max(position, offset))
        return found

    def _silent(self, place: TopicPartition, position: int) -> BrokerError:
        self._at = None
        return BrokerError(
            f"{place.topic}/{place.partition}@{position} should exist (the log ends at {self._known_end}), but did not "
            f"come within {_PATIENCE:.0f} s. Check that the partition has a leader (`foreshock topics describe`)."
        )

    def _place(self, topic: str, partition: int) -> TopicPartition:
        count = self.partitions(topic)
        name = self._settings.topic(topic)
        if not 0 <= partition < count:
            raise BrokerError(
                f"the topic {name!r} has {count} partitions, no number {partition}. `foreshock topics diff` shows "
                "whether the configuration and the cluster agree."
            )
        return TopicPartition(name, partition)

    def _end(self, place: TopicPartition) -> int:
        end: int = self._consumer().end_offsets([place], timeout_ms=self._lookup_ms)[place]
        return end

    def _consumer(self) -> KafkaConsumer:
        if self._made_consumer is None:
            options = consumer_options(self._settings, self._client)
            self._made_consumer = KafkaConsumer(
                **options, **self._common, fetch_max_wait_ms=_FETCH_WAIT_MS, allow_auto_create_topics=False
            )
        return self._made_consumer

    def _producer(self) -> KafkaProducer:
        with self._lock:
            if self._made_producer is None:
                options = producer_options(self._settings, self._client)
                self._made_producer = KafkaProducer(**options, **self._common, allow_auto_create_topics=False)
            return self._made_producer


class _Newest:
    """The newest record of each key of a topic, as far as read."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.read_up_to: dict[int, int] = {}

    def take(self, page: Sequence[Record]) -> None:
        """In order of offset. A key on two partitions (a stranger's doing) has the value that was logged last."""
        for record in page:
            known = self.records.get(record.key)
            if known and known.partition != record.partition and known.logged_at > record.logged_at:
                continue
            if record.value:
                self.records[record.key] = record
            else:
                self.records.pop(record.key, None)
