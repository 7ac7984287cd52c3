"""What happened when, in words: committed events in, moments of an incident's life out. Pure; used by the demo.

Only what a person wants to be told is a moment; everything else stays in the log (`foreshock explain`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from models.anomaly import Anomaly, Status, Tier
from models.command import Command, JournalEntry, Outcome
from models.decision import Alert, AlertStage, Decision
from models.event import Event
from models.headline import span
from models.history import HistoryRecord
from models.incident import Incident
from models.prediction import Prediction
from models.signal import Change, InfraEvent

__all__ = ["Moment", "tell"]


class Moment(NamedTuple):
    """One line of the story: when (ms, of the log), whose incident ("" before there is one), which verb, what.

    `subject` is what it is about (an anomaly's id, else the text): said again of the same subject, it is no news.
    """

    at: int
    cid: str
    verb: str
    text: str
    subject: str


def tell(event: Event[Any]) -> Moment | None:
    """The moment this event is, or None where it is not worth a line."""
    data = event.data
    teller = _TELLERS.get(type(data))
    told = teller(data) if teller else None
    if told is None:
        return None
    verb, text = told
    subject = data.anomaly_id if isinstance(data, Anomaly) else text
    return Moment(event.logged_at, event.cid or getattr(data, "correlation_id", ""), verb, text, subject)


def _anomaly(data: Anomaly) -> tuple[str, str] | None:
    if data.tier is not Tier.ALARM or data.status is Status.CLEARED:
        return None
    what = f'"{data.text}"' if data.template_id else data.text or data.kind.replace("_", " ")
    over = span((data.window.end - data.window.start) / 60_000)
    return "detect", (
        f"{data.service}: {what} {data.observed:.0f} in {over}, expected {data.expected:.1f}, "
        f"{data.sigma:.1f}σ ({data.kind})"
    )


def _infra(data: InfraEvent) -> tuple[str, str]:
    expected = ", expected" if data.expected else ""
    return "event", f"{data.detail_type}: {_short(data.resource)} ({data.meaning}{expected})"


def _change(data: Change) -> tuple[str, str]:
    what = " → ".join(part for part in (data.before, data.after) if part)
    return "change", f"{data.kind} of {_short(data.resource)} by {data.actor or 'unknown'}" + (
        f": {what}" if what else ""
    )


def _incident(data: Incident) -> tuple[str, str] | None:
    if data.revision == 1:
        return "join", f"incident opened: {_beginning(data)}"
    if data.history_recalled and data.status == "open" and not data.similar:
        return "recall", "no similar incident so far"
    if data.history_recalled and data.status == "open":
        best = data.similar[0]
        ended = "failed" if best.record.failed else "did not fail"
        acted = f"after {best.record.runbook_id}" if best.record.acted else "nobody acted"
        alike = "began the same way" if best.record.pattern_id == data.pattern_id else f"{best.similarity:.0%} alike"
        return "recall", f"{len(data.similar)} similar; {best.record.correlation_id} {alike}: it {ended}, {acted}"
    return None


def _beginning(data: Incident) -> str:
    if not data.signals:
        return data.primary
    first = data.signals[0]
    text = f'"{first.text}"' if first.template_id else first.text
    return first.kind.replace("_", " ") + (f" of {text}" if text else "")


def _prediction(data: Prediction) -> tuple[str, str]:
    if data.failure_probability is None:
        return "predict", f"no prediction: {data.reason}"
    mode = data.failure_mode.replace("_", " ")
    if data.question == "diagnose":
        return "predict", f"diagnosis: {mode} (by the {data.by} predictor)"
    return "predict", (
        f"{data.failure_probability:.0%} failure probability within {data.horizon_minutes} minutes: {mode} "
        f"(by the {data.by} predictor)"
    )


def _decision(data: Decision) -> tuple[str, str]:
    against = [reason.text for reason in data.reasons if not reason.passed]
    prior = " (by declared prior)" if data.confidence and data.confidence.by_declared_prior else ""
    if data.verdict in ("act", "review"):
        sure = f", confidence {data.confidence.mean:.2f}{prior}" if data.confidence else ""
        return "decide", f"{data.verdict}: {data.runbook_id} on {_short(data.target)}{sure}"
    return "decide", f"{data.verdict}" + (f": {against[0]}" if against else "")


def _alert(data: Alert) -> tuple[str, str] | None:
    if data.stage in (AlertStage.OPENED, AlertStage.PREDICTED):
        return None
    if data.stage is AlertStage.RESOLVED:
        return "alert", "resolved"
    advice = f" → {data.recommendation}" if data.recommendation else ""
    return "alert", f"[{data.severity}] {data.title}{advice}"


def _command(data: Command) -> tuple[str, str]:
    return "command", f"{data.runbook_id} v{data.runbook_version} on {_short(data.target)}, signed {data.key_id}"


def _journal(data: JournalEntry) -> tuple[str, str] | None:
    if data.entry == "intent" and data.call == "call_action":
        again = f" (attempt {data.attempt})" if data.attempt > 1 else ""
        return "act", f"{data.detail.get('action', data.step)} on {_short(data.target)}{again}"
    if data.entry == "state" and data.state in ("verifying", "compensating"):
        return "act", data.state
    return None


def _outcome(data: Outcome) -> tuple[str, str]:
    times = data.times
    took = ""
    if "detected" in times and "verified" in times:
        took = f", {(times['verified'] - times['detected']) / 1000:.0f} s from detection to verified"
    by = f" by {', '.join(data.verified_by)}" if data.verified_by else ""
    why = f": {data.reason}" if data.reason and data.result != "recovered" else ""
    return "verify", f"{data.result}{by}{took}{why}"


def _history(data: HistoryRecord) -> tuple[str, str]:
    if not data.acted:
        return "learn", f"nobody acted; {'it failed' if data.failed else 'it did not fail'}"
    return "learn", f"{data.runbook_id} → {data.result}, {'after the failure' if data.failed else 'before any failure'}"


def _short(resource: str) -> str:
    return resource.rpartition(":")[2] or resource


_TELLERS: dict[type, Any] = {
    Anomaly: _anomaly,
    InfraEvent: _infra,
    Change: _change,
    Incident: _incident,
    Prediction: _prediction,
    Decision: _decision,
    Alert: _alert,
    Command: _command,
    JournalEntry: _journal,
    Outcome: _outcome,
    HistoryRecord: _history,
}
