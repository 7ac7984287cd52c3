"""Topics followed as they grow, without a group: for whoever watches.

In: names of topics (of models.topics). Out: their records from the first kept one on, in the order of each partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from kafka import KafkaConsumer, TopicPartition

from connectors.kafka_clients import consumer_options
from connectors.kafka_errors import advising
from connectors.kafka_log import record_of
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Record

__all__ = ["KafkaFollower"]

_MOST: Final = 2_000


class KafkaFollower:
    """Reads on and on; use as a context manager. `virtual`: see KafkaLog. Raises BrokerError."""

    def __init__(
        self, settings: KafkaSettings, client: str, topics: Sequence[str], *, partitions: int, virtual: bool = False
    ) -> None:
        self._settings, self._virtual = settings, virtual
        self._names = {settings.topic(topic): topic for topic in topics}
        with advising(settings, "follow topics"):
            self._consumer = KafkaConsumer(**consumer_options(settings, client), allow_auto_create_topics=False)
            places = [TopicPartition(name, number) for name in self._names for number in range(partitions)]
            self._consumer.assign(places)
            self._consumer.seek_to_beginning()

    def poll(self, seconds: float) -> list[Record]:
        """What has come; waits for the first at most so long."""
        with advising(self._settings, "follow topics"):
            found = self._consumer.poll(timeout_ms=int(seconds * 1_000), max_records=_MOST)
        return [
            record_of(self._names[place.topic], message, self._virtual)
            for place, messages in found.items()
            for message in messages
        ]

    def close(self) -> None:
        """Close the client."""
        self._consumer.close(autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
