"""Whether a consumer still consumes: its position against the end of its log. Consumers can stop without an error.

In: positions and ends, now and then. Out: the partitions that have something to read and have not moved for too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["STALL_SECONDS", "WATCH_SECONDS", "ProgressWatch"]

STALL_SECONDS: Final = 25.0
"""With a look every WATCH_SECONDS, a consumer that stopped is noticed within 30 s."""
WATCH_SECONDS: Final = 5.0
_STARVED: Final = 6
"""Of a busy consumer, a partition may have to wait for its turn while others are read: so many times longer."""


class ProgressWatch:
    """Remembers when each partition last moved, was at its end, or was first seen (seconds of any steady clock)."""

    def __init__(self, stall_seconds: float = STALL_SECONDS) -> None:
        self._stall = stall_seconds
        self._since: dict[int, tuple[int, float]] = {}
        self._moved = float("-inf")

    def look(self, now: float, positions: Mapping[int, int], ends: Mapping[int, int]) -> list[int]:
        """The partitions that lag and have stood still for `stall_seconds` while no other moved, or for six times as
        long although others did. Partitions no longer held are forgotten.
        """
        kept: dict[int, tuple[int, float]] = {}
        for partition, position in positions.items():
            before, since = self._since.get(partition, (position, now))
            if position != before:
                self._moved = now
            if position != before or position >= ends.get(partition, 0):
                since = now
            kept[partition] = (position, since)
        self._since = kept
        busy = now - self._moved < self._stall
        patience = self._stall * (_STARVED if busy else 1)
        return [partition for partition, (_, since) in kept.items() if now - since >= patience]
