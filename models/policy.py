"""The operator's policy: modes, the three numbers, the gate, cooldowns and caps. Defaults never act."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from models.event import Model

__all__ = ["YEAR_SECONDS", "DetectionPolicy", "Mode", "Policy"]

YEAR_SECONDS: Final = 31_536_000.0
"""The longest wait anybody may ask for: a time that far ahead still fits every clock."""


class Mode(StrEnum):
    """`observe` only tells; `suggest` proposes to a person; `act` may act where the gate is open."""

    OBSERVE = "observe"
    SUGGEST = "suggest"
    ACT = "act"


class DetectionPolicy(Model):
    """Detection's knobs: the false-alarm budget; `stall_seconds` until a stall is an anomaly; template slots."""

    alarms_per_service_day: float = Field(default=1.0, gt=0)
    stall_seconds: float = Field(default=60.0, gt=0, le=YEAR_SECONDS)
    max_templates: int = Field(default=1_000, ge=10)


class Policy(Model):
    """What may be done without a person. The three numbers are never mixed:

    `alert_probability` tells people, `prevent_probability` proposes an action, `action_confidence` (strictly above)
    acts without a person.
    """

    mode: Mode = Mode.OBSERVE
    alert_probability: float = Field(default=0.50, ge=0, le=1)
    prevent_probability: float = Field(default=0.70, ge=0, le=1)
    action_confidence: float = Field(default=0.80, ge=0, le=1)
    min_effective_n: float = Field(default=7.0, ge=0)
    min_q10: float = Field(default=0.60, ge=0, le=1)
    uplift_margin: float = Field(default=0.10, ge=0, le=1)
    uplift_probability: float = Field(default=0.80, ge=0, le=1)
    evidence_max_age_seconds: float = Field(default=600.0, gt=0, le=YEAR_SECONDS)
    cooldown_seconds: float = Field(default=300.0, ge=0, le=YEAR_SECONDS)
    lock_after_failures: int = Field(default=3, ge=1)
    lock_seconds: float = Field(default=3_600.0, ge=0, le=YEAR_SECONDS)
    command_expires_seconds: float = Field(default=300.0, gt=0, le=YEAR_SECONDS)
    review_expires_seconds: float = Field(default=1_800.0, gt=0, le=YEAR_SECONDS)
    max_in_flight: int = Field(default=1, ge=1)
    """Blast radius: actions under way at once in one application."""
    max_actions_per_day: int = Field(default=20, ge=0)
    allow: tuple[str, ...] = ("*",)
    """Runbook ids that may be ordered ("*" = all of the application's)."""
