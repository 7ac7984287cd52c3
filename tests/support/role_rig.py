"""The product's roles as processes on a real broker, as an operator starts them; and what they have left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from run_rig import FORESHOCK

from connectors.clock import PacedClock
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound

__all__ = ["Roles", "feed_paced", "wait_until"]

WAIT = 180.0


class Roles:
    """Processes of `foreshock run --role`, with a configuration and a log each in `folder`."""

    def __init__(
        self, folder: Path, settings: KafkaSettings, partitions: int, extra: str = "", clock: str = ""
    ) -> None:
        self.folder, self.running = folder, []
        self.config = folder / "foreshock.yaml"
        self._number = 0
        self.config.write_text(
            f"data: data\npartitions: {partitions}\nkafka:\n  bootstrap_servers: [{settings.bootstrap_servers[0]}]\n"
            f"  prefix: {settings.prefix}\n" + (f'  clock: "{clock}"\n' if clock else "") + extra
        )

    def start(self, *roles: str, **environment: str) -> subprocess.Popen[bytes]:
        """One process with these roles."""
        self._number += 1
        log = self.folder / f"{'-'.join(roles)}.{self._number}.log"
        words = [word for role in roles for word in ("--role", role)]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [FORESHOCK, "run", *words, "--config", str(self.config)],
                stdout=out,
                stderr=out,
                env={**os.environ, **environment},
            )
        process.log_file = log  # type: ignore[attr-defined]
        self.running.append(process)
        return process

    def foreshock(self, *words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        """Another command of the same deployment."""
        given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": WAIT, "check": False, **options}
        command = [FORESHOCK, *map(str, words), "--config", str(self.config)]
        return subprocess.run(command, **given)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        process.terminate()
        code = process.wait(WAIT)
        self.running.remove(process)
        return code

    def freeze(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        """What all of them have said, for the message of a test that fails."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-2_000:]}" for log in sorted(self.folder.glob("*.log")))

    @classmethod
    @contextmanager
    def of(cls, folder: Path, settings: KafkaSettings, partitions: int, **options: str) -> Iterator[Roles]:
        roles = cls(folder, settings, partitions, **options)
        try:
            yield roles
        finally:
            for process in list(roles.running):
                roles.kill(process)


def feed_paced(log: KafkaLog, batch: Sequence[Outbound], clock: PacedClock | None) -> None:
    """Append records as their time comes by the clock; at once without one."""
    at = 0
    while at < len(batch):
        end = at
        now = clock.now() if clock else 1 << 62
        while end < len(batch) and end < at + 200 and batch[end].at <= now:
            end += 1
        if end == at:
            time.sleep(0.01)
            continue
        log.append(batch[at:end], batch[end - 1].at)
        at = end


def wait_until(true: Callable[[], bool], what: Callable[[], str] | str) -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.2)
