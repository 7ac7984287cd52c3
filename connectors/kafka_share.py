"""A member of a consumer group that shares several topics out, for a reader that keeps nothing but how far it has come.

In: polls, and records that are done with. Out: records, from where the group stands; of a new group, from the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafka import TopicPartition

from connectors.kafka_clients import MAX_MESSAGE_BYTES
from connectors.kafka_group import commit_group, join_group, leave_group, poll_group
from connectors.kafka_log import record_of
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Record

__all__ = ["KafkaShare"]

_BATCH: Final = 500
_CONNECT_MS: Final = 5_000
_FETCH_WAIT_MS: Final = 1_000
_FETCH_MIN_BYTES: Final = 64 * 1024
"""Nobody waits for what such a reader finds: one fetch a second, unless there is more to be had."""


class KafkaShare:
    """One member. Use from one thread. What was read and not said to be done comes again, to this member or another,
    after a crash or when partitions change hands. `virtual`: see KafkaLog. Every method but `close` raises BrokerError.
    """

    def __init__(self, settings: KafkaSettings, group: str, topics: Sequence[str], *, virtual: bool = False) -> None:
        self._settings, self._virtual = settings, virtual
        self._names = {settings.topic(topic): topic for topic in topics}
        self._consumer = join_group(
            settings,
            group,
            list(self._names),
            bootstrap_timeout_ms=_CONNECT_MS,  # whoever waits for this one's end does not wait long
            fetch_max_bytes=MAX_MESSAGE_BYTES,  # of all partitions together: bounds the memory
            fetch_min_bytes=_FETCH_MIN_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )

    def poll(self, seconds: float) -> Sequence[Record]:
        """What has come, partition by partition; waits for the first at most so long, longer while the group shares its
        partitions out.
        """
        found = poll_group(self._settings, self._consumer, seconds, _BATCH)
        return [
            record_of(self._names[place.topic], row, self._virtual) for place, rows in found.items() for row in rows
        ]

    def assigned(self) -> frozenset[tuple[str, int]]:
        """The topics and partitions that this member has now; no question to the cluster."""
        return frozenset((self._names[place.topic], place.partition) for place in self._consumer.assignment() or ())

    def commit(self, done: Sequence[Record]) -> None:
        """These are done with, in the order in which they came."""
        offsets = {
            TopicPartition(self._settings.topic(record.topic), record.partition): record.offset + 1 for record in done
        }
        commit_group(self._settings, self._consumer, offsets)

    def close(self) -> None:
        """Leave the group."""
        leave_group(self._consumer)
