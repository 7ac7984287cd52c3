"""`foreshock explain`: an Explanation as a tree a person can read, or as one JSON object.

In: a log and a name. Out: stdout. Every text of the log is redacted and escaped on its way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from pydantic import BaseModel
from rich.text import Text
from rich.tree import Tree

from connectors.where import Where
from models.anomaly import Anomaly, Kind
from models.command import Command, JournalEntry, Outcome
from models.decision import Alert, Decision
from models.event import Event
from models.history import HistoryRecord, PatternStats
from models.incident import Incident
from models.log import Severity
from models.prediction import Prediction
from models.signal import Review
from streams.cli_where import opened, recent, say_what_is_cut, since_of
from streams.explain import CaseStory, Explanation, LineView, explain_name
from streams.rendering import put, put_json, shown, time_text

__all__ = ["explain"]

Branch = tuple[str, Sequence["Branch"]]
_LINES_SHOWN: Final = 5


def explain(where: Where, name: str, *, since: str, as_json: bool) -> None:
    """Show what `name` stands for. Raises UnknownNameError where nothing does."""
    with opened(where) as log:
        begin = since_of(log, since)
        view = recent(log, begin)
        try:
            explanation = explain_name(view, name)
        finally:
            say_what_is_cut(view, begin)
    if as_json:
        put_json(_json(explanation))
        return
    for title, branches in _trees(explanation):
        tree = Tree(Text(shown(title), style="bold"))
        _grow(tree, branches)
        put(tree)


def _json(value: Any) -> Any:
    """Dataclasses by field, events with their place, models as they are on the wire."""
    if isinstance(value, Event):
        place = str(value.position) if value.position else ""
        head = {"position": place, "id": value.id, "cause": value.cause, "at": value.at, "logged_at": value.logged_at}
        return {**head, "type": value.type, "data": value.data.model_dump(mode="json")}
    if isinstance(value, LineView):
        return {**asdict(value), "template": value.template.model_dump() if value.template else None}
    if isinstance(value, CaseStory | Explanation):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_json(item) for item in value] if isinstance(value, list | tuple) else value


def _grow(tree: Tree, branches: Sequence[Branch]) -> None:
    for text, children in branches:
        _grow(tree.add(Text(shown(text))), children)


def _trees(told: Explanation) -> Iterator[tuple[str, Sequence[Branch]]]:
    if told.line is not None:
        found = told.line.template
        template = f'template {found.id} "{found.text}"' if found else "no template"
        yield _line(told.line), [(template, ()), *_windows(told.anomalies, ())]
    elif told.subject == "anomaly":
        yield f"anomaly {told.name}", _windows(told.anomalies, told.lines)
    for story in told.cases:
        yield _title(story.incident), list(_case(story))
    if not told.cases:
        quiet = "no anomaly has a window over it" if not told.anomalies else "none of these opened an incident"
        yield f"no incident: {quiet}", ()


def _title(incident: Incident) -> str:
    until = f" to {time_text(incident.closed_at)}" if incident.closed_at else ""
    return (
        f"incident {incident.correlation_id} · {incident.application} · {incident.status.value} · "
        f"{time_text(incident.opened_at)}{until}"
    )


def _case(story: CaseStory) -> Iterator[Branch]:
    incident = story.incident
    yield f"opened by {incident.primary} · pattern {incident.pattern_id} · revision {incident.revision}", ()
    if incident.signals:
        yield "evidence: line → template → window", [*_windows(story.anomalies, story.lines), *_without_windows(story)]
    for happened in incident.events:
        state = f"clear {time_text(happened.cleared_at)}" if happened.cleared_at else "open"
        note = "expected, " if happened.expected else ""
        yield f"event {time_text(happened.at)} {happened.detail_type} on {happened.resource} ({note}{state})", ()
    for change in incident.changes:
        values = f": {change.before or '?'} → {change.after or '?'}"
        yield f"change {time_text(change.at)} {change.kind} of {change.resource} by {change.actor or '?'}{values}", ()
    yield _recalled(incident)
    steps = [(event.logged_at, _prediction(event)) for event in story.predictions]
    steps += [(event.logged_at, _decision(event)) for event in story.decisions]
    steps += [(event.logged_at, _review(event)) for event in story.reviews]
    steps += [(event.logged_at, _command(event, story.journal)) for event in story.commands]
    steps += [(event.logged_at, _outcome(event)) for event in story.outcomes]
    yield from (branch for _, branch in sorted(steps, key=lambda step: step[0]))
    yield from _learnt(story)
    if story.alerts:
        yield f"people were told {len(story.alerts)} times", [_alert(alert) for alert in story.alerts]
    if story.audit:
        stages = [f"{time_text(e.logged_at)} {e.data.stage.value} by {e.data.by}" for e in story.audit]
        yield "audit", [(stage, ()) for stage in stages]


def _windows(anomalies: Sequence[Event[Anomaly]], lines: Sequence[LineView]) -> list[Branch]:
    """One branch an anomaly: its newest revision with its figures, under it its lines and its earlier revisions."""
    by_id: dict[str, list[Event[Anomaly]]] = {}
    for event in anomalies:
        by_id.setdefault(event.data.anomaly_id, []).append(event)
    known = {line.pointer: line for line in lines}
    branches: list[Branch] = []
    for revisions in by_id.values():
        data = revisions[-1].data
        pointers = dict.fromkeys(p for e in revisions for p in e.data.evidence)
        evidence = [known.get(f"logs/{p.partition}@{p.offset}:{p.line}") for p in pointers]
        total = f"{data.text or 'all lines'} of {data.service}"
        subject = f'template {data.template_id} "{data.text}"' if data.template_id else total
        children: list[Branch] = [(_line(line), ()) for line in evidence[:_LINES_SHOWN] if line is not None]
        children += [(subject, ()), *(_window(event) for event in revisions)]
        branches.append(
            (f"{data.tier.value} {data.kind.value} of {data.service} · anomaly {data.anomaly_id}", children)
        )
    return branches


def _without_windows(story: CaseStory) -> Iterator[Branch]:
    """Signals whose anomalies retention has taken away: what the incident itself remembers of them."""
    kept = {event.data.anomaly_id for event in story.anomalies}
    for signal in story.incident.signals:
        if signal.anomaly_id not in kept:
            total = signal.text or "all lines"
            subject = f'template {signal.template_id} "{signal.text}"' if signal.template_id else total
            seen = _seen(signal.kind, signal.observed, signal.expected, signal.window_minutes)
            yield (
                f"{signal.tier} {signal.kind} of {signal.service} · anomaly {signal.anomaly_id}, not kept any more",
                ((subject, ()), (f"{seen}, {signal.sigma:.1f}σ", ())),
            )


def _seen(kind: str, observed: float, expected: float, minutes: float) -> str:
    """What was seen, in words and units: lines in a window; of a source, how far it lagged when it was noticed."""
    if kind == Kind.SOURCE_STALLED:
        side = "behind" if observed >= 0 else "ahead of"
        return f"the source was complete to {abs(observed):.1f} s {side} its connector's clock"
    return f"{observed:g} lines in {minutes:g} min, {expected:.3g} expected"


def _window(event: Event[Anomaly]) -> Branch:
    data, window = event.data, event.data.window
    baseline = f"baseline of {data.baseline.n} min, {'warm' if data.baseline.warm else 'not warm yet'}"
    figures = _seen(data.kind, data.observed, data.expected, (window.end - window.start) / 60_000)
    if data.kind is not Kind.SOURCE_STALLED:  # it is a fact, no count to be judged
        figures += f", dispersion {data.dispersion:.3g}, {data.sigma:.1f}σ (p = 10^{data.log10_p:.2f}), {baseline}"
    figures += f", rule {data.rule}"
    span = f"{time_text(window.start)} to {time_text(window.end)}{'' if window.closed else ' (not closed yet)'}"
    return f"{data.status.value} r{data.revision} {time_text(event.logged_at)} {event.position}", (
        (f"window {span}", ()),
        (figures, ()),
    )


def _line(view: LineView) -> str:
    if view.text is None:
        return f"line {view.pointer} is not kept any more"
    return f"line {view.pointer} {time_text(view.at)} {view.service} {Severity(view.severity).name}: {view.text}"


def _recalled(incident: Incident) -> Branch:
    if not incident.history_recalled:
        return "history: not recalled", ()
    similar = [
        (
            f"{item.similarity:.0%} alike: {item.record.correlation_id} of {time_text(item.record.opened_at)}: "
            f"{'failed' if item.record.failed else 'no failure'}, "
            f"{f'{item.record.runbook_id} {item.record.result}' if item.record.acted else 'not acted on'}",
            (),
        )
        for item in incident.similar
    ]
    return f"history: {len(similar)} similar incidents", [*similar, *(_stats(row) for row in incident.stats)]


def _stats(row: PatternStats) -> Branch:
    tally, n = (row.acted, row.acted_n) if row.runbook_id else (row.not_acted, row.not_acted_n)
    return f"{row.runbook_id or 'without acting'}: {tally.ok:.1f} well, {tally.bad:.1f} badly ({n} in all)", ()


def _prediction(event: Event[Prediction]) -> Branch:
    data = event.data
    if data.failure_probability is None:
        said = f"no prediction: {data.reason}"
    else:
        said = (
            f"P(failure) {data.failure_probability:.2f} within {data.horizon_minutes} min, "
            f"mode {data.failure_mode or 'unknown'}"
        )
    children = [f"{data.question}, by {data.by} {data.model_id}", f"evidence {data.evidence_digest}"]
    children += [f"proposes {data.runbook_id}"] if data.runbook_id else []
    children += [data.summary] if data.summary else []
    return f"prediction r{data.revision} {time_text(event.logged_at)}: {said}", [(text, ()) for text in children]


def _decision(event: Event[Decision]) -> Branch:
    data = event.data
    what = f" {data.runbook_id} v{data.runbook_version} on {data.target}" if data.runbook_id else ""
    children = [
        f"{'passed' if reason.passed else 'NOT passed'} {reason.rule}: {reason.text}" for reason in data.reasons
    ]
    if data.confidence is not None:
        c = data.confidence
        prior = ", by declared prior" if c.by_declared_prior else ""
        children.append(
            f"confidence mean {c.mean:.2f}, q10 {c.q10:.2f}, n {c.n_effective:.1f}, uplift {c.uplift:.2f}{prior}"
        )
    if data.proposal_digest:
        children.append(f"proposal {data.proposal_digest}, may be answered until {time_text(data.expires_at)}")
    children += [f"command {data.command_id}"] if data.command_id else []
    children.append(f"policy {data.policy_digest}")
    who = f", reviewed by {data.reviewer}" if data.reviewer else ""
    title = f"decision r{data.revision} {time_text(event.logged_at)}: {data.verdict.value}{what}{who}"
    return title, [(text, ()) for text in children]


def _review(event: Event[Review]) -> Branch:
    data = event.data
    return f"review {time_text(event.logged_at)}: {data.verdict} by {data.reviewer} {data.reason}".rstrip(), (
        (f"proposal {data.proposal_digest}, signed with {data.key_id}", ()),
    )


def _command(event: Event[Command], journal: Sequence[Event[JournalEntry]]) -> Branch:
    data = event.data
    children = [f"expires {time_text(data.expires_at)}, signed with {data.key_id}", f"parameters {data.params}"]
    children += [_entry(line) for line in journal if line.data.command_id == data.command_id]
    title = f"command {data.command_id} {time_text(event.logged_at)}: {data.runbook_id} v{data.runbook_version}"
    return f"{title} on {data.target}", [(text, ()) for text in children]


def _entry(event: Event[JournalEntry]) -> str:
    data = event.data
    call = f" {data.step} {data.call} attempt {data.attempt + 1}" if data.call else ""
    ok = "" if data.ok is None else " ok" if data.ok else " failed"
    detail = f" {data.detail}" if data.detail else ""
    return f"journal {data.seq} {time_text(event.logged_at)} {data.state} {data.entry}{call}{ok}{detail}"


def _outcome(event: Event[Outcome]) -> Branch:
    data = event.data
    by = f", verified by {', '.join(data.verified_by)}" if data.verified_by else ""
    children = [f"{name} {time_text(at)}" for name, at in sorted(data.times.items(), key=lambda item: item[1])]
    children += ["a person is needed"] if data.needs_person else []
    title = f"outcome {time_text(event.logged_at)}: {data.result}{by}"
    return f"{title}: {data.reason}" if data.reason else title, [(text, ()) for text in children]


def _learnt(story: CaseStory) -> Iterator[Branch]:
    for event in story.learnt:
        yield _record(event), [_stats(row.data) for row in story.stats]


def _record(event: Event[HistoryRecord]) -> str:
    data = event.data
    ended = f"{data.runbook_id} {data.result}" if data.acted else "not acted on"
    alone = "" if data.recovered_without_acting is None else f", recovered alone: {data.recovered_without_acting}"
    return f"learnt {time_text(event.logged_at)}: {'failed' if data.failed else 'no failure'}, {ended}{alone}"


def _alert(event: Event[Alert]) -> Branch:
    data = event.data
    advice = f" → {data.recommendation}" if data.recommendation else ""
    return f"{time_text(event.logged_at)} r{data.revision} {data.stage.value} {data.severity}: {data.title}{advice}", ()
