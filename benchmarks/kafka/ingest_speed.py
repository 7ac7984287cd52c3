"""How fast lines come from files to the broker's acknowledgement, per processor second of the ingest process.

Against two floors in the same run, by turns: the same files' bytes in blocks of 256 KB through the same producer,
nothing decoded; and the lines read, decoded and batched, but not sent. The broker has a core of its own. The file holds
Loghub's lines (FORESHOCK_TEST_DATA), 10,000 a second of event time, under an ISO time.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kafka import KafkaAdminClient

from benchmarks.kafka.contender import BROKER_CORE, WORKER_CORE, Bench
from benchmarks.loghub import load
from benchmarks.reading import reading
from benchmarks.table import Row, median_seconds
from connectors.kafka_clients import MAX_MESSAGE_BYTES
from connectors.kafka_ingest import open_producer
from connectors.kafka_settings import KafkaSettings
from connectors.settings import read_settings
from streams.ingest import Ingest, IngestOptions

_PARTITIONS = 4
_LINES = 1_500_000
_A_SECOND = 10_000
_BLOCK = 256 * 1024
_GOAL = 500_000

NAME = "ingest"


def ingesting(settings: KafkaSettings, paths: Sequence[Path], folder: Path) -> int:
    """The role from beginning to end under a name of its own; the lines that were acknowledged."""
    name = secrets.token_hex(4)
    inputs = [{"path": str(path)} for path in paths]
    given = {"kafka": settings.model_dump(), "inputs": inputs, "data": str(folder / name)}
    with Ingest(read_settings(None, given), IngestOptions(name=name, once=True), print) as role:
        role.run(threading.Event())
        return role.source.counters["lines"]


def raw(settings: KafkaSettings, paths: Sequence[Path]) -> None:
    """The floor: bytes of the files through the producer."""
    producer = open_producer(settings, 10)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                producer.send(settings.topic("logs"), block, partition=0).add_errback(_raise)
    producer.flush()
    producer.close()


def dense(target: Path, lines: int = _LINES) -> Path:
    """The lines of Loghub's systems by turns, under an even flow of `_A_SECOND` a second. Raises MissingDataError."""
    systems = [system.lines for system in load()]
    texts = [line.encode() for row in zip(*systems, strict=False) for line in row]
    begun = datetime(2026, 5, 4, 10, tzinfo=UTC)
    burst = _A_SECOND // 1_000
    with target.open("wb") as file:
        for at in range(0, lines, burst):
            moment = begun + timedelta(milliseconds=at * 1_000 // _A_SECOND)
            stamp = moment.isoformat(timespec="milliseconds").encode()
            file.write(b"".join(b"%s %s\n" % (stamp, texts[row % len(texts)]) for row in range(at, at + burst)))
    return target


def run(bench: Bench) -> list[Row]:
    """The rows. Raises MissingDataError."""
    settings = KafkaSettings(bootstrap_servers=(bench.broker,), prefix="files-")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = dense(folder / "loghub.log", _LINES // bench.shrink)
        admin = KafkaAdminClient(bootstrap_servers=bench.broker)
        configs = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
        about = {"num_partitions": _PARTITIONS, "replication_factor": 1, "configs": configs}
        topics = [settings.topic(topic) for topic in ("logs", "dead-letters")]
        admin.create_topics(dict.fromkeys(topics, about), wait_for_metadata=True)
        os.sched_setaffinity(0, {WORKER_CORE})  # threads that are begun from now on have it, too
        try:
            return _measure(settings, path, folder, bench.rounds)
        finally:
            os.sched_setaffinity(0, {BROKER_CORE})
            admin.delete_topics(topics)
            admin.close()


def _measure(settings: KafkaSettings, path: Path, folder: Path, rounds: int) -> list[Row]:
    total = path.read_bytes().count(b"\n")

    def ingest() -> None:
        acknowledged = ingesting(settings, [path], folder)
        assert acknowledged == total, (acknowledged, total)

    seconds = median_seconds(
        {"ingest": ingest, "raw": lambda: raw(settings, [path]), "batched": lambda: reading([str(path)])}, rounds
    )
    speed = {name: total / spent for name, spent in seconds.items()}
    figure, size = f"{speed['ingest'] / 1e3:,.0f} k lines/CPU-s", path.stat().st_size / total
    return [
        Row(
            f"ingest: file to acknowledgement, {size:.0f} bytes a line",
            figure,
            f"{_GOAL // 1_000} k lines/s",
            speed["ingest"] / _GOAL,
            1.0,
        ),
        *(
            Row("ingest", figure, f"{peer}: {speed[name] / 1e3:,.0f} k", speed["ingest"] / speed[name])
            for name, peer in (
                ("raw", "the same bytes through the same producer"),
                ("batched", "reading, decoding, batching alone"),
            )
        ),
    ]


def _raise(error: BaseException) -> None:
    raise error
