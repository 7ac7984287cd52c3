"""Retraining: which minutes a service's baselines must not be learnt from, and what was learnt as a table.

In: what was found about a service (anomalies, incidents), and its state after offline learning. Out: the minutes left
out, and the columns of a generation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from models.anomaly import Anomaly, Kind, Status, Tier
from models.baseline import Baselines
from models.incident import Incident, IncidentStatus
from models.service_state import ServiceState
from models.snapshot import Learnt, SeriesTable, Span

__all__ = ["LeftOut", "Shift", "alarm_spans", "incident_spans", "shifts_of", "table_of"]

_MINUTE_MS: Final = 60_000
_WITHOUT_END: Final = 1 << 53


class LeftOut:
    """Minutes (since the epoch) that are not learnt: those that overlap one of the spans (event time, ms)."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        merged: list[Span] = []
        for start, end in sorted((span.start, span.end) for span in spans if span.end > span.start):
            if merged and start <= merged[-1].end:
                merged[-1] = Span(start=merged[-1].start, end=max(end, merged[-1].end))
            else:
                merged.append(Span(start=start, end=end))
        self.spans = tuple(merged)
        self._starts = [span.start // _MINUTE_MS for span in merged]
        self._ends = [-(-span.end // _MINUTE_MS) for span in merged]

    def __contains__(self, minute: int) -> bool:
        place = bisect_right(self._starts, minute) - 1
        return place >= 0 and minute < self._ends[place]


def alarm_spans(anomalies: Iterable[Anomaly], margin_ms: int) -> dict[str, list[Span]]:
    """By service, the spans of its alarms, from the tested window to the clearing, with a margin on both sides.

    `anomalies` in the order they were told. What was told early and taken back was no alarm; a stalled source says
    nothing of counts.
    """
    begun: dict[str, Anomaly] = {}
    confirmed: set[str] = set()
    spans: dict[str, list[Span]] = {}
    for anomaly in anomalies:
        name = anomaly.anomaly_id
        if anomaly.status is Status.CLEARED:
            first = begun.pop(name, None)
            if first is not None and name in confirmed:
                spans.setdefault(first.service, []).append(_wide(first.window.start, anomaly.window.end, margin_ms))
        elif anomaly.tier is Tier.ALARM and anomaly.kind is not Kind.SOURCE_STALLED:
            begun.setdefault(name, anomaly)
            if anomaly.window.closed:
                confirmed.add(name)
    for first in begun.values():
        spans.setdefault(first.service, []).append(_wide(first.window.start, _WITHOUT_END, margin_ms))
    return spans


def incident_spans(incidents: Iterable[Incident], margin_ms: int) -> dict[str, list[Span]]:
    """By application, the spans of its incidents in event time: from the first evidence to the last of it that cleared,
    with a margin on both sides. `incidents` in the order they were told: the last word on each counts.
    """
    last = {incident.correlation_id: incident for incident in incidents}
    spans: dict[str, list[Span]] = {}
    for incident in last.values():
        begun = [s.opened_at for s in incident.signals] + [e.at for e in incident.events if not e.expected]
        if not begun:
            continue
        cleared = [s.cleared_at or s.updated_at for s in incident.signals]
        cleared += [e.cleared_at or e.at for e in incident.events]
        end = max(cleared) if incident.status is IncidentStatus.CLOSED else _WITHOUT_END
        spans.setdefault(incident.application, []).append(_wide(min(begun), end, margin_ms))
    return spans


def table_of(state: ServiceState) -> SeriesTable:
    """What the service has learnt, in columns."""
    series, used = state.series, state.series.used
    learnt = {name: getattr(state.base, name)[:used].tolist() for name in Baselines.LEARNT}
    return SeriesTable.model_construct(
        ids=list(series.ids),
        texts=list(series.texts),
        severity=series.severity[:used].tolist(),
        failing=series.failing[:used].tolist(),
        born=series.born[:used].tolist(),
        learnt=Learnt.model_construct(**learnt),
    )


class Shift(NamedTuple):
    """How the expected lines a minute of one series would change; `sd` in its standard deviations as they are now."""

    text: str
    before: float
    after: float
    sd: float


def shifts_of(now: ServiceState, then: ServiceState) -> list[Shift]:
    """The series that both have learnt, the largest shift first."""
    ids: Mapping[str, int] = then.series.slot_of
    deviation = np.sqrt(now.base.variance(slice(0, now.series.used)))
    found = []
    for slot, name in enumerate(now.series.ids):
        other = ids.get(name, -1)
        if other < 0 or not now.base.n[slot] or not then.base.n[other]:
            continue
        before, after = float(now.base.mean[slot]), float(then.base.mean[other])
        shift = (after - before) / max(float(deviation[slot]), 1e-9)
        found.append(Shift(now.series.texts[slot], before, after, shift))
    return sorted(found, key=lambda shift: (-abs(shift.sd), shift.text))


def _wide(start: int, end: int, margin_ms: int) -> Span:
    return Span(start=start - margin_ms, end=end + margin_ms)
