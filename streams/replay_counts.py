"""TemplateCounts read fast: for replays of millions of them.

In: records of `counts`. Out: the same events as connectors/codec.py gives, for a fraction of the time: a template's
name, text and severity are validated when they are first seen, and columns of numbers without building models of each.
What does not look exactly as expected is given to the codec, which reads it (an older version) or refuses it.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from pydantic import ValidationError

from connectors.codec import decode_record
from connectors.ports import Record
from models.event import Event
from models.template import BatchPointer, CoveredSource, Section, Template, TemplateCounts

__all__ = ["CountsReader"]

_MOST_KNOWN: Final = 100_000
_ENVELOPE: Final = {"v", "type", "id", "at", "cause", "cid", "key", "region", "run", "data"}
_DATA: Final = set(TemplateCounts.model_fields)
_SECTION: Final = set(Section.model_fields)
_COLUMNS: Final = ("template", "bucket", "n", "first_line")
_INT: Final = {int}


class _OddError(Exception):
    """Not exactly as mine writes it."""


class CountsReader:
    """Reads records, remembering the templates it has seen; no answer depends on what it remembers."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, Any], Template]] = {}

    def read(self, record: Record) -> Event[Any]:
        """The record's event, of whatever type. Raises ContractError as `connectors.codec.decode`."""
        try:
            return self._event(record)
        except (_OddError, AttributeError, KeyError, TypeError, ValidationError, orjson.JSONDecodeError):
            return decode_record(record)

    def _event(self, record: Record) -> Event[TemplateCounts]:
        raw = orjson.loads(record.value)
        if raw.keys() != _ENVELOPE or raw["type"] != TemplateCounts.TYPE or raw["v"] != TemplateCounts.VERSION:
            raise _OddError
        data = raw["data"]
        if data.keys() != _DATA or type(raw["at"]) is not int or type(data["rules_version"]) is not int:
            raise _OddError
        if any(type(raw[name]) is not str for name in ("id", "cause", "cid", "key", "region", "run")):
            raise _OddError
        if not all(type(n) is int for n in data["dropped"].values()):
            raise _OddError
        if type(data["sources"]) is not list or type(data["sections"]) is not list:
            raise _OddError
        counts = TemplateCounts.model_construct(
            rules_version=data["rules_version"],
            input=BatchPointer.model_validate(data["input"]),
            sources=tuple([CoveredSource.model_validate(source) for source in data["sources"]]),
            sections=tuple([self._section(section) for section in data["sections"]]),
            dropped=data["dropped"],
        )
        return Event(
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

    def _section(self, raw: dict[str, Any]) -> Section:
        if raw.keys() != _SECTION or type(raw["service"]) is not str:
            raise _OddError
        for name in _COLUMNS:
            column = raw[name]
            if type(column) is not list or (column and set(map(type, column)) != _INT):
                raise _OddError
        if type(raw["lines"]) is not int or type(raw["overflow"]) is not int or type(raw["templates"]) is not list:
            raise _OddError
        raw["templates"] = self._templates(raw["templates"])
        return Section.model_construct(None, **raw)

    def _templates(self, raw: list[dict[str, Any]]) -> tuple[Template, ...]:
        """All at once, as lists compare and build faster than a call for each."""
        known = self._known
        found = [known.get(item["id"]) for item in raw]
        if None in found or [each[0] for each in found if each] != raw:
            return tuple([self._template(item) for item in raw])
        return tuple([each[1] for each in found if each])

    def _template(self, raw: dict[str, Any]) -> Template:
        known = self._known.get(raw["id"])
        if known is not None and known[0] == raw:
            return known[1]
        template = Template.model_validate(raw)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[template.id] = (raw, template)
        return template
