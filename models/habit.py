"""What a series does now and then and comes back from by itself: a job that logs in bursts is no false alarm a day, it
is one twice.

In: the peaks of finished spikes, and of finished drops under a name of their own. Out: the excess (or lack) that is
usual for the series. A count model with one mean and one dispersion cannot hold a burst every half hour; its tail says
5σ each time. So a spike or a drop is an alarm only where it exceeds what the series has done twice before: the same
rule, and the same factor and forgetting, as for silences (models/silence.py). One earlier time is not enough: it may
have been an incident.
"""

from __future__ import annotations

from math import exp

from models.window import BUCKETS_A_MINUTE

__all__ = ["HABIT_RATIO", "Habits"]

HABIT_RATIO = 1.5
"""A spike beyond this many times the usual excess is none of habit."""

_DECAY_BUCKETS = 7 * 1_440 * BUCKETS_A_MINUTE
_TIMES = 2
_LEAST = 0.5
"""Lines: a usual excess that has faded below is forgotten."""


class Habits:
    """For each name the two largest excesses (lines in 60 s above or below the expected) that are over, each with the
    bucket in which it ended; both forgotten over seven days.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, list[tuple[int, float]]] = {}

    def note(self, series: str, bucket: int, excess: float) -> None:
        """A spike of `series` that rose to `excess` ended with `bucket`."""
        peaks = [*self.peaks.get(series, ()), (bucket, excess)]
        peaks.sort(key=lambda peak: _faded(peak, bucket), reverse=True)
        self.peaks[series] = peaks[:_TIMES]
        for name in [name for name, kept in self.peaks.items() if _faded(kept[0], bucket) < _LEAST]:
            del self.peaks[name]

    def usual(self, series: str, bucket: int) -> float:
        """The excess that the series has shown twice (lines in 60 s); 0 where it has not."""
        peaks = self.peaks.get(series, ())
        return min(_faded(peak, bucket) for peak in peaks) if len(peaks) == _TIMES else 0.0

    def forget(self, series: str) -> None:
        """Another template takes the series' place."""
        self.peaks.pop(series, None)


def _faded(peak: tuple[int, float], bucket: int) -> float:
    return peak[1] * exp(-max(0, bucket - peak[0]) / _DECAY_BUCKETS)
