"""A member of a role's consumer group on one topic: who owns which partition, and the records of those that are ours.

In: polls, seeks, commits. Out: records, and which partitions came and went. kafka-python's heartbeats and rebalances
run on a thread of its own; what they change is told by the next poll, so its caller need not fear them in mid-work.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from connectors.kafka_clients import consumer_options
from connectors.kafka_errors import advising, missing_topic
from connectors.kafka_log import record_of
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Record
from models.errors import BrokerError

__all__ = ["KafkaGroup", "Polled", "commit_group", "join_group", "leave_group", "poll_group"]

_LONGEST_TURN_MS: Final = 60_000
"""Between two polls; longer, and the group goes on without this member."""
_JOIN_MS: Final = 10_000
"""More than the session of a member that was killed, for which the others wait."""
_COMMIT_MS: Final = 5_000
_CLOSE_MS: Final = 5_000
_log = structlog.get_logger(__name__)


class Polled(NamedTuple):
    """What a poll brought, to be taken in this order. A partition in both `revoked` and `assigned` may have been
    another's in between. Records of a newly assigned one are not among these: seek first.
    """

    revoked: Collection[int]
    assigned: Collection[int]
    records: Mapping[int, Sequence[Record]]


class KafkaGroup:
    """One member. Use from one thread. Every method but `close` raises BrokerError."""

    def __init__(
        self, settings: KafkaSettings, role: str, topic: str, *, virtual: bool = False, batch: int = 64
    ) -> None:
        self._settings, self._topic, self._virtual, self._batch = settings, topic, virtual, batch
        self._name = settings.topic(topic)
        self._changes = _Changes()
        self._consumer = join_group(settings, role, [self._name], self._changes)

    def poll(self, seconds: float) -> Polled:
        """Wait up to `seconds` for records; longer while the group shares its partitions out. Raises BrokerError only
        for what waiting does not mend.
        """
        found = poll_group(self._settings, self._consumer, seconds, self._batch)
        revoked, assigned = self._changes.take()
        records = {
            place.partition: [record_of(self._topic, row, self._virtual) for row in rows]
            for place, rows in found.items()
            if place.partition not in assigned
        }
        return Polled(revoked, assigned, records)

    def seek(self, partition: int, offset: int) -> None:
        """Read that partition from `offset` on. Nothing happens when it is no longer ours: the next poll says so."""
        place = TopicPartition(self._name, partition)
        if place in self._consumer.assignment():
            with advising(self._settings, f"seek in {self._name}"):
                self._consumer.seek(place, offset)

    def commit(self, offsets: Mapping[int, int]) -> bool:
        """Tell the group how far each partition is done: for whoever looks at lag. False where this member is no longer
        the owner by the group's account: it must give up what it has, and will be told by a poll what it owns.
        """
        told = {TopicPartition(self._name, partition): offset for partition, offset in offsets.items()}
        return commit_group(self._settings, self._consumer, told)

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        leave_group(self._consumer)


class _Changes(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Notes what the group decides, on kafka-python's thread, until it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revoked: set[int] = set()
        self._assigned: set[int] = set()

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        with self._lock:
            gone = {place.partition for place in revoked}
            self._revoked |= gone
            self._assigned -= gone

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        with self._lock:
            self._assigned |= {place.partition for place in assigned}

    def take(self) -> tuple[list[int], list[int]]:
        with self._lock:
            taken = sorted(self._revoked), sorted(self._assigned)
            self._revoked, self._assigned = set(), set()
            return taken


def join_group(
    settings: KafkaSettings,
    role: str,
    names: Sequence[str],
    listener: ConsumerRebalanceListener | None = None,
    **options: Any,
) -> KafkaConsumer:
    """A consumer that will be a member of the role's group on these topics (as the cluster calls them); `options`
    replace those of connectors/kafka_clients.py. Raises BrokerError.
    """
    session = int(settings.session_seconds * 1_000)
    given: dict[str, Any] = {
        **consumer_options(settings, role),
        "group_id": settings.group(role),
        "session_timeout_ms": session,
        "heartbeat_interval_ms": session // 4,
        "max_poll_interval_ms": _LONGEST_TURN_MS,
        "allow_auto_create_topics": False,
        **options,
    }
    with advising(settings, f"join {settings.group(role)}"):
        consumer = KafkaConsumer(**given)
        # A member that is elected leader before it knows a topic assigns nothing of it, and kafka-python 3.0 may then
        # never look again: so it must know first.
        for name in names:
            if not consumer.partitions_for_topic(name):
                consumer.close(autocommit=False)
                raise missing_topic(settings, name)
        consumer.subscribe(list(names), listener=listener)
    return consumer


def poll_group(
    settings: KafkaSettings, consumer: KafkaConsumer, seconds: float, batch: int
) -> Mapping[TopicPartition, Sequence[Any]]:
    """See KafkaGroup.poll."""
    group = consumer.config["group_id"]
    try:
        with advising(settings, f"read as a member of {group}"):
            # kafka-python 3.0 forgets a join that is answered between two polls, and begins another one: with short
            # polls a member may never get in. So a join is waited for, however short the poll.
            consumer._coordinator.poll(timeout_ms=_JOIN_MS)
            found: Mapping[TopicPartition, Sequence[Any]] = consumer.poll(int(seconds * 1_000), max_records=batch)
            return found
    except BrokerError as error:
        cause = error.__cause__
        if not (isinstance(cause, KafkaError) and cause.retriable):
            raise
        _log.warning("poll failed for now", group=group, error=str(cause))
        return {}


def commit_group(settings: KafkaSettings, consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> bool:
    """See KafkaGroup.commit."""
    group = consumer.config["group_id"]
    told = {place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}
    try:
        consumer.commit(told, timeout_ms=_COMMIT_MS)
    except (CommitFailedError, RebalanceInProgressError) as error:
        places = [f"{place.topic}/{place.partition}" for place in offsets]
        _log.warning("not the owner any more", group=group, partitions=places, error=str(error))
        return False
    except KafkaError as error:
        if not error.retriable:
            with advising(settings, f"commit offsets of {group}"):
                raise
        _log.warning("offsets not committed for now", group=group, error=str(error))
    return True


def leave_group(consumer: KafkaConsumer) -> None:
    """Leave it, so that others take over at once."""
    try:
        consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)
    except KafkaError as error:
        _log.warning("the group was not left in good order", group=consumer.config["group_id"], error=str(error))
