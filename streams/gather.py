"""Rows of batches between which nothing of a service closes, added up before detect takes them.

In: parts of one service as detect's `admit` makes them. Out: the same rows as one part. Adding lines to open buckets
gives the same whatever their order and division, so this changes what learning a day costs, and nothing else.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.template import Section
from streams.detect import Share
from streams.detect_columns import columns_of
from streams.step import Part

__all__ = ["Gathered"]

_MOST_ROWS: Final = 50_000
_MOST_CELLS: Final = 1_000_000


class Gathered:
    """What has come of one service since detect took its last part, `last`: rows only, and no further coverage."""

    def __init__(self, last: Part) -> None:
        self._last = last
        self._numbers: dict[tuple[str, str, int], int] = {}
        self._columns: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        self._rows = 0

    def takes(self, part: Part) -> bool:
        """Whether the part may wait: it closes nothing, and says nothing of sources."""
        before: Share = self._last.share
        share: Share = part.share
        same = share.end == before.end and share.whole == before.whole
        return same and not share.stalled and not share.resumed and self._rows < _MOST_ROWS

    def add(self, part: Part) -> None:
        """Keep the rows. Templates are told apart by all of them: by hostile hand there may be several of one id."""
        known = self._numbers
        for columns in part.share.sections:
            section = columns.section
            templates = [*zip(section.ids, section.texts, section.severities, strict=True)]
            numbers = [*map(known.get, templates)]
            if None in numbers:
                numbers = [known.setdefault(template, len(known)) for template in templates]
            place = np.array(numbers, np.int64)[columns.template]
            self._columns.append((columns.bucket, place, columns.n))
            self._rows += len(place)

    def part(self) -> Part | None:
        """All rows as one part that covers no more than `last`; None where there are none."""
        if not self._rows:
            return None
        bucket, place, n = (np.concatenate(column) for column in zip(*self._columns, strict=True))
        width = len(self._numbers)
        low = int(bucket.min())
        cell = (bucket - low) * width + place
        if int(cell.max()) < _MOST_CELLS:  # the usual case, a dozen times as fast as sorting
            sums = np.bincount(cell, weights=n)
            cells = np.flatnonzero(sums)
            lines = sums[cells].astype(np.int64)
        else:
            cells, inverse = np.unique(cell, return_inverse=True)
            lines = np.bincount(inverse, weights=n, minlength=len(cells)).astype(np.int64)
        section = Section.model_construct(
            service=self._last.key,
            ids=[name for name, _, _ in self._numbers],
            texts=[text for _, text, _ in self._numbers],
            severities=[severity for _, _, severity in self._numbers],
            template=(cells % width).tolist(),
            bucket=(cells // width + low).tolist(),
            n=lines.tolist(),
            first_line=[0] * len(cells),
            lines=int(lines.sum()),
            overflow=0,
        )
        share: Share = self._last.share
        return self._last._replace(share=Share(tuple(columns_of([section])), share.end, share.whole))
