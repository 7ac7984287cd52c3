"""The host's two clocks: the wall when live, the input's own time in `--once`, demo and replay."""

from __future__ import annotations

import time

__all__ = ["VirtualClock", "WallClock"]


class WallClock:
    """The machine's time, in ms, never going backwards within a process: a log stamped with it stays in order."""

    def __init__(self, start: int = 0) -> None:
        self._last = start

    def now(self) -> int:
        """The present; the last value given while the machine's clock is behind it."""
        self._last = max(self._last, time.time_ns() // 1_000_000)
        return self._last


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
