"""Watch or alarm: what a count above its baseline is worth.

In: the counts of the few series above their guards, with their baselines. Out: a verdict for each that is at least a
watch. A *watch* is a tail probability of Φ(−3.5) on one series; an *alarm* also holds the operator's budget of false
alarms a service and day, over all its series and tests (Genovese, Roeder & Wasserman, weighted Bonferroni, 2006),
raised by the service's own tail of surprises (peaks over a threshold: Coles; Siffer et al., SPOT, KDD 2017).
"""

from __future__ import annotations

from math import exp, log10
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.anomaly import Tier
from models.baseline import Baselines, Ints
from models.count_tail import LN10, Floats, log_upper_tail
from models.habit import HABIT_RATIO

__all__ = [
    "COLD",
    "FEW",
    "HABIT",
    "LOG_WATCH",
    "TESTS_A_DAY",
    "Limits",
    "TailEpisodes",
    "Verdict",
    "common_factor",
    "judge_counts",
    "limits_of",
]

LOG_WATCH: Final = -8.366065308344094
"""log Φ(−3.5), natural: p = 2.3263e-4."""
TESTS_A_DAY: Final = 8_640
"""One every 10 s."""
HABIT: Final = "habit"
"""The rule of a watch that would be an alarm, had the series not done the same twice before."""
COLD: Final = "not warm"
"""Of a watch that would be, if its series were known by now and not one of failures."""
FEW: Final = "few lines"
"""Of a watch that would be, if there were more of its failures, or in more than one bucket."""

_LOG_TWICE_WATCH = LOG_WATCH + float(np.log(2.0))
_WORDS_FLOOR = 4.5
_EPISODE_GAP = 30  # buckets: surprises of one series closer than 300 s are one
_EPISODE_FROM, _EPISODE_CAP = 5.0, 3.0
_DECAY_DAYS = 7.0
_MAX_EPISODES = 500


class Limits(NamedTuple):
    """From which −log10 p on a count is an alarm: by the budget alone, or with failure words over two windows."""

    budget: float
    words: float


class Verdict(NamedTuple):
    """One series that is at least a watch. `pair` says that the 120 s window is reported, as the 60 s one is none.

    `surprisal` is the larger of both windows, `log_p` (natural) is that of the window reported.
    """

    slot: int
    tier: Tier
    rule: str
    pair: bool
    observed: int
    expected: float
    dispersion: float
    log_p: float
    surprisal: float


def limits_of(tested: int, failing: int, budget: float, tail: float) -> Limits:
    """The limits for `tested` active series, `failing` of them with failure words or error severity, a `budget` of
    alarms a service and day, and the service's own `tail` limit.
    """
    return Limits(
        max(log10(2.0 * max(tested, 1) * TESTS_A_DAY / budget), tail),
        max(_WORDS_FLOOR, log10(max(failing, 1) * TESTS_A_DAY / budget)),
    )


def common_factor(counts: Ints, expected: Floats) -> float:
    """How much more than expected the service does as a whole: the median over series expecting at least 3 a minute
    (1 where fewer than 8 do). A fault in less than half of them does not move it.
    """
    busy = expected >= 3.0
    if np.count_nonzero(busy) < 8:
        return 1.0
    return max(1.0, float(np.median(counts[busy] / expected[busy])))


def judge_counts(
    slots: NDArray[np.intp], minute: Ints, pair: Ints, scale: Floats, base: Baselines, failing: NDArray[np.bool_],
    usual: Floats, limits: Limits,
) -> list[Verdict]:  # fmt: skip
    """Judge the 60 s counts `minute` and 120 s counts `pair` of these series against baselines times `scale`.

    `usual` is the excess that is habit for each (0: none): within 1.5 times of it, the budget alone makes no alarm.

    Both windows are asked in one call: a call for a single tail costs as much as for a hundred.
    """
    expected = base.expected[slots] * scale
    mean = np.concatenate([expected, 2.0 * expected])
    dispersion = np.concatenate([base.dispersion[slots], base.pair_dispersion[slots]])
    here, above = log_upper_tail(np.concatenate([minute, pair]).astype(np.float64), mean, dispersion)
    k = len(slots)
    # The lattice point nearest to Φ(−3.5) in log scale, at most twice it.
    watched = (here[:k] + above[:k] <= 2.0 * LOG_WATCH) & (here[:k] <= _LOG_TWICE_WATCH)
    single, double = -here[:k] / LN10, -here[k:] / LN10
    most = np.maximum(single, double)
    beyond, by_words = most >= limits.budget, failing & (double >= limits.words)
    habitual = (usual > 0.0) & (minute - expected <= HABIT_RATIO * usual)
    by_budget, by_words = beyond & ~habitual, by_words & ~habitual
    verdicts = []
    for i in np.flatnonzero(watched | beyond | by_words).tolist():
        at = i if watched[i] or single[i] >= limits.budget else k + i
        verdicts.append(
            Verdict(
                slot=int(slots[i]),
                tier=Tier.ALARM if by_budget[i] or by_words[i] else Tier.WATCH,
                rule=_rule(bool(by_budget[i]), bool(by_words[i]), bool(habitual[i])),
                pair=at >= k,
                observed=int(pair[i] if at >= k else minute[i]),
                expected=float(mean[at]),
                dispersion=float(dispersion[at]),
                log_p=float(here[at]),
                surprisal=float(most[i]),
            )
        )
    return verdicts


def _rule(by_budget: bool, by_words: bool, habitual: bool) -> str:
    if by_budget:
        return "budget"
    if by_words:
        return "failure words"
    return HABIT if habitual else "watch"


class TailEpisodes:
    """The service's own tail: episodes of large surprise, from which the limit is raised so that their rate keeps the
    budget. `limit` is recomputed once a day of event time; it starts at the threshold of 5 and only ever raises.
    """

    def __init__(self, since: int = -1) -> None:
        self.since = since
        self.day = -1
        self.limit = 0.0
        self.running: dict[str, list[float]] = {}
        """Series -> last bucket, peak."""
        self.finished: list[tuple[int, float]] = []
        """Bucket of the end, excess over 5 (at most 3)."""

    def note(self, series: str, bucket: int, surprisal: float) -> None:
        """A closed window of `series` ending with `bucket` had this −log10 p."""
        if surprisal <= _EPISODE_FROM:
            return
        last = self.running.get(series)
        if last is not None and bucket - last[0] <= _EPISODE_GAP:
            last[0], last[1] = bucket, max(last[1], surprisal)
            return
        if last is not None:
            self._finish(last)
        self.running[series] = [bucket, surprisal]

    def refresh(self, bucket: int, series: int, budget: float) -> None:
        """Once a day: close what is over and set the limit for a service of `series` series."""
        day = bucket // TESTS_A_DAY
        if self.since < 0:
            self.since = bucket
        if day == self.day:
            return
        self.day = day
        for name in [name for name, last in self.running.items() if bucket - last[0] > _EPISODE_GAP]:
            self._finish(self.running.pop(name))
        self.limit = self._limit(bucket, series, budget)

    def _finish(self, last: list[float]) -> None:
        self.finished.append((int(last[0]), min(last[1] - _EPISODE_FROM, _EPISODE_CAP)))
        del self.finished[:-_MAX_EPISODES]

    def _limit(self, bucket: int, series: int, budget: float) -> float:
        weights = [exp(-(bucket - at) / (TESTS_A_DAY * _DECAY_DAYS)) for at, _ in self.finished]
        mass = sum(weights)
        excess = sum(weight * over for weight, (_, over) in zip(weights, self.finished, strict=True))
        days = _DECAY_DAYS * (1.0 - exp(-(bucket - self.since) / (TESTS_A_DAY * _DECAY_DAYS)))
        scale = max(1.0 / LN10, (5.0 / LN10 + excess) / (5.0 + mass))
        rate = (0.5 * 0.04 * max(series, 1) + mass) / (0.5 + days)
        return _EPISODE_FROM + scale * float(np.log(rate / (budget / 2.0)))
