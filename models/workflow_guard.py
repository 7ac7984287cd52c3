"""The guard: did the action make anything else worse? One signal a service, before and after.

In: a service's health. Out: a `GuardReading` (counts over closed 10 s buckets) and the verdict `worse`.
"""

from __future__ import annotations

import math
from typing import Literal

from models.anomaly import UNJUDGED, SeriesHealth, ServiceHealth
from models.event import Model
from models.template import BUCKET_MS

__all__ = ["GuardReading", "bucket_starts", "poisson_excess_p", "read_guard", "worse"]

MAX_P = 1e-3
"""An excess less likely than this under equal rates counts as real: at most ~30 looks a verification, so a healthy
service is rolled back by chance in under 3% even if every look were independent."""
MAX_RATIO = 1.25
"""Log counts are burstier than Poisson: a rise below a quarter is never held against the action."""


class GuardReading(Model):
    """`count` lines in `buckets` closed 10 s buckets; `upper` is the most that is normal in one bucket."""

    count: float
    buckets: int
    upper: float
    alive: bool

    @property
    def mean(self) -> float:
        """Lines per 10 s bucket; 0 where there is no bucket."""
        return self.count / self.buckets if self.buckets else 0.0


def bucket_starts(series: SeriesHealth, watermark: int) -> list[int]:
    """The start (ms) of each bucket in `series.observed`: the last one is the newest that `watermark` closes."""
    newest = watermark // BUCKET_MS * BUCKET_MS - BUCKET_MS
    size = len(series.observed)
    return [newest - (size - 1 - place) * BUCKET_MS for place in range(size)]


def read_guard(
    health: ServiceHealth, signal: Literal["errors", "total"], since: int = 0, last: int | None = None
) -> GuardReading:
    """The guard signal over the closed buckets that start at `since` (ms) or later, of these the `last` ones."""
    series = health.errors if signal == "errors" else health.total
    starts = bucket_starts(series, health.watermark)
    counts = [count for count, start in zip(series.observed, starts, strict=True) if start >= since]
    if last is not None:
        counts = counts[-last:]
    return GuardReading(count=sum(counts), buckets=len(counts), upper=series.upper, alive=health.alive)


def worse(before: GuardReading, after: GuardReading) -> bool:
    """True when a living service died, or when its signal rose: above what is normal for it (where that is known), by
    more than a quarter, and by more than chance would under equal rates (two Poisson means, p < 0.001).
    """
    if before.alive and not after.alive:
        return True
    normal = after.upper if after.upper < UNJUDGED else 0.0
    if not after.buckets or after.mean <= max(normal, MAX_RATIO * before.mean):
        return False
    return poisson_excess_p(before, after) < MAX_P


def poisson_excess_p(before: GuardReading, after: GuardReading) -> float:
    """P(a count after at least as large | the sum of both counts, equal rates): an upper binomial tail; 1 where the
    count is not above its expectation, or nothing was counted before or after.

    Przyborowski & Wilenski, Biometrika 31 (1940): given the sum, the later count is Binomial(sum, share of buckets).
    """
    total, count = round(before.count + after.count), round(after.count)
    share = after.buckets / max(after.buckets + before.buckets, 1)
    if share == 1.0 or count <= total * share:
        return 1.0
    log_term = (
        math.lgamma(total + 1)
        - math.lgamma(count + 1)
        - math.lgamma(total - count + 1)
        + count * math.log(share)
        + (total - count) * math.log1p(-share)
    )
    odds = share / (1 - share)
    term, tail = 1.0, 1.0
    for k in range(count, total):
        term *= (total - k) / (k + 1) * odds
        tail += term
        if term < 1e-12 * tail:  # above the mean the terms shrink at least geometrically
            break
    return min(1.0, math.exp(log_term) * tail)
