"""What was learnt: past incidents and, by pattern and runbook, how often acting (and not acting) ended well."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from pydantic import Field

from models.event import Contract, Model
from models.runbook import Prior

__all__ = ["HistoryRecalled", "HistoryRecord", "PatternStats", "SimilarIncident", "Tally"]

_MOST_OUTCOMES: Final = 1_000_000.0
"""Beyond it the Beta quantiles lose their meaning; a row of its own never exceeds 20, for outcomes fade."""


class Tally(Model):
    """Outcomes, good and bad; fractions because they decay (MATH.md F, gamma 0.95)."""

    ok: float = Field(default=0.0, ge=0, le=_MOST_OUTCOMES)
    bad: float = Field(default=0.0, ge=0, le=_MOST_OUTCOMES)


class PatternStats(Contract):
    """The record of one runbook on one pattern of one application. `runbook_id` "" holds the cases not acted on.

    `elsewhere` is not stored but pooled when recalled: the same runbook on other patterns. `credit_used` is true after
    outcomes closed the gate: the declared prior no longer counts until the operator declares again (a new runbook
    version). `claims` keeps the last model claims and how they came out, for calibration: (probability, outcome).
    """

    TYPE: ClassVar[str] = "pattern_stats"

    application: str
    pattern_id: str
    runbook_id: str = ""
    runbook_version: int = 0
    acted: Tally = Tally()
    not_acted: Tally = Tally()
    elsewhere: Tally = Tally()
    acted_n: int = 0
    not_acted_n: int = 0
    prior: Prior | None = None
    credit_used: bool = False
    claims: tuple[tuple[float, int], ...] = ()
    brier: float | None = None


class HistoryRecord(Contract):
    """A closed incident as the future will recall it. `texts` are template texts (redacted) and event types."""

    TYPE: ClassVar[str] = "history_record"

    correlation_id: str
    application: str
    pattern_id: str
    primary: str
    texts: tuple[str, ...]
    resource_type: str = ""
    opened_at: int
    closed_at: int
    failed: bool
    acted: bool
    runbook_id: str = ""
    result: Literal["", "recovered", "rolled_back", "failed", "refused", "unknown"] = ""
    recovered_without_acting: bool | None = None
    seconds_to_recover: float | None = None
    failure_probability: float | None = None


class SimilarIncident(Model):
    """A recalled past incident and how similar it is (idf-weighted Jaccard over texts, 0..1)."""

    record: HistoryRecord
    similarity: float


class HistoryRecalled(Contract):
    """The answer to RecallHistory: the k most similar incidents, the pattern's statistics (pooled), and up to where in
    the history it looked.
    """

    TYPE: ClassVar[str] = "history_recalled"

    effect_id: str
    correlation_id: str
    similar: tuple[SimilarIncident, ...] = ()
    stats: tuple[PatternStats, ...] = ()
    records: int = 0
