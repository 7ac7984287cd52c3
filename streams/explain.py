"""An explanation of one thing, from the line in the log to what was learnt, put together from the topics alone.

In: a log and a name: a correlation, anomaly, alert or command id, or a line pointer `logs/PARTITION@OFFSET:LINE`. Out:
an Explanation, data only; streams/cli_explain.py shows it. Lines' texts are not redacted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from connectors.codec import decode_record
from models.anomaly import Anomaly, LinePointer
from models.audit import AuditEntry
from models.command import Command, JournalEntry, Outcome
from models.decision import Alert, Decision
from models.errors import ContractError, ForeshockError
from models.event import Contract, Event
from models.history import HistoryRecord, PatternStats
from models.incident import Incident
from models.log import LogBatch
from models.mining import Miner
from models.prediction import Prediction
from models.signal import Review
from models.template import BatchPointer, Template
from streams.reading import ReadableLog, events_of

__all__ = ["CaseStory", "Explanation", "LineView", "Subject", "UnknownNameError", "explain_name"]

Subject = Literal["incident", "anomaly", "alert", "command", "line"]
C = TypeVar("C", bound=Contract)
_POINTER: Final = re.compile(r"(?:logs/)?(\d{1,9})@(\d{1,18}):(\d{1,9})")


class UnknownNameError(ForeshockError):
    """Nothing in the log has this name; the message says what to try."""


@dataclass(frozen=True)
class LineView:
    """A line as it stands in the log, and its template. `text` None: retention has taken the batch away."""

    pointer: str
    service: str = ""
    at: int = 0
    severity: int = 0
    text: str | None = None
    template: Template | None = None


@dataclass(frozen=True)
class CaseStory:
    """One incident: every recorded event of it by kind, in the order in which they were logged."""

    incidents: Sequence[Event[Incident]]
    anomalies: Sequence[Event[Anomaly]]
    lines: Sequence[LineView]
    predictions: Sequence[Event[Prediction]]
    decisions: Sequence[Event[Decision]]
    alerts: Sequence[Event[Alert]]
    reviews: Sequence[Event[Review]]
    commands: Sequence[Event[Command]]
    journal: Sequence[Event[JournalEntry]]
    outcomes: Sequence[Event[Outcome]]
    learnt: Sequence[Event[HistoryRecord]]
    stats: Sequence[Event[PatternStats]]
    audit: Sequence[Event[AuditEntry]]

    @property
    def incident(self) -> Incident:
        """Its newest revision."""
        return self.incidents[-1].data


@dataclass(frozen=True)
class Explanation:
    """What a name stands for. `anomalies` are those the name itself leads to (a line's, an anomaly's revisions);
    `cases` the incidents they belong to.
    """

    name: str
    subject: Subject
    line: LineView | None
    anomalies: Sequence[Event[Anomaly]]
    lines: Sequence[LineView]
    cases: Sequence[CaseStory]


def explain_name(log: ReadableLog, name: str) -> Explanation:
    """Everything recorded about `name`. Raises UnknownNameError."""
    pointer = _POINTER.fullmatch(name)
    if pointer is not None:
        partition, offset, line = map(int, pointer.groups())
        return _explain_line(log, name, LinePointer(partition=partition, offset=offset, line=line))
    if any(event.data.correlation_id == name for event in events_of(log, "incidents", Incident, about=[name])):
        return Explanation(name, "incident", None, (), (), (_story(log, name),))
    anomalies = [event for event in events_of(log, "anomalies", Anomaly, about=[name]) if event.data.anomaly_id == name]
    if anomalies:
        return Explanation(
            name, "anomaly", None, anomalies, _lines(log, _pointers(anomalies)), _cases_of(log, anomalies)
        )
    for event in events_of(log, "alerts", Alert, about=[name]):
        if event.data.alert_id == name:
            return Explanation(name, "alert", None, (), (), (_story(log, event.data.correlation_id),))
    ordered = _incident_of_command(log, name)
    if ordered:
        return Explanation(name, "command", None, (), (), (_story(log, ordered),))
    raise UnknownNameError(
        f"nothing here is called {name!r}. Try an id from `foreshock incidents --all`, `foreshock tap anomalies` or "
        "`foreshock tap commands`, or a line as logs/PARTITION@OFFSET:LINE"
    )


def _explain_line(log: ReadableLog, name: str, pointer: LinePointer) -> Explanation:
    view = _view(log, pointer)
    if view.text is None or view.template is None:
        first, end = log.bounds("logs", pointer.partition) if pointer.partition < log.partitions("logs") else (0, 0)
        raise UnknownNameError(
            f"{view.pointer} is not in the log: partition {pointer.partition} keeps offsets {first} to {end - 1}, and "
            "lines are counted from 0 in each batch. `foreshock tap logs` shows them"
        )
    template = view.template.id
    anomalies = [
        event
        for event in events_of(log, "anomalies", Anomaly, about=[view.service])
        if event.data.service == view.service
        and event.data.template_id in ("", template)
        and (pointer in event.data.evidence or event.data.window.start <= view.at < event.data.window.end)
    ]
    return Explanation(name, "line", view, anomalies, (), _cases_of(log, anomalies))


def _story(log: ReadableLog, cid: str) -> CaseStory:
    incidents = [e for e in events_of(log, "incidents", Incident, about=[cid]) if e.data.correlation_id == cid]
    if not incidents:
        raise UnknownNameError(f"the incident {cid} is not in the log any more: retention has taken it away")
    incident = incidents[-1].data
    ids = [signal.anomaly_id for signal in incident.signals]
    anomalies = [e for e in events_of(log, "anomalies", Anomaly, about=ids) if e.data.anomaly_id in ids] if ids else []
    commands = _about(log, "commands", Command, cid)
    stats = [
        event
        for event in events_of(log, "history", PatternStats, about=[incident.pattern_id])
        if (event.data.application, event.data.pattern_id) == (incident.application, incident.pattern_id)
    ]
    return CaseStory(
        incidents=incidents,
        anomalies=anomalies,
        lines=_lines(log, [*_pointers(anomalies), *(at for signal in incident.signals for at in signal.evidence)]),
        predictions=_about(log, "predictions", Prediction, cid),
        decisions=_about(log, "predictions", Decision, cid),
        alerts=_about(log, "alerts", Alert, cid),
        reviews=_about(log, "signals", Review, cid),
        commands=commands,
        journal=_about(log, "journal", JournalEntry, cid),
        outcomes=_about(log, "signals", Outcome, cid),
        learnt=_about(log, "history", HistoryRecord, cid),
        stats=stats,
        audit=_about(log, "audit", AuditEntry, cid),
    )


def _about(log: ReadableLog, topic: str, kind: type[C], cid: str) -> list[Event[C]]:
    """The events of incident `cid`; an envelope without one is asked by its payload."""
    found = events_of(log, topic, kind, about=[cid])
    return [event for event in found if (event.cid or getattr(event.data, "correlation_id", "")) == cid]


def _cases_of(log: ReadableLog, anomalies: Iterable[Event[Anomaly]]) -> tuple[CaseStory, ...]:
    ids = {event.data.anomaly_id for event in anomalies}
    if not ids:
        return ()
    cids = [
        event.data.correlation_id
        for event in events_of(log, "incidents", Incident, about=sorted(ids))
        if any(signal.anomaly_id in ids for signal in event.data.signals)
    ]
    return tuple(_story(log, cid) for cid in dict.fromkeys(cids))


def _incident_of_command(log: ReadableLog, command_id: str) -> str:
    """The journal and outcomes outlive the topic of commands."""
    kinds: tuple[tuple[str, type[Command] | type[JournalEntry] | type[Outcome]], ...] = (
        ("commands", Command),
        ("journal", JournalEntry),
        ("signals", Outcome),
    )
    for topic, kind in kinds:
        for event in events_of(log, topic, kind, about=[command_id]):
            if event.data.command_id == command_id:
                return event.data.correlation_id
    return ""


def _pointers(anomalies: Iterable[Event[Anomaly]]) -> list[str]:
    return [f"{at.partition}@{at.offset}:{at.line}" for event in anomalies for at in event.data.evidence]


def _lines(log: ReadableLog, pointers: Iterable[str]) -> list[LineView]:
    views = []
    for text in dict.fromkeys(pointers):
        match = _POINTER.fullmatch(text)
        if match is not None:
            partition, offset, line = map(int, match.groups())
            views.append(_view(log, LinePointer(partition=partition, offset=offset, line=line)))
    return views


def _view(log: ReadableLog, pointer: LinePointer) -> LineView:
    """The line the pointer names; only its name where the log does not have it."""
    name = f"logs/{pointer.partition}@{pointer.offset}:{pointer.line}"
    batch = _batch(log, pointer)
    if batch is None or not pointer.line < batch.lines:
        return LineView(name)
    text, severity = batch.messages.split("\n")[pointer.line], batch.severity[pointer.line]
    service, at = batch.services[batch.service_index[pointer.line]], batch.timestamps[pointer.line]
    template = _template(service, at, severity, text)
    return LineView(name, service, at, template.severity, text, template)


def _template(service: str, at: int, severity: int, text: str) -> Template:
    """What mine makes of this line: the template of a batch that holds nothing else."""
    alone = LogBatch(
        sources=(), services=(service,), service_index=[0], timestamps=[at], severity=[severity], messages=text
    )
    counts = Miner().mine(alone, BatchPointer(topic="logs", partition=0, offset=0))
    return counts.sections[0].templates[0]


def _batch(log: ReadableLog, pointer: LinePointer) -> LogBatch | None:
    if not pointer.partition < log.partitions("logs"):
        return None
    found = log.read("logs", pointer.partition, pointer.offset, 1)
    if not found or found[0].offset != pointer.offset:
        return None
    try:
        data = decode_record(found[0]).data
    except ContractError:
        return None
    return data if isinstance(data, LogBatch) else None
