"""The hosts' clocks: the wall when live, the input's own time in `--once` and replay, a shared plan for simulated
worlds in several processes.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from models.errors import ConfigError

__all__ = ["Pace", "PacedClock", "VirtualClock", "WallClock"]


class WallClock:
    """The machine's time, in ms, never behind `start` nor going backwards: a log stamped with it stays in order.

    While the machine's clock is behind what was given before (it was set back, or was wrong in an earlier process),
    time goes on from there at its own pace: else nothing would be due until that clock has caught up. Several threads
    may ask.
    """

    def __init__(self, start: int = 0) -> None:
        self._base, self._base_at = start, time.monotonic_ns()
        self._lock = threading.Lock()

    def now(self) -> int:
        """The present."""
        with self._lock:
            wall, steady = time.time_ns() // 1_000_000, time.monotonic_ns()
            reached = self._base + (steady - self._base_at) // 1_000_000
            if wall < reached:
                return reached
            self._base, self._base_at = wall, steady  # the usual case: the machine's clock counts
            return wall


class VirtualClock:
    """A time that moves only when told to, and only forwards."""

    def __init__(self, start: int = 0) -> None:
        self._now = start

    def now(self) -> int:
        """The present (ms)."""
        return self._now

    def advance_to(self, at: int) -> None:
        """Move to `at`; a time in the past is ignored."""
        self._now = max(self._now, at)


class Pace(NamedTuple):
    """From the machine's time `wall` on (ms), virtual time runs from `virtual` (ms) at `speed` times the wall's."""

    wall: int
    virtual: int
    speed: float


class PacedClock:
    """A virtual time that follows the machine's by a plan, so that several processes of one machine share it.

    The plan's text is `WALL:VIRTUAL:SPEED`, joined with `,` in order of `wall`; before its first pace time stands
    still. Raises ConfigError for a text that is no plan.
    """

    def __init__(self, plan: str) -> None:
        try:
            fields = [item.split(":") for item in plan.split(",")]
            self._paces = [Pace(int(wall), int(virtual), float(speed)) for wall, virtual, speed in fields]
        except ValueError as error:
            raise ConfigError(
                f"no plan of a clock: {plan[:100]!r}",
                advice="Write WALL:VIRTUAL:SPEED (ms, ms, times), joined with commas.",
            ) from error

    def now(self) -> int:
        """The present (ms), virtual."""
        wall = time.time_ns() // 1_000_000
        pace = self._paces[0]
        for later in self._paces[1:]:
            if later.wall <= wall:
                pace = later
        return pace.virtual + int(max(wall - pace.wall, 0) * pace.speed)
