"""Lines of trouble: drawn as candidates at their highest rate, kept in proportion to what is wrong at that second.

Candidates depend on (seed, symptom, block) alone, so what is kept depends on the state only, not on how the world came
there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.world_fields import render
from connectors.world_lines import SYMPTOMS
from connectors.world_random import stream
from connectors.world_traffic import BLOCK_MINUTES

__all__ = ["Candidates", "SymptomLines"]

_BLOCK_MS = BLOCK_MINUTES * 60_000


class Candidates(NamedTuple):
    """Candidate lines in order of time (ms), each with a mark in [0, 1): kept where its mark is below the signal."""

    times: NDArray[np.int64]
    texts: NDArray[np.object_]
    marks: NDArray[np.float64]


class SymptomLines:
    """The candidates of the world of one seed; the last blocks are kept."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._block = lru_cache(maxsize=2 * len(SYMPTOMS))(self._draw)

    def candidates(self, symptom: int, begin: int, end: int) -> Candidates:
        """The candidates of the symptom with that index in [begin, end) ms, which must lie in one block."""
        block = self._block(symptom, begin // _BLOCK_MS)
        low, high = np.searchsorted(block.times, (begin, end))
        return Candidates(block.times[low:high], block.texts[low:high], block.marks[low:high])

    def _draw(self, symptom: int, block: int) -> Candidates:
        """Clumps of five seconds with a lognormal intensity: trouble is never even."""
        rng = stream(self._seed, "symptom", SYMPTOMS[symptom].text, block)
        slots = BLOCK_MINUTES * 12
        intensity = SYMPTOMS[symptom].per_minute / 12 * rng.lognormal(-0.08, 0.4, slots)
        counts = rng.poisson(intensity)
        times = np.sort(np.repeat(np.arange(slots), counts) * 5_000 + rng.integers(0, 5_000, int(counts.sum())))
        texts = np.empty(len(times), object)
        texts[:] = render(SYMPTOMS[symptom].text, len(times), rng)
        return Candidates(block * _BLOCK_MS + times, texts, rng.random(len(times)))
