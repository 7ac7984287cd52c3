"""What pydantic finds wrong, in an operator's words: where it stands and what to write instead.

In: a ValidationError of a model and the document it was read from. Out: a ConfigError with file, line, key and advice.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from connectors.yaml_file import YamlDocument, dotted
from models.errors import ConfigError

__all__ = ["config_error", "suggestion"]

_LIST = "Write a list: each item on its own line after `- `."
_SECRET_ENDS = ("password", "secret")
_ADVICE = {
    "bool_parsing": "Write true or false.",
    "bool_type": "Write true or false.",
    "dict_type": "Write keys and values, indented below it.",
    "finite_number": "Write a finite number.",
    "float_parsing": "Write a number.",
    "float_type": "Write a number.",
    "int_from_float": "Write a whole number.",
    "int_parsing": "Write a whole number.",
    "int_type": "Write a whole number.",
    "list_type": _LIST,
    "model_attributes_type": "Write keys and values, indented below it.",
    "model_type": "Write keys and values, indented below it.",
    "string_type": "Write text; in quotes where it looks like a number, yes or no.",
    "too_short": "Write at least one.",
    "tuple_type": _LIST,
}


def config_error(
    error: ValidationError, model: type[BaseModel], document: YamlDocument | None, variable: Callable[[str], str | None]
) -> ConfigError:
    """The first thing that is wrong, and how many more there are. `variable` gives the environment variable that set a
    top-level key path (`policy.mode`), if one did; without document and variable the defaults would be wrong.
    """
    found = error.errors(include_url=False)
    # A misspelt key is also a missing one: what is written wrongly comes before what is not written.
    first = min(found, key=lambda item: (item["type"] == "missing", document.line(item["loc"]) if document else 0))
    place, key = first["loc"], dotted(first["loc"])
    more = f" ({len(found) - 1} more below)" if len(found) > 1 else ""
    message, advice = _describe(first, model)
    name = variable(key)
    if name is not None:
        return ConfigError(message + more, file="environment", key=name, advice=advice)
    if document is None:
        return ConfigError(message + more, key=key, advice=advice)
    return document.error(place, message + more, advice)


def suggestion(word: str, known: Sequence[str]) -> str:
    """Advice for a name that is not known: the closest one, and all there are."""
    if not known:
        return "There is none yet."
    close = difflib.get_close_matches(word, known, n=1)
    return (f"Did you mean {close[0]}? " if close else "") + f"Known here: {', '.join(known)}."


def _describe(item: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind, place = item["type"], item["loc"]
    if kind == "extra_forbidden":
        return "unknown key", suggestion(str(place[-1]), sorted(_fields_at(model, place[:-1])))
    if kind == "missing":
        return "is missing", f"Write `{place[-1]}: ...` here."
    got = item["input"]
    plain = isinstance(got, str | int | float | bool) or got is None
    secret = any(str(part).startswith("signing_") or str(part).endswith(_SECRET_ENDS) for part in place)
    shown = f"{got!r} does not fit" if plain and not secret else "does not fit"
    if kind in ("enum", "literal_error"):
        return shown, f"Write one of {item['ctx']['expected']}."
    if kind in _ADVICE:
        return shown, _ADVICE[kind]
    words = item["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return shown, f"It must be {words}." if item["msg"].startswith("Input should be") else f"{words}."


def _fields_at(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys that the model knows at that place."""
    here: Any = model
    for part in place:
        if isinstance(part, int):
            here = next(iter(typing.get_args(here)), None)
        elif isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[part].annotation
        elif typing.get_origin(here) is dict:
            here = typing.get_args(here)[1]
        here = next((arm for arm in typing.get_args(here) if _is_model(arm)), here) if _is_optional(here) else here
    return list(here.model_fields) if _is_model(here) else []


def _is_optional(kind: Any) -> bool:
    return type(None) in typing.get_args(kind)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
