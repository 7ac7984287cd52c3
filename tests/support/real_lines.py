"""Real lines (Loghub) at made-up times: a system's 2,000 lines over and over, as a service would have logged them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.loghub import MissingDataError, System, load

START = 1_777_852_800_000
"""2026-05-04T00:00:00Z, in ms."""
MINUTE = 60_000


class Line(NamedTuple):
    """When (ms), what, and the system's own name of its template."""

    at: int
    text: str
    event: str


def systems() -> dict[str, System]:
    """By name; a test without the data is skipped."""
    try:
        return {system.name: system for system in load()}
    except MissingDataError as missing:
        pytest.skip(str(missing))


def cycled(system: System, minutes: int, a_minute: float, seed: int = 0) -> Iterator[Line]:
    """The system's lines in their own order, again and again; the times between them are exponential."""
    chance, at, number = random.Random(f"{system.name}-{seed}"), float(START), 0
    while (at := at + chance.expovariate(a_minute / MINUTE)) < START + minutes * MINUTE:
        place = number % len(system.lines)
        yield Line(int(at), system.lines[place], system.events[place])
        number += 1


def usual_event(system: System, a_minute: float, wanted: float) -> str:
    """The template that comes about `wanted` times a minute where the system logs `a_minute` lines."""
    counts = Counter(system.events)
    return min(counts, key=lambda event: abs(counts[event] / len(system.events) * a_minute - wanted))


def surge(system: System, event: str, at: int, count: int = 45) -> Iterator[Line]:
    """Lines of one template, spread over the minute that begins `at`."""
    texts = [text for text, known in zip(system.lines, system.events, strict=True) if known == event]
    for number in range(count):
        yield Line(at + number * MINUTE // count, texts[number % len(texts)], event)


def write(path: Path, lines: Iterable[Line]) -> Path:
    """A file of them in order of time, each with its ISO time before it."""
    with path.open("w", encoding="utf-8") as file:
        for line in sorted(lines, key=lambda line: line.at):
            file.write(
                f"{datetime.fromtimestamp(line.at / 1_000, UTC).isoformat(timespec='milliseconds')} {line.text}\n"
            )
    return path
