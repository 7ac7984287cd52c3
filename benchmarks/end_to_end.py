"""From a file to committed anomalies, on one core, against the floor: read, decode times, append to the log.

Real lines with moving timestamps through the whole pipeline (mine, detect, case, act) over SQLite, as in `foreshock run
--once`. Pipeline and floor take turns in one child process that is bound to one core; figures are lines per processor
second. "one file" reads each of the 16 systems' files in a run of its own, at 1,000 lines a second of event time.
"16 files" merges them by event time as 16 services in one run: each batch then holds 16 services' templates. Sparse is
100 lines a second: detection works by the minute of event time, so sparse logs cost more a line.
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
_LINES: Final = 800_000
_REQUIRED_SPEED: Final = 200_000
_REQUIRED_SHARE: Final = 0.4


def run(repeats: int = 3, total: int = _LINES) -> list[Row]:
    """Speeds over `total` lines, the required one and the required share of the floor. Raises MissingDataError."""
    rows = []
    for name, together, a_second in (
        ("one file", False, 1_000),
        ("16 files", True, 1_000),
        ("16 files, sparse", True, 100),
    ):
        with tempfile.TemporaryDirectory() as folder:
            paths = _files(Path(folder), total, a_second if together else a_second * 16)
            said = subprocess.run(
                [sys.executable, "-m", "benchmarks.end_to_end", str(repeats), str(int(together)), *map(str, paths)],
                stdout=subprocess.PIPE,
                check=True,
            )
        lines, seconds = json.loads(said.stdout)
        ours, least = lines / seconds["pipeline"], lines / seconds["floor"]
        figure = f"{ours / 1_000:,.0f} k lines/s"
        rows += [
            Row(f"to anomalies, {name}", figure, f"{_REQUIRED_SPEED / 1_000:,.0f} k lines/s",
                ours / _REQUIRED_SPEED, None if together else 1.0),
            Row(f"to anomalies, {name}", figure, f"floor: {least / 1_000:,.0f} k lines/s",
                ours / least, None if together else _REQUIRED_SHARE),
        ]  # fmt: skip
    return rows


def _files(folder: Path, total: int, a_second: int) -> list[Path]:
    """One file a system, `total` lines in all, `a_second` of event time over all of them."""
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


def _child(repeats: int, together: bool, paths: list[str]) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    lines = sum(Path(path).read_bytes().count(b"\n") for path in paths)
    runs = [paths] if together else [[path] for path in paths]
    turns = {
        "pipeline": lambda: [_pipeline(each) for each in runs],
        "floor": lambda: [floor(each) for each in runs],
    }
    print(json.dumps([lines, median_seconds(turns, repeats)]))


if __name__ == "__main__":
    _child(int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3:])
