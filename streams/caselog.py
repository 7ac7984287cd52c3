"""The cases as the log tells them: open and closed incidents, what was decided, what a person is asked.

In: a log. Out: the newest events by correlation id, and proposals with their state. Nothing is read from the steps'
own states, so this works beside a running host and on any copy of the log.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeVar

from models.audit import DeadLetter
from models.command import Outcome
from models.decision import Decision, Verdict
from models.event import Contract, Event
from models.incident import Incident, IncidentStatus
from models.prediction import Prediction
from models.signal import Review
from streams.reading import ReadableLog, events_of

__all__ = ["CaseLine", "Proposed", "read_cases", "read_proposals"]

C = TypeVar("C", bound=Contract)
ProposalState = Literal["open", "answered", "expired", "superseded", "closed"]


class CaseLine(NamedTuple):
    """One incident at its newest revision, with the newest of what followed from it."""

    incident: Incident
    prediction: Prediction | None
    decision: Decision | None
    outcome: Outcome | None


class Proposed(NamedTuple):
    """What a person is (or was) asked. `open`: may be answered now; `superseded`: a newer decision asks nothing;
    `closed`: the incident is over.
    """

    incident: Incident
    decision: Decision
    state: ProposalState
    review: Review | None


def read_cases(log: ReadableLog, application: str = "") -> list[CaseLine]:
    """Every incident in the order in which they were opened; only those of `application`, where given."""
    incidents = _newest(log, "incidents", Incident)
    predictions = _newest(log, "predictions", Prediction)
    decisions = _newest(log, "predictions", Decision)
    outcomes = _newest(log, "signals", Outcome)
    lines = [
        CaseLine(event.data, _data(predictions.get(cid)), _data(decisions.get(cid)), _data(outcomes.get(cid)))
        for cid, event in incidents.items()
        if application in ("", event.data.application)
    ]
    return sorted(lines, key=lambda line: (line.incident.opened_at, line.incident.correlation_id))


def read_proposals(log: ReadableLog, now: int) -> list[Proposed]:
    """What people are asked, as of `now` (ms): for each incident its newest decision that asks for a review.

    A review that became a dead letter (badly signed, too late) answers nothing.
    """
    refused = {(letter.data.partition, letter.data.offset) for letter in events_of(log, "dead-letters", DeadLetter)
               if letter.data.topic == "signals"}  # fmt: skip
    answers: dict[str, Review] = {}
    for event in events_of(log, "signals", Review):
        if event.position is not None and event.position[1:] not in refused:
            answers.setdefault(event.data.proposal_digest, event.data)
    asking = {
        event.cid: event.data
        for event in events_of(log, "predictions", Decision)
        if event.data.verdict == Verdict.REVIEW and event.data.proposal_digest
    }
    found = []
    for case in read_cases(log):
        decision = asking.get(case.incident.correlation_id)
        if decision is not None:
            review = answers.get(decision.proposal_digest)
            found.append(Proposed(case.incident, decision, _state(case, decision, review, now), review))
    return found


def _state(case: CaseLine, decision: Decision, review: Review | None, now: int) -> ProposalState:
    if review is not None:
        return "answered"
    if case.incident.status == IncidentStatus.CLOSED:
        return "closed"
    if now >= decision.expires_at:
        return "expired"
    return "open" if case.decision == decision else "superseded"


def _newest(log: ReadableLog, topic: str, kind: type[C]) -> dict[str, Event[C]]:
    return {event.cid: event for event in events_of(log, topic, kind)}


def _data(event: Event[C] | None) -> C | None:
    return event.data if event is not None else None
