"""The trail: audit entries (what happened to an incident, in order) and dead letters (what could not be taken)."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import JsonValue

from models.event import Contract

__all__ = ["AuditEntry", "DeadLetter", "Stage"]


class Stage(StrEnum):
    """The stages of an incident's life, as auditors read them; and of a generation of baselines."""

    DETECTED = "DETECTED"
    HISTORY_CHECKED = "HISTORY_CHECKED"
    ANALYZED = "ANALYZED"
    DECIDED = "DECIDED"
    REVIEW_REQUESTED = "REVIEW_REQUESTED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    COMMANDED = "COMMANDED"
    EXECUTING = "EXECUTING"
    VERIFYING = "VERIFYING"
    ROLLING_BACK = "ROLLING_BACK"
    RECOVERED = "RECOVERED"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"
    NEEDS_PERSON = "NEEDS_PERSON"
    LEARNED = "LEARNED"
    CLOSED = "CLOSED"
    BASELINES_SWAPPED = "BASELINES_SWAPPED"
    BASELINES_REFUSED = "BASELINES_REFUSED"
    BASELINES_RESTORED = "BASELINES_RESTORED"


class AuditEntry(Contract):
    """One stage reached by one incident: by whom, and the few facts that justify it.

    Of baselines, `correlation_id` is the generation's id and `facts` name the service.
    """

    TYPE: ClassVar[str] = "audit_entry"

    stage: Stage
    correlation_id: str
    application: str
    by: str
    facts: dict[str, JsonValue] = {}


class DeadLetter(Contract):
    """Input that could not be taken: why, and where it stands (a log position, or a source and its line).

    `raw` is the first 4 KB, base64; secrets in it are not shown by any command.
    """

    TYPE: ClassVar[str] = "dead_letter"

    reason: str
    detail: str = ""
    topic: str = ""
    partition: int = -1
    offset: int = -1
    key: str = ""
    source_id: str = ""
    cursor: str = ""
    raw: str = ""
