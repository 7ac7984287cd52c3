"""What a performer of effects is given: an effect's id and arguments, whoever's step asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydantic import JsonValue

__all__ = ["Asked"]


class Asked(Protocol):
    """An effect as its performer sees it. `id` is the idempotency key: equal when asked again after a crash."""

    @property
    def id(self) -> str:
        """Unique, and the same on every re-issue."""
        ...

    @property
    def args(self) -> Mapping[str, JsonValue]:
        """What was asked, as JSON values."""
        ...
