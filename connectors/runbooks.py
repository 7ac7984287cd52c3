"""Runbooks from YAML files. In: files and folders. Out: checked `Runbook`s, in the order of files and documents.

A file holds one runbook, or several separated by `---`. What a runbook promises is checked here, before anybody has to
rely on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from connectors.config_errors import config_error
from connectors.yaml_file import Place, YamlDocument, read_yaml
from models.errors import ConfigError
from models.references import bad_reference
from models.runbook import Reversibility, Runbook

__all__ = ["MAX_PRIOR_STRENGTH", "load_runbooks"]

MAX_PRIOR_STRENGTH = 8.0
"""A declared prior counts as at most this many outcomes (docs/MATH.md, action gate)."""


def load_runbooks(paths: Sequence[Path]) -> tuple[Runbook, ...]:
    """The runbooks of these files, and of every `*.yaml` and `*.yml` in these folders (by name). Raises ConfigError
    with file, line, key and what to write.
    """
    books: dict[tuple[str, int], tuple[Runbook, YamlDocument]] = {}
    for file in _files(paths):
        for document in read_yaml(file):
            book = _parse(document)
            other = books.get((book.id, book.version))
            if other is not None:
                message = f"runbook {book.id} version {book.version} stands already in {other[1].file}"
                raise document.error(("id",), message, "Give it another id, or a higher version.")
            books[book.id, book.version] = book, document
    return tuple(book for book, _ in books.values())


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and file.is_file())
        if not files:
            raise ConfigError("no runbook in this folder", file=str(path), advice="Put runbooks (*.yaml) into it.")
        yield from files


def _parse(document: YamlDocument) -> Runbook:
    if not isinstance(document.data, dict):
        raise document.error((), "a runbook is keys and values", "Begin with `id: ...`.")
    try:
        book = Runbook.model_validate(document.data)
    except ValidationError as error:
        raise config_error(error, Runbook, document, lambda _: None) from error
    for place, message, advice in _problems(book):
        raise document.error(place, message, advice)
    return book


def _problems(book: Runbook) -> Iterator[tuple[Place, str, str]]:
    """Where a runbook that has the right form could still not be relied on."""
    prior = book.prior
    if prior is not None and prior.ok + prior.bad > MAX_PRIOR_STRENGTH:
        message = f"its strength ok + bad is {prior.ok + prior.bad:g}, at most {MAX_PRIOR_STRENGTH:g} may be declared"
        yield ("prior",), message, "Write smaller numbers in the same ratio, for example ok: 7 and bad: 1."
    yield from _step_problems(book)
    for key, values in (("require_state", book.require_state), ("verify", book.verify.target_state)):
        if wrong := bad_reference(values):
            yield (key,), wrong, "Write one of these forms."
    if not book.verify.series and not book.verify.target_state:
        advice = "Write `series: true`, or a `target_state` that holds once it has helped."
        yield ("verify",), "nothing would show whether it helped", advice
    if book.reversibility is Reversibility.REVERSIBLE and all(step.inverse is None for step in book.steps):
        advice = "Write an `inverse` for a step, or `reversibility: restart_safe` (or irreversible)."
        yield ("reversibility",), "reversible, but no step has an inverse", advice


def _step_problems(book: Runbook) -> Iterator[tuple[Place, str, str]]:
    names: set[str] = set()
    closed: set[str] = set()
    group = ""
    for number, step in enumerate(book.steps):
        place: Place = ("steps", number)
        if step.name in names:
            yield (*place, "name"), f"a second step {step.name}", "Give every step a name of its own."
        names.add(step.name)
        if step.group != group:
            closed.add(group)
            group = step.group
            if group and group in closed:
                advice = "Put the steps of a group next to each other."
                yield (*place, "group"), f"group {group} began before and was interrupted", advice
        calls = {
            "call": step.call.params,
            "inverse": step.inverse.params if step.inverse else {},
            "expect": step.expect,
        }
        for key, values in calls.items():
            if wrong := bad_reference(values):
                yield (*place, key), wrong, "Write one of these forms."
