"""What a Unit lets in: events in their right place, of causes that can exist, each once.

In: decoded events of an inbox. Out: ContractError for what must become a dead letter, True for what was seen before.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from connectors.ports import Record
from models.errors import ContractError, HorizonError, NewerVersionError, UpgradeError
from models.event import Cause, Event
from models.log import LogBatch
from models.topics import TOPICS, partition_of

__all__ = ["NO_LOG", "InboxGuard", "Shard", "check_head", "is_of_upgrade"]

NO_LOG: Final = "none"
"""The `log_id` of a topic that does not exist."""

_ORIGINS_MOST: Final = 10_000
"""Far more than there are steps and partitions; what a stranger calls itself beyond is not remembered."""
_KEYS_MOST: Final = 10_000
"""Keys whose place is remembered: the hash of a key takes about 5 µs, and a batch names every service again."""
_NEAR: Final = 16
_GONE_MOST: Final = 1_000
_VERSIONS_AHEAD: Final = 3
"""How far ahead of this program's a version may be and still be believed: an upgrade skips few."""
_INBOXES: Final = frozenset(topic.name for topic in TOPICS.values() if topic.inbox_of)
_BROADCAST: Final = frozenset(("catalog", "control"))
"""What stands in every partition of an inbox, whatever its key."""
_BY_PARTITION: Final = frozenset(("log_batch", "template_counts"))
"""What is keyed by the number of its partition."""


class Shard(NamedTuple):
    """Where a Unit stands: its partition of how many (0: not said, so places are not checked); whose events it writes
    (`run`, `region`: as in the envelope); `log_id` of its inbox where logs can be made anew; `bounded`: causes are
    believed only up to the ends of the logs that the host has told it of.
    """

    partition: int
    partitions: int = 0
    run: str = ""
    region: str = ""
    log_id: str = ""
    bounded: bool = False


class InboxGuard:
    """Keeps, for each origin of causes, the highest rank seen."""

    def __init__(self, shard: Shard) -> None:
        self._at_home: set[str] = set()
        self.seen: dict[str, tuple[int, int, int]] = {}
        self._shard = shard
        self._ends: dict[tuple[str, int], int] = {}
        self._asked: tuple[int, str, int] | None = None
        self._log_ids: dict[str, str] = {}
        self._gone: set[str] = set()

    def learn_end(self, topic: str, partition: int, end: int, log_id: str = "") -> None:
        """That log goes up to `end` (exclusive): causes below it may be believed. `log_id`: which log of that topic it
        is now; another one was deleted.
        """
        if self._log_ids.get(topic) != log_id:
            self._log_ids[topic] = log_id
            self._ends = {place: known for place, known in self._ends.items() if place[0] != topic}
        self._ends[topic, partition] = max(end, self._ends.get((topic, partition), 0))

    def check_place(self, record: Record, event: Event[Any]) -> None:
        """A key belongs to one partition: elsewhere it would meet another state, and out of order. Raises
        ContractError with reason `wrong_topic`, `wrong_key` or `wrong_partition`.
        """
        check_head(record, event)
        shard = self._shard
        if not shard.partitions or event.type in _BROADCAST:
            return
        keys: tuple[str, ...] = (event.key,)
        if event.type in _BY_PARTITION:
            if event.key != str(shard.partition):
                raise ContractError("wrong_partition", f"of partition {event.key!r:.20}, found in {shard.partition}")
            keys = event.data.services if isinstance(event.data, LogBatch) else ()
        for key in keys:
            if key not in self._at_home:
                self._check_partition(key)

    def _check_partition(self, key: str) -> None:
        right = partition_of(key, self._shard.partitions)
        if right != self._shard.partition:
            raise ContractError("wrong_partition", f"{key!r:.100} belongs to partition {right}")
        if len(self._at_home) < _KEYS_MOST:
            self._at_home.add(key)

    def check_version(self, record: Record, error: NewerVersionError) -> None:
        """Raises UpgradeError where a newer program of this very deployment wrote the record.

        While workers are replaced one by one, an old one may meet what a new one wrote. As a dead letter it would be
        lost for every step after this one, so the worker stops before it instead, and its successor reads it. For
        strangers the stream must not stop: what does not name this deployment, or has a number that no upgrade could
        have led to, stays a dead letter. Whoever forges that, too, may write the topic and know the deployment's name;
        what such a one could do besides is worse than a worker that stops and says why.
        """
        if is_of_upgrade(error, self._shard.run):
            raise UpgradeError(f"{record.position} is {error.detail}") from error

    def seen_before(self, record: Record, event: Event[Any]) -> bool:
        """Whether this emission of a step was taken already. Raises HorizonError once, then ContractError
        (`future_cause`), where it claims to come of a record beyond the known end of its log.
        """
        cause = Cause.parse(event.cause) if event.cause else None
        if cause is None or cause.position.topic not in _INBOXES:  # no step's emission
            return False
        if self._shard.bounded:
            self._check_horizon(record, cause)
        if cause.rank <= self.seen.get(cause.origin, (-1, -1, -1)):
            return True
        if cause.origin in self.seen or len(self.seen) < _ORIGINS_MOST:
            self.seen[cause.origin] = cause.rank
        return False

    def _check_horizon(self, record: Record, cause: Cause) -> None:
        """A claim a little beyond the known end costs no look-up: it can hide no more than that many real emissions,
        and a claim of a record that does exist hides as many.

        What came of a log that was deleted since cannot be looked up, and must not be lost: it is believed. A stranger
        who invents a log hides nothing: only emissions of that same log are compared with it.
        """
        topic, partition, offset = cause.position
        end, log_id = self._ends.get((topic, partition), 0), self._log_ids.get(topic)
        if cause.log_id in self._gone:
            return
        of_this_log = not cause.log_id or not log_id or cause.log_id == log_id
        if of_this_log and offset < end + _NEAR:
            return
        if self._asked != (record.offset, topic, partition):
            self._asked = (record.offset, topic, partition)
            raise HorizonError(topic, partition, offset)
        if of_this_log:
            raise ContractError("future_cause", f"{cause} names a record that does not exist: that log ends at {end}")
        if len(self._gone) < _GONE_MOST:
            self._gone.add(cause.log_id)


def check_head(record: Record, event: Event[Any]) -> None:
    """What holds on every topic: its types are known, and a record's key is its event's. Raises ContractError with
    reason `wrong_topic` or `wrong_key`.
    """
    if event.type not in TOPICS[record.topic].types:
        raise ContractError("wrong_topic", f"{event.type} does not belong on {record.topic}")
    if record.key != event.key:
        raise ContractError("wrong_key", f"the record's key is {record.key!r:.100}, the event's {event.key!r:.100}")


def is_of_upgrade(error: NewerVersionError, run: str) -> bool:
    """Whether a newer program of the deployment `run` wrote it, as far as one can tell."""
    return bool(error.run) and error.run == run and error.version <= error.reads + _VERSIONS_AHEAD
