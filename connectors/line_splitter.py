"""From bytes as they arrive to blocks of whole lines. In: pieces of any size. Out: `Block`s, each byte's place known.

Memory is bounded: of a line longer than MAX_LINE_BYTES only the head is kept until its newline comes.
"""

from __future__ import annotations

from typing import NamedTuple

from models.log import MAX_MESSAGE_BYTES

__all__ = ["MAX_LINE_BYTES", "Block", "LineSplitter"]

MAX_LINE_BYTES = 1 << 20
_HEAD_BYTES = 2 * MAX_MESSAGE_BYTES
"""Kept of a line that is too long: a message at its limit and the timestamp before it."""


class Block(NamedTuple):
    """Whole lines, each ended by a newline. The line whose newline is `data[i]` ends at offset `base + i + 1`."""

    data: bytes
    base: int


class LineSplitter:
    """Splits one source's bytes, from `offset` on. What has no newline yet is kept, and is not a line."""

    def __init__(self, offset: int) -> None:
        self._offset = offset  # of the first byte kept
        self._rest = b""
        self._skipped = 0

    @property
    def pending(self) -> int:
        """Bytes read that are no line yet."""
        return len(self._rest) + self._skipped

    def feed(self, data: bytes) -> list[Block]:
        """The lines that `data` completes: one block, or two where the first line was too long to be kept whole."""
        blocks = []
        if self._skipped:
            end = data.find(b"\n") + 1
            if not end:
                self._skipped += len(data)
                return []
            blocks.append(self._close(end))
            data = data[end:]
        end = data.rfind(b"\n") + 1
        if end:
            whole = self._rest + data[:end]
            blocks.append(Block(whole, self._offset))
            self._offset += len(whole)
            self._rest = data[end:]
        else:
            self._rest += data
        if len(self._rest) > MAX_LINE_BYTES:
            self._skipped = len(self._rest) - _HEAD_BYTES
            self._rest = self._rest[:_HEAD_BYTES]
        return blocks

    def finish(self) -> list[Block]:
        """The input is over: what is left is a line, though no newline ends it."""
        return [self._close(0)] if self.pending else []

    def _close(self, more: int) -> Block:
        """The kept head as a line, `more` bytes after those seen so far; its block ends where the line ends."""
        self._offset += self.pending + more
        block = Block(self._rest.removesuffix(b"\n") + b"\n", 0)
        self._rest, self._skipped = b"", 0
        return block._replace(base=self._offset - len(block.data))
