"""Contenders: programs that read a topic from its beginning, each a process bound to one core, measured from outside.

In: a command. Out: lines, processor seconds (of all its threads, /proc/PID/stat) and wall seconds between two marks:
the end of the warm-up, and everything counted and delivered. A contender prints `warm LINES` and
`done LINES` for these; of the product's roles the end of their output topic is watched instead, so that what is
measured is the real process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = [
    "BROKER_CORE",
    "WORKER_CORE",
    "Bench",
    "Measured",
    "cpu_seconds",
    "interleave",
    "pinned",
    "said",
    "shared_cores",
    "spread",
    "watched",
]

BROKER_CORE: Final = 0
WORKER_CORE: Final = 1
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_POLL_SECONDS: Final = 0.02
_TURN_SECONDS: Final = 180.0
"""A contender that takes longer is left out."""


class Bench(NamedTuple):
    """What a benchmark is given. `shrink` divides the lengths of topics: 1 for figures that count."""

    broker: str
    broker_pid: int
    rounds: int
    shrink: int


class Measured(NamedTuple):
    """What a contender did between its marks."""

    lines: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def per_cpu_second(self) -> float:
        """Lines per second of one core."""
        return self.lines / self.cpu_seconds

    @property
    def per_second(self) -> float:
        """Lines per second of the wall's clock."""
        return self.lines / self.wall_seconds


class _Mark(NamedTuple):
    lines: int
    cpu: float
    wall: float

    def until(self, later: _Mark) -> Measured:
        return Measured(later.lines - self.lines, later.cpu - self.cpu, later.wall - self.wall)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all its threads; also of one that ended, until it is waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pinned(command: Sequence[str], core: int = WORKER_CORE) -> list[str]:
    """The command on that core only."""
    return ["taskset", "-c", str(core), *command]


@contextmanager
def shared_cores(bench: Bench) -> Iterator[None]:
    """Broker, benchmark and what it starts may use both cores; afterwards the broker and the benchmark the first."""
    pids = (bench.broker_pid, os.getpid())
    try:
        for pid in pids:
            _bind_threads(pid, {BROKER_CORE, WORKER_CORE})
        yield
    finally:
        for pid in pids:
            _bind_threads(pid, {BROKER_CORE})


def _bind_threads(pid: int, cores: set[int]) -> None:
    """An affinity is a thread's own."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(int(task.name), cores)


def said(command: Sequence[str], log: Path) -> Measured:
    """Run a contender that tells its marks. Raises RuntimeError with the end of its log when it fails."""
    marks: dict[str, _Mark] = {}
    with log.open("wb") as errors:
        process = subprocess.Popen(pinned(command), stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        limit = threading.Timer(_TURN_SECONDS, process.kill)
        limit.start()
        for line in process.stdout:
            word, _, number = line.partition(" ")
            if word in ("warm", "done") and number.strip().isdigit():
                marks[word] = _Mark(int(number), cpu_seconds(process.pid), time.monotonic())
        process.wait()
        limit.cancel()
    if process.returncode or len(marks) < 2:
        tail = log.read_text(errors="replace")[-1_500:]
        raise RuntimeError(f"{' '.join(command[:6])} ended with {process.returncode} after {sorted(marks)}:\n{tail}")
    return marks["warm"].until(marks["done"])


def watched(
    pids: Sequence[int], lines: Callable[[], int], warm: int, total: int, seconds: float = _TURN_SECONDS
) -> Measured:
    """Watch running processes until `lines` says `total`; from the moment it said `warm`. Raises RuntimeError when that
    takes longer than `seconds` or one of them ends.
    """
    begun: _Mark | None = None
    deadline = time.monotonic() + seconds
    while True:
        mark = _Mark(lines(), sum(cpu_seconds(pid) for pid in pids), time.monotonic())
        if begun is None and mark.lines >= warm:
            begun = mark
        if begun is not None and mark.lines >= total:
            return begun.until(mark)
        if mark.wall > deadline or not all(_runs(pid) for pid in pids):
            raise RuntimeError(f"after {mark.lines:,} of {total:,} lines the worker stopped or took too long")
        time.sleep(_POLL_SECONDS)


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def interleave(turns: Mapping[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """All take a turn, `rounds` times over. One that fails is left out from then on, with its reason on stderr."""
    results: dict[str, list[Measured]] = {name: [] for name in turns}
    for number in range(rounds):
        for name, turn in turns.items():
            if name not in results:
                continue
            try:
                measured = turn()
            except RuntimeError as error:
                print(f"{name}: left out: {error}", file=sys.stderr, flush=True)
                del results[name]
                continue
            results[name].append(measured)
            speeds = f"{measured.per_cpu_second / 1e3:,.0f} k/CPU-s, {measured.per_second / 1e3:,.0f} k/s"
            print(f"round {number + 1}: {name}: {speeds}", file=sys.stderr, flush=True)
    return results


def spread(values: Sequence[float]) -> str:
    """Median and range in thousands."""
    low, high = min(values) / 1e3, max(values) / 1e3
    digits = ".0f" if high >= 20 else ".1f"
    return f"{statistics.median(values) / 1e3:,{digits}} k ({low:,{digits}}-{high:,{digits}})"
