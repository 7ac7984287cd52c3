"""Loghub's lines at made-up times: a system's 2,000 lines over and over, as a service would have logged them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.loghub import System

__all__ = ["MINUTE", "START", "Line", "cycled", "write"]

START: Final = 1_777_852_800_000
"""2026-05-04T00:00:00Z, in ms."""
MINUTE: Final = 60_000


class Line(NamedTuple):
    """When (ms), what, and the system's own name of its template."""

    at: int
    text: str
    event: str


def cycled(system: System, minutes: float, a_minute: float, seed: int = 0) -> Iterator[Line]:
    """The system's lines in their own order, again and again; the times between them are exponential."""
    chance, at, number = random.Random(f"{system.name}-{seed}"), float(START), 0
    while (at := at + chance.expovariate(a_minute / MINUTE)) < START + minutes * MINUTE:
        place = number % len(system.lines)
        yield Line(int(at), system.lines[place], system.events[place])
        number += 1


def write(path: Path, lines: Iterable[Line]) -> Path:
    """A file of them in order of time, each with its ISO time before it."""
    with path.open("w", encoding="utf-8") as file:
        for line in sorted(lines, key=lambda line: line.at):
            time = datetime.fromtimestamp(line.at / 1_000, UTC).isoformat(timespec="milliseconds")
            file.write(f"{time} {line.text}\n")
    return path
