"""The simulated world's randomness: a stream of its own for every (seed, name, number), independent of history.

Nothing is drawn from a shared generator, so any stretch of the world can be made without making what came before.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["hex_text", "stream", "uniform"]


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of this name: counter-based (Philox), keyed by a digest of seed and names."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(seed, names), "little")))


def uniform(seed: int, low: float, high: float, *names: str | int) -> float:
    """One number in [low, high) of this name."""
    return low + (high - low) * (int.from_bytes(_digest(seed, names)[:7], "little") / 2**56)


def hex_text(seed: int, digits: int, *names: str | int) -> str:
    """A text of at most 32 hex digits of this name (ids of instances, of events)."""
    return _digest(seed, names).hex()[:digits]


def _digest(seed: int, names: tuple[str | int, ...]) -> bytes:
    text = "\x1f".join((str(seed), *(str(name) for name in names)))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
