"""How fast lines come from files to the broker's acknowledgement, per processor second of the ingest process.

Against two floors in the same run, by turns: the same files' bytes in blocks of 256 KB through the same producer,
nothing decoded; and the lines read, decoded and batched, but not sent. The broker is a process of its own. Run it:
`python -m benchmarks.ingest [FILE...]`; without files, Loghub's lines (FORESHOCK_TEST_DATA), 10,000 a second of event
time, under an ISO time.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kafka import KafkaAdminClient

from benchmarks.loghub import load
from benchmarks.reading import reading, repeated
from benchmarks.table import Row, markdown, median_seconds
from connectors.kafka_clients import MAX_MESSAGE_BYTES
from connectors.kafka_ingest import open_producer
from connectors.kafka_settings import KafkaSettings
from connectors.local_kafka import LocalBroker
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


def measure(settings: KafkaSettings, paths: Sequence[Path], folder: Path, repeats: int) -> list[Row]:
    """The rows of the table."""
    total = sum(path.read_bytes().count(b"\n") for path in paths)

    def ingest() -> None:
        acknowledged = ingesting(settings, paths, folder)
        assert acknowledged == total, (acknowledged, total)

    names = [str(path) for path in paths]
    seconds = median_seconds(
        {"ingest": ingest, "raw": lambda: raw(settings, paths), "batched": lambda: reading(names)}, repeats
    )
    speed = {name: total / spent for name, spent in seconds.items()}
    figure = f"{speed['ingest'] / 1_000:.0f} k lines/CPU s"
    size = sum(path.stat().st_size for path in paths) / total
    what = f"files to acknowledgement ({', '.join(path.stem for path in paths)}: {size:.0f} bytes a line)"
    return [
        Row(what, figure, f"goal {_GOAL // 1_000} k", speed["ingest"] / _GOAL, 1.0),
        Row(
            "... over the same bytes through the same producer",
            figure,
            f"{speed['raw'] / 1_000:.0f} k",
            speed["ingest"] / speed["raw"],
        ),
        Row(
            "... over reading, decoding, batching alone",
            figure,
            f"{speed['batched'] / 1_000:.0f} k",
            speed["ingest"] / speed["batched"],
        ),
    ]


def run(repeats: int = 5, names: Sequence[str] = ()) -> list[Row]:
    """On a broker of its own; `names`: files instead of Loghub's lines. Raises MissingDataError, LocalKafkaError."""
    with tempfile.TemporaryDirectory() as place, LocalBroker(Path(place) / "broker") as broker:
        folder = Path(place)
        settings = KafkaSettings(bootstrap_servers=(broker.bootstrap,))
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        configs = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
        about = {"num_partitions": _PARTITIONS, "replication_factor": 1, "configs": configs}
        admin.create_topics(dict.fromkeys(("logs", "dead-letters"), about), wait_for_metadata=True)
        admin.close()
        paths = [repeated(Path(name), folder / Path(name).name, _LINES) for name in names]
        return measure(settings, paths or [dense(folder / "loghub.log")], folder, repeats)


def _raise(error: BaseException) -> None:
    raise error


if __name__ == "__main__":
    print(markdown(run(names=sys.argv[1:])))
