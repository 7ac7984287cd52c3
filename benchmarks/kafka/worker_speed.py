"""mine + detect in one worker, and two such workers: lines per processor second of the workers.

The workers are real: `foreshock run --role mine --role detect`. A line counts when the minute it is in has been closed
and judged, which `health` says (its watermark); lines of the last, open minute do not count. One worker has a core of
its own, the broker the other. Two workers and the broker share both cores, so the wall's time is reported beside the
broker's share and nothing is claimed of it.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Final

from benchmarks.kafka.contender import (
    WORKER_CORE,
    Bench,
    Measured,
    cpu_seconds,
    interleave,
    shared_cores,
    spread,
    watched,
)
from benchmarks.kafka.deployment import Deployed
from benchmarks.kafka.lines import LINES_A_SECOND, PARTITIONS, LinesTopic, fill
from benchmarks.loghub import load
from benchmarks.moving import MINUTE, START
from benchmarks.table import Row
from connectors.codec import decode_record
from connectors.kafka_settings import KafkaSettings
from models.log import LATENESS_MS

__all__ = ["NAME", "run"]

NAME: Final = "workers"
ONE: Final = "mine + detect, one worker"
TWO: Final = "mine + detect, two workers"
_TOPIC: Final = LinesTopic("pair-", tiles=100)
_WARM_SHARE: Final = 0.2
_REQUIRED_SPEED: Final = 500_000
_REQUIRED_SHARE: Final = 0.9
_LEAST_SHARE: Final = 0.25
"""Of the workers' time: a worker that did less came too late for the comparison."""


class _Judged:
    """How many lines are in minutes that have been judged, read from `health`."""

    def __init__(self, deployed: Deployed) -> None:
        self._log = deployed.log
        self._offsets = dict.fromkeys(range(PARTITIONS), 0)
        self._watermarks: dict[str, int] = {}

    def __call__(self) -> int:
        for partition in self._offsets:
            while records := self._log.read("health", partition, self._offsets[partition], 500):
                self._offsets[partition] = records[-1].offset + 1
                for record in records:
                    mark = decode_record(record).data.watermark
                    self._watermarks[record.key] = max(mark, self._watermarks.get(record.key, 0))
        milliseconds = sum(mark - START for mark in self._watermarks.values())
        return max(milliseconds, 0) * LINES_A_SECOND // 1_000


def run(bench: Bench) -> list[Row]:
    """The rows. Raises MissingDataError, RuntimeError."""
    systems = load()
    topic = _TOPIC._replace(tiles=max(_TOPIC.tiles // bench.shrink, 4))
    settings = KafkaSettings(bootstrap_servers=(bench.broker,), prefix=topic.prefix)
    each_service = fill(topic, settings, systems) // len(systems)
    # Each service tells its health at its own time, up to 50 s after a minute: the last minute but one of all is known.
    minutes = (each_service * 1_000 // LINES_A_SECOND - LATENESS_MS) // MINUTE - 1
    judged = minutes * (MINUTE // 1_000) * LINES_A_SECOND * len(systems)
    shares: list[float] = []
    with Deployed(settings) as deployed:
        turns = {ONE: partial(_one, deployed, judged), TWO: partial(_two, deployed, judged, bench, shares)}
        results = interleave(turns, bench.rounds)
    if len(results) < 2:
        raise RuntimeError("the workers did not come to the end: see above")
    one = [each.per_cpu_second for each in results[ONE]]
    two = [each.per_cpu_second for each in results[TWO]]
    walls = {name: statistics.median(each.per_second for each in measured) / 1e3 for name, measured in results.items()}
    broker_share = f"broker {statistics.median(shares):.0%} of the two cores"
    return [
        Row(ONE, f"{spread(one)} lines/CPU-s, wall {walls[ONE]:,.0f} k", f"{_REQUIRED_SPEED // 1_000} k lines/s",
            statistics.median(one) / _REQUIRED_SPEED, 1.0),
        Row(TWO, f"{spread(two)} lines/CPU-s, wall {walls[TWO]:,.0f} k, {broker_share}", f"one worker: {spread(one)}",
            statistics.median(b / a for a, b in zip(one, two, strict=True)), _REQUIRED_SHARE),
    ]  # fmt: skip


def _one(deployed: Deployed, judged: int) -> Measured:
    deployed.renew()
    pid = deployed.start("one", "mine", "detect", core=WORKER_CORE)
    try:
        return watched([pid], _Judged(deployed), int(judged * _WARM_SHARE), judged)
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{deployed.said('one')[-1_500:]}") from error
    finally:
        deployed.stop(pid)


def _two(deployed: Deployed, judged: int, bench: Bench, shares: list[float]) -> Measured:
    deployed.renew()
    with shared_cores(bench):
        pids = [deployed.start(f"two-{number}", "mine", "detect") for number in range(2)]
        try:
            before, begun = cpu_seconds(bench.broker_pid), time.monotonic()
            measured = watched(pids, _Judged(deployed), int(judged * _WARM_SHARE), judged)
            spent = [cpu_seconds(pid) for pid in pids]
            if min(spent) < _LEAST_SHARE * sum(spent):
                raise RuntimeError(f"one of two workers did next to nothing: {spent} s")
            shares.append((cpu_seconds(bench.broker_pid) - before) / (time.monotonic() - begun) / len(pids))
            return measured
        except RuntimeError as error:
            logs = "\n".join(deployed.said(f"two-{number}")[-1_000:] for number in range(2))
            raise RuntimeError(f"{error}\n{logs}") from error
        finally:
            for pid in pids:
                deployed.stop(pid)
