"""Kafka as the log: times, identity, holes, errors."""

from __future__ import annotations

import socket

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka_broker import make_topics

from connectors.codec import encode
from connectors.kafka_clients import client_options, consumer_options, producer_options
from connectors.kafka_headers import kafka_headers
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from models.errors import BrokerError
from models.event import Event
from models.signal import Tick


@pytest.fixture
def topics(kafka_settings):
    make_topics(kafka_settings, 2, ["commands", "health"])
    return kafka_settings


@pytest.fixture
def log(topics):
    made = KafkaLog(topics, "tests")
    yield made
    made.close()


def tick(number: int) -> bytes:
    return encode(Event(id=f"e{number}", at=number, key="db", data=Tick(step="act", due_at=5)))


def commands(*numbers: int) -> list[Outbound]:
    return [Outbound("commands", "db", tick(number), 1) for number in numbers]


def test_on_the_wall_clock_the_broker_says_when(log):
    (record,) = log.append(commands(1), 5)
    assert record.logged_at > 1_600_000_000_000
    assert log.read("commands", 1, 0, 9) == [record]
    assert log.offset_at("commands", 1, record.logged_at) == 0
    assert log.offset_at("commands", 1, record.logged_at + 1) == 1
    assert log.offset_at("commands", 1, -5) == 0
    assert log.offset_at("commands", 0, 0) == 0


def test_on_a_virtual_clock_a_time_is_found_by_the_messages_own(topics):
    log = KafkaLog(topics, "tests", virtual=True)
    for at in (10, 20, 20, 30):
        log.append(commands(at), at)
    assert [log.offset_at("commands", 1, at) for at in (0, 10, 11, 20, 21, 30, 31)] == [0, 0, 1, 1, 3, 3, 4]
    log.close()


def test_messages_wear_headers(log, topics):
    log.append(commands(1), 5)
    consumer = KafkaConsumer(**consumer_options(topics, "reader"))
    place = TopicPartition(topics.topic("commands"), 1)
    consumer.assign([place])
    (message,) = consumer.poll(timeout_ms=10_000)[place]
    consumer.close()
    assert message.headers == kafka_headers(tick(1))
    assert dict(message.headers)["ce_id"] == b"e1"


def test_keys_and_values_of_strangers_are_read_all_the_same(log, topics):
    producer = KafkaProducer(**producer_options(topics, "stranger"))
    for key, value in ((None, b"x"), (b"\xff", None), (b"ok", b"")):
        producer.send(topics.topic("commands"), key=key, value=value, partition=1)
    producer.close()
    assert [(r.key, r.value) for r in log.read("commands", 1, 0, 9)] == [("", b"x"), ("\\xff", b""), ("ok", b"")]


def test_reading_begins_at_the_first_kept_record_where_the_offset_is_gone(log, topics):
    log.append(commands(*range(10)), 5)
    admin = KafkaAdminClient(**client_options(topics, "tests"))
    admin.delete_records({TopicPartition(topics.topic("commands"), 1): 6})
    admin.close()
    assert [r.offset for r in log.read("commands", 1, 2, 9)] == [6, 7, 8, 9]
    assert log.bounds("commands", 1) == (6, 10)


def test_the_markers_of_transactions_are_holes(log, topics):
    producer = KafkaProducer(**producer_options(topics, "x"), transactional_id=f"{topics.prefix}x")
    producer.init_transactions()
    for _ in range(2):
        producer.begin_transaction()
        producer.send(topics.topic("commands"), key=b"db", value=b"x", partition=1)
        producer.commit_transaction()
    producer.close()
    assert log.bounds("commands", 1) == (0, 4)
    assert [r.offset for r in log.read("commands", 1, 0, 9)] == [0, 2]
    assert log.read("commands", 1, 3, 9) == []
    assert [r.offset for r in log.read("commands", 1, 1, 9)] == [2]


def test_long_logs_are_read_page_by_page(log):
    log.append([Outbound("commands", "db", b"%d" % n, 1) for n in range(5_000)], 5)
    seen, at = [], 0
    while page := log.read("commands", 1, at, 700):
        assert len(page) == 700 or at + len(page) == 5_000
        seen += [int(record.value) for record in page]
        at = page[-1].offset + 1
    assert seen == list(range(5_000))


def test_the_newest_of_a_key_is_gone_when_its_tombstone_comes(log, topics):
    log.append([Outbound("health", "web", b"1", 0), Outbound("health", "db", b"2", 1)], 5)
    assert log.newest("health", "web").value == b"1"
    producer = KafkaProducer(**producer_options(topics, "x"))
    producer.send(topics.topic("health"), key=b"web", value=None, partition=0)
    producer.close()
    assert log.newest("health", "web") is None
    assert log.newest("health", "db").value == b"2"


def test_a_key_that_stands_on_two_partitions_has_the_value_that_was_logged_last(log, topics):
    for value, partition in ((b"1", 0), (b"2", 1), (b"3", 0)):
        (record,) = log.append([Outbound("health", "web", value, partition)], 5)
        while log.append([Outbound("health", "x", b"x", 0)], 5)[0].logged_at == record.logged_at:
            continue  # the next millisecond
        assert log.newest("health", "web").value == value
    (record,) = log.append([Outbound("health", "web", b"4", 0)], 5)
    fresh = KafkaLog(topics, "fresh")
    assert fresh.newest("health", "web").value == b"4"
    fresh.close()


def test_a_log_that_was_made_anew_has_another_id(log, topics):
    before = log.log_id("commands")
    assert before == log.log_id("commands")
    assert len(bytes.fromhex(before)) == 4
    assert before != log.log_id("health")
    admin = KafkaAdminClient(**client_options(topics, "tests"))
    admin.delete_topics([topics.topic("commands")])
    make_topics(topics, 2, ["commands"])
    admin.close()
    assert log.log_id("commands") != before


def test_ends_are_those_of_all_partitions(log):
    log.append(commands(1, 2, 3), 5)
    assert log.ends("commands") == {0: 0, 1: 3}


def test_a_topic_that_is_not_there_is_named_with_what_to_do(log):
    for ask in (
        lambda: log.read("alerts", 0, 0, 1),
        lambda: log.append([Outbound("alerts", "k", b"x")], 1),
        lambda: log.log_id("alerts"),
    ):
        with pytest.raises(BrokerError, match=r"alerts.*foreshock topics apply"):
            ask()


def test_a_partition_that_is_not_there_is_named(log):
    with pytest.raises(BrokerError, match="2 partitions, no number 7"):
        log.append([Outbound("commands", "k", b"x", 7)], 1)


def test_where_no_broker_runs_the_error_names_the_address():
    with socket.socket() as taken:  # bound, never listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        log = KafkaLog(KafkaSettings(bootstrap_servers=(address,)), "tests", connect_seconds=1)
        with pytest.raises(BrokerError, match=rf"{address}.*foreshock doctor"):
            log.ends("commands")
        log.close()
    assert BrokerError.exit_code == 69
