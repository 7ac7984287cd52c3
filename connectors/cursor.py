"""Where a source was read to, as the opaque text that stands in a SourceRange: a source's only checkpoint is the log.

Besides the place it holds what the lines before leave for those after: the last line's time and the newest, so that a
restart reads on as if it had never stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from models.event import digest
from models.log import SourceRange

__all__ = ["HEAD_BYTES", "Cursor", "fingerprint", "newest_cursors"]

HEAD_BYTES = 256
"""Of a file's first bytes, what its fingerprint is taken of."""
_FIELDS = 7


def fingerprint(head: bytes, offset: int) -> str:
    """The digest of a file's first bytes, as far as they were read: "" at its beginning."""
    size = min(offset, HEAD_BYTES)
    return digest(head[:size], size=6) if size else ""


class Cursor(NamedTuple):
    """A place between two lines. `generation` counts the files a source has gone through (rotation, truncation), so
    cursors of one source are ordered by (generation, offset). `fingerprint` is of the file's first bytes, at most up
    to `offset`. `last`, `newest`: event times (ms, -1 before any). `notes`: `f` a time in the future was reported, `b`
    the file was refused as binary.
    """

    generation: int = 0
    inode: int = 0
    offset: int = 0
    fingerprint: str = ""
    last: int = -1
    newest: int = -1
    notes: str = ""

    def __str__(self) -> str:
        return ":".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor back. Raises ValueError for text that is none."""
        parts = text.split(":")
        if len(parts) != _FIELDS:
            raise ValueError(f"no cursor: {text[:100]!r}")
        generation, inode, offset, fingerprint, last, newest, notes = parts
        return cls(int(generation), int(inode), int(offset), fingerprint, int(last), int(newest), notes)


def newest_cursors(ranges: Iterable[SourceRange]) -> dict[str, str]:
    """The furthest cursor of each source among ranges in any order (of all partitions of `logs`): where to resume.

    Ranges of sources with cursors of another kind are passed over.
    """
    found: dict[str, tuple[int, int, str]] = {}
    for item in ranges:
        with contextlib.suppress(ValueError):
            cursor = Cursor.parse(item.cursor_to)
            place = (cursor.generation, cursor.offset, item.cursor_to)
            if item.source_id not in found or place[:2] >= found[item.source_id][:2]:
                found[item.source_id] = place
    return {source_id: place[2] for source_id, place in found.items()}
