"""Everything detection keeps of one service, and its bytes.

Out: `dump` writes a JSON header and the raw buffers of the arrays, little-endian, versioned; `load` reads them back to
a state that behaves the same in every later turn. Sums and predictions are not written: they follow from the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.baseline import Baselines, Ints
from models.errors import DataFolderError, UpgradeError
from models.generations import Generations
from models.habit import Habits
from models.open_anomaly import OpenAnomaly
from models.series import ERRORS, Series
from models.silence import Gap
from models.verdict import Limits, TailEpisodes, limits_of
from models.window import BUCKETS_A_MINUTE, BucketRing, MinuteRing, learning_delay

__all__ = ["OpenBucket", "Recent", "ServiceState", "Unborn"]

_MAGIC: Final = b"FSDT"
_VERSION: Final = 3
_READABLE: Final = (1, 2, 3)  # 1 knew no generations; up to 2, a minute was learnt from at its end


@dataclass(slots=True)
class Unborn:
    """A template that no closed bucket has shown yet: slots are given when a bucket closes."""

    text: str
    failing: bool


@dataclass(slots=True)
class OpenBucket:
    """A bucket that has not closed: lines and worst severity of known series by slot, of unborn templates by id.

    `room`, where known: the counts up to which nothing in the open window that ends here can be told early, by slot.
    Only to be fast: it is not kept.
    """

    counts: Ints
    severity: NDArray[np.int8]
    fresh: dict[str, list[int]] = field(default_factory=dict)
    room: NDArray[np.float64] | None = None

    @classmethod
    def empty(cls, capacity: int) -> OpenBucket:
        """Without a line."""
        return cls(np.zeros(capacity, np.int32), np.zeros(capacity, np.int8))

    def count(self, name: str, lines: int, severity: int) -> None:
        """Count lines of an unborn template."""
        kept = self.fresh.setdefault(name, [0, 0])
        kept[0], kept[1] = kept[0] + lines, max(kept[1], severity)


@dataclass(slots=True)
class Recent:
    """An anomaly cleared within 15 minutes: on which series, with which bucket, and whether it was an alarm."""

    slot: int
    cleared: int
    alarm: bool


class ServiceState:
    """One service: its series with rings and baselines, its open buckets, its anomalies.

    `next_bucket` is the oldest bucket not closed (-1: nothing seen yet); `first_minute` the first that may be learnt
    whole; `next_lesson` the first minute whose end may bring learning; `lost` counts lines not taken, by reason.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.delay = learning_delay(service)
        self.series = Series()
        self.base = Baselines(self.series.capacity)
        self.ring = BucketRing(self.series.capacity)
        self.minutes = MinuteRing(self.series.capacity)
        self.gap = Gap()
        self.tail = TailEpisodes()
        self.habits = Habits()
        self.limits: Limits = limits_of(1, 0, 1.0, 0.0)
        self.generations = Generations()
        self.pending: dict[int, OpenBucket] = {}
        self.unborn: dict[str, Unborn] = {}
        self.next_bucket = -1
        self.first_minute = 0
        self.next_lesson = 0
        self.partition = 0
        self.early: dict[str, OpenAnomaly] = {}
        self.open: dict[str, OpenAnomaly] = {}
        self.recent: dict[str, Recent] = {}
        self.stalls: dict[str, OpenAnomaly] = {}
        self.lost: dict[str, int] = {}

    def start(self, bucket: int) -> None:
        """The service is first seen in this bucket; what is learnt begins with a whole minute."""
        self.next_bucket = bucket
        self.first_minute = -(-bucket // BUCKETS_A_MINUTE)

    def lesson_at(self, bucket: int) -> int | None:
        """The minute whose end, `delay` buckets ago, brings learning when this bucket closes; mostly None."""
        minute, place = divmod(bucket - self.delay, BUCKETS_A_MINUTE)
        return minute if place == BUCKETS_A_MINUTE - 1 and minute >= self.next_lesson else None

    @property
    def lessons_until(self) -> int:
        """The first minute whose end has not brought learning yet."""
        return max(self.next_lesson, (self.next_bucket - self.delay) // BUCKETS_A_MINUTE)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` series everywhere."""
        more = capacity - self.series.capacity
        if more <= 0:
            return
        for part in (self.series, self.base, self.ring, self.minutes):
            part.grow(capacity)
        for bucket in self.pending.values():
            bucket.counts = np.concatenate([bucket.counts, np.zeros(more, np.int32)])
            bucket.severity = np.concatenate([bucket.severity, np.zeros(more, np.int8)])
            bucket.room = None

    def place(self, slot: int, series_id: str, seen: Unborn, minute: int, new: bool) -> None:
        """Give `slot` to a template first seen in `minute`, with what open buckets have counted of it."""
        self.series.place(slot, series_id, seen.text, seen.failing, minute, new)
        self.base.reset(slice(slot, slot + 1))
        self.ring.reset(slot)
        self.minutes.reset(slot)
        for bucket in self.pending.values():
            bucket.counts[slot], bucket.severity[slot] = bucket.fresh.pop(series_id, (0, 0))

    def opened(self, bucket: int) -> OpenBucket:
        """The open bucket that is to get lines. What is known of the room of later ones is forgotten: it shrinks."""
        for at, other in self.pending.items():
            if at > bucket:
                other.room = None
        found = self.pending.get(bucket)
        if found is None:
            found = self.pending[bucket] = OpenBucket.empty(self.series.capacity)
        return found

    def forget_rooms(self) -> None:
        """Time went on, or slots changed: what can be told early is to be looked at anew."""
        for opened in self.pending.values():
            opened.room = None

    def lose(self, reason: str, lines: int) -> None:
        """Count lines not taken."""
        if lines:
            self.lost[reason] = self.lost.get(reason, 0) + lines

    def predict(self) -> None:
        """Predict the next minute of all series. The total of errors is shown, never judged."""
        self.base.predict(self.series.used)
        self.base.guard[ERRORS] = self.base.pair_guard[ERRORS] = np.inf

    def dump(self) -> bytes:
        """The state as bytes."""
        buffers = [(name, np.ascontiguousarray(values)) for name, values in self._arrays()]
        header = self._header() | {"arrays": [[name, a.dtype.str, list(a.shape)] for name, a in buffers]}
        text = json.dumps(header, separators=(",", ":")).encode()
        head = _MAGIC + bytes([_VERSION]) + len(text).to_bytes(4, "little")
        return b"".join([head, text, *(values.tobytes() for _, values in buffers)])

    @classmethod
    def load(cls, raw: bytes, share: Callable[[str], str] = str) -> ServiceState:
        """The state those bytes hold. `share` gives the one copy of a template's id or text that all services hold.
        Raises UpgradeError for bytes of a later version, DataFolderError for what no
        version of this program has written.
        """
        if raw[:4] == _MAGIC and raw[4] > _VERSION:
            raise UpgradeError(f"a service's saved state is of version {raw[4]}; this program reads up to {_VERSION}")
        if raw[:4] != _MAGIC or raw[4] not in _READABLE:
            raise DataFolderError(
                f"A service's detection state is of version {raw[4:5]!r}; this program reads up to {_VERSION}. "
                "Use the program that wrote it, or start with a new data folder."
            )
        size = int.from_bytes(raw[5:9], "little")
        header = json.loads(raw[9 : 9 + size])
        arrays, at = {}, 9 + size
        for name, dtype, shape in header["arrays"]:
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(raw, np.dtype(dtype), count, at).reshape(shape)
            at += arrays[name].nbytes
        state = cls(header["service"])
        state._read_header(header, share)
        state._read_arrays(arrays)
        if "generations" in header:
            state.generations = Generations.load(header["generations"], arrays)
        state.predict()
        return state

    def _arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        used = self.series.used
        for name in Series.ARRAYS:
            yield f"series.{name}", getattr(self.series, name)[:used]
        for name in Series.POINTER_ARRAYS:
            yield f"series.{name}", getattr(self.series, name)[:, :used].T
        for name in Baselines.LEARNT:
            yield f"base.{name}", getattr(self.base, name)[:used]
        yield "ring", self.ring.counts[:, :used]
        yield "minutes.counts", self.minutes.counts[:, :used]
        yield "minutes.low", self.minutes.low[:, :used]
        for bucket in sorted(self.pending):
            yield f"pending.{bucket}", self.pending[bucket].counts[:used]
            yield f"pending.{bucket}.severity", self.pending[bucket].severity[:used]
        yield from self.generations.arrays()

    def _read_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        used = self.series.used
        for name in Series.ARRAYS:
            getattr(self.series, name)[:used] = arrays[f"series.{name}"]
        for name in Series.POINTER_ARRAYS:
            getattr(self.series, name)[:, :used] = arrays[f"series.{name}"].T
        for name in Baselines.LEARNT:
            getattr(self.base, name)[:used] = arrays[f"base.{name}"]
        self.ring.counts[:, :used] = arrays["ring"]
        self.ring.pair[:] = self.ring.counts.sum(axis=0)
        last = self.next_bucket - 1
        self.ring.minute[:] = self.ring.recent(range(last - BUCKETS_A_MINUTE + 1, last + 1))
        self.minutes.counts[:, :used] = arrays["minutes.counts"]
        self.minutes.low[:, :used] = arrays["minutes.low"]
        for bucket, opened in self.pending.items():
            opened.counts[:used] = arrays[f"pending.{bucket}"]
            opened.severity[:used] = arrays[f"pending.{bucket}.severity"]

    def _header(self) -> dict[str, Any]:
        gap, tail = self.gap, self.tail
        return {
            "service": self.service,
            "ids": self.series.ids,
            "texts": self.series.texts,
            "gap": [gap.since, gap.mass, gap.longest, gap.longest_at],
            "tail": [tail.since, tail.day, tail.limit, list(tail.running.items()), tail.finished],
            "habits": {name: list(peaks) for name, peaks in self.habits.peaks.items()},
            "limits": list(self.limits),
            "pending": [[bucket, self.pending[bucket].fresh] for bucket in sorted(self.pending)],
            "unborn": {name: [t.text, t.failing] for name, t in self.unborn.items()},
            "at": [self.next_bucket, self.first_minute, self.partition, self.next_lesson],
            "early": {name: kept.dump() for name, kept in self.early.items()},
            "open": {name: kept.dump() for name, kept in self.open.items()},
            "recent": {name: [kept.slot, kept.cleared, kept.alarm] for name, kept in self.recent.items()},
            "stalls": {name: kept.dump() for name, kept in self.stalls.items()},
            "lost": self.lost,
            "generations": self.generations.dump(),
        }

    def _read_header(self, header: dict[str, Any], share: Callable[[str], str]) -> None:
        series = self.series
        series.ids, series.texts = list(map(share, header["ids"])), list(map(share, header["texts"]))
        series.slot_of = {series_id: slot for slot, series_id in enumerate(series.ids)}
        self.grow(series.room_for(0))
        self.gap = Gap(*header["gap"])
        since, day, limit, running, finished = header["tail"]
        self.tail = TailEpisodes(since)
        self.tail.day, self.tail.limit = day, limit
        self.tail.running, self.tail.finished = dict(running), [(at, over) for at, over in finished]
        self.habits.peaks = {name: [(at, excess) for at, excess in peaks] for name, peaks in header["habits"].items()}
        self.limits = Limits(*header["limits"])
        for bucket, fresh in header["pending"]:
            self.pending[bucket] = OpenBucket.empty(series.capacity)
            self.pending[bucket].fresh = fresh
        self.unborn = {name: Unborn(*raw) for name, raw in header["unborn"].items()}
        self.next_bucket, self.first_minute, self.partition, *later = header["at"]
        self.next_lesson = later[0] if later else self.next_bucket // BUCKETS_A_MINUTE
        for target, name in ((self.early, "early"), (self.open, "open"), (self.stalls, "stalls")):
            target.update({key: OpenAnomaly.load(raw) for key, raw in header[name].items()})
        self.recent = {name: Recent(*raw) for name, raw in header["recent"].items()}
        self.lost = header["lost"]
