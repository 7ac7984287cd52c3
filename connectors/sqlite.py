"""SQLite as log and state: the embedded twin of Kafka's topics and changelogs, in one file of the data folder.

In: outbound messages, checkpoints. Out: records, saved entries. One process holds the folder for writing the pipeline
(connectors/data_folder.py); others may read beside it and append in short transactions (a review, a pause).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from connectors.ports import Checkpoint, Crash, Entry, Outbound, Record, UnitName
from models.errors import DataFolderError
from models.topics import TOPICS, partition_of

__all__ = ["SCHEMA_VERSION", "SqliteStore"]

SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE topics (topic INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL);
CREATE TABLE heads (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL,
    bytes INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE records (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, logged_at INTEGER NOT NULL,
    key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (topic, partition, offset));
CREATE TABLE newest (
    topic INTEGER NOT NULL, key TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (topic, key)) WITHOUT ROWID;
CREATE TABLE cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units (
    step TEXT NOT NULL, partition INTEGER NOT NULL, resume_at INTEGER NOT NULL, emitted INTEGER NOT NULL,
    shared BLOB, PRIMARY KEY (step, partition));
CREATE TABLE entries (
    step TEXT NOT NULL, partition INTEGER NOT NULL, key TEXT NOT NULL, applied INTEGER NOT NULL, wake_at INTEGER,
    pending BLOB NOT NULL, state BLOB NOT NULL, PRIMARY KEY (step, partition, key));
CREATE TABLE crashes (
    step TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, failures INTEGER NOT NULL,
    error TEXT NOT NULL, PRIMARY KEY (step, partition, offset)) WITHOUT ROWID;
"""


class SqliteStore:
    """The log and the states in one database. Not for use by several threads at once: open one each.

    `partitions` is how many every topic gets when the file is made; afterwards the file's own number stands.
    `durable`: what is committed is on the disk, also through a power cut; else only through the death of the process.
    """

    def __init__(self, path: Path | str, *, partitions: int = 1, read_only: bool = False, durable: bool = True) -> None:
        self.path = str(path)
        with self._advising():
            self._db = self._connect(read_only, durable)
            if not read_only:
                self._create(partitions)
            rows = self._db.execute("SELECT name, topic, partitions FROM topics").fetchall()
        self._ids = {name: number for name, number, _ in rows}
        self._partitions = {name: count for name, _, count in rows}

    # -- transactions ----------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises DataFolderError when the disk is full, the folder read-only or held too long."""
        with self._advising():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file; committed work stays."""
        self._db.close()

    # -- Log -------------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Outbound], logged_at: int) -> Sequence[Record]:
        """See ports.Log. Within `transaction()` it joins it, else it is one of its own."""
        if not self._db.in_transaction:
            with self.transaction():
                return self.append(batch, logged_at)
        records = []
        heads: dict[tuple[str, int], list[int]] = {}
        for out in batch:
            partition = out.partition
            if partition is None:
                partition = partition_of(out.key, self._partitions[out.topic])
            head = heads.get((out.topic, partition))
            if head is None:
                head = heads[out.topic, partition] = [self.bounds(out.topic, partition)[1], 0]
            records.append(Record(out.topic, partition, head[0], out.key, out.value, logged_at))
            head[0] += 1
            head[1] += len(out.value)
        self._db.executemany(
            "INSERT INTO records (topic, partition, offset, key, value, logged_at) VALUES (?, ?, ?, ?, ?, ?)",
            [(self._ids[r.topic], r.partition, r.offset, r.key, r.value, r.logged_at) for r in records],
        )
        self._db.executemany(
            "INSERT INTO heads VALUES (?, ?, 0, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next, "
            "bytes = bytes + excluded.bytes",
            [(self._ids[topic], part, head[0], head[1]) for (topic, part), head in heads.items()],
        )
        self._compact([record for record in records if TOPICS[record.topic].compacted])
        return records

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See ports.Log."""
        with self._advising():
            rows = self._db.execute(
                "SELECT offset, key, value, logged_at FROM records WHERE topic = ? AND partition = ? AND offset >= ? "
                "ORDER BY offset LIMIT ?",
                (self._ids[topic], partition, offset, limit),
            )
            return [Record(topic, partition, at, key, value, logged) for at, key, value, logged in rows]

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """See ports.Log."""
        row = self._db.execute(
            "SELECT first, next FROM heads WHERE topic = ? AND partition = ?", (self._ids[topic], partition)
        ).fetchone()
        return (row[0], row[1]) if row else (0, 0)

    def partitions(self, topic: str) -> int:
        """See ports.Log."""
        return int(self._partitions[topic])

    def newest(self, topic: str, key: str) -> Record | None:
        """The newest record of `key` on a compacted topic."""
        found = self._db.execute(
            "SELECT r.partition, r.offset, r.value, r.logged_at FROM newest n JOIN records r "
            "USING (topic, partition, offset) WHERE n.topic = ? AND n.key = ?",
            (self._ids[topic], key),
        ).fetchone()
        return Record(topic, found[0], found[1], key, found[2], found[3]) if found else None

    def sizes(self) -> dict[str, int]:
        """How many bytes of values each topic holds."""
        rows = dict(self._db.execute("SELECT topic, sum(bytes) FROM heads GROUP BY topic").fetchall())
        return {name: int(rows.get(number, 0)) for name, number in self._ids.items()}

    @property
    def schema_version(self) -> int:
        """Of the file as it is."""
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def retain(self, topic: str, partition: int, *, keep_bytes: int, before: int) -> int:
        """Forget the oldest records until at most `keep_bytes` remain, never `before` or later.

        Returns how many went.
        """
        number = self._ids[topic]
        row = self._db.execute(
            "SELECT first, next, bytes FROM heads WHERE topic = ? AND partition = ?", (number, partition)
        ).fetchone()
        if row is None or row[2] <= keep_bytes:
            return 0
        first, _, size = row
        gone = 0
        for offset, length in self._db.execute(
            "SELECT offset, length(value) FROM records WHERE topic = ? AND partition = ? AND offset < ? "
            "ORDER BY offset",
            (number, partition, before),
        ).fetchall():
            if size <= keep_bytes:
                break
            size -= length
            first, gone = offset + 1, gone + 1
        place = (number, partition)
        self._db.execute("DELETE FROM records WHERE topic = ? AND partition = ? AND offset < ?", (*place, first))
        self._db.execute(
            "UPDATE heads SET first = ?, bytes = ? WHERE topic = ? AND partition = ?", (first, size, *place)
        )
        return gone

    # -- States ----------------------------------------------------------------------------------------------------

    def load(self, unit: UnitName) -> Checkpoint | None:
        """See ports.States."""
        row = self._db.execute(
            "SELECT shared, resume_at, emitted FROM units WHERE step = ? AND partition = ?", unit
        ).fetchone()
        return Checkpoint((), row[0], row[1], row[2]) if row else None

    def entries(self, unit: UnitName) -> Iterator[Entry]:
        """See ports.States."""
        rows = self._db.execute(
            "SELECT key, applied, wake_at, pending, state FROM entries WHERE step = ? AND partition = ? ORDER BY key",
            unit,
        )
        return (Entry(*row) for row in rows)

    def save(self, unit: UnitName, checkpoint: Checkpoint) -> None:
        """See ports.States. Within `transaction()` it joins it, else it is one of its own."""
        if not self._db.in_transaction:
            with self.transaction():
                return self.save(unit, checkpoint)
        self._db.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET applied = excluded.applied, "
            "wake_at = excluded.wake_at, pending = excluded.pending, state = excluded.state",
            [(*unit, e.key, e.applied, e.wake_at, e.pending, e.state) for e in checkpoint.entries],
        )
        self._db.execute(
            "INSERT INTO units VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET resume_at = excluded.resume_at, "
            "emitted = excluded.emitted, shared = excluded.shared WHERE excluded.resume_at >= resume_at",
            (*unit, checkpoint.resume_at, checkpoint.emitted, checkpoint.shared),
        )
        self._db.execute(
            "DELETE FROM crashes WHERE step = ? AND partition = ? AND offset < ?", (*unit, checkpoint.resume_at)
        )
        return None

    def mark_emitted(self, unit: UnitName, offset: int) -> None:
        """Note that the log has all emissions of records below `offset`, though the unit is not saved yet."""
        self._db.execute(
            "INSERT INTO units VALUES (?, ?, 0, ?, NULL) ON CONFLICT DO UPDATE SET emitted = excluded.emitted",
            (*unit, offset),
        )

    def crashes(self, unit: UnitName) -> Mapping[int, Crash]:
        """See ports.States."""
        rows = self._db.execute("SELECT offset, failures, error FROM crashes WHERE step = ? AND partition = ?", unit)
        return {row[0]: Crash(*row) for row in rows}

    def record_crash(self, unit: UnitName, offset: int, error: str) -> int:
        """See ports.States."""
        if not self._db.in_transaction:
            with self.transaction():
                return self.record_crash(unit, offset, error)
        self._db.execute(
            "INSERT INTO crashes VALUES (?, ?, ?, 1, ?) "
            "ON CONFLICT DO UPDATE SET failures = failures + 1, error = excluded.error",
            (*unit, offset, error),
        )
        return self.crashes(unit)[offset].failures

    # -- cursors ---------------------------------------------------------------------------------------------------

    def cursors(self) -> dict[str, str]:
        """Where each source stood when its last message was appended: what the log's batches say, ready to look up."""
        return dict(self._db.execute("SELECT source, cursor FROM cursors").fetchall())

    def set_cursors(self, cursors: Mapping[str, str]) -> None:
        """Keep them; to be called in the transaction that appends the messages."""
        self._db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", list(cursors.items()))

    # -- meta ------------------------------------------------------------------------------------------------------

    def meta(self, name: str) -> str | None:
        """A named fact about this folder (`run`, `clock`), or None."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def set_meta(self, name: str, value: str) -> None:
        """Keep a named fact."""
        self._db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
        )

    # -- inside ----------------------------------------------------------------------------------------------------

    def _compact(self, records: Sequence[Record]) -> None:
        for record in records:
            key = (self._ids[record.topic], record.key)
            old = self._db.execute("SELECT partition, offset FROM newest WHERE topic = ? AND key = ?", key).fetchone()
            if old is not None:
                self._db.execute("DELETE FROM records WHERE topic = ? AND partition = ? AND offset = ?", (key[0], *old))
            self._db.execute(
                "INSERT OR REPLACE INTO newest VALUES (?, ?, ?, ?)", (*key, record.partition, record.offset)
            )

    def _connect(self, read_only: bool, durable: bool) -> sqlite3.Connection:
        target = f"{Path(self.path).absolute().as_uri()}?mode=ro" if read_only else self.path
        # Each effect's thread has a connection of its own; only closing may happen elsewhere.
        db = sqlite3.connect(
            target, uri=read_only, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
        )
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            # An intent must be on the disk before its effect starts.
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            # Batches are a quarter of a megabyte: SQLite's own 2 MB of cache and 4 MB of log before a checkpoint are
            # gone after a dozen.
            db.execute("PRAGMA cache_size = -16000")
            db.execute("PRAGMA wal_autocheckpoint = 8000")
        return db

    def _create(self, partitions: int) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return
        if version:
            raise DataFolderError(
                f"{self.path} was written by schema {version}, this Foreshock writes {SCHEMA_VERSION}. "
                "Use the version that wrote it, or another --data folder."
            )
        with self.transaction():
            if self._db.execute("PRAGMA user_version").fetchone()[0]:
                return
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._db.execute(statement)
            self._db.executemany(
                "INSERT INTO topics (name, partitions) VALUES (?, ?)", [(name, partitions) for name in TOPICS]
            )
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _advising(self) -> Iterator[None]:
        """SQLite's errors, in words that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DataFolderError(_advise(self.path, str(error))) from error
        except sqlite3.DatabaseError as error:
            raise DataFolderError(
                f"{self.path} is not a readable Foreshock database ({error}). Restore it from a backup, or start with "
                "another --data folder."
            ) from error


def _advise(path: str, error: str) -> str:
    if "full" in error or "disk I/O" in error:
        return f"{path}: the disk is full ({error}). Free some space and start again: nothing committed is lost."
    if "readonly" in error or "read-only" in error or "unable to open" in error:
        return f"{path}: cannot be opened for writing ({error}). Give this user write access, or another --data folder."
    if "locked" in error:
        return f"{path}: another process has held it for {_BUSY_SECONDS:.0f} s ({error}). Try again when it is done."
    return f"{path}: {error}. If it persists, restore the folder from a backup."
