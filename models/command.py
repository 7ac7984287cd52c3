"""An order to act on one target, signed; and the words of what came of it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from models.event import Contract, Model
from models.policy import YEAR_SECONDS

__all__ = ["Command", "JournalEntry", "Outcome", "SeriesRef"]


class SeriesRef(Model):
    """A series that must be back under its bound for the action to count as helped."""

    service: str
    template_id: str
    kind: str


class Command(Contract):
    """Carry out runbook `runbook_id` (that version) on `target`. Refused when unverifiable, stale or of another run.

    `signature` = HMAC-SHA256 over the canonical bytes of all other fields (models.signing).
    """

    TYPE: ClassVar[str] = "command"

    command_id: str
    correlation_id: str
    application: str
    pattern_id: str
    target: str
    runbook_id: str
    runbook_version: int
    params: dict[str, JsonValue] = {}
    series: tuple[SeriesRef, ...] = ()
    services: tuple[str, ...] = ()
    """Services whose guard signal is watched."""
    cooldown_seconds: float = Field(ge=0, le=YEAR_SECONDS)
    lock_after_failures: int
    lock_seconds: float = Field(ge=0, le=YEAR_SECONDS)
    detected_at: int
    issued_at: int
    expires_at: int
    run: str = ""
    key_id: str = ""
    signature: str = ""


class JournalEntry(Contract):
    """One line of a target's journal: a state entered, the intent of a call (written before it), or its answer."""

    TYPE: ClassVar[str] = "journal_entry"

    command_id: str
    correlation_id: str
    target: str
    seq: int
    state: str
    entry: Literal["state", "intent", "answer"]
    step: str = ""
    attempt: int = 0
    call: str = ""
    effect_id: str = ""
    ok: bool | None = None
    detail: dict[str, Any] = Field(default_factory=dict)


class Outcome(Contract):
    """What came of a command. `times` (ms): detected, commanded, applied, recovered, verified, where known."""

    TYPE: ClassVar[str] = "outcome"

    command_id: str
    correlation_id: str
    application: str
    pattern_id: str
    target: str
    runbook_id: str
    runbook_version: int
    result: Literal["recovered", "rolled_back", "failed", "refused", "unknown"]
    reason: str = ""
    verified_by: tuple[str, ...] = ()
    times: dict[str, int] = {}
    guard: dict[str, float] = {}
    needs_person: bool = False
    applied: bool = False
    """Something was really called on the target (a refusal calls nothing)."""
