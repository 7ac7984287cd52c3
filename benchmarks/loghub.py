"""Loghub-2k (github.com/logpai/loghub): 2,000 real lines from each of 16 systems, with the true event of each line."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["MissingDataError", "System", "load"]


class MissingDataError(Exception):
    """The data is not there. Set FORESHOCK_TEST_DATA to a folder that holds loghub/."""


class System(NamedTuple):
    """One system's lines, without their headers, and the true event of each."""

    name: str
    lines: tuple[str, ...]
    events: tuple[str, ...]


def load() -> tuple[System, ...]:
    """The 16 systems, by name. Raises MissingDataError."""
    root = Path(os.environ.get("FORESHOCK_TEST_DATA") or "data") / "loghub"
    paths = sorted(root.glob("*/*_2k.log_structured.csv"))
    if not paths:
        raise MissingDataError(f"no Loghub data in {root}: set FORESHOCK_TEST_DATA to the folder that holds loghub/")
    systems = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        systems.append(
            System(path.parent.name, tuple(row["Content"] for row in rows), tuple(row["EventId"] for row in rows))
        )
    return tuple(systems)
