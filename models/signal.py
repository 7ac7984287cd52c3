"""What else reaches a case: infrastructure events, changes, people's words, ticks, and the answers of effects."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from models.event import Contract

__all__ = ["Change", "Control", "EffectAnswered", "InfraEvent", "InfraMeaning", "Review", "Tick"]


class InfraMeaning(StrEnum):
    """What an infrastructure event says about its resource."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    NEUTRAL = "neutral"


class InfraEvent(Contract):
    """An infrastructure event (EventBridge or its twin). `event_id` is the sender's: a second delivery is known by it.

    `expected` is true for a scale-in, a deploy or a person's planned act: no failure.
    """

    TYPE: ClassVar[str] = "infra_event"

    event_id: str
    source: str
    detail_type: str
    resource: str
    resource_type: str
    application: str
    actor: str = ""
    meaning: InfraMeaning
    expected: bool = False
    detail: dict[str, JsonValue] = {}


class Change(Contract):
    """Something a person or a pipeline changed on purpose: the first suspect of an incident."""

    TYPE: ClassVar[str] = "change"

    change_id: str
    source: str
    kind: Literal["deploy", "config", "scale"]
    resource: str
    application: str
    actor: str = ""
    before: str = ""
    after: str = ""


class Review(Contract):
    """A person's verdict on a proposal; it binds the proposal's digest and expires (ms). Signed."""

    TYPE: ClassVar[str] = "review"

    correlation_id: str
    proposal_digest: str
    verdict: Literal["approve", "reject"]
    reviewer: str
    reason: str = ""
    expires_at: int
    key_id: str = ""
    signature: str = ""


class Control(Contract):
    """A person's hand on the switch: pause, resume, change mode, silence. `scope` is an application, or "*" for all.

    `until` (ms) ends a pause or a silence, and is when a resume must be in the log, which nobody can then write again
    to end a later pause; 0 means until further notice. Signed.
    """

    TYPE: ClassVar[str] = "control"

    kind: Literal["pause", "resume", "mode", "silence"]
    scope: str = "*"
    mode: Literal["", "observe", "suggest", "act"] = ""
    until: int = 0
    by: str
    reason: str = ""
    key_id: str = ""
    signature: str = ""


class Tick(Contract):
    """A wish to be woken, come due: lands in the step's own inbox, counts only while it is the key's current wish."""

    TYPE: ClassVar[str] = "tick"

    step: str
    due_at: int


class EffectAnswered(Contract):
    """The answer to an effect that has no contract of its own, and every effect's failure (`ok` false, `error` why)."""

    TYPE: ClassVar[str] = "effect_answered"

    effect_id: str
    kind: str
    ok: bool
    result: dict[str, Any] = Field(default_factory=dict)
    error: str = ""
