"""The product as it is deployed, for a benchmark: its topics made anew, its roles as real processes.

In: a broker, a prefix. Out: `foreshock run --role R` processes, and how far their output has come.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from kafka import KafkaAdminClient

from benchmarks.kafka.contender import pinned
from benchmarks.kafka.lines import PARTITIONS
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_topics import apply, open_admin, plan

__all__ = ["Deployed", "forget_groups", "make_topic"]

_GONE_SECONDS: Final = 30.0
_ROLES: Final = ("mine", "detect", "respond")


class Deployed:
    """A deployment on a broker: one prefix. A context manager: processes still running are stopped at its end."""

    def __init__(self, settings: KafkaSettings, partitions: int = PARTITIONS) -> None:
        self.settings, self._partitions = settings, partitions
        self.log = KafkaLog(settings, "bench")
        self._folder = tempfile.TemporaryDirectory(prefix="foreshock-bench-")
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def folder(self) -> Path:
        """Where its processes' logs and data are."""
        return Path(self._folder.name)

    @property
    def running(self) -> list[int]:
        """The ids of the processes that were started and not stopped."""
        return [process.pid for process in self._running]

    def renew(self, keep: Iterable[str] = ("logs",)) -> None:
        """Delete every topic but those of `keep`, and all groups, and make them again: nothing has been read yet."""
        kept = {self.settings.topic(name) for name in keep}
        admin = open_admin(self.settings)
        plans = plan(self.settings, self._partitions)
        names = [each.name for each in plans if each.name not in kept]
        there = set(admin.list_topics())
        admin.delete_topics([name for name in names if name in there])
        deadline = time.monotonic() + _GONE_SECONDS
        while set(admin.list_topics()) & set(names) and time.monotonic() < deadline:
            time.sleep(0.1)
        forget_groups(admin, [self.settings.group(role) for role in _ROLES])
        apply(admin, self.settings, plans)
        admin.close()

    def start(self, name: str, *roles: str, core: int | None = None, arguments: Sequence[str] = ()) -> int:
        """Start a process with these roles, bound to `core`; returns its id. Its log: `{folder}/{name}.log`."""
        named = [word for role in roles for word in ("--role", role)]
        brokers = ",".join(self.settings.bootstrap_servers)
        command = [sys.executable, "-m", "streams", "run", *named, "--kafka", brokers, *arguments]
        environment = {
            **os.environ,
            "FORESHOCK_KAFKA__PREFIX": self.settings.prefix,
            "FORESHOCK_PARTITIONS": str(self._partitions),
            "FORESHOCK_DATA": str(self.folder / f"data-{name}"),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                pinned(command, core) if core is not None else command, env=environment, stdout=log, stderr=log
            )
        self._running.append(process)
        return process.pid

    def stop(self, pid: int, number: signal.Signals = signal.SIGTERM) -> int:
        """End a process that was started here; returns its exit code."""
        process = next(process for process in self._running if process.pid == pid)
        process.send_signal(number)
        self._running.remove(process)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def written(self, topic: str) -> int:
        """How many records that topic has ever got."""
        return sum(self.log.ends(topic).values())

    def said(self, name: str) -> str:
        """The log of the processes of that name."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def __enter__(self) -> Deployed:
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self._running):
            self.stop(process.pid)
        self.log.close()
        self._folder.cleanup()


def forget_groups(admin: KafkaAdminClient, names: Iterable[str]) -> None:
    """Delete these consumer groups, where they are: their next members begin at the beginning."""
    there = {group["group_id"] for group in admin.list_groups()}
    admin.delete_groups([name for name in names if name in there])


@contextlib.contextmanager
def make_topic(settings: KafkaSettings, name: str, compacted: bool = False, group: str = "") -> Iterator[str]:
    """A topic of a contender's own, and perhaps its group: gone after the block. `name` as on the cluster."""
    admin = open_admin(settings)
    policy = {"cleanup.policy": "compact"} if compacted else {}
    configs = {**policy, "max.message.bytes": str(4 * 1024 * 1024)}
    wanted = {name: {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": configs}}
    admin.create_topics(wanted, raise_errors=False)
    admin.wait_for_topics([name])
    try:
        yield name
    finally:
        admin.delete_topics([name])
        forget_groups(admin, [group])
        admin.close()
