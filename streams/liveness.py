"""Whether a consumer still consumes: its position against the end of its log. Consumers can stop without an error.

In: positions and ends, now and then. Out: the partitions that have something to read and have not moved for too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, TypeVar

__all__ = ["STALL_SECONDS", "WATCH_SECONDS", "ProgressWatch"]

STALL_SECONDS: Final = 25.0
"""With a look every WATCH_SECONDS, a consumer that stopped is noticed within 30 s."""
WATCH_SECONDS: Final = 5.0
P = TypeVar("P")
"""What names a partition."""
_STARVED: Final = 6
"""Of a busy consumer, a partition may have to wait for its turn while others are read: so many times longer."""


class ProgressWatch(Generic[P]):
    """Remembers when each partition last moved, was at its end, or was first seen (seconds of any steady clock)."""

    def __init__(self, stall_seconds: float = STALL_SECONDS, *, starved: int = _STARVED) -> None:
        self._stall, self._starved = stall_seconds, starved
        self._since: dict[P, tuple[int, float]] = {}
        self._moved = float("-inf")

    def look(self, now: float, positions: Mapping[P, int], ends: Mapping[P, int]) -> list[P]:
        """The partitions that lag and have stood still for `stall_seconds` while no other moved, or for `starved` times
        as long although others did. Partitions no longer held are forgotten.
        """
        kept: dict[P, tuple[int, float]] = {}
        for partition, position in positions.items():
            before, since = self._since.get(partition, (position, now))
            if position != before:
                self._moved = now
            if position != before or position >= ends.get(partition, 0):
                since = now
            kept[partition] = (position, since)
        self._since = kept
        busy = now - self._moved < self._stall
        patience = self._stall * (self._starved if busy else 1)
        return [partition for partition, (_, since) in kept.items() if now - since >= patience]
