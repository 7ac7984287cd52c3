"""A data folder as the log that a command talks to, beside the process that runs it.

In: the folder, its configuration's file. Out: the port SharedLog over its SQLite database.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from connectors.clock import WallClock
from connectors.data_folder import LOCK, open_reader
from connectors.keys import load_keys
from connectors.offset_search import search_offset
from connectors.ports import Outbound, Record, UnitName
from connectors.settings import read_settings
from connectors.shared_log import READERS, Group
from models.signing import KeyRing

__all__ = ["FolderLog", "find_holder"]


_LOCKS: Final = Path("/proc/locks")
"""Linux's table of held locks (proc_locks(5)): trying the lock oneself could be in the way of a run that starts."""


def find_holder(data: Path) -> int:
    """The process that holds the folder; 0 where none does. Where the kernel does not tell who holds a lock, the last
    holder is believed to hold it for as long as a process of its number lives.
    """
    try:
        process = int((data / LOCK).read_text())
        held = _LOCKS.read_text().splitlines() if _LOCKS.exists() else None
        if held is not None:
            inode = f":{(data / LOCK).stat().st_ino}"
            return process if any(" FLOCK " in row and row.split()[5].endswith(inode) for row in held) else 0
        os.kill(process, 0)
    except PermissionError:  # it lives, and is another user's
        return process
    except (OSError, ValueError):
        return 0
    return process


class FolderLog:
    """The port SharedLog. `append`: also for short appends. Raises DataFolderError where there is no Foreshock data."""

    usual_span_ms: int | None = None

    def __init__(self, data: Path, config: Path | None = None, *, append: bool = False) -> None:
        self.store = open_reader(data, append=append)
        self._data, self._config = data, config

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._data)

    @property
    def run(self) -> str:
        """The folder's own name."""
        return self.store.meta("run") or ""

    def now(self) -> int:
        """The present as the folder's host sees it: its own clock where that is virtual (a simulation), else the
        wall's, never behind what the log has reached.
        """
        reached = int(self.store.meta("clock") or 0)
        return reached if self.store.meta("time") == "virtual" else WallClock(reached).now()

    def append(self, batch: Sequence[Outbound], logged_at: int) -> Sequence[Record]:
        """See ports.Log."""
        return self.store.append(batch, logged_at)

    def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See ports.Log."""
        return self.store.read(topic, partition, offset, limit)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """See ports.Log."""
        return self.store.bounds(topic, partition)

    def partitions(self, topic: str) -> int:
        """See ports.Log."""
        return self.store.partitions(topic)

    def ends(self, topic: str) -> Mapping[int, int]:
        """See SharedLog."""
        return {part: self.bounds(topic, part)[1] for part in range(self.partitions(topic))}

    def newest(self, topic: str, key: str) -> Record | None:
        """See SharedLog."""
        return self.store.newest(topic, key)

    def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """See SharedLog. A partition is in order of `logged_at`, so it is bisected."""
        return search_offset(self, topic, partition, at_ms)

    def groups(self) -> Sequence[Group]:
        """One process runs all steps; each has come as far as it is saved, or as its emissions are."""
        holder = find_holder(self._data)
        members = (f"process {holder}",) if holder else ()
        found = []
        for role, step, inbox in READERS:
            parts = range(self.partitions(inbox))
            saved = {part: self.store.load(UnitName(step, part)) for part in parts}
            committed = {part: max(point.resume_at, point.emitted) for part, point in saved.items() if point}
            owners = dict.fromkeys(parts, members[0]) if members else {}
            found.append(Group(role, step, "Stable" if members else "Empty", members, owners, committed, inbox))
        return found

    def key_ring(self) -> KeyRing:
        """The configured keys, else the folder's own."""
        configuration = read_settings(self._config, {"data": str(self._data)})
        return load_keys(self._data, configuration.signing_keys, configuration.settings.signing_key)

    def alone(self) -> AbstractContextManager[None]:
        """A transaction."""
        return self.store.transaction()

    def close(self) -> None:
        """Close the database."""
        self.store.close()
