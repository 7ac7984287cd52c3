"""A service's health, for act and for the page: its total, its errors, what is open or was cleared within 15 minutes.

In: a service's state after a bucket has closed. Out: ServiceHealth, with what six closed buckets counted and the most
that is still normal in 10 s.
"""

from __future__ import annotations

from math import floor, sqrt

from models.anomaly import UNJUDGED, Kind, SeriesHealth, ServiceHealth, Tier
from models.baseline import TESTABLE
from models.series import ERRORS, TOTAL
from models.service_state import ServiceState
from models.template import BUCKET_MS
from models.window import BUCKETS_A_MINUTE

__all__ = ["has_open_or_recent_alarm", "health_of"]


def health_of(state: ServiceState, application: str) -> ServiceHealth:
    """The service's health at the end of its newest closed bucket."""
    kinds: dict[int, list[Kind]] = {recent.slot: [] for recent in state.recent.values()}
    for held in state.open.values():
        kinds.setdefault(held.slot, []).append(held.finding.kind)
    silent = any(
        held.finding.kind is Kind.SERVICE_SILENT and held.finding.tier is Tier.ALARM for held in state.open.values()
    )
    return ServiceHealth(
        service=state.service,
        application=application,
        alive=not silent,
        watermark=state.next_bucket * BUCKET_MS,
        total=_series(state, TOTAL, kinds.get(TOTAL, [])),
        errors=_series(state, ERRORS, []),
        open=tuple(_series(state, slot, kinds[slot]) for slot in sorted(kinds)),
        lost=dict(sorted(state.lost.items())),
    )


def has_open_or_recent_alarm(state: ServiceState) -> bool:
    """Something was or is wrong within 15 minutes: act may be waiting for it to be right."""
    return any(recent.alarm for recent in state.recent.values()) or any(
        held.finding.tier is Tier.ALARM for held in state.open.values()
    )


def _series(state: ServiceState, slot: int, kinds: list[Kind]) -> SeriesHealth:
    six = state.ring.last_six(state.next_bucket - 1, [slot])[:, 0]
    mean = float(state.base.expected[slot]) / BUCKETS_A_MINUTE
    # Between 10 s buckets the dispersion lies between the minute's own (shared) and six times it (independent).
    dispersion = BUCKETS_A_MINUTE * float(state.base.dispersion[slot])
    upper = max(1.0, floor(mean + 3.0 * sqrt(mean + dispersion * mean * mean)))
    return SeriesHealth(
        template_id=state.series.ids[slot],
        kinds=tuple(sorted(kinds)),
        observed=tuple(float(count) for count in six.tolist()),
        expected=round(mean, 6),
        upper=upper if state.base.n[slot] >= TESTABLE else UNJUDGED,
    )
