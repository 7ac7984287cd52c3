"""alert: what people are told, as one alert an incident with growing revisions.

In: what join, predict and decide did in this turn. Out: Alert: opened (in the very turn of the alarm), predicted,
decided, resolved. Silenced applications get none; the decision says why.
"""

from __future__ import annotations

from typing import Literal

from models.case import CaseState
from models.decision import Alert, AlertStage
from models.event import digest
from models.headline import escape, headline
from models.incident import Incident
from models.runbook import Runbook
from streams.casework import Work

__all__ = ["tell"]

Severity = Literal["info", "warning", "critical"]


def tell(state: CaseState, work: Work) -> None:
    """Emit one revision for each stage this turn reached."""
    incident = state.join.incident
    if incident is None:
        return
    if work.opened:
        state.decide.alert_revision, state.decide.alert_stage, state.decide.alert_told = 0, None, {}
        _alert(state, work, incident, AlertStage.OPENED)
    if work.predicted is not None:
        _alert(state, work, incident, AlertStage.PREDICTED)
    if work.decided is not None:
        _alert(state, work, incident, AlertStage.DECIDED)
    trouble = ""
    for settled in work.settled:
        outcome = settled.outcome
        if outcome is not None and outcome.result == "recovered":
            _alert(state, work, incident, AlertStage.RESOLVED)
        else:
            trouble = escape(outcome.reason or outcome.result) if outcome else "no outcome came in time"
            _alert(state, work, incident, AlertStage.DECIDED, trouble)
    if work.closed and state.decide.alert_stage != AlertStage.RESOLVED:
        _alert(state, work, incident, AlertStage.RESOLVED)


def _alert(state: CaseState, work: Work, incident: Incident, stage: AlertStage, trouble: str = "") -> None:
    made, prediction = state.decide, state.predict.last
    made.alert_stage = stage
    if work.control("silence", state.application) is not None:
        return
    cid = incident.correlation_id
    p = prediction.failure_probability if prediction else None
    alert = Alert(
        alert_id=digest("alert", cid),
        correlation_id=cid,
        application=state.application,
        revision=made.alert_revision + 1,
        stage=stage,
        severity="critical" if trouble else _severity(incident, p, work, stage),
        title=headline(incident),
        recommendation=f"A person is needed: {trouble}"
        if trouble
        else _recommendation(state, work, incident, p, stage),
        failure_probability=p,
        horizon_minutes=prediction.horizon_minutes if prediction and p is not None else 0,
        verdict=work.decided.verdict.value if work.decided and stage == AlertStage.DECIDED else "",
        links={"explain": f"foreshock explain {cid}"},
    )
    likely = "" if p is None else f"{p:.1f}"
    told = digest(alert.severity, alert.recommendation, alert.verdict, likely)
    if made.alert_told.get(stage) == told:
        return
    made.alert_told[stage] = told
    made.alert_revision += 1
    work.emit("alerts", state.application, alert, cid)


def _severity(incident: Incident, p: float | None, work: Work, stage: AlertStage) -> Severity:
    policy = work.catalog.policy
    if stage == AlertStage.RESOLVED:
        return "info"
    if incident.failed or (p is not None and p >= policy.prevent_probability):
        return "critical"
    return "info" if p is not None and p < policy.alert_probability else "warning"


def _recommendation(state: CaseState, work: Work, incident: Incident, p: float | None, stage: AlertStage) -> str:
    """The runbook's own words, once a failure is likely enough to tell people."""
    prediction = state.predict.last
    runbook: Runbook | None = work.catalog.runbook(prediction.runbook_id) if prediction else None
    likely = incident.failed or (p is not None and p >= work.catalog.policy.alert_probability)
    if runbook is None or not likely or stage == AlertStage.RESOLVED:
        return ""
    return escape(runbook.recommendation)
