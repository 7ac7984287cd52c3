"""An incident's evidence, updated: pure functions from an Incident to the next one.

In: an incident and one more signal, event, change or answer. Out: the incident with it. Severity only rises; at most
100 signals, 100 events and 50 changes are kept (the oldest that are clear go first).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from models.anomaly import Anomaly, Kind, Status, Tier
from models.event import Model, digest
from models.incident import Incident, IncidentChange, IncidentEvent, IncidentSignal
from models.log import Severity
from models.signal import Change, InfraEvent

__all__ = [
    "change_of",
    "clear_events",
    "event_of",
    "is_quiet",
    "signal_of",
    "texts_of",
    "with_change",
    "with_event",
    "with_signal",
]

_MOST = 100
_MOST_CHANGES = 50
Item = TypeVar("Item", IncidentSignal, IncidentEvent)


def signal_of(anomaly: Anomaly, at: int, earlier: IncidentSignal | None = None) -> IncidentSignal:
    """The anomaly, as of event time `at`, as evidence. What `earlier` had reached (peak, alarm) is kept."""
    alarm = anomaly.tier == Tier.ALARM or (earlier is not None and earlier.tier == Tier.ALARM)
    return IncidentSignal(
        anomaly_id=anomaly.anomaly_id,
        series=anomaly.series,
        kind=anomaly.kind.value,
        tier=(Tier.ALARM if alarm else Tier.WATCH).value,
        service=anomaly.service,
        template_id=anomaly.template_id,
        text=anomaly.text,
        severity=anomaly.severity,
        observed=anomaly.observed,
        expected=anomaly.expected,
        window_minutes=(anomaly.window.end - anomaly.window.start) / 60_000,
        sigma=anomaly.sigma,
        log10_p=anomaly.log10_p,
        opened_at=anomaly.opened_at,
        updated_at=at,
        cleared_at=at if anomaly.status == Status.CLEARED else 0,
        rule=anomaly.rule if anomaly.tier == Tier.ALARM or earlier is None else earlier.rule,
        peak_sigma=max(anomaly.sigma, earlier.peak_sigma if earlier else anomaly.sigma),
        evidence=tuple(f"{at.partition}@{at.offset}:{at.line}" for at in anomaly.evidence),
    )


def event_of(event: InfraEvent, at: int, cleared_at: int = 0) -> IncidentEvent:
    """The infrastructure event as evidence; one that is no failure is clear from the start."""
    return IncidentEvent(
        event_id=event.event_id,
        detail_type=event.detail_type,
        resource=event.resource,
        resource_type=event.resource_type,
        at=at,
        expected=event.expected,
        detail=event.detail,
        cleared_at=cleared_at,
    )


def change_of(change: Change, at: int) -> IncidentChange:
    """The change as evidence."""
    return IncidentChange(
        change_id=change.change_id,
        kind=change.kind,
        resource=change.resource,
        actor=change.actor,
        at=at,
        before=change.before,
        after=change.after,
    )


def with_signal(incident: Incident, signal: IncidentSignal) -> Incident:
    """The incident with this signal added, or renewed where it knows the anomaly."""
    known = any(item.anomaly_id == signal.anomaly_id for item in incident.signals)
    signals = (
        tuple(signal if item.anomaly_id == signal.anomaly_id else item for item in incident.signals)
        if known
        else _capped([*incident.signals, signal])
    )
    silent = signal.kind == Kind.SERVICE_SILENT and signal.tier == Tier.ALARM
    return _weigh(incident, {"signals": signals}, signal.severity, failed=silent)


def with_event(incident: Incident, event: IncidentEvent) -> Incident:
    """The incident with this infrastructure event; the first open one also names the resource."""
    changes: dict[str, object] = {"events": _capped([*incident.events, event])}
    failed = event.cleared_at == 0 and not event.expected
    if failed and not incident.resource:
        changes |= {"resource": event.resource, "resource_type": event.resource_type}
    return _weigh(incident, changes, Severity.FATAL if failed else 0, failed=failed)


def with_change(incident: Incident, change: IncidentChange) -> Incident:
    """The incident with one more suspect."""
    return _weigh(incident, {"changes": (*incident.changes, change)[-_MOST_CHANGES:]}, 0, failed=False)


def clear_events(incident: Incident, at: int, *, resource: str | None = None, ids: Sequence[str] = ()) -> Incident:
    """The incident with its open events on `resource` (None: all; `ids`: these) clear since `at`. Itself if none is."""

    def ends(event: IncidentEvent) -> bool:
        chosen = event.event_id in ids if ids else resource in (None, event.resource)
        return event.cleared_at == 0 and chosen

    if not any(ends(event) for event in incident.events):
        return incident
    events = tuple(event.model_copy(update={"cleared_at": at}) if ends(event) else event for event in incident.events)
    return _weigh(incident, {"events": events}, 0, failed=False)


def is_quiet(incident: Incident) -> bool:
    """Every signal and every event is clear."""
    return all(item.cleared_at for item in incident.signals) and all(item.cleared_at for item in incident.events)


def texts_of(incident: Incident) -> tuple[str, ...]:
    """Template texts and event types, sorted: what similarity compares. A text-less series counts by its kind."""
    signals = {signal.text or f"{signal.kind} of {signal.service}" for signal in incident.signals}
    return tuple(sorted(signals | {event.detail_type for event in incident.events if not event.expected}))


def _weigh(incident: Incident, changes: dict[str, object], severity: int, *, failed: bool) -> Incident:
    weight = Severity.FATAL if failed else severity
    changes |= {"severity": max(incident.severity, weight), "failed": incident.failed or failed}
    nxt = incident.model_copy(update=changes)
    return nxt.model_copy(update={"evidence_digest": _evidence_digest(nxt)})


def _evidence_digest(incident: Incident) -> str:
    parts: list[Model] = [*incident.signals, *incident.events, *incident.changes]
    return digest(*(part.model_dump_json() for part in parts))


def _capped(items: Iterable[Item]) -> tuple[Item, ...]:
    kept = list(items)
    if len(kept) > _MOST:
        del kept[next((place for place, item in enumerate(kept) if item.cleared_at), 0)]
    return tuple(kept)
