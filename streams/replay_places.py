"""Where a replay reads and writes: a data folder, beside whoever runs it, or the topics of a Kafka cluster.

In: a configuration. Out: a ReplayPlace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from connectors.clock import PacedClock, WallClock
from connectors.data_folder import open_reader
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.offset_search import search_offset
from connectors.ports import Entry, Outbound, Record, UnitName
from connectors.sqlite import SqliteStore
from streams.replay_plan import ReplayLog, ReplayPlace

__all__ = ["FolderPlace", "KafkaPlace", "open_place"]


class _FolderLog:
    """A data folder's log, which is entered by time through bisection."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def append(self, batch: Sequence[Outbound], logged_at: int) -> Sequence[Record]:
        return self._store.append(batch, logged_at)

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        return self._store.read(topic, partition, offset, limit)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return self._store.bounds(topic, partition)

    def partitions(self, topic: str) -> int:
        return self._store.partitions(topic)

    def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        return search_offset(self._store, topic, partition, at_ms)


class FolderPlace:
    """A data folder that another process may be running. Raises DataFolderError where there is none."""

    def __init__(self, path: Path) -> None:
        self._store = open_reader(path, append=True)
        self.log: ReplayLog = _FolderLog(self._store)

    def now(self) -> int:
        """Its host's time: its own where that is virtual, else the wall's, never behind what the log has reached."""
        reached = int(self._store.meta("clock") or 0)
        return reached if self._store.meta("time") == "virtual" else WallClock(reached).now()

    def entries(self, unit: UnitName) -> Iterator[Entry]:
        """See ReplayPlace."""
        return self._store.entries(unit)


class KafkaPlace:
    """A cluster's topics. What detect remembers is in its changelog, which is not read here: `entries` has none."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.log: ReplayLog = KafkaLog(settings, "replay", virtual=bool(settings.clock))
        self._clock = PacedClock(settings.clock) if settings.clock else WallClock()

    def now(self) -> int:
        """The deployment's time: the wall's, but for a simulated world."""
        return self._clock.now()

    def entries(self, unit: UnitName) -> Iterator[Entry]:  # noqa: ARG002 - the protocol's name
        """None are known."""
        return iter(())


def open_place(data: Path, kafka: KafkaSettings | None = None) -> ReplayPlace:
    """The cluster, where its settings are given, else the data folder."""
    return KafkaPlace(kafka) if kafka is not None and kafka.bootstrap_servers else FolderPlace(data)
