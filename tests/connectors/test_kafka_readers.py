"""What effects look up on Kafka: the newest of each key, up to the moment of the question, from many threads."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import KafkaProducer
from kafka_broker import make_topics

from connectors.codec import encode
from connectors.kafka_clients import producer_options
from connectors.kafka_log import KafkaLog
from connectors.kafka_readers import KafkaReaders
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from models.anomaly import SeriesHealth, ServiceHealth
from models.errors import BrokerError
from models.event import Event
from models.history import HistoryRecord, PatternStats

QUIET = SeriesHealth(template_id="", kinds=(), observed=(1.0,) * 6, expected=1, upper=5)


def health(service: str, watermark: int) -> Outbound:
    data = ServiceHealth(
        service=service, application="shop", alive=True, watermark=watermark, total=QUIET, errors=QUIET, open=()
    )
    return Outbound("health", service, encode(Event(id=f"{service}{watermark}", at=1, key=service, data=data)))


def incident(name: str, application: str = "shop", opened_at: int = 1) -> Outbound:
    data = HistoryRecord(
        correlation_id=name,
        application=application,
        pattern_id="p",
        primary="spike",
        texts=("a",),
        opened_at=opened_at,
        closed_at=9,
        failed=False,
        acted=False,
    )
    return Outbound("history", name, encode(Event(id=f"{name}{opened_at}", at=1, key=name, data=data)))


def stats(application: str) -> Outbound:
    data = PatternStats(application=application, pattern_id="p", runbook_id="r")
    return Outbound("history", f"{application}/p/r", encode(Event(id="s", at=1, key=f"{application}/p/r", data=data)))


@pytest.fixture
def log(kafka_settings):
    make_topics(kafka_settings, 2, ["health", "history"])
    made = KafkaLog(kafka_settings, "tests")
    yield made
    made.close()


@pytest.fixture
def readers(kafka_settings, log):
    made = KafkaReaders(kafka_settings)
    yield made
    made.close()


def test_a_question_sees_all_that_was_written_before_it(log, readers):
    assert readers.health("web") is None
    for watermark in range(20):
        log.append([health("web", watermark), health("db", 7)], 1)
        found = readers.health("web")
        assert found is not None
        assert found.watermark == watermark


def test_history_is_the_newest_of_each_key_and_the_oldest_first(log, readers):
    for out in (
        incident("a"),
        incident("b"),
        incident("x", "other"),
        stats("shop"),
        stats("other"),
        incident("a", opened_at=2),
    ):
        log.append([out], 1)
    assert [(item.correlation_id, item.opened_at) for item in readers.records("shop")] == [("b", 1), ("a", 2)]
    assert [item.application for item in readers.stats("shop")] == ["shop"]
    assert {item.application for item in readers.stats("")} == {"shop", "other"}


def test_what_a_stranger_wrote_is_passed_over(log, readers, kafka_settings):
    log.append([health("web", 1), Outbound("health", "db", b"garbage"), Outbound("history", "a", b"garbage")], 1)
    producer = KafkaProducer(**producer_options(kafka_settings, "stranger"))
    producer.send(kafka_settings.topic("health"), key=b"\xff", value=b"x")
    producer.close()
    assert readers.health("db") is None
    assert readers.health("web") is not None
    assert readers.records("shop") == []


def test_many_threads_may_ask_at_once(log, readers):
    log.append([health(f"s{number}", number) for number in range(16)], 1)
    together = threading.Barrier(8)

    def ask(number: int) -> int:
        if number < 8:
            together.wait(10)
        found = readers.health(f"s{number}")
        assert found is not None
        return found.watermark

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == list(range(16))


def test_without_a_broker_a_question_fails_in_its_time_with_what_to_do():
    with socket.socket() as taken:  # bound, never listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        readers = KafkaReaders(KafkaSettings(bootstrap_servers=(address,)), deadline=1)
        for _ in range(2):
            with pytest.raises(BrokerError, match="foreshock doctor"):
                readers.health("web")
        readers.close()
