"""A day of one service that writes 10,000 lines a second, retrained from `counts` on Kafka by the command itself.

`foreshock replay` is a process of its own on one core; the broker and the benchmark have the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

from benchmarks.kafka.contender import WORKER_CORE, Bench, pinned
from benchmarks.kafka.deployment import Deployed
from benchmarks.retraining import pages_of_load
from benchmarks.table import Row
from connectors.kafka_settings import KafkaSettings

__all__ = ["NAME", "run"]

NAME: Final = "retraining"
_HOURS: Final = 24.0
_REQUIRED_SECONDS: Final = 120.0


def run(bench: Bench) -> list[Row]:
    """The row. One round: a day is long enough. Raises RuntimeError where the command fails."""
    settings = KafkaSettings(bootstrap_servers=(bench.broker,), prefix="retrain-")
    hours = _HOURS / bench.shrink
    with Deployed(settings, partitions=1) as deployed:
        deployed.renew(keep=())
        records = 0
        for page in pages_of_load(hours):
            deployed.log.append(page, page[-1].at)
            records += len(page)
        seconds, said = _replay(deployed)
    print(said.strip(), file=sys.stderr)
    day = seconds * _HOURS / hours
    claim = f"{hours:g} h of 10,000 lines a second ({records:,} records of counts) retrained from Kafka"
    scaled = "" if bench.shrink == 1 else f", a day {day:.0f} s"
    return [Row(claim, f"{seconds:.0f} s{scaled}", f"{_REQUIRED_SECONDS:.0f} s a day", _REQUIRED_SECONDS / day, 1.0)]


def _replay(deployed: Deployed) -> tuple[float, str]:
    """Seconds from its start to its end, and what it said."""
    settings = deployed.settings
    words = ["replay", "--topic", "counts", "--kafka", settings.bootstrap_servers[0]]
    environment = {
        **os.environ,
        "FORESHOCK_KAFKA__PREFIX": settings.prefix,
        "FORESHOCK_PARTITIONS": "1",
        "FORESHOCK_DATA": str(deployed.folder / "replay"),
    }
    begun = time.monotonic()
    command = pinned([sys.executable, "-m", "streams", *words], WORKER_CORE)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"foreshock replay ended with {done.returncode}: {done.stderr[-1_500:]}")
    return time.monotonic() - begun, done.stderr + done.stdout
