"""What was done to a simulated world, kept in a file: one JSON line an action, on the disk before it is answered.

In: actions. Out: the same after a kill -9, so that the world can be made again and an idempotency key that was carried
out is answered as before. The first line says of which world and deployment it is, and when that world began.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from connectors.world import Action
from models.errors import ConfigError, DataFolderError

__all__ = ["ActionJournal", "read_head"]


def read_head(path: Path) -> dict[str, Any] | None:
    """The first line of a journal; None where there is none yet. Raises ConfigError where it is no journal."""
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    return _parse(path, line) if line.endswith(b"\n") else None


class ActionJournal:
    """A file of actions, in the order in which they were taken; held open until `close`.

    Raises ConfigError where the file is another world's (`head` differs) or no journal, DataFolderError where it cannot
    be written. A last line without its end is of an action that nobody was told of: it is cut off.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self._path = path
        known = read_head(path)
        if known is not None and known != head:
            raise ConfigError(
                f"it belongs to {json.dumps(known)}, not to {json.dumps(dict(head))}",
                file=str(path),
                advice="Simulate the same world on the same deployment, or name another --data folder.",
            )
        self._actions: dict[str, Action] = {}
        whole = 0
        if known is not None:
            lines = path.read_bytes().splitlines(keepends=True)
            for number, line in enumerate(lines):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                if number:
                    action = Action(**_parse(path, line, number + 1))
                    self._actions[action.key] = action
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = whole
        os.ftruncate(self._file, whole)
        if known is None:
            self._write(dict(head))

    @property
    def actions(self) -> list[Action]:
        """All, in their order."""
        return list(self._actions.values())

    def find(self, key: str) -> Action | None:
        """The action that was taken under this idempotency key."""
        return self._actions.get(key)

    def add(self, action: Action) -> None:
        """Keep it: on the disk when this returns. Raises DataFolderError."""
        self._write(action._asdict())
        self._actions[action.key] = action

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value, separators=(",", ":"), default=dict).encode() + b"\n"
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
            self._size += len(line)
        except OSError as error:
            os.ftruncate(self._file, self._size)  # the next line must not begin in the middle of this one
            raise DataFolderError(
                f"{self._path}: cannot be written ({error.strerror}). Free some space, or name another --data folder."
            ) from error


def _parse(path: Path, line: bytes, number: int = 1) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if isinstance(found, dict) and (number == 1 or found.keys() == set(Action._fields)):
            return found
    except ValueError:
        pass
    raise ConfigError(
        "no line of a simulator's journal",
        file=str(path),
        line=number,
        advice="Name another --data folder, or move the file away: the world begins anew.",
    )
