"""A section's rows on their way into a service's open buckets.

In: the columns of a Section. Out: counts added to open buckets, in order of time, so that buckets may be closed between
them: known series by slot, templates never seen by id, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ContractError
from models.log import Severity
from models.series import ERRORS, OVERFLOW, TOTAL
from models.service_state import OpenBucket, ServiceState, Unborn
from models.template import BUCKET_MS, BatchPointer, Section

__all__ = [
    "LAST_BUCKET",
    "Known",
    "Rows",
    "bound_fresh",
    "check_pointer",
    "check_section",
    "known_of",
    "rows_of",
    "take_rows",
]

WordTest = Callable[[str], bool]
LAST_BUCKET: Final = (1 << 31) - 1
"""The last bucket that 32 bits hold, in the year 2650."""
_FARTHEST: Final = (1 << 53) // BUCKET_MS  # what mine counts at most
_MOST_LINES: Final = 1 << 20  # of a batch, whose lines are 2,000 at most where a connector of ours made it
_ERROR: Final = int(Severity.ERROR)
_LEVELS: Final = frozenset(int(level) for level in Severity)


class Rows(NamedTuple):
    """The rows of one bucket of a section: template numbers, counts, first lines; how many lines in all, and the first
    of them.
    """

    bucket: int
    template: NDArray[np.intp]
    n: NDArray[np.int32]
    first_line: NDArray[np.int32]
    lines: int
    first: int


class Known(NamedTuple):
    """What a service knows of a section's templates: their slots (-1: none yet), severities, and which are errors."""

    slots: NDArray[np.intp]
    severity: NDArray[np.int8]
    errors: NDArray[np.bool_] | None
    """None where none is."""


def check_pointer(pointer: BatchPointer) -> None:
    """Raises ContractError for a batch that can stand nowhere in a log."""
    if not (0 <= pointer.partition <= LAST_BUCKET and 0 <= pointer.offset < 1 << 62):
        place = f"{pointer.topic}/{pointer.partition}@{pointer.offset}"[:200]
        raise ContractError("pointer_invalid", f"no batch of lines stands at {place}")


def check_section(section: Section) -> None:
    """Raises ContractError for columns that do not fit each other, and for numbers that nothing can be counted with."""
    rows, names = len(section.template), len(section.ids)
    if not names == len(section.texts) == len(section.severities):
        raise ContractError("columns_differ", f"section {section.service!r}: ids, texts, severities differ in length")
    if not rows == len(section.bucket) == len(section.n) == len(section.first_line):
        raise ContractError("columns_differ", f"section {section.service!r}: its columns have different lengths")
    if rows and (min(section.template) < 0 or max(section.template) >= names):
        raise ContractError("template_unknown", f"section {section.service!r} has rows of templates it does not list")
    if rows and (min(section.n) < 1 or sum(section.n) > _MOST_LINES):
        raise ContractError("row_invalid", f"section {section.service!r}: counts must be 1..{_MOST_LINES} in all")
    if rows and not -_FARTHEST - 1 <= min(section.bucket) <= max(section.bucket) <= _FARTHEST:
        raise ContractError("row_invalid", f"section {section.service!r}: times must be within ±2^53 ms of 1970")
    if rows and not 0 <= min(section.first_line) <= max(section.first_line) < _MOST_LINES:
        raise ContractError("row_invalid", f"section {section.service!r}: first lines must be 0..{_MOST_LINES - 1}")
    if not _LEVELS.issuperset(section.severities):
        raise ContractError("row_invalid", f"section {section.service!r}: severities must be 0..{max(Severity)}")


def rows_of(section: Section) -> Iterator[Rows]:
    """The rows of a section, bucket by bucket, oldest first."""
    if not section.bucket:
        return
    template = np.array(section.template, np.intp)
    n, first_line = np.array(section.n, np.int32), np.array(section.first_line, np.int32)
    if section.bucket.count(section.bucket[0]) == len(section.bucket):
        yield Rows(section.bucket[0], template, n, first_line, sum(section.n), section.first_line[0])
        return
    bucket = np.array(section.bucket, np.int64)
    order = np.argsort(bucket, kind="stable")
    starts = [0, *(np.flatnonzero(np.diff(bucket[order])) + 1).tolist()]
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        part = order[start:end]
        count, first = int(n[part].sum()), int(first_line[part[0]])
        yield Rows(int(bucket[part[0]]), template[part], n[part], first_line[part], count, first)


def known_of(state: ServiceState, section: Section) -> Known:
    """Look up a section's templates. Good until a slot changes its holder."""
    slots = state.series.slots_of(section.ids)
    severity = np.array(section.severities, np.int8)
    return Known(slots, severity, severity >= _ERROR if max(section.severities) >= _ERROR else None)


def take_rows(
    state: ServiceState, section: Section, rows: Rows, known: Known, offset: int, failing: WordTest, cap: int
) -> NDArray[np.intp]:
    """Add the rows to their open bucket; the result is the slots of their templates, -1 where one has none. `cap`
    bounds how many unborn templates a bucket remembers.
    """
    opened = state.opened(rows.bucket)
    at, n, severity, lines = known.slots[rows.template], rows.n, known.severity[rows.template], rows.first_line
    opened.counts[TOTAL] += rows.lines
    if known.errors is not None:
        opened.counts[ERRORS] += int(n[known.errors[rows.template]].sum())
    born = at.min() >= 0
    slot = at
    if not born:
        rows_born = at >= 0
        slot, n, severity, lines = at[rows_born], n[rows_born], severity[rows_born], lines[rows_born]
    np.add.at(opened.counts, slot, n)
    np.maximum.at(opened.severity, slot, severity)
    state.series.point(slot, offset, lines, rows.bucket, rows.first)
    if not born:
        _take_unborn(state, opened, section, rows, at, failing)
        if len(opened.fresh) > 2 * cap:
            bound_fresh(state, opened, cap)
    return at


def _take_unborn(
    state: ServiceState, opened: OpenBucket, section: Section, rows: Rows, at: NDArray[np.intp], failing: WordTest
) -> None:
    """Count the rows of templates without a slot by id."""
    for row in np.flatnonzero(at < 0).tolist():
        place = int(rows.template[row])
        name = section.ids[place]
        if name not in state.unborn:
            state.unborn[name] = Unborn(section.texts[place], failing(section.texts[place]))
        opened.count(name, int(rows.n[row]), section.severities[place])


def bound_fresh(state: ServiceState, opened: OpenBucket, cap: int) -> None:
    """Keep the first `cap` ids of a bucket's unborn templates and count the others as overflow. Slots go in order of
    id, so no other could ever get one, whatever order they came in.
    """
    for name in sorted(opened.fresh)[cap:]:
        opened.counts[OVERFLOW] += opened.fresh.pop(name)[0]
        if not any(name in other.fresh for other in state.pending.values()):
            state.unborn.pop(name, None)
