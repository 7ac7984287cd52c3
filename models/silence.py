"""Too little: when a count over minutes is a drop, and when a gap without a line is a silence.

In: what was counted and what was expected at least over a stretch of covered time, with the dispersion of a stretch
that long. Out: tail probabilities. Nothing here accrues over time that no source has covered.

Poisson's exp(−M) alone is no test of a gap in which M lines were expected: with dispersion a the chance is
(1 + a M)^(−1/a), which at a = 0.3 needs M = 38 where Poisson needs 8.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log1p
from typing import Final

import numpy as np

from models.count_tail import LN10, Floats, log_lower_tail
from models.window import BUCKETS_A_MINUTE

__all__ = [
    "AWAY_BUCKETS",
    "MIN_EXPECTED",
    "SILENCE_ALARM",
    "SILENCE_WATCH",
    "Gap",
    "log_drop",
    "service_factor",
    "silence_surprisal",
]

MIN_EXPECTED: Final = 12.0
"""Lines that must have been expected before anything is called too few."""
SILENCE_WATCH: Final = 3.6333
"""−log10 of Φ(−3.5)."""
SILENCE_ALARM: Final = 5.94
AWAY_BUCKETS: Final = 90
"""After 15 minutes without a line a service is away: it is judged on silence alone and learns nothing."""

_GAP_DECAY_BUCKETS = 7 * 8_640
_GAP_RATIO = 1.5


@dataclass(slots=True)
class Gap:
    """The time since a series' last line: `since` its first empty bucket (-1: none), `mass` what was expected in its
    first 15 minutes; and `longest`, the longest finished gap in buckets as it stood at `longest_at`.
    """

    since: int = -1
    mass: float = 0.0
    longest: float = 0.0
    longest_at: int = 0

    def length(self, bucket: int) -> int:
        """Empty buckets up to and with the closed `bucket`."""
        return bucket - self.since + 1 if self.since >= 0 else 0

    def expected(self, bucket: int, low: float) -> float:
        """Lines expected over the gap up to the closed `bucket`, `low` a minute since it is away."""
        return self.mass + max(0, self.length(bucket) - AWAY_BUCKETS) * low / BUCKETS_A_MINUTE

    def note_empty(self, bucket: int, low: float) -> None:
        """`bucket` closed without a line; `low` were expected a minute."""
        if self.since < 0:
            self.since, self.mass = bucket, 0.0
        if self.length(bucket) <= AWAY_BUCKETS:
            self.mass += low / BUCKETS_A_MINUTE

    def end(self, bucket: int, finished: bool) -> None:
        """The gap is over before `bucket`: `finished` by a line, else broken off because time was not covered."""
        if finished and self.since >= 0 and self.length(bucket - 1) >= self.usual(bucket):
            self.longest, self.longest_at = float(self.length(bucket - 1)), bucket
        self.since, self.mass = -1, 0.0

    def usual(self, bucket: int) -> float:
        """The longest finished gap, forgotten over seven days."""
        return self.longest * exp(-max(0, bucket - self.longest_at) / _GAP_DECAY_BUCKETS)

    def surprisal(self, bucket: int, low: float, dispersion: Callable[[float], float]) -> float:
        """−log10 p of this gap up to the closed `bucket`; 0 where it is too short to say. Never falls as it grows.

        `dispersion(minutes)` is that of a count over so many minutes.
        """
        length, mass = self.length(bucket), self.expected(bucket, low)
        if mass < MIN_EXPECTED or length <= _GAP_RATIO * self.usual(bucket):
            return 0.0
        return silence_surprisal(mass, dispersion(length / BUCKETS_A_MINUTE))

    def first_at(
        self, limit: float, start: int, end: int, low: float, dispersion: Callable[[float], float]
    ) -> int | None:
        """The first bucket of [start, end) with which the surprisal reaches `limit`, or None. By bisection."""
        left, right = start, end - 1
        if right < left or self.surprisal(right, low, dispersion) < limit:
            return None
        while left < right:
            middle = (left + right) // 2
            if self.surprisal(middle, low, dispersion) >= limit:
                right = middle
            else:
                left = middle + 1
        return left


def silence_surprisal(mass: float, dispersion: float) -> float:
    """−log10 of the chance of no line where `mass` were expected: log1p(a M) / (a ln 10)."""
    return log1p(dispersion * mass) / (max(dispersion, 1e-12) * LN10) if dispersion > 1e-12 else mass / LN10


def log_drop(counted: Floats, expected: Floats, dispersion: Floats) -> Floats:
    """log P(X <= counted), natural, for each series; 0 where too little was expected or nothing is missing.

    The exact tail is asked only below a bound that no drop of 3.5σ lies above (dispersions up to 2).
    """
    out = np.zeros(len(counted))
    spread = np.sqrt(expected + dispersion * expected * expected)
    bound = expected - spread * 2.7 / (1.0 + 2.0 * np.sqrt(dispersion))
    asked = np.flatnonzero((expected >= MIN_EXPECTED) & (counted <= bound))
    if len(asked):
        out[asked] = log_lower_tail(counted[asked], expected[asked], dispersion[asked])
    return out


def service_factor(counted: Floats, expected: Floats, first_template: int) -> Floats:
    """min(1, what the other templates did against what they were expected to do), for each series; 1 for the total:
    a dip of the whole service is one anomaly, that of its total. `first_template` is the first place that is no total.
    """
    others = counted[first_template:].sum() - counted[first_template:]
    means = expected[first_template:].sum() - expected[first_template:]
    factor = np.ones(len(counted))
    factor[first_template:] = np.minimum(1.0, (others + 20.0) / (means + 20.0))
    return factor
