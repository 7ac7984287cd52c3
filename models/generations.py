"""What a service keeps of generations of its baselines: which one runs, which came before, which is being put together.

In: parts of generations, as they come. Out: whole ones, and JSON plus arrays that hold all of it through a restart.
Nothing here touches baselines: streams/detect_generations.py does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.audit import Stage
from models.baseline import Baselines
from models.snapshot import BaselineSnapshot, checksum_of

__all__ = ["LIVE", "Generation", "Generations", "Kept", "Told"]


class Generation(NamedTuple):
    """A generation in a service: its id ("": learnt live), its number there (0: learnt live), and the first minute that
    had not closed when its learning ended.
    """

    id: str
    number: int
    minute: int


LIVE: Final = Generation("", 0, 0)


@dataclass(slots=True)
class Kept:
    """The baselines that a swap replaced: `columns` holds one array for each of Baselines.LEARNT."""

    generation: Generation
    ids: list[str]
    columns: dict[str, NDArray[Any]]


class Told(NamedTuple):
    """What happened to a generation, for the audit trail."""

    stage: Stage
    generation: str
    facts: dict[str, Any]


@dataclass(slots=True)
class Generations:
    """`swaps` counts swaps; `parts` are of the one generation under way or, when `whole`, waiting for its minute;
    `recall` says that a person wants the running one back at the next minute; `recalled` and `refused` are the ids of
    the last ones that ended so. `told` is emptied in the turn that fills it.
    """

    running: Generation = LIVE
    swaps: int = 0
    previous: Kept | None = None
    parts: dict[int, BaselineSnapshot] = field(default_factory=dict)
    whole: bool = False
    recall: bool = False
    recalled: str = ""
    refused: str = ""
    told: list[Told] = field(default_factory=list)

    @property
    def incoming(self) -> BaselineSnapshot | None:
        """Any part of the generation under way."""
        return next(iter(self.parts.values()), None)

    @property
    def in_order(self) -> list[BaselineSnapshot]:
        """Its parts in order."""
        return [self.parts[number] for number in sorted(self.parts)]

    @property
    def checks(self) -> bool:
        """All parts are there, agree with each other, and make up the series that were written."""
        parts = self.in_order
        heads = {(p.parts, p.checksum, p.training.model_dump_json()) for p in parts}
        if len(heads) != 1 or [p.part for p in parts] != list(range(parts[0].parts)):
            return False
        names = [name for p in parts for name in p.series.ids]
        return len(set(names)) == len(names) and checksum_of([p.series for p in parts]) == parts[0].checksum

    def clear(self) -> None:
        """Nothing is under way."""
        self.parts, self.whole = {}, False

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it, but for the arrays of `previous`."""
        kept = self.previous
        return {
            "running": list(self.running),
            "swaps": self.swaps,
            "previous": None if kept is None else [list(kept.generation), kept.ids],
            "parts": [part.model_dump(mode="json") for part in self.in_order],
            "whole": self.whole,
            "recall": self.recall,
            "recalled": self.recalled,
            "refused": self.refused,
        }

    def arrays(self) -> Iterable[tuple[str, NDArray[Any]]]:
        """The arrays of `previous`, by name."""
        return () if self.previous is None else ((f"previous.{k}", v) for k, v in self.previous.columns.items())

    @classmethod
    def load(cls, raw: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Generations:
        """Back from `dump` and `arrays`."""
        kept = None
        if raw["previous"] is not None:
            generation, ids = raw["previous"]
            columns = {name: np.array(arrays[f"previous.{name}"]) for name in Baselines.LEARNT}
            kept = Kept(Generation(*generation), ids, columns)
        parts = [BaselineSnapshot.model_validate(part) for part in raw["parts"]]
        return cls(
            running=Generation(*raw["running"]),
            swaps=raw["swaps"],
            previous=kept,
            parts={part.part: part for part in parts},
            whole=raw["whole"],
            recall=raw["recall"],
            recalled=raw["recalled"],
            refused=raw["refused"],
        )
