"""One source on its way from bytes to lines. In: a tail. Out: slices of decoded lines, and how complete they are."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.cursor import Cursor, fingerprint
from connectors.line_splitter import Block, LineSplitter
from connectors.tail import Found, Tail
from models.line import LineMemory, LineRules, Lines, control_ratio, decode_lines
from models.log import LATENESS_MS
from models.template import BUCKET_MS
from models.timestamp import Zone

__all__ = ["Feed", "Held", "Refusal", "Slice", "steady_newest"]

_JUMP_MS = 3_600_000
_PROBE_BYTES = 64 * 1024
_LEAST_PROBE_BYTES = 128
_BINARY_RATIO = 0.10
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd", b"PK\x03\x04")


class Refusal(NamedTuple):
    """A file that is not read, and why."""

    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A decoded block. `newest[i]`: the newest event time up to line i (see `steady_newest`); `reported` is the row
    whose time in the future is the first of its source (-1: none here). `steps[i]`: how far the cursor's offset is
    behind `place` after line i, where that is not counted in bytes.
    """

    lines: Lines
    newest: NDArray[np.int64]
    place: Cursor
    head: bytes
    reported: int
    steps: NDArray[np.int64] | None = None

    @property
    def places(self) -> NDArray[np.int64]:
        """How far the cursor's offset is behind `place` after each line."""
        return self.lines.ends if self.steps is None else self.steps

    def cursor(self, row: int) -> Cursor:
        """Where the source stands after the first `row` (1 or more) lines of this block."""
        offset = self.place.offset + int(self.places[row - 1])
        notes = self.place.notes + ("f" if 0 <= self.reported < row else "")
        return Cursor(
            self.place.generation,
            self.place.inode,
            offset,
            fingerprint(self.head, offset),
            int(self.lines.times[row - 1]),
            int(self.newest[row - 1]),
            notes,
        )


class Slice(NamedTuple):
    """Lines [start, stop) of a held block, taken from `feed`, which stood at `before`."""

    feed: Feed
    held: Held
    start: int
    stop: int
    before: Cursor


class Feed:
    """Reads one tail ahead and gives its lines away in order of the file.

    `covered` (ms): every line older than this was given away; it never falls. `ended`: nothing more will come.
    `counters` count lines, records and what was odd about them since the start of this process.
    """

    def __init__(self, tail: Tail, service: str, zone: Zone, resume: Cursor | None = None) -> None:
        self.tail, self.service = tail, service
        self.covered = 0
        self.ended = False
        self.stalled = False
        self.refusal: Refusal | None = None
        self.services: set[str] = set()
        self.counters: Counter[str] = Counter()
        self._zone = zone
        self._held: deque[Held] = deque()
        self._row = 0
        self._splitter = LineSplitter(tail.position)
        self._memory = LineMemory(last=-1 if resume is None else resume.last)
        self._read_newest = -1 if resume is None else resume.newest
        self._skew: int | None = None
        notes = "" if resume is None else resume.notes
        self._noted = "f" in notes
        self.cursor = self._place(tail.position)
        if "b" in notes and resume is not None and resume.inode == tail.inode:
            self.cursor = resume  # refused before, and reported then
            self.ended = True
            tail.close()

    @property
    def source_id(self) -> str:
        """Its name in the log."""
        return self.tail.source_id

    @property
    def holds(self) -> bool:
        """Lines were read that nobody took yet."""
        return bool(self._held)

    @property
    def frontier(self) -> int:
        """The newest time read (ms)."""
        return self._read_newest

    @property
    def next_time(self) -> int:
        """The newest time (ms) up to and with the next line held."""
        return int(self._held[0].newest[self._row])

    def fill(self, now: int, size: int) -> bool:
        """Read on; False where there is nothing to read now. Moves to a rotated file's successor."""
        if self.ended:
            return False
        at_start = self.tail.position == 0
        data = self.tail.read(size)
        if data:
            self.stalled = False
            self._skew = None
            if at_start and (refusal := _refuse(data)) is not None:
                self._refuse(refusal)
                return False
            self._hold(self._splitter.feed(data), now)
            return True
        found = self.tail.look()
        if found in (Found.SUCCESSOR, Found.TRUNCATED):
            self._move_on(found, now)
            return True
        self.stalled = found is Found.VANISHED
        if self.tail.over():
            self._hold(self._splitter.finish(), now)
            self.ended = True
            self.tail.close()
        return False

    def take(self, limit: int, most: int) -> Iterator[Slice]:
        """Give away lines up to the first newer than `limit` (ms), at most `most` of them."""
        while self._held and most > 0:
            held = self._held[0]
            stop = min(int(np.searchsorted(held.newest, limit, side="right")), self._row + most)
            if stop <= self._row:
                return
            yield Slice(self, held, self._row, stop, self.cursor)
            self.cursor = held.cursor(stop)
            most -= stop - self._row
            self._row = stop
            if stop == len(held.newest):
                self._held.popleft()
                self._row = 0

    def promise(self, limit: int, now: int | None) -> None:
        """Raise `covered` to what holds now that everything up to `limit` was taken. `now`: the clock, for a live
        source (no promise is ahead of it, whatever time a line claims); None where the input is all there is.
        """
        newest = self.cursor.newest
        if not self._held:
            newest = max(newest, self.cursor.last)
        if self._held:
            until = min(limit, max(newest, self.next_time)) - LATENESS_MS
        elif self.ended:
            until = (newest // BUCKET_MS + 1) * BUCKET_MS if newest >= 0 else 0
        elif now is None:
            until = newest - LATENESS_MS
        else:
            until = self._idle(newest, now)
        if now is not None and not self.ended:
            until = min(until, now - LATENESS_MS)
        self.covered = max(self.covered, until)

    def _idle(self, newest: int, now: int) -> int:
        """An idle live source covers the passing time, on its own clock: `newest` was written at the file's mtime."""
        if self.stalled:
            return self.covered
        if newest < 0:
            return now - LATENESS_MS
        if self._skew is None:
            self._skew = newest - (self.tail.modified_at or now)
        return now + self._skew - LATENESS_MS

    def location(self, cursor: Cursor) -> tuple[str, int, int]:  # noqa: ARG002 - for those that are in a log
        """Topic, partition and offset of what ends at `cursor`; ("", -1, -1) for what is in no log."""
        return "", -1, -1

    def hold_lines(self, data: bytes, offset: int, now: int, steps: NDArray[np.int64] | None = None) -> None:
        """Decode whole lines that begin at `offset`. `steps`: see Held."""
        place = self._place(offset)
        lines = decode_lines(data, LineRules(self.tail.modified_at or now, self._zone), self._memory)
        newest = steady_newest(lines.times, self._read_newest)
        reported = -1 if self._noted or not lines.future else lines.future[0]
        self._noted |= reported >= 0
        self._read_newest = int(newest[-1])
        self._held.append(Held(lines, newest, place, self.tail.head, reported, steps))
        self.counters.update(lines.counts)
        self.counters.update(lines.dropped.values())
        self.counters["lines"] += len(lines.messages)
        self.counters["records"] += len(lines.messages) - len(lines.dropped)
        self.counters["truncated"] += len(lines.truncated)

    def _hold(self, blocks: list[Block], now: int) -> None:
        for block in blocks:
            self.hold_lines(block.data, block.base, now)

    def _place(self, offset: int) -> Cursor:
        """Before the line at `offset`, after all that was read."""
        tail = self.tail
        mark = fingerprint(tail.head, offset) if offset > 0 else ""
        return Cursor(
            tail.generation, tail.inode, offset, mark, self._memory.last, self._read_newest, "f" if self._noted else ""
        )

    def _move_on(self, found: Found, now: int) -> None:
        before = self.tail.position
        rest = self._splitter.finish() if found is Found.SUCCESSOR else []
        self._hold(rest, now)
        self.tail.move_on()
        goes_on = self.tail.position == before and before > 0
        if not goes_on:
            self._hold(self._splitter.finish(), now)
            self._splitter = LineSplitter(self.tail.position)
        self.counters["rotated" if found is Found.SUCCESSOR else "restarted"] += 1

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.ended = True
        self.cursor = self.cursor._replace(notes=self.cursor.notes + "b", inode=self.tail.inode)
        self.tail.close()


def steady_newest(times: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    """The newest time (ms) up to each line, `before` being that of the lines before (-1: none).

    A leap of more than an hour counts only once the next line stays there: one line with a wrong date must not make all
    lines after it late.
    """
    if before < 0:
        before = int(times[:2].min())
    running = np.maximum.accumulate(np.maximum(times, before))
    previous = np.concatenate((np.array([before], dtype=np.int64), running[:-1]))
    leaps = times > previous + _JUMP_MS
    if not leaps.any():
        return running
    following = np.concatenate((times[1:], np.array([before], dtype=np.int64)))
    steady = np.where(leaps, np.minimum(times, following), times)
    return np.asarray(np.maximum.accumulate(np.maximum(steady, before)), dtype=np.int64)


def _refuse(data: bytes) -> Refusal | None:
    probe = data[:_PROBE_BYTES]
    if probe.startswith(_COMPRESSED):
        return Refusal(
            "binary_input", "compressed; unpack it, or pipe it in: zcat FILE | foreshock run --input -", probe
        )
    if probe.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Refusal("binary_input", "UTF-16; convert it: iconv -f UTF-16 -t UTF-8", probe)
    # a run of NULs is what a crashed machine leaves in a log of text: it proves nothing
    ratio = control_ratio(probe.replace(bytes(16), b""))
    if len(probe) >= _LEAST_PROBE_BYTES and ratio > _BINARY_RATIO:
        return Refusal("binary_input", f"{ratio:.0%} of its first bytes are no text", probe)
    return None
