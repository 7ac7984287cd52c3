"""A section's rows on their way into a service's open buckets.

In: the columns of a Section. Out: counts added to open buckets, in order of time, so that buckets may be closed between
them: known series by slot, templates never seen by id, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sys import intern
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.log import Severity
from models.series import ERRORS, OVERFLOW, TOTAL
from models.service_state import OpenBucket, ServiceState, Unborn
from models.template import Section
from streams.detect_columns import Columns

__all__ = [
    "Known",
    "Rows",
    "bound_fresh",
    "known_of",
    "rows_of",
    "take_rows",
]

WordTest = Callable[[str], bool]
_ERROR: Final = int(Severity.ERROR)


class Rows(NamedTuple):
    """The rows of one bucket of a section: template numbers, counts, first lines; how many lines in all, and the first
    of them. `straight`: row i is of template i, and there is no other template.
    """

    bucket: int
    template: NDArray[np.int64]
    n: NDArray[np.int32]
    first_line: NDArray[np.int32]
    lines: int
    first: int
    straight: bool


class Known(NamedTuple):
    """What a service knows of a section's templates: their slots (-1: none yet), severities, and which are errors."""

    slots: NDArray[np.intp]
    severity: NDArray[np.int8]
    errors: NDArray[np.bool_] | None
    """None where none is."""


def rows_of(columns: Columns) -> Iterator[Rows]:
    """The rows of a section, bucket by bucket, oldest first."""
    template, bucket, n, first_line = columns.template, columns.bucket, columns.n, columns.first_line
    if not len(n):
        return
    if columns.one_bucket:
        first = int(first_line[0])
        yield Rows(int(bucket[0]), template, n, first_line, columns.lines, first, columns.straight)
        return
    order = np.argsort(bucket, kind="stable")
    starts = [0, *(np.flatnonzero(np.diff(bucket[order])) + 1).tolist()]
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        part = order[start:end]
        count, first = int(n[part].sum()), int(first_line[part[0]])
        yield Rows(int(bucket[part[0]]), template[part], n[part], first_line[part], count, first, False)


def known_of(state: ServiceState, columns: Columns) -> Known:
    """Look up a section's templates. Good until a slot changes its holder."""
    slots = state.series.slots_of(columns.section.ids)
    errors = columns.severity >= _ERROR if max(columns.section.severities) >= _ERROR else None
    return Known(slots, columns.severity, errors)


def take_rows(
    state: ServiceState, section: Section, rows: Rows, known: Known, offset: int, failing: WordTest, cap: int
) -> NDArray[np.intp]:
    """Add the rows to their open bucket; the result is the slots of their templates, -1 where one has none. `cap`
    bounds how many unborn templates a bucket remembers.
    """
    opened = state.opened(rows.bucket)
    n, lines, (at, severity, errors) = rows.n, rows.first_line, known
    if not rows.straight:
        at, severity = at[rows.template], severity[rows.template]
        errors = errors[rows.template] if errors is not None else None
    opened.counts[TOTAL] += rows.lines
    if errors is not None:
        opened.counts[ERRORS] += int(n[errors].sum())
    born = bool(np.minimum.reduce(at) >= 0)
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
        # Services of one kind share their templates: 1,000 of them in 50 kinds held 16 MB of equal words.
        name = intern(section.ids[place])
        if name not in state.unborn:
            state.unborn[name] = Unborn(intern(section.texts[place]), failing(section.texts[place]))
        opened.count(name, int(rows.n[row]), section.severities[place])


def bound_fresh(state: ServiceState, opened: OpenBucket, cap: int) -> None:
    """Keep the first `cap` ids of a bucket's unborn templates and count the others as overflow. Slots go in order of
    id, so no other could ever get one, whatever order they came in.
    """
    for name in sorted(opened.fresh)[cap:]:
        opened.counts[OVERFLOW] += opened.fresh.pop(name)[0]
        if not any(name in other.fresh for other in state.pending.values()):
            state.unborn.pop(name, None)
