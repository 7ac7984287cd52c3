"""The columns of a record's sections as arrays, checked all at once.

In: Sections as they were read. Out: their columns, or ContractError for what nothing can be counted with. A record of
60 services has 60 sections of some 20 rows: one array of all, cut in slices, costs a quarter of an array for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ContractError
from models.log import Severity
from models.template import BUCKET_MS, BatchPointer, Section

__all__ = ["LAST_BUCKET", "Columns", "check_pointer", "columns_of"]

LAST_BUCKET: Final = (1 << 31) - 1
"""The last bucket that 32 bits hold, in the year 2650."""
_FARTHEST: Final = (1 << 53) // BUCKET_MS  # what mine counts at most
_MOST_LINES: Final = 1 << 20  # of a batch, whose lines are 2,000 at most where a connector of ours made it
_LEVELS: Final = frozenset(int(level) for level in Severity)


class Columns(NamedTuple):
    """A section, the severities of its templates, and its rows.

    `lines` is the sum of `n`; `one_bucket` and `straight` say of all rows that they are of one bucket, and that row i
    is of template i: the usual section.
    """

    section: Section
    severity: NDArray[np.int8]
    template: NDArray[np.int64]
    bucket: NDArray[np.int64]
    n: NDArray[np.int32]
    first_line: NDArray[np.int32]
    lines: int
    one_bucket: bool
    straight: bool


def check_pointer(pointer: BatchPointer) -> None:
    """Raises ContractError for a batch that can stand nowhere in a log."""
    if not (0 <= pointer.partition <= LAST_BUCKET and 0 <= pointer.offset < 1 << 62):
        place = f"{pointer.topic}/{pointer.partition}@{pointer.offset}"[:200]
        raise ContractError("pointer_invalid", f"no batch of lines stands at {place}")


def columns_of(sections: Sequence[Section]) -> list[Columns]:
    """The columns of each section. Raises ContractError for columns that do not fit each other, and for numbers that
    nothing can be counted with.
    """
    if not sections:
        return []
    for section in sections:
        _check_lengths(section)
    try:
        found = _sliced(sections)
    except OverflowError:
        found = None
    if found is None:
        for section in sections:
            _check_rows(section)
        raise ContractError("row_invalid", "a section's numbers are beyond what can be counted with")
    return found


def _check_lengths(section: Section) -> None:
    if not len(section.ids) == len(section.texts) == len(section.severities):
        raise ContractError("columns_differ", f"section {section.service!r}: ids, texts, severities differ in length")
    if not len(section.template) == len(section.bucket) == len(section.n) == len(section.first_line):
        raise ContractError("columns_differ", f"section {section.service!r}: its columns have different lengths")
    if not _LEVELS.issuperset(section.severities):
        raise ContractError("row_invalid", f"section {section.service!r}: severities must be 0..{max(Severity)}")


def _check_rows(section: Section) -> None:
    """The same as `_sliced` finds, of one section, to say what is wrong with it."""
    if not section.n:
        return
    if min(section.template) < 0 or max(section.template) >= len(section.ids):
        raise ContractError("template_unknown", f"section {section.service!r} has rows of templates it does not list")
    if min(section.n) < 1 or sum(section.n) > _MOST_LINES:
        raise ContractError("row_invalid", f"section {section.service!r}: counts must be 1..{_MOST_LINES} in all")
    if not -_FARTHEST - 1 <= min(section.bucket) <= max(section.bucket) <= _FARTHEST:
        raise ContractError("row_invalid", f"section {section.service!r}: times must be within ±2^53 ms of 1970")
    if not 0 <= min(section.first_line) <= max(section.first_line) < _MOST_LINES:
        raise ContractError("row_invalid", f"section {section.service!r}: first lines must be 0..{_MOST_LINES - 1}")


def _sliced(sections: Sequence[Section]) -> list[Columns] | None:
    """None where a number is wrong. Raises OverflowError where one does not fit 64 bits."""
    rows = np.array([len(section.n) for section in sections], np.int64)
    ends = np.cumsum(rows)
    starts, total = ends - rows, int(ends[-1])
    template = _joined((section.template for section in sections), total)
    bucket = _joined((section.bucket for section in sections), total)
    n = _joined((section.n for section in sections), total)
    first_line = _joined((section.first_line for section in sections), total)
    names = np.repeat([len(section.ids) for section in sections], rows)
    lines = _sums(n, starts, ends)
    right = (
        ((template >= 0) & (template < names) & (n >= 1) & (n <= _MOST_LINES)).all()
        and (lines <= _MOST_LINES).all()
        and ((bucket >= -_FARTHEST - 1) & (bucket <= _FARTHEST)).all()
        and ((first_line >= 0) & (first_line < _MOST_LINES)).all()
    )
    if not right:
        return None
    firsts = np.append(bucket, 0)[starts]  # a section without rows may begin at the end
    strays = _sums(bucket != np.repeat(firsts, rows), starts, ends)
    turns = _sums(template != np.arange(total) - np.repeat(starts, rows), starts, ends)
    severity = np.array([*chain.from_iterable(section.severities for section in sections)], np.int8)
    counts, first_lines = n.astype(np.int32), first_line.astype(np.int32)
    found, at, seen = [], 0, 0
    for section, end, sum_n, stray, turn in zip(
        sections, ends.tolist(), lines.tolist(), strays.tolist(), turns.tolist(), strict=True
    ):
        level = severity[seen : seen + len(section.ids)]
        row = slice(at, end)
        straight = not turn and end - at == len(section.ids)
        columns = (level, template[row], bucket[row], counts[row], first_lines[row])
        found.append(Columns(section, *columns, sum_n, not stray, straight))
        at, seen = end, seen + len(section.ids)
    return found


def _joined(columns: Iterable[list[int]], total: int) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(columns), np.int64, total)


def _sums(
    values: NDArray[np.int64] | NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The sum of each slice."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])
    found: NDArray[np.int64] = sums[ends] - sums[starts]
    return found
