"""What is not learnt from: alarms and incidents as spans of time, and the minutes they cover."""

from __future__ import annotations

from typing import Any

import pytest

from models.anomaly import Anomaly, BaselineView, Kind, Status, Tier, Window
from models.incident import Incident, IncidentEvent, IncidentStatus
from models.retraining import LeftOut, alarm_spans, incident_spans
from models.snapshot import Span

MINUTE = 60_000


def told(status: Status = Status.OPENED, start: int = 100, end: int = 101, **changes: Any) -> Anomaly:
    """An anomaly; times in minutes."""
    given: dict[str, Any] = {
        "anomaly_id": "a",
        "revision": 1,
        "status": status,
        "tier": Tier.ALARM,
        "kind": Kind.SPIKE,
        "service": "web",
        "application": "shop",
        "window": Window(start=start * MINUTE, end=end * MINUTE, closed=changes.pop("closed", True)),
        "observed": 9,
        "expected": 1,
        "log10_p": -9,
        "sigma": 6,
        "rule": "budget",
        "baseline": BaselineView(n=300, warm=True),
        "opened_at": end * MINUTE,
    }
    return Anomaly(**{**given, **changes})


def minutes(spans: dict[str, list[Span]], name: str = "web") -> list[tuple[float, float]]:
    return [(span.start / MINUTE, span.end / MINUTE) for span in spans.get(name, [])]


def test_minutes_that_overlap_a_span_are_left_out_and_no_others():
    left = LeftOut([Span(start=10 * MINUTE, end=12 * MINUTE), Span(start=15 * MINUTE + 1, end=15 * MINUTE + 2)])
    assert [minute for minute in range(30) if minute in left] == [10, 11, 15]
    assert 5 not in LeftOut()


def test_spans_that_meet_are_one_and_empty_ones_none():
    spans = [Span(start=5, end=9), Span(start=1, end=5), Span(start=7, end=8), Span(start=20, end=20)]
    assert LeftOut(spans).spans == (Span(start=1, end=9),)


def test_an_alarm_lasts_from_its_window_to_its_clearing_with_a_margin():
    anomalies = [told(), told(Status.UPDATED, 102, 103), told(Status.CLEARED, 108, 109)]
    assert minutes(alarm_spans(anomalies, 10 * MINUTE)) == [(90, 119)]


def test_a_watch_that_becomes_an_alarm_counts_from_then_and_a_watch_alone_does_not():
    watch = told(tier=Tier.WATCH)
    assert alarm_spans([watch, told(Status.CLEARED, 105, 106, tier=Tier.WATCH)], 0) == {}
    anomalies = [watch, told(Status.UPDATED, 103, 104), told(Status.CLEARED, 108, 109)]
    assert minutes(alarm_spans(anomalies, 0)) == [(103, 109)]


def test_what_was_told_early_and_taken_back_was_no_alarm():
    assert alarm_spans([told(closed=False), told(Status.CLEARED, closed=False)], 0) == {}
    confirmed = [told(closed=False), told(Status.UPDATED), told(Status.CLEARED, 105, 106)]
    assert minutes(alarm_spans(confirmed, 0)) == [(100, 106)]


def test_an_alarm_still_open_has_no_end_and_a_stalled_source_is_none():
    ((start, end),) = minutes(alarm_spans([told()], 0))
    assert (start, end > 1e9) == (100, True)
    assert alarm_spans([told(kind=Kind.SOURCE_STALLED)], 0) == {}


@pytest.mark.parametrize("status", IncidentStatus)
def test_an_incident_lasts_from_its_first_evidence_to_the_last_that_cleared(status):
    event = IncidentEvent(
        event_id="e",
        detail_type="t",
        resource="r",
        resource_type="ec2",
        at=50 * MINUTE,
        expected=False,
        cleared_at=65 * MINUTE,
    )
    incident = Incident(
        correlation_id="c",
        application="shop",
        status=status,
        revision=2,
        opened_at=7,
        pattern_id="p",
        primary="x",
        events=(event,),
        evidence_digest="d",
    )
    before = incident.model_copy(update={"revision": 1, "events": (), "status": IncidentStatus.OPEN})
    ((start, end),) = minutes(incident_spans([before, incident], MINUTE), "shop")
    assert start == 49
    assert end == 66 if status is IncidentStatus.CLOSED else end > 1e9
    assert incident_spans([before], MINUTE) == {}  # nothing says when
