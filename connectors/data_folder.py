"""The data folder: one file with log and state, one lock that says who holds it, the run's name.

In: a path. Out: an exclusive hold (a `flock`, gone with its process even after kill -9) or a clear refusal.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import IO

from connectors.sqlite import SqliteStore
from models.errors import DataFolderError

__all__ = ["LOCK", "DataFolder", "hold", "open_reader"]

_DATABASE = "foreshock.db"
LOCK = "lock"
_BESIDE = (
    "Stop it first, or use another --data folder; `tap`, `explain`, `incidents`, `review` and `pause` work beside it."
)


class DataFolder:
    """An exclusive hold on a data folder; use as a context manager. Made (0700) where it does not exist.

    `durable`: see SqliteStore. Raises DataFolderError when another process holds it, it is no folder, or cannot be
    written.
    """

    def __init__(self, path: Path, *, partitions: int = 1, durable: bool = True) -> None:
        self.path = path
        self._lock = hold(path)
        try:
            self.store = SqliteStore(path / _DATABASE, partitions=partitions, durable=durable)
            if self.store.meta("run") is None:
                with self.store.transaction():
                    self.store.set_meta("run", f"embedded-{secrets.token_hex(4)}")
        except BaseException:
            self._lock.close()
            raise

    @property
    def run(self) -> str:
        """The name of this deployment: made once with the folder."""
        return self.store.meta("run") or ""

    def close(self) -> None:
        """Let go of the folder."""
        self.store.close()
        self._lock.close()

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_reader(path: Path, *, append: bool = False) -> SqliteStore:
    """A second door into a folder that another process may be running: read-only, or for short appends.

    Raises DataFolderError where there is no Foreshock data.
    """
    database = path / _DATABASE
    if not database.is_file():
        raise DataFolderError(f"{path} holds no Foreshock data. Give --data the folder that `foreshock run` uses.")
    return SqliteStore(database, read_only=not append)


def hold(path: Path, advice: str = _BESIDE, about: str = "") -> IO[str]:
    """Hold a folder until the result is closed or the process ends; made (0700) where it does not exist. `advice` is
    for who finds it held, `about` says beside the process's number who holds it now.

    Raises DataFolderError when another process holds it, it is no folder, or cannot be written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = open(path / LOCK, "a+")  # noqa: SIM115 - held as long as the folder is
    except (FileExistsError, NotADirectoryError) as error:
        raise DataFolderError(f"{path} is not a folder. Give --data a folder.") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataFolderError(f"{path}: the disk is full. Free some space and start again.") from error
        raise DataFolderError(
            f"{path} cannot be written ({error.strerror}). Give this user write access, or another --data folder."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        raise DataFolderError(f"{path} is held by process {holder}. {advice}") from None
    try:
        handle.truncate(0)
        handle.write(f"{os.getpid()}{about}\n")
        handle.flush()
    except OSError as error:
        handle.close()
        raise DataFolderError(f"{path}: cannot write the lock ({error.strerror}). Free some space.") from error
    return handle
