"""Everyday traffic of the simulated shop: what would be logged if nothing went wrong.

Out: `Plan`s, ten minutes of one service's lines, made from (seed, service, block) alone. The noise is no negative
binomial: intensities are lognormal with slow correlated parts (one shared by the whole application, one a service, one
a line), clumps and job sizes have Pareto tails, timers are nearly regular.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.world_fields import render
from connectors.world_lines import CRON_JOBS, EVERYDAY, NOVEL, START_UP, CronJob, Line
from connectors.world_random import stream
from connectors.world_shop import SHOP

__all__ = ["BLOCK_MINUTES", "Deploy", "Plan", "Traffic"]

BLOCK_MINUTES = 10
_BLOCK_MS = BLOCK_MINUTES * 60_000
_DAY_MINUTES = 1_440

# Relative load by hour of day (UTC): a shop's, low before dawn, a bump at noon, the peak after supper.
_HOURS = np.array(
    [
        *(0.84, 0.80, 0.77, 0.76, 0.77, 0.81, 0.87, 0.94, 1.00, 1.05, 1.09, 1.12),
        *(1.15, 1.12, 1.08, 1.06, 1.07, 1.11, 1.17, 1.22, 1.24, 1.19, 1.08, 0.95),
    ]
)

Floats = NDArray[np.float64]


class Plan(NamedTuple):
    """Lines in order of time: when (ms), their text and severity, a mark in [0, 1) that decides which are lost when the
    service loses a share of its requests, and whether they follow requests at all.
    """

    times: NDArray[np.int64]
    texts: NDArray[np.object_]
    severity: NDArray[np.int64]
    marks: Floats
    requests: NDArray[np.bool_]

    def part(self, rows: slice | NDArray[np.bool_ | np.int64]) -> Plan:
        """Those rows of it."""
        return Plan(self.times[rows], self.texts[rows], self.severity[rows], self.marks[rows], self.requests[rows])


class Deploy(NamedTuple):
    """An everyday deploy: when (ms), what, and its ordinal among the service's deploys since the world began."""

    at: int
    service: str
    ordinal: int


class Traffic:
    """The everyday of the world of one seed, from `start` (ms) on; `volume` multiplies all rates of requests, `jobs`
    the lines of cron jobs.
    """

    def __init__(self, seed: int, start: int, volume: float = 1.0, jobs: float = 1.0) -> None:
        self._seed, self._start, self._volume, self._jobs = seed, start, volume, jobs
        self._noise = lru_cache(maxsize=64)(self._day_of_noise)
        self._deploys = lru_cache(maxsize=64)(self._day_of_deploys)

    def level(self, minute: int) -> float:
        """The load in that minute (since the epoch): about 1 on average, with the noise all services share."""
        return float(self._load(np.array([minute]))[0])

    def deploys(self, begin: int, end: int) -> list[Deploy]:
        """The everyday deploys in [begin, end) ms, in order."""
        first, last = self._start // 86_400_000, end // 86_400_000
        known = [deploy for day in range(first, last + 1) for deploy in self._deploys(day) if deploy[0] >= self._start]
        seen: dict[str, int] = {}
        found = []
        for at, service in known:
            seen[service] = seen.get(service, 0) + 1
            if begin <= at < end:
                found.append(Deploy(at, service, seen[service]))
        return found

    def plan(self, service: str, block: int) -> Plan:
        """What the service would log in block `block` (times from block * 10 min on)."""
        rng = stream(self._seed, "plan", service, block)
        begin = block * _BLOCK_MS
        parts: list[Plan] = []
        lines = EVERYDAY[service]
        counts = rng.poisson(self._rates(service, block))
        for index, line in enumerate(lines):
            if line.kind == "timer":
                parts.append(_made(_timer(line, rng, begin), line, rng))
            elif line.kind == "burst":
                parts.append(_made(self._bursts(service, index, line, block), line, rng))
            else:
                parts.append(_made(_scattered(counts[index], begin, rng), line, rng))
        for job in CRON_JOBS:
            if job.service == service:
                parts.append(_made(self._job(job, block), Line(job.text, 0, kind="timer"), rng))
        parts += self._after_deploys(service, block, rng)
        return _merged(parts)

    def _load(self, minutes: NDArray[np.int64]) -> Floats:
        hours = (minutes % _DAY_MINUTES) / 60.0
        shape = np.interp(hours, np.arange(25.0), np.append(_HOURS, _HOURS[0]))
        weekend = np.where((minutes // _DAY_MINUTES + 3) % 7 >= 5, 0.9, 1.0)
        noise = self._noise("", int(minutes[0]) // _DAY_MINUTES)[minutes % _DAY_MINUTES, 0]
        return np.asarray(shape * weekend * np.exp(0.08 * noise))

    def _rates(self, service: str, block: int) -> Floats:
        """Lines a minute, shape (lines, 10); 0 for timers and bursts, which are not scattered."""
        wanted = EVERYDAY[service]
        minutes = np.arange(block * BLOCK_MINUTES, (block + 1) * BLOCK_MINUTES)
        day, within = int(minutes[0]) // _DAY_MINUTES, minutes % _DAY_MINUTES
        noise = self._noise(service, day)[within]
        rates = np.zeros((len(wanted), BLOCK_MINUTES))
        for index, line in enumerate(wanted):
            if line.kind != "request":
                continue
            driver = self._noise(line.driven_by, day)[within, 0] * 0.6 if line.driven_by else 0.0
            spread = 0.12 * noise[:, 0] + line.spread * noise[:, index + 1] + driver
            rates[index] = line.per_minute * np.exp(spread - line.spread**2 / 2)
        return rates * self._load(minutes) * self._volume

    def _day_of_noise(self, name: str, day: int) -> Floats:
        """Standard normal AR(1) paths by minute, shape (1440, 1 + lines): the first is the service's own (or, for "",
        the application's). The day before is drawn too and forgotten by then: 0.97^1440 = 9e-20.
        """
        width = 1 + len(EVERYDAY.get(name, ()))
        keep = np.full(width, 0.85)
        keep[0] = 0.97
        step = np.sqrt(1 - keep**2)
        drawn = [
            stream(self._seed, "noise", name, when).standard_normal((_DAY_MINUTES, width)) for when in (day - 1, day)
        ]
        path = np.concatenate(drawn) * step
        for minute in range(1, len(path)):
            path[minute] += keep * path[minute - 1]
        return np.asarray(path[_DAY_MINUTES:])

    def _bursts(self, service: str, index: int, line: Line, block: int) -> NDArray[np.int64]:
        """Clumps: about two an hour and line, sizes Pareto (index 1.6, at most 20 times the least), over half a
        minute; the clumps of the block before may reach into this one.
        """
        times = []
        for one in (block - 1, block):
            rng = stream(self._seed, "burst", service, index, one)
            for start in rng.uniform(0, _BLOCK_MS, rng.poisson(BLOCK_MINUTES / 3)).tolist():
                size = int(min(20.0, 1 + rng.pareto(1.6)) * line.per_minute * self._volume)
                times.append(one * _BLOCK_MS + start + rng.exponential(30_000, 1 + size))
        return _within(times, block)

    def _job(self, job: CronJob, block: int) -> NDArray[np.int64]:
        times = []
        for minute in range((block - 1) * BLOCK_MINUTES, (block + 1) * BLOCK_MINUTES):
            if minute % job.every == job.at:
                rng = stream(self._seed, "job", job.text, minute)
                size = int(min(40.0, 1 + rng.pareto(1.5)) * job.least * self._jobs)
                times.append(minute * 60_000 + rng.uniform(0, job.seconds * 1_000, size))
        return _within(times, block)

    def _day_of_deploys(self, day: int) -> list[tuple[int, str]]:
        rng = stream(self._seed, "deploys", day)
        names = sorted(NOVEL)
        picked = rng.integers(0, len(names), rng.poisson(5)).tolist()
        at = (day * 86_400_000 + rng.integers(0, 86_400, len(picked)) * 1_000).tolist()
        return sorted(zip(at, (names[index] for index in picked), strict=True))

    def _after_deploys(self, service: str, block: int, rng: np.random.Generator) -> list[Plan]:
        """Restart lines of deploys in this block, and the lines that releases brought: new, and nothing wrong."""
        begin, end = block * _BLOCK_MS, (block + 1) * _BLOCK_MS
        parts = []
        for deploy in (found for found in self.deploys(self._start, end) if found.service == service):
            if deploy.at >= begin:
                for step, (text, severity) in enumerate(START_UP):
                    at = deploy.at + 4_000 * (step + 1) + rng.integers(0, 3_000, SHOP[service].count)
                    parts.append(_made(at[at < end], Line(text, 0, severity, "timer"), rng))
            if deploy.ordinal <= len(NOVEL[service]):
                line = NOVEL[service][deploy.ordinal - 1]
                rates = np.full(BLOCK_MINUTES, line.per_minute * self._volume)
                times = _scattered(rng.poisson(rates), begin, rng)
                parts.append(_made(times[times >= deploy.at + 20_000], line, rng))
        return parts


def _timer(line: Line, rng: np.random.Generator, begin: int) -> NDArray[np.int64]:
    period = 60_000 / line.per_minute
    ticks = np.arange(0, _BLOCK_MS, period)
    shaken = begin + ticks + rng.uniform(0, 0.05, len(ticks)) * min(period, 20_000)
    return np.asarray(shaken.astype(np.int64))


def _scattered(counts: NDArray[np.int64], begin: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`counts` lines a minute, each anywhere in its minute."""
    minutes = np.repeat(np.arange(len(counts)), counts)
    return np.asarray(begin + minutes * 60_000 + rng.integers(0, 60_000, len(minutes)))


def _within(times: list[Floats], block: int) -> NDArray[np.int64]:
    every = np.concatenate(times).astype(np.int64) if times else np.empty(0, np.int64)
    return np.asarray(every[(every >= block * _BLOCK_MS) & (every < (block + 1) * _BLOCK_MS)])


def _made(times: NDArray[np.int64], line: Line, rng: np.random.Generator) -> Plan:
    n = len(times)
    texts = np.empty(n, object)
    texts[:] = render(line.text, n, rng)
    return Plan(times, texts, np.full(n, int(line.severity)), rng.random(n), np.full(n, line.kind != "timer"))


def _merged(parts: list[Plan]) -> Plan:
    """One plan of many, in order of time; equal times keep the order of the parts."""
    whole = Plan(
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.severity for part in parts]),
        np.concatenate([part.marks for part in parts]),
        np.concatenate([part.requests for part in parts]),
    )
    return whole.part(np.argsort(whole.times, kind="stable"))
