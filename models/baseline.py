"""Baselines of counts: what each series of a service is expected to count in its next minute, and how widely it varies.

In: closed tumbling one-minute counts of all series at once, one minute late. Out: the predictive of the next minute
(mean, dispersion, bounds) for tests on 60 s and 120 s, and the dispersions over longer stretches for drops.

All numbers are exponentially weighted moments updated by one-step-ahead errors (West, CACM 22 (1979); Finch,
Incremental calculation of weighted mean and variance (2009)); the dispersion is a ratio of moments (Breslow,
Extra-Poisson variation, Appl. Stat. 33 (1984)), which stays right while the mean moves. Learning is winsorised, so one
outlier moves a mean by five standard deviations' worth at most.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.count_tail import Floats

__all__ = ["MEMORY", "TESTABLE", "WARM", "Baselines", "Ints", "Rows"]

Ints = NDArray[np.int32]
Rows = slice | NDArray[np.intp]
"""Which series: all of a range, or those of an index array."""

TESTABLE: Final = 30
"""Closed minutes a series must have been learnt before its counts are judged."""
WARM: Final = 288
"""Minutes from which on the dispersion is trusted as it stands; before, the tail is widened."""
MEMORY: Final = 1_440
"""Minutes over which a slow mean forgets (effective sample 2 · 1440 − 1)."""

_PAIR_MEMORY = 720
_TEN_MEMORY = 144
_FAST_MEMORY = 10
_PRIOR_DISPERSION, _PRIOR_WEIGHT = 0.3, 2.0
_WINSOR_SD = 5.0
_GUARD_SD, _GUARD_SKEW, _MAX_SKEW = 3.0, 1.2, 4.0  # over means 1e-3..1e6, a 1e-9..100: p at the guard >= 5.8 p0


class Baselines:
    """The baselines of `capacity` series, one array a quantity, one place a series.

    Learnt: `n` (minutes), `mean`, `fast` (mean over ~10 minutes), `excess`/`square` (moments whose ratio is the
    dispersion of a minute), `pair_*` and `ten_*` (the same on tumbling 120 s and 600 s, with the block under way).
    Predicted by `predict`: `expected` a minute, `low` (the expectation on its lower side; 0 before it may be judged),
    `dispersion`, `pair_dispersion`, and the guards: no count at or below `guard` (60 s) or `pair_guard` (120 s) can be
    a watch.
    """

    LEARNT = (
        "n",
        "mean",
        "fast",
        "excess",
        "square",
        "pairs",
        "pair_count",
        "pair_expected",
        "pair_excess",
        "pair_square",
        "tens",
        "ten_minutes",
        "ten_count",
        "ten_expected",
        "ten_excess",
        "ten_square",
    )
    PREDICTED = ("expected", "low", "dispersion", "pair_dispersion", "guard", "pair_guard")
    WHOLE = frozenset({"n", "pairs", "tens", "ten_minutes"})

    n: Ints
    mean: Floats
    fast: Floats
    excess: Floats
    square: Floats
    pairs: Ints
    pair_count: Floats
    pair_expected: Floats
    pair_excess: Floats
    pair_square: Floats
    tens: Ints
    ten_minutes: Ints
    ten_count: Floats
    ten_expected: Floats
    ten_excess: Floats
    ten_square: Floats
    expected: Floats
    low: Floats
    dispersion: Floats
    pair_dispersion: Floats
    guard: Floats
    pair_guard: Floats

    def __init__(self, capacity: int) -> None:
        for name in self.LEARNT + self.PREDICTED:
            setattr(self, name, np.zeros(capacity, np.int32 if name in self.WHOLE else np.float64))
        self.reset(slice(0, capacity))

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` series; the new ones know nothing."""
        old = len(self.n)
        for name in self.LEARNT + self.PREDICTED:
            values = getattr(self, name)
            setattr(self, name, np.concatenate([values, np.zeros(capacity - old, values.dtype)]))
        self.reset(slice(old, capacity))

    def reset(self, rows: Rows) -> None:
        """Forget these series."""
        for name in self.LEARNT + self.PREDICTED:
            getattr(self, name)[rows] = 0
        self.pair_expected[rows] = -1.0  # no first half of a pair yet
        self.guard[rows] = self.pair_guard[rows] = np.inf

    def learn(self, counts: Ints, minute: int, rows: Rows) -> None:
        """Learn the closed counts of `minute` (minutes since the epoch; one count for each of `rows`)."""
        n, mean = self.n[rows], self.mean[rows]
        bound = self.expected[rows] + _WINSOR_SD * np.sqrt(self.variance(rows)) + 1.0
        x = np.where(n >= TESTABLE, np.minimum(counts, bound), counts).astype(np.float64)
        error, seen = x - mean, n > 0
        rate = np.maximum(1.0 / np.maximum(n, 1), 1.0 / MEMORY) * seen  # the first count only sets the mean
        self.excess[rows] += rate * (error * error - mean - self.excess[rows])
        self.square[rows] += rate * (mean * mean - self.square[rows])
        self._learn_pair(x, mean, seen, minute, rows)
        self._learn_ten(x, mean, seen, minute, rows)
        self.mean[rows] = mean + np.maximum(1.0 / (n + 1), 1.0 / MEMORY) * error
        self.fast[rows] += np.maximum(1.0 / (n + 1), 1.0 / _FAST_MEMORY) * (x - self.fast[rows])
        self.n[rows] = n + 1

    def _learn_pair(self, x: Floats, mean: Floats, seen: NDArray[np.bool_], minute: int, rows: Rows) -> None:
        if minute % 2 == 0:
            self.pair_count[rows] = x
            self.pair_expected[rows] = np.where(seen, 2.0 * mean, -1.0)
            return
        expected = self.pair_expected[rows]
        whole = expected >= 0.0
        pairs = self.pairs[rows] + whole
        rate = np.maximum(1.0 / np.maximum(pairs, 1), 1.0 / _PAIR_MEMORY) * whole
        error = self.pair_count[rows] + x - expected
        self.pair_excess[rows] += rate * (error * error - expected - self.pair_excess[rows])
        self.pair_square[rows] += rate * (expected * expected - self.pair_square[rows])
        self.pairs[rows] = pairs
        self.pair_expected[rows] = -1.0

    def _learn_ten(self, x: Floats, mean: Floats, seen: NDArray[np.bool_], minute: int, rows: Rows) -> None:
        if minute % 10 == 0:
            self.ten_minutes[rows], self.ten_count[rows], self.ten_expected[rows] = seen, x, mean
            return
        self.ten_minutes[rows] += seen
        self.ten_count[rows] += x
        self.ten_expected[rows] += mean
        if minute % 10 != 9:
            return
        whole = self.ten_minutes[rows] == 10
        tens = self.tens[rows] + whole
        rate = np.maximum(1.0 / np.maximum(tens, 1), 1.0 / _TEN_MEMORY) * whole
        expected = self.ten_expected[rows]
        error = self.ten_count[rows] - expected
        self.ten_excess[rows] += rate * (error * error - expected - self.ten_excess[rows])
        self.ten_square[rows] += rate * (expected * expected - self.ten_square[rows])
        self.tens[rows] = tens
        self.ten_minutes[rows] = 0

    def predict(self, used: int) -> None:
        """Predict the next minute of the first `used` series from what was learnt."""
        rows = slice(0, used)
        n, mean, fast = self.n[rows], self.mean[rows], self.fast[rows]
        trials = np.maximum(n, 1)
        slow = mean + 0.5 * _inverse_sample(trials, MEMORY)  # Jeffreys' half count
        weight = np.minimum(n, 2 * MEMORY) * slow * slow / 2.0  # the precision of a moment dispersion
        a = (_PRIOR_WEIGHT * _PRIOR_DISPERSION + weight * _ratio(self.excess[rows], self.square[rows])) / (
            _PRIOR_WEIGHT + weight
        )
        a += 2.0 * np.sqrt(np.maximum(2.0 / trials - 2.0 / WARM, 0.0)) * (1.0 + a)
        # The fast mean moves the slow one only beyond one standard error of its own.
        error = np.sqrt((slow + a * slow * slow) * _inverse_sample(trials, _FAST_MEMORY))
        expected = slow + np.maximum(0.0, fast - slow - error)
        testable, known = n >= TESTABLE, n > 0  # of what was never learnt nothing is predicted, as after `reset`
        self.expected[rows] = expected * known
        self.low[rows] = (slow - np.maximum(0.0, slow - fast - error)) * testable
        self.dispersion[rows] = a * known
        pair_weight = np.minimum(self.pairs[rows], 2 * _PAIR_MEMORY) * slow * slow * 2.0
        pair = (_PRIOR_WEIGHT * a + pair_weight * _ratio(self.pair_excess[rows], self.pair_square[rows])) / (
            _PRIOR_WEIGHT + pair_weight
        )
        pair = np.clip(pair, a / 2.0, a)
        self.pair_dispersion[rows] = pair * known
        self.guard[rows] = np.where(testable, _guard(expected, a), np.inf)
        self.pair_guard[rows] = np.where(testable, _guard(2.0 * expected, pair), np.inf)

    def variance(self, rows: Rows) -> Floats:
        """The predicted variance of a minute's count."""
        expected = self.expected[rows]
        return expected + self.dispersion[rows] * expected * expected

    def stretch_dispersion(self, minutes: float, rows: Rows) -> Floats:
        """The dispersion of a count over `minutes` closed minutes: c0 + c1/minutes, from the moments on one and on ten
        minutes. Independent minutes give c0 = 0, persistent states c0 = the minute's own. Before warm nothing is known
        of the long run, and the minute's dispersion is kept.
        """
        one = self.dispersion[rows]
        weight = np.minimum(self.tens[rows], 2 * _TEN_MEMORY) * (10.0 * self.mean[rows]) ** 2 / 2.0
        ten = (_PRIOR_WEIGHT * one + weight * _ratio(self.ten_excess[rows], self.ten_square[rows])) / (
            _PRIOR_WEIGHT + weight
        )
        ten = np.where(self.n[rows] < WARM, np.maximum(one, ten), ten)
        steady = np.maximum(0.0, (10.0 * ten - one) / 9.0)
        return steady + np.maximum(0.0, (one - ten) * 10.0 / 9.0) / minutes


def _ratio(excess: Floats, square: Floats) -> Floats:
    return np.maximum(excess, 0.0) / np.maximum(square, 1e-12)


def _guard(mean: Floats, dispersion: Floats) -> Floats:
    """A count that is no watch, nor is any below it: mean + (3 + 1.2 · skewness, capped) standard deviations, close to
    the Cornish-Fisher quantile, so that a bursty series does not ask for its exact tail at every burst.
    """
    over = dispersion * mean
    skewness = (1.0 + 2.0 * over) / np.sqrt(mean * (1.0 + over))
    spread = np.sqrt(mean * (1.0 + over))
    guard: Floats = mean + spread * (_GUARD_SD + _GUARD_SKEW * np.minimum(skewness, _MAX_SKEW))
    return guard


def _inverse_sample(n: NDArray[np.int32], memory: int) -> Floats:
    """1 / the effective sample after `n` updates by max(1/n, 1/memory): S2 <- (1 − α)² S2 + α², in closed form."""
    rate = 1.0 / memory
    limit = rate / (2.0 - rate)
    later = limit + (rate - limit) * (1.0 - rate) ** (2.0 * np.maximum(n - memory, 0))
    out: Floats = np.where(n <= memory, 1.0 / n, later)
    return out
