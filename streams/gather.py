"""Rows of batches between which nothing of a service closes, added up before detect takes them.

In: parts of one service as detect's `admit` makes them. Out: the same rows as one part. Adding lines to open buckets
gives the same whatever their order and division, so this changes what learning a day costs, and nothing else.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.template import Section
from streams.detect import Share
from streams.detect_columns import columns_of
from streams.step import Part

__all__ = ["Gathered", "Names"]

_MOST_ROWS: Final = 50_000
_MOST_CELLS: Final = 1_000_000


class Names:
    """A service's templates by number, told apart by all of them: by hostile hand there may be several of one id."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.severities: list[int] = []
        self._of_id: dict[str, int] = {}
        self._of_all: dict[tuple[str, str, int], int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def numbers(self, section: Section) -> list[int]:
        """The number of each of its templates."""
        try:
            found = [*map(self._of_id.__getitem__, section.ids)]
        except KeyError:
            return self._learn(section)
        # Lists compare faster than each of their items is looked up.
        same = [*map(self.texts.__getitem__, found)] == section.texts
        if same and [*map(self.severities.__getitem__, found)] == section.severities:
            return found
        return self._learn(section)

    def _learn(self, section: Section) -> list[int]:
        numbers = []
        for template in zip(section.ids, section.texts, section.severities, strict=True):
            number = self._of_all.setdefault(template, len(self.ids))
            if number == len(self.ids):
                name, text, severity = template
                self.ids.append(name)
                self.texts.append(text)
                self.severities.append(severity)
                self._of_id.setdefault(name, number)
            numbers.append(number)
        return numbers


class Gathered:
    """What has come of one service since detect took its last part, `last`: rows only, and no further coverage."""

    def __init__(self, last: Part, names: Names) -> None:
        self._last, self._names = last, names
        self._place: list[int] = []
        self._bucket: list[int] = []
        self._n: list[int] = []

    def takes(self, part: Part) -> bool:
        """Whether the part may wait: it closes nothing, and says nothing of sources."""
        before: Share = self._last.share
        share: Share = part.share
        same = share.end == before.end and share.whole == before.whole
        return same and not share.stalled and not share.resumed and len(self._n) < _MOST_ROWS

    def add(self, part: Part) -> None:
        """Keep the rows."""
        for columns in part.share.sections:
            section = columns.section
            numbers = self._names.numbers(section)
            self._place += numbers if columns.straight else [numbers[place] for place in section.template]
            self._bucket += section.bucket
            self._n += section.n

    def part(self) -> Part | None:
        """All rows as one part that covers no more than `last`; None where there are none."""
        if not self._n:
            return None
        bucket, place, n = (np.array(column, np.int64) for column in (self._bucket, self._place, self._n))
        width = len(self._names)
        low = int(bucket.min())
        cell = (bucket - low) * width + place
        if int(cell.max()) < _MOST_CELLS:  # the usual case, a dozen times as fast as sorting
            sums = np.bincount(cell, weights=n)
            cells = np.flatnonzero(sums)
            lines = sums[cells].astype(np.int64)
        else:
            cells, inverse = np.unique(cell, return_inverse=True)
            lines = np.bincount(inverse, weights=n, minlength=len(cells)).astype(np.int64)
        used, template = np.unique(cells % width, return_inverse=True)
        section = Section.model_construct(
            service=self._last.key,
            ids=[self._names.ids[number] for number in used.tolist()],
            texts=[self._names.texts[number] for number in used.tolist()],
            severities=[self._names.severities[number] for number in used.tolist()],
            template=template.tolist(),
            bucket=(cells // width + low).tolist(),
            n=lines.tolist(),
            first_line=[0] * len(cells),
            lines=int(lines.sum()),
            overflow=0,
        )
        share: Share = self._last.share
        return self._last._replace(share=Share(tuple(columns_of([section])), share.end, share.whole))
