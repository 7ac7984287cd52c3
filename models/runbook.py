"""A runbook is data: which failure it helps, on what kind of target, its steps, how to verify and how to undo them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue

from models.event import Model

__all__ = ["ActionCall", "Prior", "Retry", "Reversibility", "Runbook", "RunbookStep", "Verification"]


class Reversibility(StrEnum):
    """What a mistake costs: `reversible` and `restart_safe` may act alone; `irreversible` always asks a person."""

    REVERSIBLE = "reversible"
    RESTART_SAFE = "restart_safe"
    IRREVERSIBLE = "irreversible"


class Prior(Model):
    """Declared belief that the runbook helps, as Beta(ok, bad); its strength ok + bad is at most 8."""

    ok: float = Field(default=1.0, gt=0, le=8)
    bad: float = Field(default=1.0, gt=0, le=8)


class Retry(Model):
    """Exponential backoff with full jitter: try k waits uniform(0, min(cap, base * 2^k)) seconds."""

    attempts: int = Field(default=3, ge=1, le=10)
    base_seconds: float = Field(default=1.0, gt=0)
    cap_seconds: float = Field(default=30.0, gt=0)


class ActionCall(Model):
    """One call of an actuator: an action's name (`rds.scale`) and its parameters."""

    action: str
    params: dict[str, JsonValue] = {}


class RunbookStep(Model):
    """A step: what to call, how long to wait, how often to try, what undoes it (None: nothing to undo).

    Neighbouring steps of one `group` run in parallel. `expect` is what the target's state shows once the step has taken
    effect; a probe compares it after an attempt whose outcome is unknown (empty: the call's parameters that the state
    has too).
    """

    name: str
    call: ActionCall
    inverse: ActionCall | None = None
    timeout_seconds: float = Field(default=30.0, gt=0)
    retry: Retry = Retry()
    group: str = ""
    expect: dict[str, JsonValue] = {}


class Verification(Model):
    """When it counts as helped: after `settle_seconds`, within `timeout_seconds`, the incident's series are back under
    their bound for two full 10 s buckets, the target's state has `target_state`, and the guard signal is no worse.
    """

    settle_seconds: float = Field(default=20.0, ge=0)
    timeout_seconds: float = Field(default=300.0, gt=0)
    series: bool = True
    target_state: dict[str, JsonValue] = {}
    guard: Literal["errors", "total", "none"] = "errors"


class Runbook(Model):
    """A remediation that may be ordered by `id` and `version`. `failure_modes` names what it is good for."""

    id: str
    version: int = 1
    title: str
    recommendation: str
    failure_modes: tuple[str, ...]
    target_kind: str
    reversibility: Reversibility
    prior: Prior | None = None
    require_state: dict[str, JsonValue] = {}
    """The precheck: the target's state must hold these values before anything is done."""
    steps: tuple[RunbookStep, ...] = Field(min_length=1)
    verify: Verification = Verification()
