"""Everything that `--input` names, as one source. In: files and pipes. Out: LogBatches and dead letters, in event time.

Several files are merged by event time, so that no service's line is late because another file was read first. What a
poll returns is to be appended in one transaction: the log is the only checkpoint.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from connectors.batcher import Batcher
from connectors.codec import encode
from connectors.feed import Feed, Slice
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from connectors.progress import Progress
from models.audit import DeadLetter
from models.event import Event, digest
from models.log import HEARTBEAT_MS, MAX_BATCH_BYTES, MAX_BATCH_LINES, MAX_BATCH_MS

__all__ = ["Changes", "InputOptions", "LineSource", "Watch"]

_LEAST_POLL_BATCHES = 4
_FILLED = 0.75
"""How full the batches of all partitions are at most when they go out: some get more lines than others, and a full
batch with one of 200 lines after it costs detect as much as two full ones.
"""
_READ_BYTES = 512 * 1024
_READ_AHEAD_BYTES = 16 * 1024 * 1024
"""Bytes read at once from one source, and the aim for all of them together."""
_LEAST_READ_BYTES = 16 * 1024
_RAW_BYTES = 4 * 1024
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How input becomes batches. `once`: read to the end, in the input's own time, and end; else follow, by the clock.

    `span_ms`: a poll returns at most this much event time, so that virtual time moves in steps no longer than that, and
    a live source that catches up never gives lines far beyond what it has promised. `run`, `region`: as in the
    envelope. `given`: what each partition has already, where appending a poll is not one transaction: a source is read
    on from where the partition furthest behind stands, and what the others have is left out. `look_seconds`: how
    often it is looked whether new files match a pattern; `tell` hears of such files, in whole sentences. `recall` is
    called with a source's name before it is opened: `given` must know it afterwards.
    """

    partitions: int = 1
    once: bool = False
    span_ms: int = 60_000
    run: str = ""
    region: str = ""
    given: Progress | None = None
    origin: str = ""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    look_seconds: float = 2.0
    tell: Callable[[str], None] = lambda _: None
    recall: Callable[[str], None] = lambda _: None


class Changes(NamedTuple):
    """Feeds that have come, and those of before that nothing will come of any more."""

    new: Sequence[Feed] = ()
    gone: Sequence[Feed] = ()


class Watch(Protocol):
    """The port of what finds more to read, while reading."""

    def look(self, feeds: Sequence[Feed]) -> Changes:
        """What has changed since the last look, `feeds` being read now."""
        ...


class LineSource:
    """Merges feeds into batches: the port `Source`. `watch`: asked at every poll what else is to be read; while there
    is one, the input does not end.
    """

    def __init__(self, feeds: Sequence[Feed], options: InputOptions, watch: Watch | None = None) -> None:
        self._feeds = tuple(feeds)
        self._watch = watch
        self._left: Counter[str] = Counter()
        self._options = options
        self._most_lines = int(_FILLED * (options.partitions - 1) * MAX_BATCH_LINES) + MAX_BATCH_LINES
        self._most_bytes = int(_FILLED * (options.partitions - 1) * MAX_BATCH_BYTES) + MAX_BATCH_BYTES
        self._poll_lines = max(options.partitions, _LEAST_POLL_BATCHES) * MAX_BATCH_LINES
        self._batcher = Batcher(
            options.partitions, live=not options.once, run=options.run, region=options.region, given=options.given
        )
        if options.once:  # virtual time goes on where the sources stopped
            self._batcher.clock = max((0, *(feed.cursor.newest for feed in feeds)))
        self._pending: list[Slice] = []
        self._lines = self._bytes = 0
        self._since: int | None = None
        self._limit = -1
        self._mentioned: int | None = None
        self._reported: set[str] = set()
        self._now = 0
        self._reading = True
        self._cursors = {feed.source_id: str(feed.cursor) for feed in self._feeds}
        self.ended = False

    @property
    def counters(self) -> Counter[str]:
        """Since the start of this process: lines, records, blank, binary, truncated, untimed, future, invalid_utf8,
        json, rotated, restarted, refused.
        """
        total = self._left.copy()
        for feed in self._feeds:
            total.update(feed.counters)
        return total

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The sources, to show how each is doing."""
        return self._feeds

    @property
    def cursors(self) -> Mapping[str, str]:
        """How far each source is with what was polled; lines that wait for their batch to fill are not yet."""
        return self._cursors

    def poll(self, now: int) -> Sequence[Outbound]:
        """What is new, once it would fill a batch a partition or has waited MAX_BATCH_MS; heartbeats each second. With
        `once`, `now` is not looked at.
        """
        if self.ended:
            return ()
        self._now = max(self._now, now)
        if self._watch is not None and not self._pending:
            self._change(self._watch.look(self._feeds))
        self._gather()
        over = self._watch is None and not any(feed.holds or not feed.ended for feed in self._feeds)
        if self._due() or over:
            return self._flush(over)
        return ()

    def finish(self, now: int) -> Sequence[Outbound]:
        """Read no more, and give what was read: a pipe's lines cannot be read again."""
        self._now, self._reading = max(self._now, now), False
        given: list[Outbound] = []
        while self._pending or any(feed.holds for feed in self._feeds):
            self._gather()
            given += self._flush(False)
        return given

    def close(self) -> None:
        """Close every file."""
        for feed in self._feeds:
            feed.tail.close()

    # -- reading -------------------------------------------------------------------------------------------------------

    def _change(self, changes: Changes) -> None:
        for feed in changes.gone:
            self._left.update(feed.counters)
            self._reported.discard(feed.source_id)
            feed.tail.close()
        if changes.new or changes.gone:
            self._feeds = (*(feed for feed in self._feeds if feed not in changes.gone), *changes.new)

    def _gather(self) -> None:
        """Take lines in event time until a poll's worth is there, or no source has more."""
        span = _FOREVER
        size = max(min(_READ_BYTES, _READ_AHEAD_BYTES // max(len(self._feeds), 1)), _LEAST_READ_BYTES)
        while self._lines < self._poll_lines:
            open_feeds = []
            for feed in self._feeds:
                more = True
                while self._reading and not feed.holds and more:
                    more = feed.fill(self._now, size)
                if more:
                    open_feeds.append(feed)
            holding = [feed for feed in self._feeds if feed.holds]
            if not holding:
                self._limit = _FOREVER
                return
            if span == _FOREVER:
                step = self._options.span_ms
                span = (min(feed.next_time for feed in holding) // step + 1) * step - 1
            self._limit = min((feed.frontier for feed in open_feeds if feed.holds), default=_FOREVER)
            self._limit = min(self._limit, span)
            if not sum(self._take(feed, self._limit) for feed in holding):
                return

    def _take(self, feed: Feed, limit: int) -> int:
        before = self._lines
        for piece in feed.take(limit, self._poll_lines - self._lines):
            self._pending.append(piece)
            self._lines += piece.stop - piece.start
            ends = piece.held.lines.ends
            self._bytes += int(ends[piece.stop - 1]) - (int(ends[piece.start - 1]) if piece.start else 0)
        if self._since is None and self._pending:
            self._since = self._now
        return self._lines - before

    def _due(self) -> bool:
        if self._options.once:
            return bool(self._pending) or self._refused()
        if self._pending and any(feed.holds for feed in self._feeds):
            return True  # catching up: what was promised must keep pace with what is given
        # A batch a partition. Sent at a batch in all, those of 1,000 services at 100,000 lines a second would come
        # as 400 batches of 250 lines a second, and cost detect seven times as many turns.
        full = self._lines >= self._most_lines or self._bytes >= self._most_bytes
        waited = self._since is not None and self._now - self._since >= MAX_BATCH_MS
        return full or waited or self._refused() or self._mention_due()

    def _refused(self) -> bool:
        return any(feed.refusal is not None and feed.source_id not in self._reported for feed in self._feeds)

    def _mention_due(self) -> bool:
        return self._mentioned is None or self._clock() - self._mentioned >= HEARTBEAT_MS

    # -- giving --------------------------------------------------------------------------------------------------------

    def _flush(self, over: bool) -> Sequence[Outbound]:
        letters: list[Outbound] = []
        if not self._options.once:
            self._batcher.clock = max(self._batcher.clock, self._now)
        for piece in self._pending:
            self._batcher.add(piece)
            letters += self._letters_of(piece)
        self._pending, self._lines, self._bytes, self._since = [], 0, 0, None
        self._promise(over)
        for feed in self._feeds:
            if feed.refusal is not None and feed.source_id not in self._reported:
                self._reported.add(feed.source_id)
                letters.append(self._letter(feed, feed.refusal.reason, feed.refusal.detail, feed.refusal.raw))
                feed.counters["refused"] += 1
                self._batcher.mention([feed], range(self._options.partitions))
        if over or self._mention_due():
            self._mentioned = self._clock()
            heard = [feed for feed in self._feeds if feed.refusal is None and (feed.covered or feed.cursor.offset)]
            self._batcher.mention(heard, range(self._options.partitions) if heard else ())
        self._cursors = {feed.source_id: str(feed.cursor) for feed in self._feeds}
        self.ended = over
        return [*self._batcher.flush(), *letters]

    def _clock(self) -> int:
        return self._batcher.clock if self._options.once else self._now

    def _promise(self, over: bool) -> None:
        now = None if self._options.once else self._now
        for feed in self._feeds:
            feed.promise(self._limit, now)
        if len(self._feeds) > 1:
            self._release(over)

    def _release(self, over: bool) -> None:
        """A source that ended does not hold back others that give lines of the same services: it covers what they do.

        It does not say more than that: the end of a file is no proof that its service went silent.
        """
        ended = [feed for feed in self._feeds if feed.ended and not feed.holds]
        others = self._feeds if over else [feed for feed in self._feeds if not feed.ended or feed.holds]
        for feed in ended:
            shared = [other.covered for other in others if other.services & feed.services]
            if shared:
                feed.covered = max(feed.covered, max(shared) if over else min(shared))

    def _letters_of(self, piece: Slice) -> list[Outbound]:
        held, letters = piece.held, []
        lines, first = held.lines, self._first_unreported(piece)
        if first <= held.reported < piece.stop:
            detail = (
                "a line's time is more than an hour ahead of when it was written; it and others like it get the time "
                "of writing. Check the host's clock, or give the log's zone"
            )
            letters.append(
                self._letter(
                    piece.feed, "future_timestamp", detail, lines.messages[held.reported], held.reported, piece
                )
            )
        binary = [row for row, why in sorted(lines.dropped.items()) if why == "binary" and first <= row < piece.stop]
        detail = f"{len(binary)} lines of bytes that are no text, the first of them here; they were left out"
        located = piece.feed.location(piece.before)[0] != ""  # what is in a log is found again, each by itself
        for row in binary if located else binary[:1]:
            letters.append(self._letter(piece.feed, "binary_line", detail, lines.messages[row], row, piece))
        return letters

    def _first_unreported(self, piece: Slice) -> int:
        """The row behind those that some partition has: letters are sent before the batches of their poll."""
        mark = None if self._options.given is None else self._options.given.newest(piece.feed.source_id)
        place = piece.held.place
        if mark is None or place.generation > mark.cursor.generation:
            return piece.start
        if place.generation < mark.cursor.generation:
            return piece.stop
        behind = int(np.searchsorted(piece.held.places, mark.cursor.offset - place.offset, side="right"))
        return max(piece.start, behind)

    def _letter(
        self, feed: Feed, reason: str, detail: str, raw: bytes, row: int = -1, piece: Slice | None = None
    ) -> Outbound:
        cursor = feed.cursor if piece is None else piece.held.cursor(row) if row else piece.before
        topic, partition, offset = feed.location(piece.held.cursor(row + 1)) if piece is not None else ("", -1, -1)
        letter = DeadLetter(
            reason=reason,
            detail=detail,
            topic=topic,
            partition=partition,
            offset=offset,
            source_id=feed.source_id,
            cursor=str(cursor),
            raw=base64.b64encode(raw[:_RAW_BYTES]).decode(),
        )
        at = self._batcher.clock
        event = Event(
            id=digest("dead-letters", feed.source_id, reason, letter.cursor),
            at=at,
            key=feed.source_id,
            data=letter,
            run=self._options.run,
            region=self._options.region,
        )
        return Outbound("dead-letters", event.key, encode(event), None, at)
