"""The series of one service: which template stands in which slot of its arrays, and what is known of it.

In: templates as mine names them. Out: slots, the same for all arrays of the service; pointers to the newest lines.
Three slots are always there: the total of all lines, the total of lines of severity ERROR or worse (shown, not judged),
and the overflow, which counts what no slot was left for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.anomaly import LinePointer
from models.baseline import Ints
from models.log import Severity

__all__ = ["ERRORS", "FIRST_TEMPLATE", "OVERFLOW", "OVERFLOW_ID", "POINTERS", "TOTAL", "Series"]

TOTAL: Final = 0
ERRORS: Final = 1
OVERFLOW: Final = 2
FIRST_TEMPLATE: Final = 3
OVERFLOW_ID: Final = "overflow"
POINTERS: Final = 5
"""Pointers to lines kept for each series."""

_BUILT_IN = (
    ("", "all lines"),
    ("errors", "all lines of severity ERROR or worse"),
    (OVERFLOW_ID, "all other templates"),
)
_MARGIN = 16


class Series:
    """Slots 0..`used`-1 of arrays with `capacity` places.

    `born` is the minute of a series' first line, `failing` says that its text has failure words or its severity is
    ERROR or worse, `new` that it was first seen while the service was warm and cannot be judged by count yet,
    `frozen` that an alarm is open on it, so that nothing is learnt, `thaw` the last minute of an alarm that is over.
    """

    ARRAYS = ("severity", "failing", "born", "new", "frozen", "thaw")
    POINTER_ARRAYS = ("offsets", "lines", "buckets")
    """Of shape (POINTERS, capacity): a row is written at once, which takes half the time of a column."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.slot_of: dict[str, int] = {}
        self.changes = 0
        """Grows when a slot changes its holder."""
        self.capacity = FIRST_TEMPLATE
        self.severity: NDArray[np.int8] = np.zeros(self.capacity, np.int8)
        self.failing: NDArray[np.bool_] = np.zeros(self.capacity, np.bool_)
        self.born: Ints = np.zeros(self.capacity, np.int32)
        self.new: NDArray[np.bool_] = np.zeros(self.capacity, np.bool_)
        self.frozen: NDArray[np.bool_] = np.zeros(self.capacity, np.bool_)
        self.thaw: Ints = np.zeros(self.capacity, np.int32)
        self.offsets: NDArray[np.int64] = np.full((POINTERS, self.capacity), -1, np.int64)
        self.lines: Ints = np.zeros((POINTERS, self.capacity), np.int32)
        self.buckets: Ints = np.zeros((POINTERS, self.capacity), np.int32)
        for series_id, text in _BUILT_IN:
            self._name(len(self.ids), series_id, text)

    @property
    def used(self) -> int:
        """How many slots are taken."""
        return len(self.ids)

    def slots_of(self, ids: Sequence[str]) -> NDArray[np.intp]:
        """The slots of these series; -1 where one has none."""
        get = self.slot_of.get
        return np.array([get(series_id, -1) for series_id in ids], np.intp)

    def room_for(self, more: int) -> int:
        """The capacity that `more` further series need: a little more than that, so that it is seldom asked."""
        need = self.used + more
        return self.capacity if need <= self.capacity else need + max(_MARGIN, need // 8)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` series."""
        more = capacity - self.capacity
        for name in (*self.ARRAYS, *self.POINTER_ARRAYS):
            values = getattr(self, name)
            fill = np.full((*values.shape[:-1], more), -1 if name == "offsets" else 0, values.dtype)
            setattr(self, name, np.concatenate([values, fill], axis=-1))
        self.capacity = capacity

    def place(self, slot: int, series_id: str, text: str, failing: bool, minute: int, new: bool) -> None:
        """Give `slot` to a template first seen in `minute`: the next free one, or one whose holder leaves."""
        if slot < self.used:
            del self.slot_of[self.ids[slot]]
        self._name(slot, series_id, text)
        self.severity[slot], self.failing[slot] = Severity.UNKNOWN, failing
        self.born[slot], self.new[slot], self.frozen[slot] = minute, new, False
        self.thaw[slot], self.offsets[:, slot] = 0, -1

    def _name(self, slot: int, series_id: str, text: str) -> None:
        if slot == self.used:
            self.ids.append(series_id)
            self.texts.append(text)
        else:
            self.ids[slot], self.texts[slot] = series_id, text
        self.slot_of[series_id] = slot
        self.changes += 1

    def raise_severity(self, severity: NDArray[np.int8], minute: int) -> None:
        """Lines came in `minute` with these severities (0: none came), one for each place: the worst is kept."""
        if (severity > self.severity).any():
            np.maximum(self.severity, severity, out=self.severity)
            newly = ~self.failing & (self.severity >= Severity.ERROR)
            self.failing |= newly
            self.thaw[newly] = minute  # it is learnt later from now on: no minute twice

    def point(self, slots: NDArray[np.intp], offset: int, lines: NDArray[np.int32], bucket: int, first: int) -> None:
        """Remember the first line of `bucket` that each of these series had in the batch at `offset`; `first` is that
        of all lines of the service.
        """
        place = offset % POINTERS
        offsets, numbers, buckets = self.offsets[place], self.lines[place], self.buckets[place]
        offsets[slots] = offsets[TOTAL] = offset
        buckets[slots] = buckets[TOTAL] = bucket
        numbers[slots] = lines
        numbers[TOTAL] = first

    def pointers(self, slot: int, partition: int, buckets: range) -> tuple[LinePointer, ...]:
        """Pointers to lines of the series in these buckets, oldest first; at most five."""
        places = sorted(
            (int(self.offsets[k, slot]), int(self.lines[k, slot]))
            for k in range(POINTERS)
            if self.offsets[k, slot] >= 0 and int(self.buckets[k, slot]) in buckets
        )
        return tuple(LinePointer(partition=partition, offset=offset, line=line) for offset, line in places)

    def leaving(self, decayed: NDArray[np.float64], kept: Sequence[int], below: Sequence[int]) -> list[int]:
        """Slots that give way to newcomers with counts `below` (in their order): the least `decayed` count leaves
        first, and only for a greater one; error severities and the slots `kept` stay.
        """
        free = np.flatnonzero(self.severity[: self.used] < Severity.ERROR)
        free = free[(free >= FIRST_TEMPLATE) & ~np.isin(free, np.asarray(kept, np.intp))]
        order = free[np.argsort(decayed[free], kind="stable")][: len(below)].tolist()
        gone: list[int] = []
        for count in below:
            gone.append(order.pop(0) if order and decayed[order[0]] < count else -1)
        return gone
