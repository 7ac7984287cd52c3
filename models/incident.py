"""An incident: the signals of one application joined into one case with evidence."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import JsonValue

from models.event import Contract, Model
from models.history import PatternStats, SimilarIncident

__all__ = ["Incident", "IncidentChange", "IncidentEvent", "IncidentSignal", "IncidentStatus"]


class IncidentStatus(StrEnum):
    """Open until all signals are clear for 300 s."""

    OPEN = "open"
    CLOSED = "closed"


class IncidentSignal(Model):
    """A detector's anomaly as the incident's evidence. `cleared_at` 0 = still open."""

    anomaly_id: str
    series: str
    kind: str
    tier: str
    service: str
    template_id: str
    text: str
    severity: int
    observed: float
    expected: float
    window_minutes: float = 1.0
    """Over how long it was observed and expected."""
    sigma: float
    log10_p: float
    opened_at: int
    updated_at: int
    cleared_at: int = 0
    rule: str = ""
    peak_sigma: float = 0.0
    evidence: tuple[str, ...] = ()
    """Line pointers, `partition@offset:line`."""


class IncidentEvent(Model):
    """An infrastructure event as evidence. `cleared_at` 0 = still open."""

    event_id: str
    detail_type: str
    resource: str
    resource_type: str
    at: int
    expected: bool
    detail: dict[str, JsonValue] = {}
    cleared_at: int = 0


class IncidentChange(Model):
    """A change near the incident: the answer to "what changed?"."""

    change_id: str
    kind: str
    resource: str
    actor: str
    at: int
    before: str = ""
    after: str = ""


class Incident(Contract):
    """One application's case. `primary` is the series or the event type that opened it; `pattern_id` = digest(primary
    kind, template text or event type, resource type); `evidence_digest` changes when the evidence does.
    """

    TYPE: ClassVar[str] = "incident"

    correlation_id: str
    application: str
    status: IncidentStatus
    revision: int
    opened_at: int
    closed_at: int = 0
    pattern_id: str
    primary: str
    resource: str = ""
    resource_type: str = ""
    severity: int = 0
    failed: bool = False
    """A failure has happened (an infra failure, a service silent): predict diagnoses instead of predicting."""
    signals: tuple[IncidentSignal, ...] = ()
    events: tuple[IncidentEvent, ...] = ()
    changes: tuple[IncidentChange, ...] = ()
    similar: tuple[SimilarIncident, ...] = ()
    stats: tuple[PatternStats, ...] = ()
    history_recalled: bool = False
    evidence_digest: str
