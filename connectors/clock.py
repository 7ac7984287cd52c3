"""The hosts' clocks: the wall when live, the input's own time in `--once` and replay, a shared plan for simulated
worlds in several processes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from models.errors import ConfigError

__all__ = ["PLAN_NOTICE_MS", "Pace", "PacedClock", "VirtualClock", "WallClock", "virtual_time", "write_plan"]

PLAN_NOTICE_MS: Final = 200
"""A pace that is added to a plan in a file must begin at least this much later: every process has read it by then."""
_LOOK_MS: Final = 50


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
    still. `@PATH`: the plan is in that file and may be continued (`write_plan`) while it is followed.

    Raises ConfigError for a text that is no plan, or a file that cannot be read.
    """

    def __init__(self, plan: str) -> None:
        self._file = Path(plan[1:]) if plan.startswith("@") else None
        self._looked_at = 0
        self._version = (0, 0)
        self._paces = _paces(plan) if self._file is None else []
        self._look(time.time_ns() // 1_000_000)

    def now(self) -> int:
        """The present (ms), virtual."""
        wall = time.time_ns() // 1_000_000
        self._look(wall)
        return virtual_time(self._paces, wall)

    def _look(self, wall: int) -> None:
        """Read the file again where it has changed."""
        if self._file is None or 0 <= wall - self._looked_at < _LOOK_MS:
            return
        self._looked_at = wall
        try:
            found = self._file.stat()
            version = found.st_ino, found.st_mtime_ns  # a file that replaces another has another inode
            if version != self._version:
                self._paces = _paces(self._file.read_text(encoding="utf-8"))
                self._version = version
        except OSError as error:
            if not self._paces:
                advice = "Write it first: `write_plan`, or a file with WALL:VIRTUAL:SPEED."
                raise ConfigError(
                    f"the clock's plan cannot be read ({error})", key="kafka.clock", advice=advice
                ) from error


def virtual_time(paces: Sequence[Pace], wall: int) -> int:
    """What a plan says at that time of the machine (ms)."""
    pace = paces[0]
    for later in paces[1:]:
        if later.wall <= wall:
            pace = later
    return pace.virtual + int(max(wall - pace.wall, 0) * pace.speed)


def write_plan(path: Path, paces: Sequence[Pace]) -> None:
    """Put a plan into its file, at once as a whole."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(",".join(f"{pace.wall}:{pace.virtual}:{pace.speed}" for pace in paces), encoding="utf-8")
    os.replace(draft, path)


def _paces(plan: str) -> list[Pace]:
    try:
        fields = [item.split(":") for item in plan.split(",")]
        return [Pace(int(wall), int(virtual), float(speed)) for wall, virtual, speed in fields]
    except ValueError as error:
        raise ConfigError(
            f"no plan of a clock: {plan[:100]!r}",
            advice="Write WALL:VIRTUAL:SPEED (ms, ms, times), joined with commas.",
        ) from error
