"""Depth of JSON values."""

from __future__ import annotations

from typing import Any

from models.nesting import MAX_DEPTH, too_deep


def nested(levels: int, objects: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if objects else [0, value]
    return value


def test_a_value_is_too_deep_from_the_first_level_beyond_the_limit_on():
    for objects in (False, True):
        assert not too_deep(nested(MAX_DEPTH, objects))
        assert too_deep(nested(MAX_DEPTH + 1, objects))
    assert not too_deep("x")
    assert not too_deep({})
