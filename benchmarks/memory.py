"""The memory of 1,000 services with 100 templates each, through the whole pipeline, in a process of its own.

Every template of every service comes at least three times over 40 minutes of event time, so that each has a baseline
of its own and its buckets are in use. The figure is the peak of the resident set, as the kernel counted it.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.moving import MINUTE, START
from benchmarks.table import Row

__all__ = ["NAME", "run"]

NAME: Final = "memory"
_SERVICES: Final = 1_000
_TEMPLATES: Final = 100
_ROUNDS: Final = 3
_MINUTES: Final = 40
_PERMITTED_MB: Final = 300


def run(repeats: int = 1) -> list[Row]:  # noqa: ARG001 - the peak is one figure a run
    """The peak against the permitted one, and that of a process that has only imported the pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        log = _write(Path(folder) / "all.jsonl")
        empty = Path(folder) / "none.jsonl"
        empty.touch()
        idle, _, _ = _measured(empty, Path(folder) / "idle")
        peak, services, templates = _measured(log, Path(folder) / "data")
    claim = f"{services:,} services, {templates:,} templates: peak"
    return [
        Row(claim, f"{peak:.0f} MB", f"{_PERMITTED_MB} MB", _PERMITTED_MB / peak, 1.0),
        Row("the same, over a process without lines", f"{peak - idle:.0f} MB", f"idle: {idle:.0f} MB", peak / idle),
    ]


def _write(path: Path) -> Path:
    """JSON lines that name their service; the template is told by its words alone."""
    with path.open("w") as file:
        for at, service, template in _lines():
            time = datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec="milliseconds")
            text = f"step {_word(template)} of {_word(template // 7)} took {at % 977} ms"
            file.write(json.dumps({"time": time, "service": f"service-{_word(service)}", "message": text}) + "\n")
    return path


def _lines() -> Iterator[tuple[int, int, int]]:
    chance = random.Random(1)
    pairs = [(service, template) for service in range(_SERVICES) for template in range(_TEMPLATES)]
    step = _MINUTES * MINUTE / (_ROUNDS * len(pairs))
    for number in range(_ROUNDS):
        chance.shuffle(pairs)
        for place, (service, template) in enumerate(pairs):
            yield int(START + (number * len(pairs) + place) * step), service, template


def _word(number: int) -> str:
    """Letters only: a digit would be a wildcard."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _measured(log: Path, data: Path) -> tuple[float, int, int]:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(log), str(data)], stdout=subprocess.PIPE, check=True
    )
    peak, services, templates = json.loads(said.stdout)
    return peak, services, templates


def _child(log: str, data: str) -> None:
    from connectors.settings import read_settings
    from models.series import FIRST_TEMPLATE
    from models.service_state import ServiceState
    from streams.wiring import Opening, Pipeline

    configuration = read_settings(None, {"inputs": [{"path": log}], "data": data})
    with Pipeline(configuration, Opening(once=True)) as pipeline:
        pipeline.run(threading.Event())
        peak = _peak_mb()
        states = [s for unit in pipeline.host.units for _, s in unit.states() if isinstance(s, ServiceState)]
        print(json.dumps([peak, len(states), sum(state.series.used - FIRST_TEMPLATE for state in states)]))


def _peak_mb() -> float:
    """This process's own high-water mark. `ru_maxrss` would begin with its parent's, from before the exec."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("/proc/self/status names no VmHWM: run this benchmark on Linux")
    return int(found[1]) / 1_024


if __name__ == "__main__":
    _child(*sys.argv[1:])
