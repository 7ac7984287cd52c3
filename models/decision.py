"""What was decided and why, and what people are told."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from models.event import Contract, Model

__all__ = ["Alert", "AlertStage", "Confidence", "Decision", "Reason", "Verdict"]


class Verdict(StrEnum):
    """act: a command was ordered. review: a person is asked. alert: people are told. hold: nothing."""

    ACT = "act"
    REVIEW = "review"
    ALERT = "alert"
    HOLD = "hold"


class Reason(Model):
    """One row of the policy table: which rule, whether it let the action pass, and the words with the figures."""

    rule: str
    passed: bool
    text: str


class Confidence(Model):
    """P(this runbook helps this pattern), measured: posterior mean, 10% quantile, effective n, P(uplift), controls."""

    mean: float
    q10: float
    n_effective: float
    uplift: float
    controls: int
    by_declared_prior: bool
    calibrated_claim: float | None = None
    claims: int = 0


class Decision(Contract):
    """A verdict with every reason, also when it is "no". A review is bound to `proposal_digest` until `expires_at`."""

    TYPE: ClassVar[str] = "decision"

    correlation_id: str
    application: str
    revision: int
    verdict: Verdict
    reasons: tuple[Reason, ...]
    runbook_id: str = ""
    runbook_version: int = 0
    target: str = ""
    failure_probability: float | None = None
    horizon_minutes: int = 0
    confidence: Confidence | None = None
    policy_digest: str
    proposal_digest: str = ""
    expires_at: int = 0
    command_id: str = ""
    reviewer: str = ""


class AlertStage(StrEnum):
    """Where in the story this revision stands."""

    OPENED = "opened"
    PREDICTED = "predicted"
    DECIDED = "decided"
    RESOLVED = "resolved"


class Alert(Contract):
    """What people are told; one stable `alert_id` an incident, growing `revision`s. Text is escaped and redacted."""

    TYPE: ClassVar[str] = "alert"

    alert_id: str
    correlation_id: str
    application: str
    revision: int
    stage: AlertStage
    severity: Literal["info", "warning", "critical"]
    title: str
    recommendation: str = ""
    failure_probability: float | None = None
    horizon_minutes: int = 0
    verdict: str = ""
    links: dict[str, str] = {}
