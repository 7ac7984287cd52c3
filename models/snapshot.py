"""Baselines as messages: what a replay has learnt of one service (a *generation*), in parts small enough for any log.

In, from who retrains: the learnt arrays of a service's series. Out, into detect's inbox (`counts`): BaselineSnapshots,
which detect puts together again, and BaselineRollback, which takes the last one back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field

from models.baseline import Baselines
from models.event import Contract, Model, digest
from models.log import Severity

__all__ = [
    "BaselineRollback",
    "BaselineSnapshot",
    "Learnt",
    "ReplayRange",
    "SeriesTable",
    "Span",
    "Training",
    "checksum_of",
    "parts_of",
]

_PART_BYTES: Final = 512 * 1024
_MOST_PARTS: Final = 256
_ROW_BYTES: Final = 400  # 16 numbers of up to 24 characters, and the commas
_MOST: Final = (1 << 31) - 1

Whole = Annotated[int, Field(ge=0, le=_MOST)]
Real = Annotated[float, Field(ge=-1e24, le=1e24)]
"""Far beyond what counts of 32 bits can teach, and small enough for every later square to be finite."""
Positive = Annotated[float, Field(ge=0, le=1e12)]


class ReplayRange(Model):
    """What was read of one partition: offsets `begin` to `end` - 1."""

    partition: int
    begin: int
    end: int


class Span(Model):
    """Event time [start, end) in ms."""

    start: int
    end: int


class Training(Model):
    """What a generation was learnt from: the topic and its ranges, the rules its templates were made by, the spans left
    out (incidents). `minutes` were learnt of the service's total; `minute` (minutes since the epoch) is the first that
    was not closed when the range ended.
    """

    topic: str
    ranges: tuple[ReplayRange, ...]
    rules_version: int
    minutes: Whole
    minute: Whole
    left_out: tuple[Span, ...] = ()


class Learnt(Model):
    """The learnt quantities in columns, one item a series: `models.baseline.Baselines.LEARNT` says what they mean."""

    n: list[Whole]
    mean: list[Positive]
    fast: list[Positive]
    excess: list[Real]
    square: list[Real]
    pairs: list[Whole]
    pair_count: list[Positive]
    pair_expected: list[Real]
    pair_excess: list[Real]
    pair_square: list[Real]
    tens: list[Whole]
    ten_minutes: list[Whole]
    ten_count: list[Positive]
    ten_expected: list[Positive]
    ten_excess: list[Real]
    ten_square: list[Real]


class SeriesTable(Model):
    """Series in columns: id ("" = all lines), text and severity as models.template, whether it speaks of failure, the
    minute it was first seen in, and what was learnt of it.
    """

    ids: list[str]
    texts: list[str]
    severity: list[Annotated[int, Field(ge=0, le=int(max(Severity)))]]
    failing: list[bool]
    born: list[Whole]
    learnt: Learnt

    def fits(self) -> bool:
        """All columns have one length, and no series stands twice."""
        columns = (self.texts, self.severity, self.failing, self.born)
        learnt = (getattr(self.learnt, name) for name in Baselines.LEARNT)
        rows = len(self.ids)
        return all(len(column) == rows for column in (*columns, *learnt)) and len(set(self.ids)) == rows

    def rows(self, start: int, end: int) -> SeriesTable:
        """The series of these places."""
        columns = {name: getattr(self, name)[start:end] for name in ("ids", "texts", "severity", "failing", "born")}
        learnt = {name: getattr(self.learnt, name)[start:end] for name in Baselines.LEARNT}
        return SeriesTable.model_construct(**columns, learnt=Learnt.model_construct(**learnt))


class BaselineSnapshot(Contract):
    """One part of a generation of a service's baselines: `part` of `parts`, from 0 on.

    `generation` is a digest of all that it was learnt from, so the same replay writes the same parts again; `checksum`
    is a digest of all its series, in order, over all parts.
    """

    TYPE: ClassVar[str] = "baseline_snapshot"

    generation: str = Field(min_length=1, max_length=64)
    service: str
    part: int = Field(ge=0, lt=_MOST_PARTS)
    parts: int = Field(ge=1, le=_MOST_PARTS)
    checksum: str = Field(max_length=64)
    training: Training
    series: SeriesTable


class BaselineRollback(Contract):
    """Take a service's running generation back: its baselines are again what they were before. Once a generation."""

    TYPE: ClassVar[str] = "baseline_rollback"

    service: str
    by: str
    reason: str = ""


def checksum_of(tables: Sequence[SeriesTable]) -> str:
    """A digest of the series of all tables, in order; how they are divided has no part in it."""
    rows: list[str] = []
    for table in tables:
        columns = [getattr(table, name) for name in ("ids", "texts", "severity", "failing", "born")]
        columns += [getattr(table.learnt, name) for name in Baselines.LEARNT]
        rows += [repr(row) for row in zip(*columns, strict=True)]
    return digest(*rows)


def parts_of(generation: str, service: str, training: Training, table: SeriesTable) -> list[BaselineSnapshot]:
    """The messages of a generation, each of half a megabyte at most (a text has 8 KB at most)."""
    tables = [table.rows(start, end) for start, end in _cuts(table)]
    checksum = checksum_of(tables)
    return [
        BaselineSnapshot(
            generation=generation,
            service=service,
            part=number,
            parts=len(tables),
            checksum=checksum,
            training=training,
            series=rows,
        )
        for number, rows in enumerate(tables)
    ]


def _cuts(table: SeriesTable) -> Iterator[tuple[int, int]]:
    start, size = 0, 0
    for place, (name, text) in enumerate(zip(table.ids, table.texts, strict=True)):
        row = _ROW_BYTES + 6 * (len(name) + len(text))  # a character is six bytes of JSON at most (\u001b)
        if place > start and size + row > _PART_BYTES:
            yield start, place
            start, size = place, 0
        size += row
    yield start, len(table.ids)
