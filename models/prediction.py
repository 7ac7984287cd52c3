"""How likely is a failure: the question's answer, whoever gave it, and what the model was told."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from models.event import Contract

__all__ = ["ModelAnswered", "Prediction"]


class ModelAnswered(Contract):
    """A model's answer to the question asked as effect `effect_id`: the forced tool's input, as given."""

    TYPE: ClassVar[str] = "model_answered"

    effect_id: str
    correlation_id: str
    stop_reason: str
    input: dict[str, Any]
    model_id: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = Field(default=0.0, ge=0, le=1_000_000)


class Prediction(Contract):
    """P(failure within the horizon), or no prediction (None, with `reason`). `summary` is shown, never parsed.

    `question` is `diagnose` where the failure has already happened. `evidence_digest` names what it was asked about.
    """

    TYPE: ClassVar[str] = "prediction"

    correlation_id: str
    application: str
    revision: int
    question: Literal["predict", "diagnose"]
    failure_probability: float | None = Field(default=None, ge=0, le=1)
    horizon_minutes: int
    failure_mode: str = ""
    runbook_id: str = ""
    by: Literal["local", "bedrock", "none"]
    model_id: str = ""
    prompt_digest: str = ""
    evidence_digest: str
    cost_usd: float = Field(default=0.0, ge=0, le=1_000_000)
    summary: str = ""
    reason: str = ""
