"""The port of everything that gives bytes in order: a followed file, a pipe."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

__all__ = ["Found", "Tail"]


class Found(Enum):
    """What a tail finds where it has no more bytes: nothing, a successor, a file begun anew, or no file."""

    NOTHING = "nothing"
    SUCCESSOR = "successor"
    TRUNCATED = "truncated"
    VANISHED = "vanished"


class Tail(Protocol):
    """A source of bytes. Never waits."""

    @property
    def source_id(self) -> str:
        """Its name in the log."""
        ...

    @property
    def position(self) -> int:
        """Offset (bytes) of the next byte in the present file."""
        ...

    @property
    def generation(self) -> int:
        """How many files were gone through before this one."""
        ...

    @property
    def inode(self) -> int:
        """The present file's inode; 0 where there is none."""
        ...

    @property
    def head(self) -> bytes:
        """The present file's first bytes, at least as many as were read, at most 256."""
        ...

    @property
    def modified_at(self) -> int:
        """When the bytes read last were written, at the latest (ms); 0 where nobody knows."""
        ...

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty where there are none now."""
        ...

    def look(self) -> Found:
        """Why there are no more bytes. Changes nothing."""
        ...

    def move_on(self) -> None:
        """Go to the successor, or to the beginning of the file begun anew."""
        ...

    def over(self) -> bool:
        """Nothing more can ever come."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
