"""TemplateCounts as mine writes them, read without building a model of every section: for replays of millions.

In: records of `counts`. Out: the event without its sections, and these as plain columns that have been checked as
detect checks them; or None for whatever is not exactly so, which the codec and detect read or refuse.

A plain column's integers may be truth values here and there, or whole floats: the codec makes integers of them at
once, here that is done when they are counted.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from connectors.ports import Record
from models.event import Event
from models.log import Severity
from models.template import BatchPointer, CoveredSource, Section, TemplateCounts
from models.template_rules import RULES_VERSION
from streams.detect_columns import LAST_BUCKET

__all__ = ["PlainCounts", "PlainSection", "read_plain"]

_ENVELOPE: Final = {"v", "type", "id", "at", "cause", "cid", "key", "region", "run", "data"}
_TEXTS: Final = ("id", "cause", "cid", "key", "region", "run")
_DATA: Final = set(TemplateCounts.model_fields)
_LEVELS: Final = frozenset(int(level) for level in Severity)
_LIST: Final = {list}
_NUMBERS: Final = ("severities", "template", "bucket", "n", "first_line")
_MOST_LINES: Final = 100_000
"""Lines of a batch, and templates of a section, beyond which detect is asked what it makes of them."""
_COUNTING: Final = list(range(2_000))


class PlainSection(NamedTuple):
    """A Section whose columns fit each other and can be counted with: models.template says what they mean."""

    service: str
    ids: list[str]
    texts: list[str]
    severities: list[int]
    template: list[int]
    bucket: list[int]
    n: list[int]
    first_line: list[int]
    lines: int
    overflow: int

    @property
    def straight(self) -> bool:
        """Whether row i is of template i."""
        return self.template == _COUNTING[: len(self.template)]

    def model(self) -> Section:
        """The Section as the codec reads it."""
        columns = {name: [*map(int, getattr(self, name))] for name in _NUMBERS}
        return Section.model_construct(None, **(self._asdict() | columns))


class PlainCounts(NamedTuple):
    """The event as the codec gives it, but for its sections."""

    event: Event[TemplateCounts]
    sections: list[PlainSection]


class _OddError(Exception):
    """Not exactly as mine writes it."""


def read_plain(record: Record) -> PlainCounts | None:
    """What the record holds; None where the codec must be asked."""
    try:
        return _read(record)
    except (_OddError, AttributeError, KeyError, TypeError, ValidationError, orjson.JSONDecodeError):
        return None


def _read(record: Record) -> PlainCounts:
    raw = orjson.loads(record.value)
    if raw.keys() != _ENVELOPE or raw["type"] != TemplateCounts.TYPE or raw["v"] != TemplateCounts.VERSION:
        raise _OddError
    data = raw["data"]
    if data.keys() != _DATA or type(raw["at"]) is not int or data["rules_version"] != RULES_VERSION:
        raise _OddError
    if any(type(raw[name]) is not str for name in _TEXTS):
        raise _OddError
    if any(type(n) is not int for n in data["dropped"].values()):
        raise _OddError
    if type(data["sources"]) is not list or type(data["sections"]) is not list:
        raise _OddError
    counts = TemplateCounts.model_construct(
        rules_version=RULES_VERSION,
        input=BatchPointer.model_validate(data["input"]),
        sources=tuple([CoveredSource.model_validate(source) for source in data["sources"]]),
        sections=(),
        dropped=data["dropped"],
    )
    event = Event(
        id=raw["id"],
        at=raw["at"],
        key=raw["key"],
        data=counts,
        cause=raw["cause"],
        cid=raw["cid"],
        region=raw["region"],
        run=raw["run"],
        logged_at=record.logged_at,
        position=record.position,
    )
    return PlainCounts(event, [_section(section) for section in data["sections"]])


def _section(raw: dict[str, Any]) -> PlainSection:
    """Raises _OddError, TypeError."""
    section = PlainSection(**raw)
    if set(map(type, section[1:-2])) != _LIST:
        raise _OddError
    if type(section.service) is not str or type(section.lines) is not int or type(section.overflow) is not int:
        raise _OddError
    _check_templates(section.ids, section.texts, section.severities)
    rows, names = len(section.template), len(section.ids)
    if not 0 < rows == len(section.bucket) == len(section.n) == len(section.first_line):
        raise _OddError
    if type(lines := sum(section.n)) is not int or lines > _MOST_LINES or min(section.n) < 1:
        raise _OddError
    _check_numbers(section.first_line, 0, _MOST_LINES)
    if rows > names or not section.straight:
        _check_numbers(section.template, 0, names - 1)
    first = section.bucket[0]
    if section.bucket.count(first) == rows:
        _check_numbers([first], 0, LAST_BUCKET)
    else:
        _check_numbers(section.bucket, 0, LAST_BUCKET)
    return section


def _check_templates(ids: list[str], texts: list[str], severities: list[int]) -> None:
    if not len(ids) == len(texts) == len(severities) <= _MOST_LINES:
        raise _OddError
    "".join(ids), "".join(texts)  # a TypeError where one is no text, for a third of looking at each
    if not _LEVELS.issuperset(severities):
        raise _OddError


def _check_numbers(column: list[int], least: int, most: int) -> None:
    """All are integers, or equal to such. A sum with a float among them is a float, and of other things a TypeError."""
    if type(sum(column)) is not int or min(column) < least or max(column) > most:
        raise _OddError
