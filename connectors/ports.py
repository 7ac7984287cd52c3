"""The two ports that hosts drive Units through, and the shapes that pass: records in, outbound out, checkpoints kept.

`Log` appends and reads records; `States` saves and loads what Units remember. SQLite implements both here
(connectors/sqlite.py), Kafka too (connectors/kafka_log.py, connectors/kafka_states.py); one conformance suite
(tests/connectors/test_ports.py) holds every implementation to these words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from models.event import Position

__all__ = ["Checkpoint", "Clock", "Crash", "Entry", "Log", "Outbound", "Record", "States", "UnitName"]


class Record(NamedTuple):
    """One message in the log. `logged_at` (ms) was stamped when it was appended."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    logged_at: int

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.topic, self.partition, self.offset)


class Outbound(NamedTuple):
    """One message on its way into the log. `partition` None: `partition_of(key, partitions of the topic)`.

    `at` is its event time (ms): a virtual clock follows it.
    """

    topic: str
    key: str
    value: bytes
    partition: int | None = None
    at: int = 0


class UnitName(NamedTuple):
    """One step on one partition."""

    step: str
    partition: int

    def __str__(self) -> str:
        return f"{self.step}/{self.partition}"


class Entry(NamedTuple):
    """What a Unit remembers of one key: the highest offset applied (-1: none), its wish to be woken, its unanswered
    effects (JSON), its state.
    """

    key: str
    applied: int
    wake_at: int | None
    pending: bytes
    state: bytes


class Checkpoint(NamedTuple):
    """What a Unit wants kept: changed entries first, then shared state and the offset to resume reading at.

    `shared` None: the Unit has none yet. `emitted` is the offset below which all emissions are durable: on a restart
    the host discards the emissions of records below it, because the log already has them. `log_id` names the inbox's
    log where it can be deleted and made anew: positions of another log mean nothing.
    """

    entries: Sequence[Entry]
    shared: bytes | None
    resume_at: int
    emitted: int
    log_id: str = ""


class Crash(NamedTuple):
    """A record at which a step failed, and how often."""

    offset: int
    failures: int
    error: str


class Clock(Protocol):
    """The host's clock: the only source of `logged_at`. Milliseconds since the epoch, UTC."""

    def now(self) -> int:
        """The present."""
        ...


class Log(Protocol):
    """Topics of partitions of records: append only, one order a partition, offsets from 0 (on Kafka with holes where
    markers of transactions stand, or where compaction has been).
    """

    def append(self, batch: Sequence[Outbound], logged_at: int) -> Sequence[Record]:
        """Append all, stamped `logged_at`, in order; returns them with their places once they are durable.

        All or nothing in SQLite; on Kafka an error may leave a prefix of each partition's messages, and the broker's
        clock stamps them where it is the deployment's. Appended again, they are known by their ids and causes.
        """
        ...

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Up to `limit` records from `offset` on, in order; from the first kept one where `offset` is gone."""
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first kept offset and the next to be written; equal when empty."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        ...


class States(Protocol):
    """What Units remember. A save is all or nothing, and never goes backwards."""

    def load(self, unit: UnitName) -> Checkpoint | None:
        """What was saved last (entries empty: see `entries`), or None."""
        ...

    def entries(self, unit: UnitName) -> Iterator[Entry]:
        """Every key's entry."""
        ...

    def save(self, unit: UnitName, checkpoint: Checkpoint) -> None:
        """Keep it: entries, then shared and position."""
        ...

    def crashes(self, unit: UnitName) -> Mapping[int, Crash]:
        """Where this unit's step has failed, by offset."""
        ...

    def record_crash(self, unit: UnitName, offset: int, error: str) -> int:
        """Count one more failure at `offset`; returns how many there were. Forgotten when a save passes it."""
        ...
