"""What a benchmark says: rows of claim, figure, peer, ratio and the ratio required; and how it times.

Two programs are compared by turns in one run, because this machine's speed changes by a factor of two with its
neighbours; each one's figure is the median of its turns, in processor time, so waiting for a core does not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Row", "markdown", "median_seconds"]


class Row(NamedTuple):
    """One claim. `ratio` is the figure over the peer's (or over the floor); `required` is None for information only."""

    claim: str
    figure: str
    peer: str
    ratio: float
    required: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the required ratio is reached (always, where none is)."""
        return self.required is None or self.ratio >= self.required


def median_seconds(turns: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Processor seconds of each callable: all take a turn, `repeats` times over, after one turn each to warm up."""
    for turn in turns.values():
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(repeats):
        for name, turn in turns.items():
            begun = time.process_time()
            turn()
            seconds[name].append(time.process_time() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| claim | measured | against | ratio | required | |", "|---|---|---|---|---|---|"]
    for row in rows:
        required = "" if row.required is None else f"≥{row.required:g}"
        verdict = "" if row.required is None else "yes" if row.holds else "NO"
        lines.append(f"| {row.claim} | {row.figure} | {row.peer} | {row.ratio:.2f} | {required} | {verdict} |")
    return "\n".join(lines)
