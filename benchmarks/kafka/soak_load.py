"""What a day of a busy system writes: log files of many services, appended to, rotated and deleted, at made-up times.

In: a folder, a rate, how far time has come. Out: `{service}.log` and `{service}.log.1` in it. Lines follow a Zipf law
over each service's templates, with other numbers every time and a daily rhythm; now and then comes a line that nobody
has seen, a burst of failures, or a silence. The files' times of change are those of their newest lines, not the
machine's: to their reader it is that time.
"""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHUNK_MS", "Load"]

CHUNK_MS: Final = 10_000
_HOUR: Final = 3_600_000
_MINUTE: Final = 60_000
_NOVEL_EVERY_MS: Final = 10 * _MINUTE
"""A line never seen before, of each service."""
_FAULT_EVERY_MS: Final = 30 * _MINUTE
_FAULT_MS: Final = 6 * _MINUTE
_FAULT_LINES_A_SECOND: Final = 4.0
_NOUNS: Final = ("order", "cart", "user", "token", "cache", "page", "query", "queue", "lease", "shard", "batch")
_VERBS: Final = ("loaded", "stored", "sent", "received", "checked", "merged", "expired", "renewed", "closed", "opened")
_PARTS: Final = ("Api", "Store", "Worker", "Router", "Reader", "Writer", "Planner", "Gateway", "Scheduler", "Auditor")
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")


class Load:
    """`services` services with `templates` templates each, `rate` lines a second in all. `start` (ms): when it begins.

    `written_to` (ms): every line before this stands in the files; `lines`: how many that is.
    """

    def __init__(self, folder: Path, start: int, rate: float, *, services: int, templates: int, seed: int = 1) -> None:
        self._folder, self._start, self._rate = folder, start, rate
        self.written_to = start
        self.lines = 0
        self.services = [f"load-{number:02}" for number in range(services)]
        self._random = np.random.default_rng(seed)
        self._templates = {name: _templates(number, templates) for number, name in enumerate(self.services)}
        weights = 1 / np.arange(1, templates + 1)
        self._reaches = np.cumsum(weights / weights.sum())
        self._shares = 1 / np.arange(2, services + 2)
        self._shares /= self._shares.sum()
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.services:
            self.path(name).touch()

    def path(self, service: str) -> Path:
        """Where that service logs."""
        return self._folder / f"{service}.log"

    def write_to(self, until: int) -> None:
        """Go on to that time (ms), in whole chunks."""
        while self.written_to + CHUNK_MS <= until:
            if self.written_to % _HOUR < CHUNK_MS and self.written_to > self._start:
                for name in self.services:
                    self.path(name).replace(self.path(name).with_suffix(".log.1"))
            for number, name in enumerate(self.services):
                self._write(number, name, self.written_to)
            self.written_to += CHUNK_MS

    def _write(self, number: int, name: str, at: int) -> None:
        bodies = [] if self._is_silent(number, at) else self._bodies(number, name, at)
        path = self.path(name)
        if bodies:
            times = np.sort(self._random.integers(at, at + CHUNK_MS, len(bodies)))
            with path.open("a", encoding="utf-8") as file:
                file.write("".join(map(_line, _stamps(at, times), bodies)))
            # A live source's clock goes on from its file's time of change while nothing is written.
            os.utime(path, ns=(at * 1_000_000, int(times[-1]) * 1_000_000))
            self.lines += len(bodies)
        elif not path.exists():  # rotated away while nothing is written
            path.touch()

    def _bodies(self, number: int, name: str, at: int) -> list[str]:
        chosen = self._random
        count = chosen.poisson(self._rate * self._shares[number] * _rhythm(at) * CHUNK_MS / 1_000)
        places = np.searchsorted(self._reaches, chosen.random(count)).tolist()
        numbers = chosen.integers(0, 1 << 31, (count, 2)).tolist()
        templates = self._templates[name]
        bodies = [templates[place] % (one, two) for place, (one, two) in zip(places, numbers, strict=True)]
        if at % _NOVEL_EVERY_MS < CHUNK_MS:
            word = str(at // CHUNK_MS).translate(_LETTERS)
            bodies.append(f"INFO Loader - module {word} of {name} is new")
        if self._fault(number, at) == 1:
            failed = chosen.integers(0, 10_000, chosen.poisson(_FAULT_LINES_A_SECOND * CHUNK_MS / 1_000))
            bodies += [f"ERROR Pool - connection pool exhausted, {waiting} waiting" for waiting in failed.tolist()]
        return bodies

    def _is_silent(self, number: int, at: int) -> bool:
        return self._fault(number, at) == 2

    def _fault(self, number: int, at: int) -> int:
        """0 none, 1 failures, 2 silence: the services take turns, every third time it is a silence."""
        since = at - self._start
        turn, within = divmod(since, _FAULT_EVERY_MS)
        if turn == 0 or turn % len(self.services) != number or within >= _FAULT_MS:
            return 0
        return 2 if turn % 3 == 0 else 1


def _templates(service: int, count: int) -> list[str]:
    """Of two numbers each. No two services have one in common, so each has a memory of its own."""
    made = []
    for number in range(count):
        noun, verb = _NOUNS[number % len(_NOUNS)], _VERBS[number // len(_NOUNS) % len(_VERBS)]
        level = "WARN" if number % 17 == 16 else "INFO"
        part, word = _PARTS[(number + service) % len(_PARTS)], f"{service}x{number}".translate(_LETTERS)
        made.append(f"{level} {part} - {noun} {verb} by {word}: id=%x took %d us")
    return made


def _rhythm(at: int) -> float:
    """The hour's share of the day's mean rate: most at noon, least at midnight (UTC)."""
    return 1 - 0.3 * math.cos(2 * math.pi * (at % (24 * _HOUR)) / (24 * _HOUR))


def _stamps(at: int, times: NDArray[np.int64]) -> list[str]:
    """ISO times without the end, of a chunk that begins at `at`."""
    seconds = [datetime.fromtimestamp(at / 1_000 + second, UTC).strftime("%Y-%m-%dT%H:%M:%S") for second in range(10)]
    within = times - at
    return [
        f"{seconds[second]}.{milli:03}"
        for second, milli in zip((within // 1_000).tolist(), (within % 1_000).tolist(), strict=True)
    ]


def _line(stamp: str, body: str) -> str:
    return f"{stamp}Z {body}\n"
