"""Windows over event time: the last closed 10 s buckets of all series of a service, summed over 60 s and 120 s.

In: one closed bucket's counts after another. Out: sliding sums (exact: whole numbers), the last fifteen tumbling
minutes, and the last six buckets of a series.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.baseline import Ints
from models.count_tail import Floats

__all__ = ["BUCKETS_A_MINUTE", "LONG_MINUTES", "PAIR_BUCKETS", "BucketRing", "MinuteRing", "learning_delay"]

BUCKETS_A_MINUTE: Final = 6
PAIR_BUCKETS: Final = 12
LONG_MINUTES: Final = 15


def learning_delay(service: str) -> int:
    """Buckets (0..5) after a minute's end at which this service learns: 1,000 services of one clock, all learning at
    the end of each minute, held back every alert for two seconds. The minutes themselves are the clock's, as what
    happens in a service often begins with one.
    """
    return crc32(service.encode()) % BUCKETS_A_MINUTE


class BucketRing:
    """The last twelve closed buckets of `capacity` series; `minute` and `pair` are their 60 s and 120 s sums."""

    def __init__(self, capacity: int) -> None:
        self.counts: Ints = np.zeros((PAIR_BUCKETS, capacity), np.int32)
        self.minute: Ints = np.zeros(capacity, np.int32)
        self.pair: Ints = np.zeros(capacity, np.int32)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` series; the new ones counted nothing."""
        more = capacity - self.counts.shape[1]
        self.counts = np.concatenate([self.counts, np.zeros((PAIR_BUCKETS, more), np.int32)], axis=1)
        self.minute = np.concatenate([self.minute, np.zeros(more, np.int32)])
        self.pair = np.concatenate([self.pair, np.zeros(more, np.int32)])

    def clear(self) -> None:
        """Forget all counts (a gap longer than the ring)."""
        self.counts[:] = 0
        self.minute[:] = 0
        self.pair[:] = 0

    def reset(self, slot: int) -> None:
        """Forget the counts of one series."""
        self.counts[:, slot] = 0
        self.minute[slot] = self.pair[slot] = 0

    def push(self, bucket: int, counts: Ints | None) -> None:
        """Close `bucket` (= ms // 10,000) with these counts (None: nothing was counted). Buckets come in order."""
        row = self.counts[bucket % PAIR_BUCKETS]
        self.pair -= row
        self.minute -= self.counts[(bucket - BUCKETS_A_MINUTE) % PAIR_BUCKETS]
        if counts is None:
            row[:] = 0
            return
        self.pair += counts
        self.minute += counts
        row[:] = counts

    def last_six(self, bucket: int, slots: NDArray[np.intp] | list[int]) -> Ints:
        """The six buckets that end with the closed `bucket`, oldest first: shape (6, len(slots))."""
        rows = np.arange(bucket - BUCKETS_A_MINUTE + 1, bucket + 1) % PAIR_BUCKETS
        return self.counts[np.ix_(rows, np.asarray(slots, np.intp))]

    def recent(self, buckets: range) -> Ints:
        """The sums over these closed buckets (among the last twelve), of all series."""
        rows = np.array(buckets, np.intp) % PAIR_BUCKETS
        sums: Ints = self.counts[rows].sum(axis=0, dtype=np.int32)
        return sums


class MinuteRing:
    """The last fifteen closed tumbling minutes of `capacity` series: what was counted, and what was expected at least.

    A minute that was not covered, or not whole, holds zeros in both: it speaks neither for nor against a drop.
    """

    def __init__(self, capacity: int) -> None:
        self.counts: Ints = np.zeros((LONG_MINUTES, capacity), np.int32)
        self.low: NDArray[np.float32] = np.zeros((LONG_MINUTES, capacity), np.float32)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` series; the new ones counted nothing and nothing was expected."""
        more = capacity - self.counts.shape[1]
        self.counts = np.concatenate([self.counts, np.zeros((LONG_MINUTES, more), np.int32)], axis=1)
        self.low = np.concatenate([self.low, np.zeros((LONG_MINUTES, more), np.float32)], axis=1)

    def clear(self) -> None:
        """Forget all minutes."""
        self.counts[:] = 0
        self.low[:] = 0

    def reset(self, slot: int) -> None:
        """Forget the minutes of one series."""
        self.counts[:, slot] = 0
        self.low[:, slot] = 0

    def push(self, minute: int, counts: Ints, low: Floats) -> None:
        """Close `minute` (minutes since the epoch); minutes come in order."""
        self.counts[minute % LONG_MINUTES] = counts
        self.low[minute % LONG_MINUTES] = low

    def stretch(self, minute: int, minutes: int) -> tuple[Floats, Floats]:
        """Counted and at least expected over the `minutes` that end with the closed `minute`, of all series."""
        rows = np.arange(minute - minutes + 1, minute + 1) % LONG_MINUTES
        return self.counts[rows].sum(axis=0, dtype=np.float64), self.low[rows].sum(axis=0, dtype=np.float64)
