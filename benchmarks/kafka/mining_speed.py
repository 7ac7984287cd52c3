"""The mine role against its floors and its peers: lines per processor second on the same broker and topic.

Every contender reads the same topic of real lines from its beginning, in a process of its own on one core; the broker
and the benchmark have the other. The role is the real one, `foreshock run --role mine`: its lines count when their
counts are acknowledged. What a contender does before `warm` lines is not counted (caches, Java's compiler). Those that
would take minutes read a shorter topic of the same lines. Ratios are taken within a round; medians of the rounds.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.kafka import java_peer
from benchmarks.kafka.contender import WORKER_CORE, Bench, Measured, interleave, said, spread, watched
from benchmarks.kafka.deployment import Deployed, make_topic
from benchmarks.kafka.host_floor import STEP
from benchmarks.kafka.lines import LinesTopic, fill
from benchmarks.loghub import load
from benchmarks.table import Row
from connectors.kafka_settings import KafkaSettings
from models.log import MAX_BATCH_LINES

__all__ = ["NAME", "run"]

NAME: Final = "mining"
ROLE: Final = "mine role"
HOST_FLOOR: Final = "floor: Faust host, decode only"
_WARM_SHARE: Final = 0.2
_REQUIRED_SPEED: Final = 700_000
_REQUIRED_COLD: Final = 300_000
_REQUIRED_SHARE: Final = 0.3
_FRAMEWORKS: Final = 5.0
"""How far ahead of Kafka Streams' DSL and quix-streams the role must be."""

_WARM = LinesTopic("warm-", tiles=100)
_SHORT = LinesTopic("short-", tiles=20)
_TINY = LinesTopic("tiny-", tiles=2)
"""For those that make a message or a table entry of each line: they take minutes for what the others do in a second."""
_COLD = LinesTopic("cold-", tiles=30, unseen_lines=0.01)
_COLD_WORDS = LinesTopic("words-", tiles=10, unseen_words=0.01)

Turn = Callable[[], Measured]


@dataclass(frozen=True, slots=True)
class _Field:
    """A topic of lines, filled, and who reads it."""

    deployed: Deployed
    lines: int

    @property
    def warm(self) -> int:
        return int(self.lines * _WARM_SHARE)

    @property
    def settings(self) -> KafkaSettings:
        return self.deployed.settings

    @property
    def place(self) -> tuple[str, str]:
        return self.settings.bootstrap_servers[0], self.settings.topic("logs")


def run(bench: Bench) -> list[Row]:
    """The rows. Raises MissingDataError."""
    systems = load()
    fields: dict[str, _Field] = {}
    try:
        for each in (_WARM, _SHORT, _TINY, _COLD, _COLD_WORDS):
            topic = each._replace(tiles=max(each.tiles // bench.shrink, 1))
            settings = KafkaSettings(bootstrap_servers=(bench.broker,), prefix=topic.prefix)
            fields[topic.prefix] = _Field(Deployed(settings), fill(topic, settings, systems))
        results = interleave(_turns(fields), bench.rounds)
    finally:
        for field in fields.values():
            field.deployed.__exit__()
    return _rows(results)


def _turns(fields: Mapping[str, _Field]) -> dict[str, Turn]:
    chosen = (_WARM, _SHORT, _TINY, _COLD, _COLD_WORDS)
    warm, short, tiny, cold, words = (fields[each.prefix] for each in chosen)
    turns: dict[str, Turn] = {
        ROLE: partial(_role, warm),
        HOST_FLOOR: partial(_host_floor, warm),
        "floor: aiokafka, consume + decode": partial(_loop, warm, "aiokafka", "decode"),
        "floor: confluent-kafka, consume + decode": partial(_loop, warm, "confluent", "decode"),
        "our miner by hand on aiokafka": partial(_loop, warm, "aiokafka", "miner"),
        "our miner by hand on confluent-kafka": partial(_loop, warm, "confluent", "miner"),
        "regular expression + dict by hand": partial(_loop, warm, "confluent", "re"),
        "drain3 by hand": partial(_loop, short, "confluent", "drain3"),
        "drain3 by hand, bare": partial(_loop, short, "confluent", "drain3-bare"),
        "quix-streams": partial(_quix, short, "batches"),
        "quix-streams, a message a line": partial(_quix, tiny, "lines"),
        "plain Faust, a line at a time": partial(_faust, tiny),
        f"{ROLE}, 1% of lines with a new word": partial(_role, cold),
        f"{ROLE}, 1% of words new": partial(_role, words),
    }
    try:
        class_path = java_peer.build()
    except RuntimeError as error:
        print(f"Kafka Streams: left out: {error}", file=sys.stderr, flush=True)
    else:
        for mode, name in java_peer.MODES.items():
            turns[name] = partial(_java, short if mode == "dsl-lines" else warm, mode, class_path)
    return turns


def _role(field: _Field) -> Measured:
    deployed = field.deployed
    deployed.renew()
    pid = deployed.start(NAME, "mine", core=WORKER_CORE)
    try:
        return watched([pid], lambda: deployed.written("counts") * MAX_BATCH_LINES, field.warm, field.lines)
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{deployed.said(NAME)[-1_500:]}") from error
    finally:
        deployed.stop(pid)


def _log(field: _Field, name: str) -> Path:
    return field.deployed.folder / f"{name}.log"


def _python(module: str, *words: object, peer: bool = False) -> list[str]:
    """BENCH_PYTHON: the environment that has the peers' packages."""
    python = os.environ.get("BENCH_PYTHON", sys.executable) if peer else sys.executable
    return [python, "-m", f"benchmarks.kafka.{module}", *map(str, words)]


def _host_floor(field: _Field) -> Measured:
    broker, _ = field.place
    changelog, group = field.settings.changelog(STEP), field.settings.group(STEP)
    with make_topic(field.settings, changelog, compacted=True, group=group):
        return said(_python("host_floor", broker, field.settings.prefix, field.warm, field.lines), _log(field, "floor"))


def _loop(field: _Field, client: str, work: str) -> Measured:
    with make_topic(field.settings, f"{field.settings.prefix}out-{work}") as out:
        given = (client, work, *field.place, out, field.warm, field.lines)
        words = _python("loops", *given, peer=client == "confluent")
        return said(words, _log(field, f"{client}-{work}"))


def _quix(field: _Field, mode: str) -> Measured:
    with make_topic(field.settings, f"{field.settings.prefix}out-quix") as out:
        words = _python("quix_peer", mode, *field.place, out, field.warm, field.lines, peer=True)
        return said(words, _log(field, "quix"))


def _faust(field: _Field) -> Measured:
    return said(_python("faust_peer", *field.place, field.warm, field.lines), _log(field, "faust"))


def _java(field: _Field, mode: str, class_path: str) -> Measured:
    with make_topic(field.settings, f"{field.settings.prefix}out-{mode}") as out:
        return java_peer.run(mode, class_path, (*field.place, out), field.warm, field.lines, _log(field, mode))


def _rows(results: Mapping[str, Sequence[Measured]]) -> list[Row]:
    role = [each.per_cpu_second for each in results[ROLE]]
    walls = statistics.median(each.per_second for each in results[ROLE])
    own = f"{spread(role)} lines/CPU-s"
    rows = [
        Row(ROLE, f"{own}, wall {walls / 1e3:,.0f} k", f"{_REQUIRED_SPEED // 1_000} k lines/s",
            statistics.median(role) / _REQUIRED_SPEED, 1.0),
    ]  # fmt: skip
    for name, measured in results.items():
        speeds = [each.per_cpu_second for each in measured]
        if name.startswith(ROLE):
            if name != ROLE:
                required = 1.0 if "lines" in name else None
                ratio = statistics.median(speeds) / _REQUIRED_COLD
                rows.append(Row(name, f"{spread(speeds)} lines/CPU-s", f"{_REQUIRED_COLD // 1_000} k lines/s",
                                ratio, required))  # fmt: skip
            continue
        ratio = statistics.median(mine / theirs for mine, theirs in zip(role, speeds, strict=True))
        wall = statistics.median(each.per_second for each in measured)
        peer = f"{name}: {spread(speeds)}, wall {wall / 1e3:,.0f} k"
        rows.append(Row(ROLE, f"{statistics.median(role) / 1e3:,.0f} k", peer, ratio, _required(name)))
    return rows


def _required(name: str) -> float | None:
    if name == HOST_FLOOR:
        return _REQUIRED_SHARE
    if name.startswith(("floor", "our miner")):
        return None  # for information: the clients' own speed, and the miner without the host
    if name.startswith(("Kafka Streams DSL", "quix")):
        return _FRAMEWORKS
    return 1.0
