"""Real lines (Loghub) at made-up times, and a surge among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.loghub import MissingDataError, System, load
from benchmarks.moving import MINUTE, START, Line, cycled, write

__all__ = ["MINUTE", "START", "System", "cycled", "surge", "systems", "usual_event", "write"]


def systems() -> dict[str, System]:
    """By name; a test without the data is skipped."""
    try:
        return {system.name: system for system in load()}
    except MissingDataError as missing:
        pytest.skip(str(missing))


def usual_event(system: System, a_minute: float, wanted: float) -> str:
    """The template that comes about `wanted` times a minute where the system logs `a_minute` lines."""
    counts = Counter(system.events)
    return min(counts, key=lambda event: abs(counts[event] / len(system.events) * a_minute - wanted))


def surge(system: System, event: str, at: int, count: int = 45) -> Iterator[Line]:
    """Lines of one template, spread over the minute that begins `at`."""
    texts = [text for text, known in zip(system.lines, system.events, strict=True) if known == event]
    for number in range(count):
        yield Line(at + number * MINUTE // count, texts[number % len(texts)], event)
