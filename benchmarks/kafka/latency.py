"""1,000 services of 100 templates at 100,000 lines a second, through all roles: from a line in a file to an alert.

A generator appends to a file that `foreshock run --role ingest` follows; mine, detect and respond are processes
of their own; everything, the broker too, shares the machine's cores. Baselines were learnt from a fed history, which
ends where the file begins. Each second 500 error lines of another service are appended: the time from then (they are
in the file) to the arrival of the first revision of that service's alert at a plain consumer is one latency. Then
detect is killed and started again, while the lines and bursts go on.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from kafka import KafkaConsumer

from benchmarks.kafka.contender import Bench, cpu_seconds, shared_cores
from benchmarks.kafka.deployment import Deployed
from benchmarks.kafka.fleet import LINES_A_SECOND, PARTITIONS, SERVICES, TEMPLATES, history
from benchmarks.table import Row
from connectors.codec import decode, decode_record
from connectors.kafka_clients import consumer_options
from connectors.kafka_settings import KafkaSettings
from models.anomaly import Status
from models.event import Cause

__all__ = ["NAME", "run"]

NAME: Final = "latency"
_ROLES: Final = ("ingest", "mine", "detect", "respond")
_HISTORY_MINUTES: Final = 48
"""Alarms begin at 30 learnt minutes; what speaks of failure is learnt ten minutes late."""
_HISTORY_SECONDS: Final = 300.0
_MINUTE_BUCKETS: Final = 6
_BURSTS: Final = 60
_EVERY_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 15.0
_AHEAD_SECONDS: Final = 80.0
"""History is fed for so long ahead of time, and read by then: the file's lines follow it without a gap."""
_RESTART_SECONDS: Final = 90.0
_REQUIRED_SECONDS: Final = 1.5
_REQUIRED_MB: Final = 350
_REQUIRED_SAVING: Final = 0.10
_REQUIRED_RESTART: Final = 10.0
_STAGES: Final = ("logs", "counts", "signals", "alerts", "here")
_SLOWEST: Final = 8
_EDGES_MS: Final = (250, 500, 750, 1_000, 1_250, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000)


class Arrival(NamedTuple):
    """A message that came: when (ms), what, and when the broker had it."""

    at: int
    value: bytes
    logged_at: int


def run(bench: Bench) -> list[Row]:
    """The rows; the histogram goes to standard error. One round: it lasts minutes as it is."""
    with shared_cores(bench):
        return _run(bench)


def _run(bench: Bench) -> list[Row]:
    settings = KafkaSettings(bootstrap_servers=(bench.broker,), prefix="fleet-")
    services, bursts = SERVICES // bench.shrink, max(_BURSTS // bench.shrink, 3)
    with Deployed(settings, PARTITIONS) as deployed:
        deployed.renew(keep=())
        path = deployed.folder / "fleet.log"
        path.touch()
        detect = deployed.start("detect", "detect")
        begin = _feed_history(deployed, services)
        pids = {
            role: deployed.start(role, role, arguments=_arguments(role, path)) for role in _ROLES if role != "detect"
        }
        pids["detect"] = detect
        seconds = 2 * _SETTLE_SECONDS + bursts * _EVERY_SECONDS + _RESTART_SECONDS
        with _Fleet(path, services, seconds, begin) as fleet:
            latencies, missed = _alerts(deployed, fleet, bursts)
            sizes = {role: _megabytes(pid) for role, pid in pids.items()}
            shares = {role: cpu_seconds(pid) for role, pid in pids.items()}
            print(f"processor seconds: {shares}; MB: {sizes}", file=sys.stderr)
            restart = _restart(deployed, detect)
            fleet.wait()  # what saving costs is measured over all of this life of detect
        for role in _ROLES:
            if role != "detect":
                deployed.stop(pids[role])
        for process in list(deployed.running):
            deployed.stop(process)
        return [
            *_latency_rows(services, latencies, missed),
            *_worker_rows(sizes, restart),
            *_saving_rows(deployed.said("detect")),
        ]


class _Fleet:
    """The generator while it runs; `struck` has when (ms) each service's burst was written."""

    def __init__(self, path: Path, services: int, seconds: float, begin: int) -> None:
        self.struck: dict[str, int] = {}
        words = [str(path), str(services), str(seconds), str(begin), str(_SETTLE_SECONDS), str(_EVERY_SECONDS)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.kafka.fleet", *words], stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            service, at = line.split()
            self.struck[service] = int(at)

    def wait(self) -> None:
        """Until all lines are written."""
        self._process.wait()

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()


def _arguments(role: str, path: Path) -> Sequence[str]:
    return ("--input", str(path)) if role == "ingest" else ()


def _feed_history(deployed: Deployed, services: int) -> int:
    """Feed what happened until a minute that is to come; returns it (ms) once all of it has been judged."""
    end = (_now() + int(_AHEAD_SECONDS * 1_000)) // 60_000 * 60_000 + 60_000
    begin = end - _HISTORY_MINUTES * 60_000
    deployed.log.append(list(history(services, begin, end, _MINUTE_BUCKETS)), _now())
    _wait_for_watermark(deployed, end)
    left = (end - _now()) / 1_000
    print(f"history: read {left:.0f} s before the file begins", file=sys.stderr, flush=True)
    if left < 0:
        raise RuntimeError("the history was not read before the file was to begin: raise _AHEAD_SECONDS")
    return end


def _least_watermark(deployed: Deployed) -> int:
    marks = []
    for partition, end in deployed.log.ends("health").items():
        records = deployed.log.read("health", partition, max(end - 1, 0), 1)
        marks.append(decode_record(records[0]).data.watermark if records else 0)
    return min(marks)


def _alerts(deployed: Deployed, fleet: _Fleet, bursts: int) -> tuple[list[float], int]:
    """Seconds from line to alert of the first `bursts`, and how many of those alerts never came."""
    with _arrivals(deployed.settings, "alerts", _is_first_alert) as arrived:
        while len(fleet.struck) < bursts:
            time.sleep(0.1)
        written = dict(list(fleet.struck.items())[:bursts])
        deadline = time.monotonic() + _SETTLE_SECONDS
        while set(written) - set(arrived) and time.monotonic() < deadline:
            time.sleep(0.1)
        unasked = set(arrived) - set(fleet.struck)
    late = len(set(written) - set(arrived))
    counts = deployed.written("counts")
    print(f"records on counts: {counts}; services alerted without a burst: {len(unasked)}", file=sys.stderr)
    _tell_stages(deployed, written, arrived)
    return [(arrived[service].at - at) / 1_000 for service, at in written.items() if service in arrived], late


def _tell_stages(deployed: Deployed, written: dict[str, int], arrived: dict[str, Arrival]) -> None:
    """Where the time went: from the file to `logs`, `counts`, `signals`, `alerts` (by the brokers' stamps), to here."""
    stages: list[tuple[int, list[int]]] = []
    for service, at in written.items():
        if service in arrived:
            times, value = [arrived[service].at, arrived[service].logged_at], arrived[service].value
            while cause := Cause.parse(decode(value).cause):
                record = deployed.log.read(*cause.position, 1)[0]
                times.append(record.logged_at)
                value = record.value
            if len(times) == len(_STAGES):  # else a tick told it, not a line
                stages.append((at, np.diff([at, *reversed(times)]).tolist()))
    if stages:
        medians = np.median([spent for _, spent in stages], axis=0)
        print(f"median ms to reach: {_named(medians)}", file=sys.stderr, flush=True)
    for at, spent in sorted(stages, key=lambda stage: -sum(stage[1]))[:_SLOWEST]:
        print(f"slow, in second {at // 1_000 % 60} of a minute: {_named(spent)}", file=sys.stderr, flush=True)


def _named(spent: Sequence[float]) -> str:
    return ", ".join(f"{name} {ms:,.0f}" for name, ms in zip(_STAGES, spent, strict=True))


@contextmanager
def _arrivals(settings: KafkaSettings, topic: str, wanted: Callable[[bytes], bool]) -> Iterator[dict[str, Arrival]]:
    """The first message of each key that arrived here, filled by a thread."""
    consumer = KafkaConsumer(
        settings.topic(topic), **{**consumer_options(settings, "bench"), "auto_offset_reset": "latest"}
    )
    while not consumer.assignment():
        consumer.poll(100)
    arrived: dict[str, Arrival] = {}
    stop = threading.Event()

    def listen() -> None:
        while not stop.is_set():
            for records in consumer.poll(100).values():
                for record in records:
                    if wanted(record.value):
                        arrived.setdefault(record.key.decode(), Arrival(_now(), record.value, record.timestamp))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield arrived
    finally:
        stop.set()
        thread.join()
        consumer.close()


def _is_first_alert(value: bytes) -> bool:
    return bool(decode(value).data.revision == 1)


def _is_opened(value: bytes) -> bool:
    return bool(decode(value).data.status == Status.OPENED)


def _restart(deployed: Deployed, pid: int) -> float:
    """Seconds from kill -9 of detect, started again at once, to the first anomaly that it opens then."""
    deployed.stop(pid, signal.SIGKILL)
    with _arrivals(deployed.settings, "anomalies", _is_opened) as arrived:
        began = _now()
        deployed.start("detect", "detect")
        deadline = time.monotonic() + _RESTART_SECONDS
        while not arrived and time.monotonic() < deadline:
            time.sleep(0.1)
    return (min(each.at for each in arrived.values()) - began) / 1_000 if arrived else float("inf")


def _latency_rows(services: int, latencies: Sequence[float], missed: int) -> list[Row]:
    if not latencies:
        return [Row("line to alert", f"none of {missed} alerts came", "1.5 s", 0.0, 1.0)]
    milliseconds = np.array(latencies) * 1_000
    below = 0
    for edge in _EDGES_MS:
        n = int((milliseconds <= edge).sum()) - below
        below += n
        print(f"  ≤{edge:>6} ms {n:>4} {'#' * n}", file=sys.stderr)
    p50, p90, p99 = (float(np.quantile(milliseconds, share)) for share in (0.5, 0.9, 0.99))
    figure = f"p50 {p50:,.0f}, p90 {p90:,.0f}, p99 {p99:,.0f}, max {milliseconds.max():,.0f} ms of {len(latencies)}"
    figure += f"; {missed} never came" if missed else ""
    ratio = 0.0 if missed else _REQUIRED_SECONDS / (p99 / 1_000)
    claim = f"line to alert, {services:,} x {TEMPLATES} templates, {services * LINES_A_SECOND // 1_000} k lines/s"
    return [Row(claim, figure, f"p99 {_REQUIRED_SECONDS:g} s", ratio, 1.0)]


def _worker_rows(sizes: dict[str, float], restart: float) -> list[Row]:
    most = max(sizes.values())
    figure = ", ".join(f"{role} {size:,.0f}" for role, size in sizes.items())
    return [
        Row("memory of a worker", f"{figure} MB", f"{_REQUIRED_MB} MB", _REQUIRED_MB / most, 1.0),
        Row("detect killed: to the first new anomaly", f"{restart:.1f} s", f"{_REQUIRED_RESTART:g} s",
            _REQUIRED_RESTART / restart, 1.0),
    ]  # fmt: skip


def _saving_rows(log: str) -> list[Row]:
    """What detect's host said when it was stopped."""
    said = [line for line in log.splitlines() if "host statistics" in line]
    if not said:
        return [Row("saving", "detect's host said nothing", "", 0.0, 1.0)]
    value = {name: float(number) for name, number in re.findall(r'"?(\w+)"?[=:] ?([0-9.]+)', said[-1])}
    time_share = value["saving_seconds"] / value["process_seconds"]
    byte_share = value.get("saved_bytes", 0.0) / value["read_bytes"]
    figure = f"{time_share:.1%} of detect's time, {byte_share:.1%} of its bytes, {value.get('saves', 0):.0f} saves"
    return [Row("saving", figure, f"{_REQUIRED_SAVING:.0%}", _REQUIRED_SAVING / max(time_share, byte_share, 1e-9), 1.0)]


def _megabytes(pid: int) -> float:
    """The most it ever had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1_024


def _wait_for_watermark(deployed: Deployed, at: int) -> None:
    deadline = time.monotonic() + _HISTORY_SECONDS
    while _least_watermark(deployed) < at:
        if time.monotonic() > deadline:
            raise RuntimeError(f"detect did not read the history in time:\n{deployed.said('detect')[-1_500:]}")
        time.sleep(0.2)


def _now() -> int:
    return time.time_ns() // 1_000_000
