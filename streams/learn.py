"""learn: what came of it, also where nothing was done.

In: settled commands, closed incidents. Out: PatternStats (by application, pattern, runbook), HistoryRecord (by
correlation id), audit entries LEARNED and CLOSED. An incident nobody acted on is a control case: what uplift is
measured against, judged at the horizon the runbook's own verification has.
"""

from __future__ import annotations

from typing import Final

from pydantic import JsonValue

from models.audit import Stage
from models.case import CaseState, Tried
from models.casefile import texts_of
from models.history import HistoryRecord, PatternStats, Tally
from models.incident import Incident
from models.ledger import after_action, after_waiting, row_key, row_of
from models.runbook import Runbook, Verification
from streams.casework import Settled, Work

__all__ = ["ROWS_KEPT", "learn"]

ROWS_KEPT: Final = 500
"""Rows of statistics kept by a case; what is pushed out comes back with the recall of its pattern."""


def learn(state: CaseState, work: Work) -> None:
    """Count every settled command, then write down a closed incident."""
    for settled in work.settled:
        _learn_action(state, work, settled)
    incident = state.join.incident
    if incident is not None and work.closed:
        _learn_incident(state, work, incident)


def _learn_action(state: CaseState, work: Work, settled: Settled) -> None:
    """Recovered and verified counts 1; rolled back, failed, unknown 0; a refusal touched nothing and counts nothing."""
    ended, outcome = settled.in_flight, settled.outcome
    if outcome is not None and (outcome.result == "refused" or not outcome.applied):
        return
    runbook = work.catalog.runbook(ended.runbook_id, ended.runbook_version)
    if runbook is None:  # the catalog has a newer version by now: this outcome says nothing about that one
        return
    incident = state.join.incident
    recalled = incident.stats if incident is not None and incident.pattern_id == ended.pattern_id else ()
    row = row_of(state.learn.stats, recalled, state.application, ended.pattern_id, runbook)
    ok = outcome is not None and outcome.result == "recovered"
    _keep(state, work, after_action(row, ok, ended.claim, work.catalog.policy), ended.correlation_id)


def _learn_incident(state: CaseState, work: Work, incident: Incident) -> None:
    joined, cid, prediction = state.join, incident.correlation_id, state.predict.last
    acted = [item for item in state.decide.tried if item.applied]
    seconds = max(joined.quiet_since - joined.opened_at, 0) / 1_000
    recovered: bool | None = None
    if not acted:
        recovered = _recovered_alone(state, work, incident, seconds)
        claim = prediction.failure_probability if prediction and prediction.question == "predict" else None
        row = row_of(state.learn.stats, incident.stats, state.application, incident.pattern_id, None)
        _keep(state, work, after_waiting(row, recovered, claim, incident.failed), cid)
    record = HistoryRecord(
        correlation_id=cid,
        application=state.application,
        pattern_id=incident.pattern_id,
        primary=incident.primary,
        texts=texts_of(incident),
        resource_type=incident.resource_type,
        opened_at=incident.opened_at,
        closed_at=incident.closed_at,
        failed=incident.failed,
        acted=bool(acted),
        runbook_id=acted[-1].runbook_id if acted else "",
        result=_result(acted),
        recovered_without_acting=recovered,
        seconds_to_recover=seconds,
        failure_probability=prediction.failure_probability if prediction else None,
    )
    work.emit("history", cid, record, cid)
    work.audit(state, Stage.CLOSED, "learn", cid, acted=bool(acted), failed=incident.failed, seconds=seconds)


def _recovered_alone(state: CaseState, work: Work, incident: Incident, seconds: float) -> bool:
    """It cleared within the horizon an action would have been given, and no failure followed the opening."""
    became_failure = incident.failed and not state.join.opened_failed
    return seconds <= _horizon_seconds(_recommended(state, work)) and not became_failure


def _recommended(state: CaseState, work: Work) -> Runbook | None:
    prediction = state.predict.last
    return work.catalog.runbook(prediction.runbook_id) if prediction and prediction.runbook_id else None


def _horizon_seconds(runbook: Runbook | None) -> float:
    verify = runbook.verify if runbook else Verification()
    return verify.settle_seconds + verify.timeout_seconds


def _result(acted: list[Tried]) -> str:
    return acted[-1].result if acted else ""


def _keep(state: CaseState, work: Work, row: PatternStats, cid: str) -> None:
    """Keep the row (newest last) and publish it. What was pooled from elsewhere is not its own: it stays out."""
    own = row.model_copy(update={"elsewhere": Tally()})
    key = row_key(own.pattern_id, own.runbook_id)
    stats = state.learn.stats
    stats.pop(key, None)
    stats[key] = own
    while len(stats) > ROWS_KEPT:
        del stats[next(iter(stats))]
    work.emit("history", f"{state.application}/{key}", own, cid)
    tally = own.acted if own.runbook_id else own.not_acted
    facts: dict[str, JsonValue] = {
        "pattern_id": own.pattern_id,
        "runbook_id": own.runbook_id,
        "ok": tally.ok,
        "bad": tally.bad,
    }
    work.audit(state, Stage.LEARNED, "learn", cid, **facts)
