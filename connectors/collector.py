"""Python's garbage collector, in processes that make millions of short-lived objects and hardly a cycle.

In: nothing. Out: a collector that does not look through what the process began with, and looks seldom at the rest.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["collect_seldom", "collecting_seldom"]

_SELDOM: Final = (50_000, 20, 20)
"""Python's own 700 new objects before each look cost a replay of counts a half, ingest of JSON lines 7%."""


def collect_seldom() -> None:
    """For the rest of the process. What is there now is never looked at again."""
    gc.freeze()
    gc.set_threshold(*_SELDOM)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """For as long as the block lasts."""
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
