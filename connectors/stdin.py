"""Standard input, or any pipe. In: a file descriptor. Out: its bytes as they come; nothing can be read twice."""

from __future__ import annotations

import os
import select
import time

from connectors.cursor import HEAD_BYTES, Cursor
from connectors.tail import Found

__all__ = ["STDIN", "PipeTail"]

STDIN = "stdin"
"""Standard input's source id."""


class PipeTail:
    """The read end of a pipe (or a file given as standard input). A restart goes on with what comes then: its cursor
    says how much came before, no more.
    """

    inode = 0

    def __init__(self, fd: int = 0, *, source_id: str = STDIN, resume: Cursor | None = None) -> None:
        self.source_id = source_id
        self.position = 0
        self.generation = 0 if resume is None else resume.generation + 1
        self.head = b""
        self._fd = fd
        self._over = False
        self.modified_at = 0

    def read(self, size: int) -> bytes:
        """What is there, without waiting."""
        if self._over or not select.select([self._fd], [], [], 0)[0]:
            return b""
        data = os.read(self._fd, size)
        self._over = not data
        self.modified_at = time.time_ns() // 1_000_000
        self.position += len(data)
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + data)[:HEAD_BYTES]
        return data

    def look(self) -> Found:
        """Nothing follows a pipe."""
        return Found.NOTHING

    def move_on(self) -> None:
        """There is nowhere to go."""

    def over(self) -> bool:
        """The other end was closed."""
        return self._over

    def close(self) -> None:
        """Standard input is not ours to close."""
