"""References in a runbook's parameters: values known only when it runs.

A whole string `$target`, `$params.NAME` (the command's parameters) or `$snapshot.NAME` (the target's state before
anything was done) stands for that value, of whatever type it is; `$$...` stands for the text `$...`. They may stand
anywhere in a nested value, but not inside a longer text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

__all__ = ["MissingReferenceError", "Scope", "bad_reference", "resolve"]

_REFERENCE = re.compile(r"\$(?:target|(params|snapshot)\.([A-Za-z_][A-Za-z0-9_-]*))")
_FORMS = "$target, $params.NAME or $snapshot.NAME ($$ for a dollar sign)"


class MissingReferenceError(LookupError):
    """A runbook refers to a value that neither the command nor the target's state has."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What references may refer to."""

    target: str
    params: Mapping[str, JsonValue]
    snapshot: Mapping[str, JsonValue]


def resolve(value: JsonValue, scope: Scope) -> JsonValue:
    """The value with every reference replaced. Raises MissingReferenceError naming the one that has no value."""
    if isinstance(value, dict):
        return {key: resolve(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, scope) for item in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value.startswith("$$"):
        return value[1:]
    match = _REFERENCE.fullmatch(value)
    if match is None:
        raise MissingReferenceError(f"{value} is not a reference; write {_FORMS}")
    if match[1] is None:
        return scope.target
    source = scope.params if match[1] == "params" else scope.snapshot
    if match[2] not in source:
        raise MissingReferenceError(f"{value} has no value")
    return source[match[2]]


def bad_reference(value: JsonValue) -> str:
    """What is wrong with the first malformed reference in `value`, or "" where all are well formed."""
    if isinstance(value, dict):
        return next((wrong for item in value.values() if (wrong := bad_reference(item))), "")
    if isinstance(value, list):
        return next((wrong for item in value if (wrong := bad_reference(item))), "")
    if (
        isinstance(value, str)
        and value.startswith("$")
        and not value.startswith("$$")
        and not _REFERENCE.fullmatch(value)
    ):
        return f"{value!r} is not a reference: write {_FORMS}"
    return ""
