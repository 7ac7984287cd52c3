"""Virtual time for several processes, as fast as they bear: it stands still while they are too far behind.

In: how far time may go, how fast, and how far behind the slowest is. Out: a plan in a file that all processes follow
(connectors/clock.py, PacedClock).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from connectors.clock import PLAN_NOTICE_MS, Pace, virtual_time, write_plan

__all__ = ["Pacer", "Stretch"]


class Stretch(NamedTuple):
    """A stretch of virtual time: to `until` (ms), at `speed` times the machine's, standing still while somebody is more
    than `slack` (ms) behind.
    """

    until: int
    speed: float
    slack: int


def _wall() -> int:
    return time.time_ns() // 1_000_000


class Pacer:
    """Writes the plan. Time stands still at `start` (ms) until the first stretch is begun."""

    def __init__(self, path: Path, start: int, wall: Callable[[], int] = _wall) -> None:
        self._path, self._wall = path, wall
        self._paces = [Pace(0, start, 0.0)]
        self._stretch = Stretch(start, 1.0, 0)
        self._running = False
        write_plan(path, self._paces)

    @property
    def now(self) -> int:
        """The present, virtual (ms)."""
        return virtual_time(self._paces, self._wall())

    @property
    def speeds(self) -> list[float]:
        """The paces so far."""
        return [pace.speed for pace in self._paces]

    def begin(self, stretch: Stretch) -> None:
        """Go on at the stretch's speed until its end, whatever was planned before."""
        self._stretch = stretch
        self._go()

    def mind(self, reached: int) -> None:
        """The slowest has come to `reached` (ms): stop for it, or go on."""
        behind = self.now - reached
        if self._running and behind > self._stretch.slack:
            self.stand()
        elif not self._running and behind <= self._stretch.slack // 2 and self.now < self._stretch.until:
            self._go()

    def stand(self) -> None:
        """Stop here, until the next stretch or until `mind` goes on."""
        at = self._wall() + PLAN_NOTICE_MS
        self._write(at, Pace(at, virtual_time(self._paces, at), 0.0))
        self._running = False

    def _go(self) -> None:
        at = self._wall() + PLAN_NOTICE_MS
        virtual, (until, speed, _) = virtual_time(self._paces, at), self._stretch
        takes = int(max(0, until - virtual) / speed) + 1
        self._write(at, Pace(at, virtual, speed), Pace(at + takes, max(until, virtual), 0.0))
        self._running = True

    def _write(self, at: int, *paces: Pace) -> None:
        self._paces = [*(pace for pace in self._paces if pace.wall < at), *paces]
        write_plan(self._path, self._paces)
