"""`foreshock ingest` as forked processes on a real broker: files that grow meanwhile, and what the log must hold."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from kafka_broker import make_topics
from run_rig import live, wait_for

from connectors.codec import decode_record
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.settings import read_settings
from models.errors import ForeshockError
from models.log import LATENESS_MS, LogBatch
from streams.cli_ingest import run_ingest
from streams.ingest import IngestOptions
from streams.rendering import note

PARTITIONS = 4
WAIT = 60.0
PATTERN = r"((?:plain|json|app)\d*)(/app)?\.log$"
"""Of a service: the folder of an `app.log`, else the file's name."""
SERVICES = ("cart", "mail", "pay", "search", "users")


class Line(NamedTuple):
    """What the log must hold of a line."""

    service: str
    time: int
    text: str


class Writer(threading.Thread):
    """Appends to a file in pieces that end anywhere, until told to make it whole. `json_lines`: of many services.

    Every seventh line has no time: it has that of the line before.
    """

    def __init__(self, path: Path, *, json_lines: bool = False, seed: int = 0, most: int = 60) -> None:
        super().__init__(daemon=True)
        self.path, self.json_lines, self.whole = path, json_lines, threading.Event()
        self.lines: list[Line] = []
        self.slowest = 0.0
        self._chance, self._most = random.Random(seed), most

    def run(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            rest, begun = b"", time.time()
            while not self.whole.is_set():
                rest += b"".join(self._line() for _ in range(self._chance.randrange(1, self._most)))
                cut = self._chance.randrange(len(rest))
                file.write(rest[:cut])
                self.slowest = max(self.slowest, time.time() - begun)
                begun = time.time()  # of what is left, at the latest
                rest = rest[cut:]
                self.whole.wait(self._chance.random() * 0.02)
            file.write(rest)

    def finish(self) -> list[Line]:
        self.whole.set()
        self.join()
        return self.lines

    def _line(self) -> bytes:
        number = len(self.lines)
        name = self.path.parent.name
        text = f"INFO {name} request {number} für {self._chance.randrange(9)} done"
        now = time.time_ns() // 1_000_000
        stamp = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds")
        if self.json_lines:
            service = SERVICES[self._chance.randrange(len(SERVICES))]
            self.lines.append(Line(service, now, text))
            return json.dumps({"time": stamp, "service": service, "message": text}).encode() + b"\n"
        if number and number % 7 == 0:
            self.lines.append(Line(name, self.lines[-1].time, text))
            return f"{text}\n".encode()
        self.lines.append(Line(name, now, text))
        return f"{stamp} {text}\n".encode()


def make_ingest_topics(settings: KafkaSettings) -> None:
    make_topics(settings, PARTITIONS, ["logs", "dead-letters"])


def arguments(settings: KafkaSettings, data: Path, *more: object) -> list[str]:
    """Of `foreshock ingest`; the prefix comes from the configuration."""
    config = data.with_suffix(".yaml")
    config.write_text(f"kafka:\n  prefix: {settings.prefix}\n")
    brokers = ",".join(settings.bootstrap_servers)
    return ["ingest", "--kafka", brokers, "--data", str(data), "--config", str(config), *map(str, more)]


def be_ingest(settings: KafkaSettings, data: Path, inputs: Sequence[str], options: IngestOptions, errors: Any) -> None:
    """A process's life with options that the command line does not have. An input `PATH|` is standard input."""
    sys.stderr = open(errors.fileno(), "w", buffering=1, closefd=False)  # noqa: SIM115 - as long as the process lives
    pipe = next((name for name in inputs if name.endswith("|")), None)
    if pipe is not None:
        os.dup2(os.open(pipe[:-1], os.O_RDONLY), 0)
    paths = [{"path": "-" if name is pipe else name, "service_pattern": PATTERN} for name in inputs]
    given = {"kafka": settings.model_dump(), "inputs": paths, "data": str(data)}
    try:
        run_ingest(read_settings(None, given), options)
    except ForeshockError as error:
        note(f"foreshock: {error}")
        os._exit(error.exit_code)


class Process:
    """A forked `foreshock ARGS`. `said` is what it wrote to stderr by the time it was asked."""

    def __init__(self, context: Any, *args: Any, target: Callable[..., None] = live) -> None:
        self.errors, there = context.Pipe()
        self.process = context.Process(target=target, args=(*args, there))
        self.process.start()
        there.close()

    def wait_for(self, words: bytes) -> bytes:
        return wait_for(self.errors, words)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.errors.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        os.kill(self.process.pid, number)
        self.process.join(WAIT)
        assert self.process.exitcode is not None, "it did not end"
        return int(self.process.exitcode)


def batches(settings: KafkaSettings) -> dict[int, list[LogBatch]]:
    """Every batch of `logs`, by partition, in order."""
    log = KafkaLog(settings, "test")
    try:
        found: dict[int, list[LogBatch]] = {}
        for partition, end in log.ends("logs").items():
            at, found[partition] = log.bounds("logs", partition)[0], []
            while at < end:
                page = log.read("logs", partition, at, 200)
                found[partition] += [decode_record(record).data for record in page]
                at = page[-1].offset + 1
        return found
    finally:
        log.close()


def lines_of(found: dict[int, list[LogBatch]]) -> dict[str, list[Line]]:
    """The lines of each service, in the order of the log."""
    lines: dict[str, list[Line]] = defaultdict(list)
    for each in found.values():
        for batch in each:
            texts = batch.messages.split("\n") if batch.lines else []
            for index, at, text in zip(batch.service_index, batch.timestamps, texts, strict=True):
                lines[batch.services[index]].append(Line(batch.services[index], at, text))
    return dict(lines)


def assert_exactly_once(settings: KafkaSettings, writers: Sequence[Writer]) -> None:
    """Every line once, under its service and time, in its file's order; no line behind what its source promised."""
    found = batches(settings)
    written: dict[str, list[Line]] = defaultdict(list)
    for writer in writers:
        for line in writer.lines:
            written[line.service].append(line)
    got = lines_of(found)
    counts = {name: (len(got.get(name, ())), len(lines)) for name, lines in written.items()}
    assert all(has == wants for has, wants in counts.values()), counts
    assert got == written
    late = sum(map(late_lines, found.values()))
    # on a machine so busy that a line is written seconds after its time, it is late
    assert not late or max(writer.slowest for writer in writers) * 2_000 > LATENESS_MS


def late_lines(each: Sequence[LogBatch]) -> int:
    """Lines of a partition older than what their source had promised there before; promises never go back."""
    promised: dict[str, int] = {}
    owner: dict[str, str] = {}
    late = 0
    for batch in each:
        for item in batch.sources:
            owner |= dict.fromkeys(item.services, item.source_id)
        for at, index in zip(batch.timestamps, batch.service_index, strict=True):
            late += at < promised.get(owner[batch.services[index]], 0)
        for item in batch.sources:
            assert item.covered_until >= promised.get(item.source_id, 0)
            promised[item.source_id] = item.covered_until
    return late


def logged_lines(settings: KafkaSettings) -> int:
    """How many lines the log holds."""
    return sum(batch.lines for each in batches(settings).values() for batch in each)


def wait_until(true: Callable[[], bool], why: str = "") -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


@contextmanager
def writing(folder: Path, *, json_lines: int = 1, plain: int = 2, most: int = 60) -> Iterator[list[Writer]]:
    """Files `folder/NAME/app.log` under way."""
    writers = []
    for number in range(plain + json_lines):
        path = folder / (f"plain{number}" if number < plain else f"json{number}") / "app.log"
        path.parent.mkdir(parents=True)
        path.touch()
        writers.append(Writer(path, json_lines=number >= plain, seed=number, most=most))
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.finish()
