"""What a predictor may see of an incident, and nothing else.

In: an Incident and the runbooks on offer. Out: `Evidence`: template ids, the sorted bag of a text's words that stand
in the shipped vocabularies or in the operator's own names of failure modes, bucketed numbers, kinds, changes by type,
history. Never a line, a name or a free word of one: whoever can make a system log something could otherwise write to
the model. Services become s1, s2 in order of appearance; names of resources stay here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

from models.event import Model, digest
from models.history import PatternStats, SimilarIncident
from models.incident import Incident, IncidentChange, IncidentEvent, IncidentSignal
from models.runbook import Runbook
from models.subjects import subject_words
from models.vocabulary import failure_words

__all__ = [
    "ChangeCount",
    "EventEvidence",
    "Evidence",
    "HistoryEvidence",
    "OfferedRunbook",
    "SignalEvidence",
    "TrackRecord",
    "gather_evidence",
    "offered_runbooks",
]

_RESOURCE_TYPES = frozenset({"ec2", "ecs", "rds", "lambda", "asg", "alarm", "health", "elb", "dynamodb", "sqs"})
_COUNT_EDGES = (0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
_TEMPLATE_ID = re.compile(r"[0-9a-f]{1,64}")
_DETAIL_VALUES = 16
Trend = Literal["rising", "steady", "falling", "cleared"]


class SignalEvidence(Model):
    """One anomaly. `observed`, `expected` are the lower edges of their buckets (0, 1, 3, 10 ... 10,000); `sigma` is
    rounded to 0.5.
    """

    template_id: str
    service: str
    kind: str
    tier: str
    words: tuple[str, ...]
    severity: int
    observed: int
    expected: int
    sigma: float
    trend: Trend


class EventEvidence(Model):
    """One infrastructure event: the vocabulary words of its type and detail, the known kind of its resource."""

    resource_type: str
    words: tuple[str, ...]
    expected: bool
    open: bool


class ChangeCount(Model):
    """How many changes of a kind there were near the incident, by the known kind of what was changed."""

    kind: str
    resource_type: str = "other"
    count: int


class HistoryEvidence(Model):
    """A similar past incident and how it ended."""

    similarity: float
    same_pattern: bool
    failed: bool
    acted: bool
    runbook_id: str
    result: str
    recovered_without_acting: bool | None


class TrackRecord(Model):
    """Outcomes so far on this pattern (decayed counts, rounded); `runbook_id` "" is waiting."""

    runbook_id: str
    ok: float
    bad: float


class OfferedRunbook(Model):
    """A runbook that may be named in the answer. The operator wrote it, so its words are trusted."""

    id: str
    failure_modes: tuple[str, ...]
    target_kind: str


class Evidence(Model):
    """All that may be told about an incident."""

    signals: tuple[SignalEvidence, ...] = ()
    events: tuple[EventEvidence, ...] = ()
    changes: tuple[ChangeCount, ...] = ()
    services: int = 0
    similar: tuple[HistoryEvidence, ...] = ()
    track_record: tuple[TrackRecord, ...] = ()


def gather_evidence(incident: Incident, runbooks: Sequence[Runbook] = ()) -> Evidence:
    """The evidence of an incident as it stands, in a stable order."""
    extra = frozenset(word for book in runbooks for mode in book.failure_modes for word in mode.split("_"))
    names = list(dict.fromkeys(signal.service for signal in incident.signals))
    return Evidence(
        signals=tuple(_signal(signal, f"s{names.index(signal.service) + 1}", extra) for signal in incident.signals),
        events=tuple(_event(event, extra) for event in incident.events),
        changes=tuple(
            ChangeCount(kind=kind, resource_type=resource_type, count=count)
            for (kind, resource_type), count in sorted(Counter(map(_changed, incident.changes)).items())
        ),
        services=len(names),
        similar=tuple(_history(similar, incident.pattern_id) for similar in incident.similar),
        track_record=tuple(_record(row) for row in incident.stats if row.acted_n or row.not_acted_n),
    )


def offered_runbooks(runbooks: Sequence[Runbook]) -> tuple[OfferedRunbook, ...]:
    """The allow-list a question carries."""
    return tuple(
        OfferedRunbook(id=book.id, failure_modes=book.failure_modes, target_kind=book.target_kind) for book in runbooks
    )


def _signal(signal: IncidentSignal, service: str, extra: Collection[str]) -> SignalEvidence:
    known = _TEMPLATE_ID.fullmatch(signal.template_id)
    return SignalEvidence(
        template_id=signal.template_id if known or not signal.template_id else digest(signal.template_id),
        service=service,
        kind=signal.kind,
        tier=signal.tier,
        words=_words(signal.text, extra),
        severity=signal.severity,
        observed=_bucket(signal.observed),
        expected=_bucket(signal.expected),
        sigma=round(signal.sigma * 2) / 2,
        trend=_trend(signal),
    )


def _event(event: IncidentEvent, extra: Collection[str]) -> EventEvidence:
    said = [value for value in event.detail.values() if isinstance(value, str)][:_DETAIL_VALUES]
    return EventEvidence(
        resource_type=event.resource_type if event.resource_type in _RESOURCE_TYPES else "other",
        words=_words(" ".join([event.detail_type, *said]), extra),
        expected=event.expected,
        open=event.cleared_at == 0,
    )


def _changed(change: IncidentChange) -> tuple[str, str]:
    """A change's kind and what kind of resource it touched: the third part of an ARN, where that is a known one."""
    parts = change.resource.split(":")
    return change.kind, parts[2] if len(parts) > 2 and parts[2] in _RESOURCE_TYPES else "other"


def _history(similar: SimilarIncident, pattern_id: str) -> HistoryEvidence:
    record = similar.record
    return HistoryEvidence(
        similarity=round(similar.similarity, 2),
        same_pattern=record.pattern_id == pattern_id,
        failed=record.failed,
        acted=record.acted,
        runbook_id=record.runbook_id,
        result=record.result,
        recovered_without_acting=record.recovered_without_acting,
    )


def _record(row: PatternStats) -> TrackRecord:
    tally = row.acted if row.runbook_id else row.not_acted
    return TrackRecord(runbook_id=row.runbook_id, ok=round(tally.ok, 1), bad=round(tally.bad, 1))


def _words(text: str, extra: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({*failure_words(text), *subject_words(text, extra)}))


def _bucket(count: float) -> int:
    return max((edge for edge in _COUNT_EDGES if edge <= count), default=0)


def _trend(signal: IncidentSignal) -> Trend:
    """Against its own peak: within 5% it still rises, below 70% it falls."""
    if signal.cleared_at:
        return "cleared"
    share = signal.sigma / signal.peak_sigma if signal.peak_sigma > 0 else 1.0
    return "rising" if share >= 0.95 else "steady" if share >= 0.70 else "falling"
