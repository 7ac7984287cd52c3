"""What effects look up in the log: past incidents and statistics, and a service's health. Read-only, from any thread.

In: the path of the database. Out: the newest values of the compacted topics `history` and `health`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from connectors.codec import decode_record
from connectors.sqlite import SqliteStore
from models.anomaly import ServiceHealth
from models.event import Contract
from models.history import HistoryRecord, PatternStats

__all__ = ["SqliteReaders"]

C = TypeVar("C", bound=Contract)
_ALL = 1_000_000


class SqliteReaders:
    """The ports `HistoryReader` and `HealthReader` over a data folder; each thread has a connection of its own."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._local = threading.local()

    def records(self, application: str) -> Sequence[HistoryRecord]:
        """The closed incidents of an application, oldest first."""
        return [item for item in self._history(HistoryRecord) if item.application == application]

    def stats(self, application: str) -> Sequence[PatternStats]:
        """The statistics of an application; "" means those of all."""
        return [item for item in self._history(PatternStats) if application in ("", item.application)]

    def health(self, service: str) -> ServiceHealth | None:
        """The newest health of a service, or None."""
        record = self._store.newest("health", service)
        data = decode_record(record).data if record else None
        return data if isinstance(data, ServiceHealth) else None

    @property
    def _store(self) -> SqliteStore:
        store: SqliteStore | None = getattr(self._local, "store", None)
        if store is None:
            store = self._local.store = SqliteStore(self._path, read_only=True)
        return store

    def _history(self, kind: type[C]) -> Iterator[C]:
        for partition in range(self._store.partitions("history")):
            for record in self._store.read("history", partition, 0, _ALL):
                data = decode_record(record).data
                if isinstance(data, kind):
                    yield data
