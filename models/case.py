"""The state of one application's case: what join, predict, decide and learn remember between two signals.

These models are mutable on purpose: the step owns its state and writes it back whole. Times are ms of `logged_at`
unless the field says event time.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.catalog import Catalog
from models.cooldown import Cooldown
from models.decision import AlertStage
from models.event import Model
from models.history import PatternStats
from models.incident import Incident, IncidentChange, IncidentSignal
from models.prediction import Prediction
from models.signal import Control

__all__ = [
    "CaseShared",
    "CaseState",
    "DecideState",
    "InFlight",
    "JoinState",
    "LearnState",
    "PredictState",
    "Proposal",
    "Tried",
]


class _Mutable(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=False)


class CaseShared(_Mutable):
    """What all cases of a partition share: the newest catalog, the controls in force by kind and scope, the
    applications seen (a control for all of them wakes each).
    """

    catalog: Catalog = Catalog()
    controls: dict[str, Control] = Field(default_factory=dict)
    applications: list[str] = Field(default_factory=list)


class JoinState(_Mutable):
    """The open incident and what might yet belong to one."""

    incident: Incident | None = None
    opened_at: int = 0
    """When the log brought what opened it (the incident's own `opened_at` is event time)."""
    opened_failed: bool = False
    """The failure had already happened when the incident opened."""
    evidence_at: int = 0
    """Event time of the newest evidence."""
    quiet_since: int = 0
    """Since when every signal is clear; 0 while one is not."""
    event_expires: dict[str, int] = Field(default_factory=dict)
    """Until when an open infrastructure event counts as open, by event id."""
    recall_id: str = ""
    recalls: int = 0
    recalled_at: int = 0
    recalled_texts: tuple[str, ...] = ()
    """What history was last asked about: an incident that has grown is compared anew."""
    watches: list[IncidentSignal] = Field(default_factory=list)
    changes: list[IncidentChange] = Field(default_factory=list)
    failed_at: list[int] = Field(default_factory=list)
    """Event times of recent unexpected infrastructure failures."""
    planned: dict[str, int] = Field(default_factory=dict)
    """Event times of expected failures by resource: a second report of the same planned end is no failure."""
    seen: dict[str, int] = Field(default_factory=dict)
    """Ids of events and changes taken, in order, with the time they came."""
    ignored: dict[str, int] = Field(default_factory=dict)
    """What was ignored on purpose, counted by reason."""


class PredictState(_Mutable):
    """The question asked about one incident, its budget, and the last answer."""

    correlation_id: str = ""
    wait_until: int = 0
    """How long the first question waits for history; 0 once it was asked."""
    effect_id: str = ""
    question: str = ""
    evidence_digest: str = ""
    prompt_digest: str = ""
    offered: list[str] = Field(default_factory=list)
    deadline: int = 0
    asked_at: int = 0
    asked_severity: int = 0
    asked_failed: bool = False
    asked_events: int = 0
    """Open infrastructure failures when it was asked: one more is a new question."""
    calls: int = 0
    cost_usd: float = 0.0
    last: Prediction | None = None


class Proposal(Model):
    """An action a person is asked about. `digest` binds everything that would be done."""

    digest: str
    correlation_id: str
    pattern_id: str
    runbook_id: str
    runbook_version: int
    target: str
    expires_at: int
    policy_digest: str
    attempt: int


class InFlight(Model):
    """A command under way. `claim` is the model's probability behind it; `until` ends the wait for its outcome."""

    command_id: str
    correlation_id: str
    pattern_id: str
    runbook_id: str
    runbook_version: int
    target: str
    actions: tuple[str, ...]
    issued_at: int
    until: int
    claim: float | None = None


class Tried(Model):
    """An action already taken for the open incident, and how it ended ("" = under way)."""

    command_id: str
    runbook_id: str
    target: str
    result: str = ""
    applied: bool = False


class DecideState(_Mutable):
    """What must be remembered between decisions: what runs, cools down, was asked, was tried, was told."""

    in_flight: dict[str, InFlight] = Field(default_factory=dict)
    cooldowns: dict[str, Cooldown] = Field(default_factory=dict)
    """By target and action."""
    ordered_at: list[int] = Field(default_factory=list)
    """Commands of the last 24 hours."""
    proposal: Proposal | None = None
    answered: list[str] = Field(default_factory=list)
    """Digests of the last proposals a person has answered."""
    tried: list[Tried] = Field(default_factory=list)
    rejected: list[tuple[str, str]] = Field(default_factory=list)
    """(runbook, target) a person has rejected for the open incident."""
    retry_at: int = 0
    """When a cooldown ends for which a decision waits; 0 = none."""
    revision: int = 0
    alert_revision: int = 0
    alert_stage: AlertStage | None = None
    alert_told: dict[str, str] = {}
    """What people were told last at each stage, as a digest: said again, it is no news."""


class LearnState(_Mutable):
    """Outcome statistics by pattern and runbook (runbook "" = not acted on), least recently changed first."""

    stats: dict[str, PatternStats] = Field(default_factory=dict)


class CaseState(_Mutable):
    """One application's case: at most one open incident, and what was learnt from all before."""

    application: str
    join: JoinState = Field(default_factory=JoinState)
    predict: PredictState = Field(default_factory=PredictState)
    decide: DecideState = Field(default_factory=DecideState)
    learn: LearnState = Field(default_factory=LearnState)
