"""A whole deployment on a broker that is in trouble: the product's roles as processes, started anew when they fail, and
what must be there when all is over.

In: a broker, lines for a growing file. Out: how often each role ended and why; counts and closed anomalies to compare
with those of one undisturbed process over the same file.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from aiokafka.consumer.fetcher import Fetcher
from kafka_rig import be_agents
from run_rig import FORESHOCK, events, foreshock
from topic_reading import read_all, unique
from toy_pipeline import Total

import streams.roles
from connectors.codec import decode_record
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Record
from models.errors import BrokerError, ContractError
from models.event import Event
from models.template import TemplateCounts
from streams.dead_letters import Letter, read_letters
from streams.worker_watch import WorkerWatch

__all__ = [
    "PARTITIONS",
    "Answers",
    "Deployment",
    "Exit",
    "answers_of",
    "be_agents_that_stop",
    "be_failing_agents",
    "deploying",
    "fill",
    "lines",
    "mounted",
    "reference",
    "slice_of",
]

PARTITIONS = 4
WAIT = 150.0
_BEGIN = 1_767_600_000_000  # 2026-01-05T08:00Z
_MINUTE = 60_000
_SLICE_MINUTES, _GAP_MINUTES = 18, 30
_SERVICES = ("cart", "mail", "pay", "search", "stock", "users")
_DOINGS = ("request {} took {} ms", "cache miss for key {} in {}", "user {} logged in from {}", "retry {} of {} failed")
_TAIL_MINUTES = 3
"""At the end of the file a follower promises less than a reader who knows that it has ended."""

Counts = Counter[tuple[str, str, int]]


class Exit(NamedTuple):
    """A role's process that ended with a failure, and what it said last."""

    name: str
    code: int
    said: str


class Answers(NamedTuple):
    """Lines by (service, template, 10 s bucket), and the closed anomalies as JSON."""

    counts: Counts
    closed: Sequence[str]


def lines(slices: int, scale: int = 1) -> list[list[str]]:
    """Slices of 18 minutes of six services; from the third on one of them has a burst every fourth minute. Between two
    slices there is half an hour of nothing: a live source that is idle promises that nothing came while time passes,
    so whoever appends a slice later must not break that promise.
    """
    return [slice_of(number, scale) for number in range(slices)]


def slice_of(number: int, scale: int = 1) -> list[str]:
    """One of them; `scale` times as many lines a minute."""
    chance = random.Random(number)
    rows = []
    for minute in range(_SLICE_MINUTES):
        at = _BEGIN + (number * (_SLICE_MINUTES + _GAP_MINUTES) + minute) * _MINUTE
        for place, service in enumerate(_SERVICES):
            burst = number > 1 and minute % 4 == 3 and (minute // 4 + number) % len(_SERVICES) == place
            for kind, doing in enumerate(_DOINGS):
                many = scale * (chance.randrange(2, 6) + (60 if burst and kind == 3 else 0))
                rows += [(at + chance.randrange(_MINUTE), service, doing, kind) for _ in range(many)]
    return [_line(*row, chance) for row in sorted(rows)]


def _line(at: int, service: str, doing: str, kind: int, chance: random.Random) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1_000)) + f".{at % 1_000:03d}Z"
    message = doing.format(chance.randrange(1_000), chance.randrange(1_000))
    level = "error" if kind == 3 else "info"
    return json.dumps({"time": stamp, "service": service, "level": level, "message": message}) + "\n"


def reference(folder: Path, slices: Sequence[Sequence[str]]) -> Answers:
    """What one undisturbed process finds in these lines."""
    folder.mkdir()
    file = folder / "app.log"
    file.write_text("".join(line for part in slices for line in part))
    done = foreshock("run", "--once", "--input", file, "--data", folder / "data", "--partitions", PARTITIONS)
    assert done.returncode == 0, done.stderr
    return answers_of(events(folder / "data", "counts"), events(folder / "data", "anomalies"), len(slices))


def answers_of(counts: Sequence[Event[Any]], anomalies: Sequence[Event[Any]], slices: int) -> Answers:
    told: Counts = Counter()
    for event in counts:
        if isinstance(event.data, TemplateCounts):
            for section in event.data.sections:
                for place, bucket, n in zip(section.template, section.bucket, section.n, strict=True):
                    told[section.service, section.texts[place], bucket] += n
    last = _BEGIN + (slices * (_SLICE_MINUTES + _GAP_MINUTES) - _GAP_MINUTES - _TAIL_MINUTES) * _MINUTE
    return Answers(
        told,
        sorted(
            json.dumps(event.data.digest_view(), sort_keys=True)
            for event in anomalies
            if event.data.window.closed and not event.data.source_id and event.data.window.end <= last
        ),
    )


class _Keeper(threading.Thread):
    """Runs one command until told to end; starts it anew when it fails, as the simplest supervisor does."""

    def __init__(self, name: str, command: Sequence[str], log: Path, exits: list[Exit]) -> None:
        super().__init__(name=name, daemon=True)
        self._command, self._log, self._exits = command, log, exits
        self._ending = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        while not self._ending.is_set():
            with self._log.open("ab") as out:
                begun = out.tell()
                self.process = subprocess.Popen(self._command, stdout=out, stderr=out)
                code = self.process.wait()
            if self._ending.is_set():
                return
            self._exits.append(Exit(self.name, code, self._log.read_bytes()[begun:].decode()))
            self._ending.wait(0.3)

    def end(self) -> None:
        self._ending.set()
        if self.process is not None:
            self.process.kill()
        self.join()

    def leave(self) -> None:
        """As an operator ends a worker: SIGTERM, and it is not started again."""
        self._ending.set()
        if self.process is not None:
            self.process.terminate()
        self.join()


class Deployment:
    """`roles`: which share a process, as in (("mine", "detect"), ("act",)); ingest follows `self.file`."""

    def __init__(self, folder: Path, settings: KafkaSettings, roles: Sequence[Sequence[str]]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.settings = folder, settings
        self._made = 0
        self.exits: list[Exit] = []
        self.before: list[Event[Any]] = []
        """What was on `counts` before that was deleted."""
        self.file, self.config = folder / "app.txt", folder / "foreshock.yaml"
        self.file.touch()
        self.config.write_text(
            f"data: {folder / 'data'}\npartitions: {PARTITIONS}\ninputs:\n  - path: {self.file}\nkafka:\n"
            f"  bootstrap_servers: {json.dumps(settings.bootstrap_servers)}\n  prefix: {settings.prefix}\n"
            f"  replication: {settings.replication}\n  min_insync: {settings.min_insync}\n"
        )
        self._keepers = [self.keeper(role) for role in roles]
        self._fed = 0

    def keeper(self, roles: Sequence[str]) -> _Keeper:
        """A process of these roles, not started."""
        words = [word for role in roles for word in ("--role", role)]
        return self.keeper_of("-".join(roles), [FORESHOCK, "run", *words, "--config", str(self.config)])

    def keeper_of(self, name: str, command: Sequence[str]) -> _Keeper:
        """A process of this command, not started."""
        self._made += 1
        return _Keeper(name, command, self.folder / f"{name}.{self._made}.log", self.exits)

    def feed(self, *slices: Sequence[str]) -> None:
        """Append these to the file that ingest follows."""
        with self.file.open("a") as file:
            for part in slices:
                file.writelines(part)
                self._fed += len(part)

    def apply_topics(self) -> None:
        done = foreshock("topics", "apply", "--config", self.config)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def log(self) -> Iterator[KafkaLog]:
        opened = KafkaLog(self.settings, "test")
        try:
            yield opened
        finally:
            opened.close()

    def events(self, topic: str) -> list[Event[Any]]:
        """What a subscriber of the topic takes: what is no message of ours is passed over."""
        with self.log() as log:
            return [decode_record(record) for record in unique(filter(_readable, read_all(log, topic)))]

    def letters(self) -> list[Letter]:
        with self.log() as log:
            return list(read_letters(log))

    def counted(self) -> int:
        """Lines on `counts`."""
        told = [*self.before, *self.events("counts")]
        found = (event.data for event in told if isinstance(event.data, TemplateCounts))
        return sum(section.lines for data in found for section in data.sections)

    def await_counted(self) -> None:
        """Until all that was fed is counted."""
        self.wait_until(lambda: self.counted() >= self._fed, lambda: f"{self.counted()} of {self._fed} were counted")

    def await_taken(self, slices: int) -> None:
        """Until detect has taken these slices: an idle source's promise moves every service beyond their end."""
        end = _BEGIN + (slices * (_SLICE_MINUTES + _GAP_MINUTES) - _GAP_MINUTES) * _MINUTE

        def taken() -> bool:
            newest = {event.key: event.data.watermark for event in self.events("health")}
            return len(newest) == len(_SERVICES) and min(newest.values()) >= end

        self.wait_until(taken, "detect has not taken all")

    def answers(self, slices: int) -> Answers:
        return answers_of([*self.before, *self.events("counts")], self.events("anomalies"), slices)

    def await_answers(self, expected: Answers, slices: int) -> None:
        """Until counts and closed anomalies are as they must be: each once."""
        self.await_counted()
        assert self.answers(slices).counts == expected.counts, self.said()
        self.wait_until(
            lambda: self.answers(slices).closed == expected.closed,
            lambda: _difference(expected.closed, self.answers(slices).closed),
        )

    def wait_until(self, true: Callable[[], bool], what: Callable[[], str] | str) -> None:
        deadline = time.monotonic() + WAIT
        while not self._is(true):
            assert time.monotonic() < deadline, f"{what if isinstance(what, str) else what()}\n{self.said()}"
            time.sleep(0.3)

    def _is(self, true: Callable[[], bool]) -> bool:
        with suppress(BrokerError):  # not yet
            return true()
        return False

    def said(self) -> str:
        """What all processes have said, for the message of a test that fails."""
        exits = "\n".join(f"{left.name} exit {left.code}: {left.said[-600:]}" for left in self.exits)
        logs = "\n".join(f"--- {log.name}\n{log.read_text()[-1_500:]}" for log in sorted(self.folder.glob("*.log")))
        return f"{exits}\n{logs}"

    def __enter__(self) -> Self:
        for keeper in self._keepers:
            keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        for keeper in self._keepers:
            keeper.end()


def _readable(record: Record) -> bool:
    try:
        decode_record(record)
    except ContractError:
        return False
    return True


def _difference(expected: Sequence[str], found: Sequence[str]) -> str:
    missing, more = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    return "closed anomalies\nmissing: " + "\n".join(missing) + "\nmore: " + "\n".join(more)


@contextmanager
def mounted(path: Path, size: str) -> Iterator[Path]:
    """A small disk of its own."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(b"\0" * 65_536)


def be_agents_that_stop(settings: KafkaSettings, log_file: Path, after: int, error: BaseException | None) -> None:
    """The toy's agents, whose consumer after so many records dies of an error; without one it gives nothing more, and
    says nothing of it. The watch is as impatient as a test needs it.
    """
    fetched, given = Fetcher.fetched_records, 0

    async def fetched_records(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal given
        if given >= after and error is not None:
            raise error
        if given >= after:
            await asyncio.sleep(0.1)
            return {}
        found = await fetched(self, *args, **options)
        given += sum(map(len, found.values()))
        return found

    Fetcher.fetched_records = fetched_records
    streams.roles.WorkerWatch = functools.partial(WorkerWatch, stall_seconds=2.0, look_seconds=0.2)  # type: ignore[misc, assignment]
    be_agents(settings, ("split",), False, log_file)


def be_failing_agents(settings: KafkaSettings, log_file: Path) -> None:
    """The toy's second step, with a defect that one record brings to light."""
    Total.fails_at = "13"
    be_agents(settings, ("total",), False, log_file)


@contextmanager
def deploying(
    folder: Path,
    settings: KafkaSettings,
    roles: Sequence[Sequence[str]] = (("ingest",), ("mine", "detect", "respond"), ("act",)),
) -> Iterator[Deployment]:
    """Topics made as an operator does, roles running."""
    deployment = Deployment(folder, settings, roles)
    deployment.apply_topics()
    with deployment:
        yield deployment
