"""join: the signals of one application become one incident with a correlation id and its evidence.

In: anomalies, infrastructure events, changes, recalled history, outcomes. Out: Incident (each revision), audit entries
DETECTED and HISTORY_CHECKED, effect `recall_history` on opening and as it grows. It closes when everything has been
clear for 300 s.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from models.anomaly import Anomaly, Status, Tier
from models.audit import Stage
from models.case import CaseState, JoinState
from models.casefile import (
    change_of,
    clear_events,
    event_of,
    is_quiet,
    signal_of,
    texts_of,
    with_change,
    with_event,
    with_signal,
)
from models.command import Outcome
from models.correlation import create_incident_record
from models.corroboration import INFRA_WITHIN_MS, corroborate
from models.event import digest
from models.history import HistoryRecalled
from models.incident import Incident, IncidentSignal, IncidentStatus
from models.signal import Change, EffectAnswered, InfraEvent, InfraMeaning
from streams.casework import Work
from streams.step import Effect

__all__ = ["CHANGES_BEFORE_MS", "EVENT_OPEN_MS", "QUIET_MS", "join", "join_wish"]

QUIET_MS = 300_000
"""How long everything must be clear before an incident closes."""
EVENT_OPEN_MS = 900_000
"""An infrastructure event without outcome or counterpart counts as open for 15 minutes."""
CHANGES_BEFORE_MS = 1_800_000
"""How long before an opening a change is still a suspect."""
RECALL_AGAIN_MS = 60_000
"""History is recalled again at most once a minute, and only for evidence it was not asked about."""
MAX_RECALLS = 4
_WATCH_KEPT_MS = 300_000
_SEEN_KEPT_MS = 86_400_000
_SEEN_MOST = 500
_RECENT_MOST = 50


def join(state: CaseState, work: Work) -> None:
    """Take the event into the case, then close what has been quiet long enough."""
    _forget(state.join, work)
    data = work.event.data
    if isinstance(data, Anomaly):
        _take_anomaly(state, work, data)
    elif isinstance(data, InfraEvent):
        _take_infra(state, work, data)
    elif isinstance(data, Change):
        _take_change(state, work, data)
    elif isinstance(data, HistoryRecalled | EffectAnswered) and data.effect_id == state.join.recall_id:
        _take_history(state, work, data)
    elif isinstance(data, Outcome) and data.result == "recovered":
        incident = state.join.incident
        if incident is not None and incident.correlation_id == data.correlation_id:
            _renew(state, work, clear_events(incident, work.event.at))
    _expire_events(state, work)
    _settle(state, work)


def join_wish(state: CaseState) -> Iterator[int]:
    """When join wants to look again (ms)."""
    incident = state.join.incident
    if incident is not None:
        yield from state.join.event_expires.values()
        if state.join.quiet_since and not _busy(state, incident):
            yield state.join.quiet_since + QUIET_MS


def _take_anomaly(state: CaseState, work: Work, anomaly: Anomaly) -> None:
    joined, at = state.join, work.event.at
    incident = joined.incident
    known = _known(incident, anomaly.anomaly_id)
    if incident is not None and known is not None:
        joined.evidence_at = max(joined.evidence_at, at)
        _renew(state, work, with_signal(incident, signal_of(anomaly, at, known)))
        return
    watch = next((watch for watch in joined.watches if watch.anomaly_id == anomaly.anomaly_id), None)
    signal = signal_of(anomaly, at, watch)
    joined.watches = [item for item in joined.watches if item.anomaly_id != anomaly.anomaly_id]
    if anomaly.status == Status.CLEARED:
        if watch is None:
            _ignore(joined, "cleared before it was known")
        else:
            joined.watches.append(signal)
        return
    if signal.tier != Tier.ALARM:
        rule = corroborate(
            signal, _others(joined), joined.failed_at, len(work.catalog.application(state.application).services)
        )
        if rule is None:
            joined.watches = [*joined.watches, signal][-_RECENT_MOST:]
            return
        signal = _raised(signal, rule)
    incident = incident or _open(state, work, at, signal.series, kind=signal.kind, text=signal.text)
    joined.evidence_at = max(joined.evidence_at, at)
    _renew(state, work, with_signal(incident, signal))
    _rejoin_watches(state, work)


def _take_infra(state: CaseState, work: Work, infra: InfraEvent) -> None:
    joined, at = state.join, work.event.at
    if not _first_time(joined, work, infra.event_id, "duplicate infra event"):
        return
    planned = joined.planned.get(infra.resource)
    expected = infra.expected or (planned is not None and at - planned <= INFRA_WITHIN_MS)
    if infra.meaning == InfraMeaning.FAILURE and not expected:
        _take_failure(state, work, infra)
        return
    if infra.expected and infra.meaning == InfraMeaning.FAILURE:
        joined.planned = _newest({**joined.planned, infra.resource: at})
    incident = joined.incident
    if incident is None:
        _ignore(joined, "expected infra event" if expected else f"{infra.meaning.value} infra event, nothing open")
        return
    if infra.meaning == InfraMeaning.RECOVERY or expected:
        incident = clear_events(incident, at, resource=infra.resource)
    _renew(state, work, with_event(incident, event_of(infra, at, cleared_at=at)))


def _take_failure(state: CaseState, work: Work, infra: InfraEvent) -> None:
    joined, at = state.join, work.event.at
    joined.failed_at = [*joined.failed_at, at][-_RECENT_MOST:]
    joined.event_expires[infra.event_id] = work.now + EVENT_OPEN_MS
    incident = joined.incident or _open(
        state,
        work,
        at,
        infra.detail_type,
        kind="infra",
        text=infra.detail_type,
        resource=infra.resource,
        resource_type=infra.resource_type,
    )
    joined.evidence_at = max(joined.evidence_at, at)
    _renew(state, work, with_event(incident, event_of(infra, at)))
    _rejoin_watches(state, work)


def _take_change(state: CaseState, work: Work, change: Change) -> None:
    joined = state.join
    if not _first_time(joined, work, change.change_id, "duplicate change"):
        return
    kept = change_of(change, work.event.at)
    joined.changes = [*joined.changes, kept][-_RECENT_MOST:]
    if joined.incident is not None:
        _renew(state, work, with_change(joined.incident, kept))


def _take_history(state: CaseState, work: Work, answer: HistoryRecalled | EffectAnswered) -> None:
    incident = state.join.incident
    state.join.recall_id = ""
    if incident is None:
        return
    if isinstance(answer, EffectAnswered):
        work.audit(
            state, Stage.HISTORY_CHECKED, "join", incident.correlation_id, error=answer.error[:200] or "no answer"
        )
        return
    _renew(
        state,
        work,
        incident.model_copy(update={"similar": answer.similar, "stats": answer.stats, "history_recalled": True}),
    )
    facts = [f"{item.record.correlation_id} {item.similarity:.2f}" for item in answer.similar]
    work.audit(
        state, Stage.HISTORY_CHECKED, "join", incident.correlation_id, records=answer.records, similar=list(facts)
    )


def _open(
    state: CaseState,
    work: Work,
    at: int,
    primary: str,
    *,
    kind: str,
    text: str,
    resource: str = "",
    resource_type: str = "",
) -> Incident:
    joined = state.join
    incident = create_incident_record(
        state.application, at, primary, kind=kind, text=text, resource=resource, resource_type=resource_type
    )
    for change in joined.changes:
        if at - change.at <= CHANGES_BEFORE_MS:
            incident = with_change(incident, change)
    joined.incident, joined.opened_at, joined.evidence_at = incident, work.now, at
    work.opened = True
    return incident


def _announce(state: CaseState, work: Work, incident: Incident) -> None:
    """What an opening causes, once its first evidence is in."""
    state.join.recalls = 0
    _recall(state, work, incident)
    state.join.opened_failed = incident.failed
    cid = incident.correlation_id
    work.audit(state, Stage.DETECTED, "join", cid, primary=incident.primary, pattern_id=incident.pattern_id)


def _recall(state: CaseState, work: Work, incident: Incident) -> None:
    """Ask history what resembles the incident as it stands."""
    joined = state.join
    joined.recalls += 1
    joined.recalled_at, joined.recalled_texts = work.now, texts_of(incident)
    joined.recall_id = digest("recall", incident.correlation_id, str(joined.recalls))
    runbooks = list(work.catalog.application(state.application).runbooks)
    args: dict[str, JsonValue] = {
        "application": state.application,
        "correlation_id": incident.correlation_id,
        "pattern_id": incident.pattern_id,
        "texts": list(joined.recalled_texts),
        "runbooks": list(runbooks),
    }
    work.effects.append(Effect(joined.recall_id, "recall_history", args))


def _rejoin_watches(state: CaseState, work: Work) -> None:
    """Watches that were too weak alone, and are not beside what the incident now holds."""
    joined = state.join
    services = len(work.catalog.application(state.application).services)
    for watch in list(joined.watches):
        incident = joined.incident
        if incident is None:
            return
        rule = corroborate(watch, incident.signals, joined.failed_at, services)
        if rule is not None:
            joined.watches.remove(watch)
            _renew(state, work, with_signal(incident, _raised(watch, rule)))


def _settle(state: CaseState, work: Work) -> None:
    """Emit the incident if this turn changed it; note quiet; close after 300 s of it."""
    joined = state.join
    incident = joined.incident
    if incident is None:
        return
    if work.opened:
        _announce(state, work, incident)
    elif work.changed and _has_grown(joined, work, incident):
        _recall(state, work, incident)
    if not is_quiet(incident):
        joined.quiet_since = 0
    elif not joined.quiet_since:
        joined.quiet_since = work.now
    elif work.now >= joined.quiet_since + QUIET_MS and not _busy(state, incident):
        incident = incident.model_copy(update={"status": IncidentStatus.CLOSED, "closed_at": work.now})
        work.closed = work.changed = True
    if work.changed:
        joined.incident = incident.model_copy(update={"revision": incident.revision + 1})
        work.emit("incidents", state.application, joined.incident, incident.correlation_id)


def _has_grown(joined: JoinState, work: Work, incident: Incident) -> bool:
    """At its opening an incident is one text, too little to resemble a past one that became a dozen."""
    rested = not joined.recall_id and work.now >= joined.recalled_at + RECALL_AGAIN_MS
    return rested and joined.recalls < MAX_RECALLS and texts_of(incident) != joined.recalled_texts


def _expire_events(state: CaseState, work: Work) -> None:
    joined, incident = state.join, state.join.incident
    if incident is None:
        return
    still_open = {event.event_id for event in incident.events if not event.cleared_at}
    due = [name for name, until in joined.event_expires.items() if name in still_open and work.now >= until]
    if due:
        _renew(state, work, clear_events(incident, work.now, ids=due))
    joined.event_expires = {
        name: until for name, until in joined.event_expires.items() if name in still_open and name not in due
    }


def _busy(state: CaseState, incident: Incident) -> bool:
    """A command for this incident is under way: its outcome belongs in the record, so closing waits."""
    return any(item.correlation_id == incident.correlation_id for item in state.decide.in_flight.values())


def _renew(state: CaseState, work: Work, incident: Incident) -> None:
    if incident is not state.join.incident:
        state.join.incident = incident
        work.changed = True


def _known(incident: Incident | None, anomaly_id: str) -> IncidentSignal | None:
    return next((signal for signal in incident.signals if signal.anomaly_id == anomaly_id), None) if incident else None


def _others(joined: JoinState) -> list[IncidentSignal]:
    return [*(joined.incident.signals if joined.incident else ()), *joined.watches]


def _raised(signal: IncidentSignal, rule: str) -> IncidentSignal:
    return signal.model_copy(update={"tier": Tier.ALARM.value, "rule": rule})


def _first_time(joined: JoinState, work: Work, name: str, reason: str) -> bool:
    if name in joined.seen:
        _ignore(joined, reason)
        return False
    joined.seen[name] = work.now
    return True


def _ignore(joined: JoinState, reason: str) -> None:
    joined.ignored[reason] = joined.ignored.get(reason, 0) + 1


def _newest(times: dict[str, int]) -> dict[str, int]:
    return dict(list(times.items())[-_RECENT_MOST:])


def _forget(joined: JoinState, work: Work) -> None:
    """Drop what is too old to matter. Watches, changes and failures are judged by event time, the rest by the log's."""
    at, now = work.event.at, work.now
    joined.watches = [watch for watch in joined.watches if at - watch.updated_at <= _WATCH_KEPT_MS]
    joined.changes = [change for change in joined.changes if at - change.at <= CHANGES_BEFORE_MS]
    joined.failed_at = [time for time in joined.failed_at if at - time <= INFRA_WITHIN_MS]
    recent = [(name, time) for name, time in joined.seen.items() if now - time <= _SEEN_KEPT_MS]
    joined.seen = dict(recent[-_SEEN_MOST:])
