"""The watch of a worker, against a real broker: lag without progress, topics that go, processes that hang."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka_broker import make_topics

from connectors.heartbeat import Heartbeat
from connectors.kafka_clients import client_options, producer_options
from connectors.kafka_group import KafkaGroup
from connectors.kafka_groups import committed_offsets
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from models.errors import BrokerError, ForeshockError, MissingTopicError, StalledError
from models.signing import KeyRing
from streams.act import ActStep
from streams.worker_watch import WorkerWatch

STEP = ActStep(KeyRing({"k": b"0" * 32}, "k"), "run")


@pytest.fixture
def settings(kafka_settings: KafkaSettings) -> KafkaSettings:
    make_topics(kafka_settings, 2, ["commands"])
    return kafka_settings


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    made = KafkaLog(settings, "tests")
    yield made
    made.close()


@pytest.fixture
def watching(settings: KafkaSettings) -> Iterator[Callable[..., WorkerWatch]]:
    made: list[WorkerWatch] = []

    def start(positions: dict[int, int], **options: object) -> WorkerWatch:
        log = KafkaLog(settings, "watch", connect_seconds=2)
        watch = WorkerWatch(log, STEP, lambda: positions, stall_seconds=0.5, look_seconds=0.05, **options)
        watch.start()
        made.append(watch)
        return watch

    yield start
    for watch in made:
        watch.stop()


def error_of(watch: WorkerWatch, seconds: float = 20) -> ForeshockError | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            watch.check()
        except ForeshockError as error:
            return error
        time.sleep(0.02)
    return None


def append(log: KafkaLog, partition: int, count: int = 1) -> None:
    log.append([Outbound("commands", "db", b"x", partition)] * count, 0)


def test_a_worker_that_stands_still_with_something_to_read_is_told_to_stop(log, watching):
    append(log, 1, 3)
    error = error_of(watching({0: 0, 1: 2}))
    assert isinstance(error, StalledError)
    assert "partitions 1 " in str(error)
    assert error.exit_code == 75


def test_a_worker_that_was_given_a_partition_and_does_not_begin_stands_still(log, watching):
    append(log, 1)
    assert isinstance(error_of(watching({0: -1, 1: -1})), StalledError)


def test_a_worker_at_the_end_or_on_its_way_is_left_alone(log, watching, settings):
    append(log, 1, 40)
    producer = KafkaProducer(**producer_options(settings, "x"), transactional_id=f"{settings.prefix}x")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(settings.topic("commands"), key=b"x", value=b"x", partition=0)
    producer.commit_transaction()
    producer.close()
    assert log.bounds("commands", 0) == (0, 2)  # the marker: nothing to read
    looks = itertools.count(1)
    moving = {0: 1}

    def positions() -> dict[int, int]:
        moving[1] = next(looks)
        return moving

    watch = WorkerWatch(KafkaLog(settings, "watch"), STEP, positions, stall_seconds=1e-6, look_seconds=0.01)
    watch.start()
    while moving.get(1, 0) < 10:
        assert error_of(watch, 0.05) is None
    watch.stop()


def test_an_outage_is_no_standstill(log, settings):
    append(log, 0)
    looks = itertools.count(1)
    seen: list[int] = []

    class Flaky(KafkaLog):
        """The broker is away at every second look."""

        def ends(self, topic: str) -> dict[int, int]:
            seen.append(next(looks))
            if seen[-1] % 2 == 0:
                raise BrokerError("away")
            return super().ends(topic)

    watch = WorkerWatch(Flaky(settings, "watch"), STEP, lambda: {0: 0}, stall_seconds=1e-6, look_seconds=0.01)
    watch.start()
    while len(seen) < 7:
        assert error_of(watch, 0.05) is None
    watch.stop()


def test_a_group_that_shares_nothing_out_and_stands_still_is_noticed(log, watching, settings):
    append(log, 1, 2)
    group = KafkaGroup(settings, "act", "commands")
    while not group.poll(0.1).assigned:
        continue
    assert group.commit({1: 1})

    def committed() -> object:
        return committed_offsets(settings, "tests", "act", "commands")

    assert committed() == {1: 1}
    assert isinstance(error_of(watching({}, committed=committed)), StalledError)
    assert group.commit({1: 2})
    assert error_of(watching({}, committed=committed), 1.5) is None
    group.close()


def test_a_topic_that_is_gone_or_made_anew_ends_the_worker_with_the_reason(watching, settings):
    first = watching({0: 0})
    assert error_of(first, 0.5) is None
    admin = KafkaAdminClient(**client_options(settings, "tests"))
    admin.delete_topics([settings.topic("commands")])
    assert isinstance(error_of(first), MissingTopicError)
    make_topics(settings, 2, ["commands"])
    second = watching({0: 0})
    assert error_of(second, 0.5) is None
    admin.delete_topics([settings.topic("commands")])
    make_topics(settings, 2, ["commands"])
    admin.close()
    error = error_of(second)
    assert isinstance(error, BrokerError)
    assert "made anew" in str(error) or isinstance(error, MissingTopicError)


def test_a_worker_that_does_not_heed_the_watch_is_ended(log, settings):
    append(log, 0)
    code = f"""
import threading
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from models.signing import KeyRing
from streams.act import ActStep
from streams.worker_watch import WorkerWatch
log = KafkaLog(KafkaSettings(bootstrap_servers=({settings.bootstrap_servers[0]!r},), prefix={settings.prefix!r}), "w")
step = ActStep(KeyRing({{"k": b"0" * 32}}, "k"), "run")
WorkerWatch(log, step, lambda: {{0: 0}}, stall_seconds=0.1, look_seconds=0.05, hang_seconds=0.1).start()
threading.Event().wait()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30, capture_output=True, check=False)
    assert done.returncode == 75, done.stderr
    assert b"has not moved on partitions 0" in done.stdout + done.stderr


def beaten(file: Path, seconds: float) -> bool:
    """Whether it is touched (made again) within that time."""
    file.unlink(missing_ok=True)
    deadline = time.monotonic() + seconds
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return file.exists()


def test_a_worker_beats_while_it_gets_on_and_no_longer_once_it_stands_still(log, watching, tmp_path):
    file = tmp_path / "beats" / "act"
    watch = watching({0: 0, 1: 0}, heartbeat=Heartbeat(str(file.parent), "act"))
    assert beaten(file, 20)
    append(log, 1)
    assert isinstance(error_of(watch), StalledError)
    assert not beaten(file, 0.5)


def test_a_worker_that_cannot_reach_the_broker_does_not_beat(tmp_path):
    file = tmp_path / "act"
    nowhere = KafkaLog(KafkaSettings(bootstrap_servers=("127.0.0.1:9",)), "watch", connect_seconds=0.2)
    watch = WorkerWatch(nowhere, STEP, dict, look_seconds=0.01, heartbeat=Heartbeat(str(tmp_path), "act"))
    watch.start()
    assert not beaten(file, 1.5)
    assert error_of(watch, 0.1) is None
    watch.stop()


def test_a_heartbeat_that_cannot_be_written_is_no_reason_to_stop(tmp_path):
    (tmp_path / "file").touch()
    Heartbeat(str(tmp_path / "file"), "act").beat()
    Heartbeat("", "act").beat()
    assert not (tmp_path / "file" / "act").exists()
