"""How a record of the log becomes a dead letter. In: the record and what is wrong with it. Out: the letter, its key."""

from __future__ import annotations

import base64
from typing import Final

from connectors.ports import Record
from models.audit import DeadLetter

__all__ = ["RAW_KEPT", "letter_key", "refuse"]

RAW_KEPT: Final = 4_096
"""So many bytes of the original a dead letter keeps: one that has fewer has them all."""
_TEXT_KEPT: Final = 1_024
"""Characters of a key or a detail that a dead letter keeps: both are a stranger's, and must not make it too large."""


def refuse(record: Record, reason: str, detail: str) -> DeadLetter:
    """The letter that says why this record was not taken, and where it stands."""
    return DeadLetter(
        reason=reason,
        detail=detail[:_TEXT_KEPT],
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key[:_TEXT_KEPT],
        raw=base64.b64encode(record.value[:RAW_KEPT]).decode(),
    )


def letter_key(record: Record) -> str:
    """Letters about one partition are on one partition, in the order of what they are about."""
    return f"{record.topic}/{record.partition}"
