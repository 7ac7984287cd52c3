"""What waits on disk while the broker is away. In: messages in order. Out: the same, in order, also after kill -9.

A folder of segments, each a row of records: length and CRC-32 (4 bytes each, little endian), then topic, key, partition
and time as JSON, a newline, the value. A segment goes when all of it was acknowledged. There is no fsync: what a power
cut takes is cut off as a torn end is, and files are read again from where the rest ends.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from connectors.ports import Outbound
from models.errors import DataFolderError

__all__ = ["SEGMENT_BYTES", "Spool", "Spooled"]

SEGMENT_BYTES: Final = 16 * 1024 * 1024
_HEAD = struct.Struct("<II")
_LARGEST: Final = 64 * 1024 * 1024
_SUFFIX: Final = ".spool"


class Spooled(NamedTuple):
    """A message of the spool, and the segment to release when it was acknowledged."""

    out: Outbound
    segment: int


class _Segment:
    """One file: records are appended at `size`, taken at `read`; `open` of them were taken and not released. The
    `needless` begin at these places.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self.size = self.read = self.open = 0
        self.needless: set[int] = set()
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def next(self) -> bytes:
        """The record at `read`, which moves on."""
        payload = _read(self.fd, self.read, self.size)
        if payload is None:
            raise DataFolderError(f"{self.path} was changed while in use. Start again: what is whole of it is kept.")
        self.read += _HEAD.size + len(payload)
        return payload

    def drop(self) -> None:
        """Close and delete it."""
        os.close(self.fd)
        self.path.unlink(missing_ok=True)


class Spool:
    """Holds at most `limit` bytes. `cut` counts bytes that were no whole records when it was opened, `refused` messages
    that the disk had no room for. Raises DataFolderError where the folder or a segment cannot be used.
    """

    def __init__(self, folder: Path, limit: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder, self._limit, self._segment_bytes = folder, limit, segment_bytes
        self.cut = self.refused = 0
        self._segments: deque[_Segment] = deque()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._recover()
        except OSError as error:
            self.close()
            raise DataFolderError(
                f"{error.filename or folder} cannot be used as the spool ({error.strerror}). Run as the user to whom "
                "it belongs, or move it away: what it holds is then not sent, only files are read again."
            ) from error

    @property
    def bytes(self) -> int:
        """What it takes of the disk."""
        return sum(segment.size for segment in tuple(self._segments))  # another thread may ask

    @property
    def empty(self) -> bool:
        """Nothing is left in it, neither to be taken nor to be released."""
        return not self._segments

    @property
    def untaken(self) -> bool:
        """There is something to take."""
        return any(segment.read < segment.size for segment in self._segments)

    @property
    def full(self) -> bool:
        """Its limit is reached."""
        return self.bytes >= self._limit

    def append(self, batch: Sequence[Outbound]) -> bool:
        """Keep all of them, or none: False where the disk is full."""
        begun = [(segment.number, segment.size) for segment in self._segments][-1:]
        try:
            for out in batch:
                self._write(out)
        except OSError:
            self._undo(begun[0] if begun else (-1, 0))
            self.refused += len(batch)
            return False
        return True

    def take(self) -> Spooled | None:
        """The oldest message not taken yet."""
        self._skip()
        for segment in self._segments:
            if segment.read < segment.size:
                payload = segment.next()
                segment.open += 1
                return Spooled(_decode(payload), segment.number)
        return None

    def release(self, number: int) -> None:
        """A message of this segment was acknowledged."""
        for segment in self._segments:
            if segment.number == number:
                segment.open -= 1
        self._skip()

    def leave_out(self, needless: Callable[[Outbound], bool]) -> int:
        """Ask of everything in it, oldest first, if it need not be sent, before any is taken; how many need not."""
        left_out = 0
        for segment in self._segments:
            at = 0
            while (payload := _read(segment.fd, at, segment.size)) is not None:
                if needless(_decode(payload)):
                    segment.needless.add(at)
                at += _HEAD.size + len(payload)
            left_out += len(segment.needless)
        self._skip()
        return left_out

    def close(self) -> None:
        """Let go of the files; what is in them stays."""
        for segment in self._segments:
            os.close(segment.fd)
        self._segments.clear()

    def _write(self, out: Outbound) -> None:
        last = self._segments[-1] if self._segments else None
        if last is None or last.size >= self._segment_bytes:
            number = last.number + 1 if last is not None else 1
            last = _Segment(self._folder / f"{number:010d}{_SUFFIX}", number)
            self._segments.append(last)
        _append(last, out)

    def _skip(self) -> None:
        """Pass over what need not be sent, and let go of segments that are done with."""
        for segment in self._segments:
            while segment.read in segment.needless:
                segment.needless.discard(segment.read)
                segment.next()
            if segment.read < segment.size:
                break
        while self._segments and self._segments[0].open == 0 and self._segments[0].read == self._segments[0].size:
            self._segments.popleft().drop()

    def _undo(self, begun: tuple[int, int]) -> None:
        number, size = begun
        while self._segments and self._segments[-1].number > number:
            self._segments.pop().drop()
        if self._segments:
            self._segments[-1].size = size
            os.ftruncate(self._segments[-1].fd, size)

    def _recover(self) -> None:
        """Read every record; behind the first that is not whole, nothing is in order any more, so all of it goes."""
        torn = False
        before = None
        for path in sorted(self._folder.glob(f"{'[0-9]' * 10}{_SUFFIX}")):
            segment = _Segment(path, int(path.stem))
            length = os.fstat(segment.fd).st_size
            torn = torn or (before is not None and segment.number != before + 1)
            before = segment.number
            while not torn and (payload := _read(segment.fd, segment.size, length)) is not None:
                segment.size += _HEAD.size + len(payload)
            self.cut += length - segment.size
            torn = torn or segment.size < length
            if segment.size == 0:
                segment.drop()
                continue
            os.ftruncate(segment.fd, segment.size)
            self._segments.append(segment)


def _append(segment: _Segment, out: Outbound) -> None:
    """Raises OSError; what was written of the record then is not counted in `size`, and so not part of the segment."""
    payload = orjson.dumps([out.topic, out.key, out.partition, out.at]) + b"\n" + out.value
    record = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
    done = 0
    while done < len(record):
        done += os.pwrite(segment.fd, record[done:], segment.size + done)
    segment.size += len(record)


def _read(fd: int, at: int, end: int) -> bytes | None:
    """The record at `at`; None where there is no whole one before `end`."""
    head = os.pread(fd, _HEAD.size, at)
    if len(head) < _HEAD.size:
        return None
    length, crc = _HEAD.unpack(head)
    if length > _LARGEST or at + _HEAD.size + length > end:
        return None
    payload = os.pread(fd, length, at + _HEAD.size)
    return payload if len(payload) == length and zlib.crc32(payload) == crc else None


def _decode(payload: bytes) -> Outbound:
    head, value = payload.split(b"\n", 1)
    topic, key, partition, at = orjson.loads(head)
    return Outbound(topic, key, value, partition, at)
