"""Kafka as the keeper of states: two workers that both believe to own a partition, and strangers."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer
from kafka_broker import make_topics

from connectors.kafka_clients import producer_options
from connectors.kafka_log import KafkaLog
from connectors.kafka_states import KafkaStates
from connectors.ports import Checkpoint, Entry, Outbound, UnitName
from models.errors import FencedError, UpgradeError

UNIT = UnitName("act", 1)
CHANGELOG = "foreshock-act-state"


@pytest.fixture
def log(kafka_settings):
    make_topics(kafka_settings, 2)
    made = KafkaLog(kafka_settings, "tests")
    yield made
    made.close()


@pytest.fixture
def worker(kafka_settings, log):
    """A function that starts another worker, which takes the partition over."""

    def start() -> KafkaStates:
        states = KafkaStates(kafka_settings, "act", log)
        states.take_over(1)
        return states

    return start


def entry(key: str, state: bytes) -> Entry:
    return Entry(key, 1, None, b"[]", state)


def test_what_a_worker_saves_after_another_took_over_does_not_count(worker):
    zombie = worker()
    zombie.save(UNIT, Checkpoint([entry("db", b"old")], b"old", 2, 2, "aa"))
    owner = worker()
    owner.save(UNIT, Checkpoint([entry("db", b"new")], b"new", 3, 3, "aa"))
    with pytest.raises(FencedError, match="taken over by another worker"):
        zombie.save(UNIT, Checkpoint([entry("db", b"late")], b"late", 9, 9, "aa"))
    again = worker()
    assert list(again.entries(UNIT)) == [entry("db", b"new")]
    assert again.load(UNIT) == Checkpoint((), b"new", 3, 3, "aa")


def test_what_a_late_message_hides_is_written_again_for_compaction(worker, log):
    zombie = worker()
    owner = worker()
    owner.save(UNIT, Checkpoint([entry("db", b"new"), entry("web", b"mine")], b"new", 3, 3, "aa"))
    with pytest.raises(FencedError):
        zombie.save(UNIT, Checkpoint([entry("db", b"late")], b"late", 9, 9, "aa"))
    owner.save(UNIT, Checkpoint([], b"newer", 4, 4, "aa"))
    compacted = {record.key: record.value for record in log.read(CHANGELOG, 1, 0, 100)}
    assert compacted["1/entry/db"].endswith(b"new")
    assert compacted["1/position/"].endswith(b"newer")


def test_what_the_former_owner_saved_between_our_look_and_our_claim_counts(worker, log, kafka_settings):
    former = worker()
    former.save(UNIT, Checkpoint([entry("db", b"old")], b"old", 2, 2, "aa"))

    class Racing(KafkaLog):
        """The former owner saves once more just before the claim is written."""

        raced = False

        def append(self, batch, logged_at):
            if not self.raced:
                self.raced = True
                former.save(UNIT, Checkpoint([entry("db", b"last")], b"last", 3, 3, "aa"))
            return super().append(batch, logged_at)

    racing = Racing(kafka_settings, "tests")
    owner = KafkaStates(kafka_settings, "act", racing)
    owner.take_over(1)
    for states in (owner, worker()):
        assert states.load(UNIT) == Checkpoint((), b"last", 3, 3, "aa")
        assert list(states.entries(UNIT)) == [entry("db", b"last")]
    racing.close()


def test_a_log_made_anew_may_begin_at_a_lower_position(worker):
    states = worker()
    states.save(UNIT, Checkpoint((), b"a", 9, 9, "aaaaaaaa"))
    states.record_crash(UNIT, 9, "then")
    states.save(UNIT, Checkpoint((), b"b", 3, 3, "bbbbbbbb"))
    again = worker()
    assert again.load(UNIT) == Checkpoint((), b"b", 3, 3, "bbbbbbbb")
    assert again.crashes(UNIT) == {}


def test_a_claim_alone_is_no_position(worker):
    worker()
    assert worker().load(UNIT) is None


def test_long_changelogs_are_read_to_their_end(worker):
    states = worker()
    entries = [entry(f"k{number:04}", b"%d" % number) for number in range(3_000)]
    states.save(UNIT, Checkpoint(entries, b"s", 1, 1))
    assert list(worker().entries(UNIT)) == entries


def test_a_strangers_message_is_passed_over_and_what_it_hides_is_written_again(worker, log, kafka_settings):
    owner = worker()
    owner.save(UNIT, Checkpoint([entry("db", b"s"), entry("web", b"w")], b"s", 1, 1))
    producer = KafkaProducer(**producer_options(kafka_settings, "stranger"))
    producer.send(kafka_settings.changelog("act"), key=None, value=b"garbage", partition=1)
    producer.send(kafka_settings.changelog("act"), key=b"1/entry/web", value=None, partition=1)
    producer.close()
    log.append([Outbound(CHANGELOG, "0/position/", b"of another partition", 1)], 0)
    log.append([Outbound(CHANGELOG, "1/entry/db", b"broken", 1)], 0)
    log.append([Outbound(CHANGELOG, "1/position/", b"\x01" + bytes(8) + b"\x00\x00\x00\x017", 1)], 0)
    states = worker()
    assert list(states.entries(UNIT)) == [entry("db", b"s"), entry("web", b"w")]
    assert states.load(UNIT) == Checkpoint((), b"s", 1, 1)
    assert newest(log) == {"1/entry/db": b"s", "1/entry/web": b"w", "1/position/": b"s"}
    log.append([Outbound(CHANGELOG, "1/entry/db", b"broken while it runs", 1)], 0)
    states.save(UNIT, Checkpoint([], b"t", 2, 2))
    assert newest(log) == {"1/entry/db": b"s", "1/entry/web": b"w", "1/position/": b"t"}


def newest(log: KafkaLog) -> dict[str, bytes]:
    """The last bytes of what compaction would keep."""
    end = log.bounds(CHANGELOG, 1)[1]
    return {record.key: record.value[-1:] for record in log.read(CHANGELOG, 1, 0, end) if record.key[:2] == "1/"}


def test_a_newer_programs_changelog_ends_an_old_worker_and_stays_as_it_is(worker, log):
    worker().save(UNIT, Checkpoint([entry("db", b"s")], b"s", 1, 1))
    log.append([Outbound(CHANGELOG, "1/entry/db", b"\x02" + bytes(20), 1)], 0)
    end = log.bounds(CHANGELOG, 1)[1]
    with pytest.raises(UpgradeError):
        worker()
    assert log.bounds(CHANGELOG, 1)[1] == end
