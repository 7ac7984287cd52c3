"""How far each partition of `logs` has each source: what a restart resumes from where appends are not one transaction.

In: the source ranges of batches, in the order of their partition. Out: where to read on, and which lines are there
already. Partitions are written independently, so after a crash one may have lines that another still lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from connectors.cursor import Cursor
from models.log import SourceRange

__all__ = ["Mark", "Progress"]


class Mark(NamedTuple):
    """A partition has all lines of a source that belong there up to `cursor`; `covered` (ms) was promised in it."""

    cursor: Cursor
    covered: int

    @property
    def place(self) -> tuple[int, int]:
        """What cursors of one source are ordered by."""
        return self.cursor.generation, self.cursor.offset


def _beginning(cursor: Cursor) -> Cursor:
    """Before the first line of the file that `cursor` is in."""
    return cursor._replace(offset=0, fingerprint="", last=-1, newest=-1, notes="")


class Progress:
    """The marks of every source in every partition. Ranges whose cursors are of another kind are passed over."""

    def __init__(self, partitions: int) -> None:
        self._marks: list[dict[str, Mark]] = [{} for _ in range(partitions)]

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return len(self._marks)

    def copy(self) -> Progress:
        """The same, to be moved on by itself."""
        twin = Progress(self.partitions)
        twin._marks = [dict(marks) for marks in self._marks]
        return twin

    def note(self, partition: int, ranges: Iterable[SourceRange]) -> None:
        """Take in the ranges of a batch of this partition. Never moves a mark backwards."""
        marks = self._marks[partition]
        for item in ranges:
            try:
                mark = Mark(Cursor.parse(item.cursor_to), item.covered_until)
            except ValueError:
                continue
            known = marks.get(item.source_id)
            if known is None or mark.place >= known.place:
                marks[item.source_id] = (
                    mark if known is None else mark._replace(covered=max(mark.covered, known.covered))
                )

    def adopt(self, other: Progress, source_id: str) -> None:
        """Take over what `other` knows of this source."""
        for marks, found in zip(self._marks, other._marks, strict=True):
            if source_id in found:
                marks[source_id] = found[source_id]

    def mark(self, partition: int, source_id: str) -> Mark | None:
        """The source's mark in this partition; None where it was never heard of."""
        return self._marks[partition].get(source_id)

    def has(self, partition: int, ranges: Sequence[SourceRange]) -> bool:
        """True where the partition has all that a batch with these ranges brings."""
        for item in ranges:
            mark = self._marks[partition].get(item.source_id)
            try:
                cursor = Cursor.parse(item.cursor_to)
            except ValueError:
                return False
            if mark is None or mark.place < (cursor.generation, cursor.offset):
                return False
        return bool(ranges)

    def cursors(self, source_id: str) -> list[Cursor]:
        """Where the partitions stand with this source, the one furthest behind first. One that has never heard of it
        stands at the beginning of what the others have: of their first file, or of their pipe.
        """
        marks = sorted((found[source_id] for found in self._marks if source_id in found), key=lambda mark: mark.place)
        first = [_beginning(marks[0].cursor)] if 0 < len(marks) < len(self._marks) else []
        return [*first, *(mark.cursor for mark in marks)]

    def newest(self, source_id: str) -> Mark | None:
        """The mark of the partition that is furthest with this source."""
        return max(
            (found[source_id] for found in self._marks if source_id in found), key=lambda m: m.place, default=None
        )

    def missing(self, partition: int, sources: Iterable[str]) -> set[str]:
        """Those of `sources` that the partition has not been seen to know."""
        return set(sources) - self._marks[partition].keys()
