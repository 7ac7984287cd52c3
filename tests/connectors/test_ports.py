"""What every Log and States must do. A new implementation joins by one more fixture parameter."""

from __future__ import annotations

import pytest
from kafka_broker import make_topics

from connectors.kafka_log import KafkaLog
from connectors.kafka_states import KafkaStates
from connectors.ports import Checkpoint, Entry, Outbound, UnitName
from connectors.sqlite import SqliteStore
from models.topics import TOPICS, partition_of

UNIT = UnitName("detect", 1)


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    made = SqliteStore(tmp_path / "log.db" if request.param == "file" else ":memory:", partitions=4)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "kafka"])
def log(request, tmp_path):
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "log.db", partitions=4)
    else:
        settings = request.getfixturevalue("kafka_settings")
        make_topics(settings, 4)
        made = KafkaLog(settings, "tests", virtual=True)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "kafka"])
def states(request, tmp_path):
    """A function that opens the states anew, as a restarted process does."""
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "log.db", partitions=4)
        yield lambda: made
    else:
        settings = request.getfixturevalue("kafka_settings")
        make_topics(settings, 4)
        made = KafkaLog(settings, "tests")
        yield lambda: taken_over(KafkaStates(settings, "detect", made))
    made.close()


def taken_over(states: KafkaStates) -> KafkaStates:
    states.take_over(0)
    states.take_over(1)
    return states


def out(value: bytes, key: str = "k", topic: str = "logs", partition: int | None = 2) -> Outbound:
    return Outbound(topic, key, value, partition)


def test_offsets_begin_at_zero_and_have_no_holes(log):
    assert log.append([], 9) == []
    first = log.append([out(b"a"), out(b"b"), out(b"c", partition=3)], 10)
    second = log.append([out(b"d")], 11)
    assert [(r.partition, r.offset, r.logged_at) for r in (*first, *second)] == [
        (2, 0, 10),
        (2, 1, 10),
        (3, 0, 10),
        (2, 2, 11),
    ]
    assert log.bounds("logs", 2) == (0, 3)
    assert log.bounds("logs", 0) == (0, 0)


def test_reading_gives_back_what_was_appended_in_order_from_any_offset(log):
    appended = log.append([out(bytes([n])) for n in range(10)], 5)
    assert log.read("logs", 2, 0, 100) == appended
    assert [r.value for r in log.read("logs", 2, 7, 100)] == [b"\x07", b"\x08", b"\x09"]
    assert [r.offset for r in log.read("logs", 2, 0, 4)] == [0, 1, 2, 3]
    assert [r.offset for r in log.read("logs", 2, 4, 4)] == [4, 5, 6, 7]
    assert log.read("logs", 2, 10, 4) == []
    assert log.read("logs", 3, 0, 4) == []


def test_what_is_appended_while_somebody_reads_is_read_next(log):
    for number in range(5):
        assert log.read("logs", 2, number, 10) == []
        (record,) = log.append([out(b"x%d" % number)], number)
        assert log.read("logs", 2, number, 10) == [record]


def test_a_key_without_partition_goes_where_any_kafka_client_would_put_it(log):
    (record,) = log.append([out(b"x", key="checkout", partition=None)], 1)
    assert record.partition == partition_of("checkout", log.partitions("logs"))
    assert log.read("logs", record.partition, 0, 1) == [record]


def test_a_compacted_topic_tells_the_newest_of_each_key(log):
    log.append([out(b"1", "web", "health", 0), out(b"2", "db", "health", 0), out(b"3", "web", "health", 0)], 1)
    assert log.newest("health", "web").value == b"3"
    assert [r.value for r in log.read("health", 0, 0, 10)][-2:] == [b"2", b"3"]
    assert log.newest("health", "none") is None
    log.append([out(b"4", "web", "health", 0)], 2)
    assert log.newest("health", "web").value == b"4"


def test_every_topic_of_the_table_exists(log):
    assert all(log.partitions(topic) == 4 for topic in TOPICS)


def test_in_sqlite_an_append_is_all_or_nothing(store):
    with pytest.raises(KeyError):
        store.append([out(b"a"), Outbound("no-such-topic", "k", b"b")], 1)
    assert store.bounds("logs", 2) == (0, 0)


def test_in_sqlite_a_transaction_that_fails_leaves_nothing(store):
    with pytest.raises(RuntimeError), store.transaction():
        store.append([out(b"a")], 1)
        store.save(UNIT, Checkpoint([Entry("k", 1, None, b"[]", b"s")], b"shared", 2, 2))
        raise RuntimeError
    assert store.bounds("logs", 2) == (0, 0)
    assert store.load(UNIT) is None


def test_a_checkpoint_is_loaded_as_it_was_saved(states):
    entries = [Entry("a", 4, 77, b"[]", b"state a"), Entry("b", 5, None, b"[1]", b"state b")]
    first = states()
    first.save(UNIT, Checkpoint(entries, b"shared", 6, 6))
    first.save(UNIT, Checkpoint([Entry("a", 8, None, b"[]", b"newer")], b"shared 2", 9, 9))
    for opened in (first, states()):
        assert opened.load(UNIT) == Checkpoint((), b"shared 2", 9, 9)
        assert list(opened.entries(UNIT)) == [Entry("a", 8, None, b"[]", b"newer"), entries[1]]
        assert opened.load(UnitName("detect", 0)) is None


def test_a_position_never_goes_backwards(states):
    first = states()
    first.save(UNIT, Checkpoint((), b"new", 9, 9))
    first.save(UNIT, Checkpoint((), b"old", 3, 3))
    for opened in (first, states()):
        assert opened.load(UNIT) == Checkpoint((), b"new", 9, 9)


def test_crashes_are_counted_by_place_and_forgotten_when_passed(states):
    first = states()
    assert first.record_crash(UNIT, 5, "first") == 1
    second = states()
    assert second.record_crash(UNIT, 5, "again") == 2
    assert second.crashes(UNIT)[5].error == states().crashes(UNIT)[5].error == "again"
    last = states()
    last.save(UNIT, Checkpoint((), None, 6, 6))
    assert last.crashes(UNIT) == states().crashes(UNIT) == {}


def test_in_sqlite_a_compacted_topic_holds_nothing_but_the_newest(store):
    store.append([out(b"1", "web", "health", 0), out(b"2", "db", "health", 0), out(b"3", "web", "health", 0)], 1)
    assert [r.value for r in store.read("health", 0, 0, 10)] == [b"2", b"3"]


def test_in_sqlite_retention_by_bytes_forgets_the_oldest_but_nothing_that_is_still_needed(store):
    store.append([out(b"x" * 100) for _ in range(10)], 1)
    assert store.retain("logs", 2, keep_bytes=350, before=4) == 4
    assert store.bounds("logs", 2) == (4, 10)
    assert store.retain("logs", 2, keep_bytes=350, before=10) == 3
    assert [r.offset for r in store.read("logs", 2, 0, 10)] == [7, 8, 9]
    assert store.append([out(b"y")], 2)[0].offset == 10
