"""From files to committed anomalies, on one core, against the floor: read, decode times, append to the log.

16 services' files of real lines with moving timestamps, merged by event time; the whole pipeline (mine, detect, case,
act) over SQLite as in `foreshock run --once`. Both take turns in one child process that is bound to one core; figures
are lines per processor second. "dense" is 1,000 lines a second of event time in all, "sparse" is 100: detection works
by the minute of event time, so sparse logs cost more a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from benchmarks.loghub import load
from benchmarks.moving import cycled, write
from benchmarks.reading import floor
from benchmarks.table import Row, median_seconds

__all__ = ["NAME", "run"]

NAME: Final = "end to end"
_LINES: Final = 600_000
_REQUIRED_SPEED: Final = 200_000
_REQUIRED_SHARE: Final = 0.4


def run(repeats: int = 3, total: int = _LINES) -> list[Row]:
    """Speeds over `total` lines, the required one and the required share of the floor. Raises MissingDataError."""
    rows = []
    for name, a_second, required in (("dense", 1_000, True), ("sparse", 100, False)):
        with tempfile.TemporaryDirectory() as folder:
            paths = _files(Path(folder), total, a_second)
            said = subprocess.run(
                [sys.executable, "-m", "benchmarks.end_to_end", str(repeats), *map(str, paths)],
                stdout=subprocess.PIPE,
                check=True,
            )
        lines, seconds = json.loads(said.stdout)
        ours, least = lines / seconds["pipeline"], lines / seconds["floor"]
        figure = f"{ours / 1_000:,.0f} k lines/s"
        rows += [
            Row(f"files to anomalies, {name}", figure, f"{_REQUIRED_SPEED / 1_000:,.0f} k lines/s",
                ours / _REQUIRED_SPEED, 1.0 if required else None),
            Row(f"files to anomalies, {name}", figure, f"floor: {least / 1_000:,.0f} k lines/s",
                ours / least, _REQUIRED_SHARE if required else None),
        ]  # fmt: skip
    return rows


def _files(folder: Path, total: int, a_second: int) -> list[Path]:
    systems = load()
    minutes = total / a_second / 60
    return [
        write(folder / f"{system.name}.log", cycled(system, minutes, a_second * 60 / len(systems)))
        for system in systems
    ]


def _pipeline(paths: list[str]) -> None:
    from connectors.settings import read_settings
    from streams.wiring import Opening, Pipeline

    with tempfile.TemporaryDirectory() as folder:
        inputs = [{"path": path} for path in paths]
        configuration = read_settings(None, {"inputs": inputs, "data": str(Path(folder) / "data")})
        with Pipeline(configuration, Opening(once=True)) as pipeline:
            pipeline.run(threading.Event())


def _child(repeats: int, paths: list[str]) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    lines = sum(Path(path).read_bytes().count(b"\n") for path in paths)
    turns = {"pipeline": lambda: _pipeline(paths), "floor": lambda: floor(paths)}
    print(json.dumps([lines, median_seconds(turns, repeats)]))


if __name__ == "__main__":
    _child(int(sys.argv[1]), sys.argv[2:])
