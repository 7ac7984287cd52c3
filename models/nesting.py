"""How deep a JSON value may be nested: what is kept is written down within something else, and writing has its limit.

In: a JSON value from outside. Out: whether it is nested deeper than anything anybody needs. pydantic writes 255 levels,
and reads about as many, so a value just readable could not be written down again as a part of another.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["MAX_DEPTH", "too_deep"]

MAX_DEPTH: Final = 64


def too_deep(value: Any) -> bool:
    """Whether lists and objects stand in each other more than MAX_DEPTH times."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True
