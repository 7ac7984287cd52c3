"""The host's two clocks: the wall when live, the input's own time in `--once`, demo and replay."""

from __future__ import annotations

import threading
import time

__all__ = ["VirtualClock", "WallClock"]


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
