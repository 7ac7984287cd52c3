"""A worker of the role act as a process of its own, with a target that is a file; and what tests send and read.

`python act_process.py BOOTSTRAP PREFIX FOLDER` runs one until SIGTERM. Its actuator appends the idempotency key of each
call to FOLDER/calls, as a provider that honours keys would see them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_rig import RUN, command, runbook, switch_step

from connectors.actuators import act_performers
from connectors.clock import WallClock
from connectors.codec import decode_record, encode
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound, Record
from models.anomaly import ServiceHealth
from models.catalog import Application, Catalog, Target
from models.command import Command
from models.errors import ForeshockError
from models.event import Contract, Event
from models.runbook import Verification
from models.signing import KeyRing, sign
from streams.act import ActStep
from streams.worker import Worker, WorkerOptions

KEYS = KeyRing({"k1": b"0123456789abcdef0123456789abcdef"}, "k1")
TARGETS = tuple(f"db{number}" for number in range(64))
POISON = "poison"
"""A target whose commands make the step fail."""
BOOK = runbook(
    switch_step("a", "g"),
    switch_step("b", "g"),
    switch_step("c"),
    require_state={},
    verify=Verification(settle_seconds=0.2, series=False, target_state={"status": "up"}, guard="none"),
)


class FileTarget:
    """The ports Actuator and HealthReader over a folder. A call whose intent is not in the journal by then is noted."""

    honours_keys = True

    def __init__(self, folder: Path, log: KafkaLog, call_seconds: float = 0.2) -> None:
        self._calls, self._early, self._seconds = folder / "calls", folder / "unjournalled", call_seconds
        self._journal, self._lock = Tail(log, "journal"), threading.Lock()

    def call(self, action: str, target: str, params: Mapping[str, Any], idempotency_key: str) -> Mapping[str, Any]:
        with self._lock:
            if idempotency_key not in self._journal.intents():
                self._early.touch()
        with self._calls.open("ab") as file:  # one write, so that two processes do not mix theirs
            file.write(f"{idempotency_key}\n".encode())
        time.sleep(self._seconds)  # the call takes its time: a kill can come in between
        return {}

    def state(self, target: str) -> Mapping[str, Any]:
        return {"a": 0, "b": 0, "c": 0, "status": "up"}

    def health(self, service: str) -> ServiceHealth | None:
        return None


class PoisonedAct(ActStep):
    """Has a defect that one target's commands show."""

    def advance(self, shared: Any, state: Any, part: Any) -> Any:
        if part.key == POISON:
            raise RuntimeError("a defect")
        return super().advance(shared, state, part)


class ActProcess:
    """One worker; a process group of its own."""

    def __init__(self, settings: KafkaSettings, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.settings, self.folder = settings, folder
        self._log = folder / f"worker-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, settings.bootstrap_servers[0], settings.prefix, str(folder)],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "PYTHONWARNINGS": "ignore",
                },
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=30)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        return self._log.read_text()


def event(data: Contract, key: str, name: str, cause: str = "") -> bytes:
    return encode(Event(id=name, at=int(time.time() * 1_000), key=key, data=data, cause=cause))


def publish_catalog(log: KafkaLog) -> None:
    app = Application(name="shop", services=("checkout",), targets=TARGETS)
    targets = tuple(Target(arn=arn, kind="rds") for arn in (*TARGETS, POISON))
    value = event(Catalog(applications=(app,), targets=targets, runbooks=(BOOK,)), "catalog", "catalog")
    log.append([Outbound("commands", "catalog", value, part) for part in range(log.partitions("commands"))], 0)


def order(name: str, target: str, **changes: Any) -> Command:
    now = int(time.time() * 1_000)
    fields = {"issued_at": now, "expires_at": now + 600_000, "cooldown_seconds": 0, "series": (), "services": ()}
    return sign(command(name, **{**fields, "target": target, **changes}), KEYS)


def commanded(name: str, target: str, cause: str = "") -> Outbound:
    return Outbound("commands", target, event(order(name, target), target, f"order-{name}", cause))


class Tail:
    """What has been appended to a topic, decoded, read on from where the last look ended."""

    def __init__(self, log: KafkaLog, topic: str) -> None:
        self._log, self._topic = log, topic
        self._next = dict.fromkeys(range(log.partitions(topic)), 0)
        self.records: list[Record] = []
        self.events: list[Event[Any]] = []

    def look(self) -> Sequence[Event[Any]]:
        for partition in self._next:
            while page := self._log.read(self._topic, partition, self._next[partition], 1_000):
                self.records += page
                self.events += [decode_record(record) for record in page]
                self._next[partition] = page[-1].offset + 1
        return self.events

    def intents(self) -> set[str]:
        """Of a journal: the calls of actions that were announced."""
        entries = [item.data for item in self.look()]
        return {entry.effect_id for entry in entries if entry.entry == "intent" and entry.call == "call_action"}

    def wait(self, count: int, seconds: float = 60) -> list[Event[Any]]:
        """Each once, as soon as there are `count` different ids."""
        deadline = time.monotonic() + seconds
        while len(found := {event.id: event for event in self.look()}) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} of {count} on {self._topic} after {seconds} s")
            time.sleep(0.05)
        return list(found.values())


def make_worker(settings: KafkaSettings, folder: Path) -> Worker:
    target, repeated = FileTarget(folder, KafkaLog(settings, "target")), set[str]()
    performers = act_performers(target, target, repeated)
    return Worker(settings, PoisonedAct(KEYS, RUN), performers, WallClock(), WorkerOptions(RUN, repeated=repeated))


@contextmanager
def working(settings: KafkaSettings, folder: Path) -> Iterator[Future[None]]:
    """A worker in a thread of this process, until the block ends; its future holds what `run` raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: make_worker(settings, folder).run(stop))
        try:
            yield future
        finally:
            stop.set()


def main() -> None:
    bootstrap, prefix, folder = sys.argv[1:4]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        make_worker(KafkaSettings(bootstrap_servers=(bootstrap,), prefix=prefix), Path(folder)).run(stop)
    except ForeshockError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
