"""YAML files with line numbers. In: a file. Out: its documents as plain data, and the line of every key and item.

YAML 1.1 as PyYAML reads it, without timestamps (a date stays text) and without repeated keys (the last would win
silently).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from models.errors import ConfigError

__all__ = ["Place", "YamlDocument", "read_yaml"]

Place = tuple[str | int, ...]
"""A path of keys and item numbers (from 0), from the top of a document."""


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a file: its data, and where its keys and items stand (lines from 1)."""

    file: str
    data: Any
    lines: Mapping[Place, int]

    def line(self, place: Sequence[str | int]) -> int:
        """The line of the place, or of its closest parent that stands in the file."""
        here = tuple(place)
        while here and here not in self.lines:
            here = here[:-1]
        return self.lines.get(here, 1)

    def error(self, place: Sequence[str | int], message: str, advice: str) -> ConfigError:
        """An error at that place."""
        return ConfigError(message, file=self.file, line=self.line(place), key=dotted(place), advice=advice)


class _Loader(yaml.SafeLoader):
    """SafeLoader in which a date is text."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(path: Path) -> list[YamlDocument]:
    """Every document of the file; empty ones left out. Raises ConfigError with file and line."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError("not UTF-8 text", file=str(path), line=line, advice="Save the file as UTF-8.") from error
    except OSError as error:
        advice = "Check the path and its permissions."
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path), advice=advice) from error
    documents: list[YamlDocument] = []
    loader: _Loader | None = None
    start = 1
    try:
        loader = _Loader(text)
        while loader.check_node():
            node: Any = loader.get_node()
            start = node.start_mark.line + 1
            lines: dict[Place, int] = {(): start}
            _note_lines(node, (), lines, set(), str(path))
            data = loader.construct_document(node)
            if data is not None:
                documents.append(YamlDocument(str(path), data, lines))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        advice = "Check the indentation (spaces, no tabs), the colons, and quotes around special characters."
        raise ConfigError(
            f"not valid YAML: {what}", file=str(path), line=mark.line + 1 if mark else 0, advice=advice
        ) from error
    except RecursionError as error:
        advice = "Close every bracket that is opened; nothing here needs more than ten levels."
        raise ConfigError("nested too deeply", file=str(path), line=start, advice=advice) from error
    except (yaml.YAMLError, ValueError) as error:
        advice = "Write plain text, numbers, lists and keys."
        raise ConfigError(f"not valid YAML: {error}", file=str(path), line=start, advice=advice) from error
    finally:
        if loader is not None:
            loader.dispose()
    return documents


def dotted(place: Sequence[str | int]) -> str:
    """A place in words: `applications[0].name`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _note_lines(node: Any, place: Place, lines: dict[Place, int], seen: set[int], file: str) -> None:
    if id(node) in seen:  # an alias: its lines are those of its anchor
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*place, number)] = item.start_mark.line + 1
            _note_lines(item, (*place, number), lines, seen, file)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            if here in lines and key.value != "<<":
                raise ConfigError(
                    f"written a second time (first in line {lines[here]})",
                    file=file,
                    line=key.start_mark.line + 1,
                    key=dotted(here),
                    advice="Keep one of them.",
                )
            lines[here] = key.start_mark.line + 1
            _note_lines(value, here, lines, seen, file)
