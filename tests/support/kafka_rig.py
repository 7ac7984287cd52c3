"""The toy pipeline (tests/support/toy_pipeline.py) as processes on a real broker, and what they must leave."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiokafka
import structlog
from aiokafka.consumer.fetcher import Fetcher
from fork_server import fork_server
from kafka import KafkaAdminClient, KafkaProducer
from kafka_broker import make_topics
from toy_pipeline import PARTITIONS, Split, Total, ask, batch

from connectors.clock import WallClock
from connectors.codec import decode_record
from connectors.kafka_clients import producer_options
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Record
from models.audit import AuditEntry
from streams.roles import Plan, serve_agents
from streams.step_host import Deployment

__all__ = [
    "Members",
    "be_agents_that_lose_ends",
    "expected_totals",
    "feed",
    "feed_within_transaction",
    "make_toy_topics",
    "totals_of",
]

WAIT = 90.0
_LATE_SECONDS = 0.02
_LOST = 0.03
"""The share of what was fetched of a partition at once that is lost where the race is widened."""
_PLANS: dict[str, Callable[[], Plan]] = {
    "split": lambda: Plan("split", Split()),
    "total": lambda: Plan("total", Total(), lambda readers: {"ask": ask}),
}


def make_toy_topics(settings: KafkaSettings) -> None:
    make_topics(settings, PARTITIONS)
    admin = KafkaAdminClient(bootstrap_servers=list(settings.bootstrap_servers))
    copies = {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}}
    admin.create_topics({settings.changelog(name): copies for name in _PLANS}, wait_for_metadata=True)
    admin.close()


def be_agents(settings: KafkaSettings, roles: Sequence[str], widened: bool, log_file: Path) -> None:
    """A process's life. `widened`: every look-up of a committed offset is late, and now and then what was fetched is
    lost on its way, as when Faust clears its queues after it has seeked.
    """
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(file=log_file.open("a", buffering=1)),
    )
    if widened:
        _delay_committed()
        _lose_fetched()
    deployment = Deployment(PARTITIONS, settings.run, "", WallClock())
    asyncio.run(serve_agents(settings, deployment, [_PLANS[role]() for role in roles]))


def _delay_committed() -> None:
    asked = aiokafka.AIOKafkaConsumer.committed

    async def committed(self: Any, place: Any) -> Any:
        answer = await asked(self, place)
        await asyncio.sleep(_LATE_SECONDS)
        return answer

    aiokafka.AIOKafkaConsumer.committed = committed


def _lose_fetched() -> None:
    fetched, chance = Fetcher.fetched_records, random.Random(5)

    async def fetched_records(self: Any, *args: Any, **options: Any) -> Any:
        found = await fetched(self, *args, **options)
        return {place: records for place, records in found.items() if chance.random() > _LOST}

    Fetcher.fetched_records = fetched_records


def be_agents_that_lose_ends(settings: KafkaSettings, roles: Sequence[str], widened: bool, log_file: Path) -> None:
    """The first two times that a partition's end is fetched, it is lost: no record after it shows the gap."""
    fetched, lost = Fetcher.fetched_records, Counter[Any]()

    async def fetched_records(self: Any, *args: Any, **options: Any) -> Any:
        found = await fetched(self, *args, **options)
        kept = {}
        for place, records in found.items():
            end = self._subscriptions.subscription.assignment.state_value(place).highwater
            if records[-1].offset + 1 < end or lost[place] == 2:
                kept[place] = records
            else:
                lost[place] += 1
        return kept

    Fetcher.fetched_records = fetched_records
    be_agents(settings, roles, widened, log_file)


class Members:
    """Member processes of the toy's groups, started, killed and stopped at will."""

    def __init__(self, context: Any, settings: KafkaSettings, log_file: Path, widened: bool) -> None:
        self._context, self._settings, self._widened, self._log_file = context, settings, widened, log_file
        self.running: list[Any] = []

    def start(self, *roles: str, program: Callable[..., None] = be_agents) -> Any:
        args = (self._settings, roles or tuple(_PLANS), self._widened, self._log_file)
        process = self._context.Process(target=program, args=args)
        process.start()
        self.running.append(process)
        return process

    def kill(self, process: Any) -> None:
        process.kill()
        process.join()
        self.running.remove(process)

    def stop(self, process: Any) -> int:
        process.terminate()
        process.join(WAIT)
        self.running.remove(process)
        return process.exitcode

    def freeze(self, process: Any, seconds: float) -> None:
        """What a long pause of the machine does: the group goes on without it, and it does not know."""
        os.kill(process.pid, signal.SIGSTOP)
        process.join(seconds)
        os.kill(process.pid, signal.SIGCONT)

    @classmethod
    @contextmanager
    def of(cls, settings: KafkaSettings, log_file: Path, widened: bool = False) -> Iterator[Members]:
        with fork_server() as context:
            members = cls(context, settings, log_file, widened)
            try:
                yield members
            finally:
                for process in list(members.running):
                    members.kill(process)


def feed(log: KafkaLog, numbers: Sequence[int]) -> None:
    log.append([batch(number) for number in numbers], 0)


def feed_within_transaction(settings: KafkaSettings, numbers: Sequence[int]) -> None:
    """Behind what it writes stands the transaction's marker, an offset that nobody can read."""
    producer = KafkaProducer(**producer_options(settings, "feeder"), transactional_id=f"{settings.prefix}feeder")
    producer.init_transactions()
    producer.begin_transaction()
    for out in map(batch, numbers):
        producer.send(settings.topic(out.topic), key=out.key.encode(), value=out.value, partition=out.partition)
    producer.commit_transaction()
    producer.close()


def totals_of(records: Sequence[Record]) -> Counter[tuple[str, int]]:
    """How often each application's running total was told."""
    told: Counter[tuple[str, int]] = Counter()
    for record in records:
        entry = decode_record(record).data
        if isinstance(entry, AuditEntry) and "total" in entry.facts:
            told[entry.application, int(str(entry.facts["total"]))] += 1
    return told


def expected_totals(batches: int) -> Counter[tuple[str, int]]:
    """What a single process, undisturbed, tells of these batches."""
    running: Counter[str] = Counter()
    told: Counter[tuple[str, int]] = Counter()
    for number in range(batches):
        for line in decode_record(_record(number)).data.messages.split("\n"):
            application, _, value = line.partition(" ")
            running[application] += int(value)
            told[application, running[application]] += 1
    return told


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def _record(number: int) -> Record:
    out = batch(number)
    return Record(out.topic, out.partition or 0, number, out.key, out.value, 0)
