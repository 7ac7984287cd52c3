"""The worker on a real broker: killed, stopped, frozen, fenced; bad input, gaps, poison, topics gone and made anew."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from act_process import (
    POISON,
    TARGETS,
    ActProcess,
    Tail,
    commanded,
    event,
    order,
    publish_catalog,
    working,
)
from kafka import KafkaAdminClient, KafkaProducer
from kafka_broker import make_topics

from connectors.kafka_clients import client_options, producer_options
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_states import KafkaStates
from connectors.ports import Checkpoint, Outbound, UnitName
from models.errors import BrokerError, PoisonError
from models.event import Event
from models.signing import KeyRing, sign
from models.topics import partition_of

PARTITIONS = 4


@pytest.fixture
def settings(kafka_settings: KafkaSettings) -> KafkaSettings:
    make_topics(kafka_settings, PARTITIONS)
    return kafka_settings


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    made = KafkaLog(settings, "tests")
    publish_catalog(made)
    yield made
    made.close()


def on(partition: int) -> list[str]:
    """The targets of a partition."""
    return [name for name in TARGETS if partition_of(name, PARTITIONS) == partition]


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().split() if file.exists() else []


def wait_until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def takes_over(worker: ActProcess, partitions: int) -> None:
    wait_until(lambda: worker.said().count("taken over") >= partitions)


class Chaos:
    """Two workers, and commands one after another."""

    def __init__(self, settings: KafkaSettings, log: KafkaLog, folder: Path) -> None:
        self.settings, self.log, self.folder = settings, log, folder
        self.outcomes, self.journal = Tail(log, "signals"), Tail(log, "journal")
        self.sent = 0
        self.workers = [ActProcess(settings, folder), ActProcess(settings, folder)]

    def order(self, count: int) -> None:
        names = range(self.sent, self.sent + count)
        self.log.append([commanded(f"c{number}", TARGETS[number]) for number in names], 0)
        self.sent += count

    def order_and_wait_for_a_call(self, count: int) -> None:
        """One is under way when this returns."""
        self.outcomes.wait(self.sent)
        before = len(calls(self.folder))
        self.order(count)
        wait_until(lambda: len(calls(self.folder)) > before)

    def replace(self, number: int) -> None:
        self.workers[number] = ActProcess(self.settings, self.folder)

    def close(self) -> None:
        for worker in self.workers:
            worker.thaw()
            worker.kill()


@pytest.fixture
def chaos(settings: KafkaSettings, log: KafkaLog, tmp_path: Path) -> Iterator[Chaos]:
    made = Chaos(settings, log, tmp_path)
    yield made
    made.close()


def test_killed_frozen_and_stopped_workers_give_each_command_one_outcome_and_each_action_once(chaos: Chaos) -> None:
    for worker in chaos.workers:
        takes_over(worker, 1)
    chaos.order_and_wait_for_a_call(12)
    chaos.workers[0].kill()
    chaos.replace(0)
    frozen, other = chaos.workers[1], chaos.workers[0]
    takes_over(other, 1)
    chaos.order_and_wait_for_a_call(12)
    frozen.freeze()
    takes_over(other, other.said().count("taken over") + PARTITIONS)
    frozen.thaw()
    chaos.order_and_wait_for_a_call(12)
    assert other.terminate() == 0, other.said()
    chaos.replace(0)
    chaos.order(4)
    found = chaos.outcomes.wait(chaos.sent)
    assert Counter(item.data.command_id for item in found) == {f"c{n}": 1 for n in range(chaos.sent)}
    assert {item.data.result for item in found} == {"recovered"}, found
    assert set(calls(chaos.folder)) == chaos.journal.intents()
    assert not (chaos.folder / "unjournalled").exists()
    assert len(set(calls(chaos.folder))) == 3 * chaos.sent
    assert_intents_come_first(chaos.journal)
    assert not Tail(chaos.log, "dead-letters").look()


def assert_intents_come_first(journal: Tail) -> None:
    """Each message once: a call's answer follows its intent, and a target's numbers have no holes."""
    known: dict[str, Event[Any]] = {}
    asked: set[str] = set()
    numbers: dict[str, list[int]] = {}
    for item in journal.look():
        if known.setdefault(item.id, item) is not item:
            continue
        entry = item.data
        numbers.setdefault(entry.command_id, []).append(entry.seq)
        if entry.entry == "intent":
            asked.add(entry.effect_id)
        elif entry.entry == "answer":
            assert entry.effect_id in asked
    for found in numbers.values():
        assert found == list(range(found[0], found[0] + len(found)))


def test_bad_input_becomes_dead_letters_in_its_order_and_the_rest_goes_on(
    log: KafkaLog, settings: KafkaSettings, tmp_path: Path
) -> None:
    here, other = on(1)[0], on(2)[0]
    stranger = KeyRing({"k9": b"f" * 32}, "k9")
    forged = sign(order("forged", here).model_copy(update={"key_id": "", "signature": ""}), stranger)
    log_id = log.log_id("signals")
    bad = [
        Outbound("commands", here, b"\x00garbage", 1),
        Outbound("commands", here, b'{"v":1}', 1),
        Outbound("commands", here, event(forged, here, "forged"), 1),
        commanded("astray", other)._replace(partition=1),
        commanded("other-key", here)._replace(key=on(1)[1]),
        commanded("future", here, cause=f"case:signals+{log_id}/0@999999#0.0"),
        commanded("nowhere", here, cause="case:signals/77@999999#0.0"),
        Outbound("commands", here, b"x" * 1_000_000, 1),
    ]
    begin = log.bounds("commands", 1)[1]
    log.append([*bad, commanded("good", here)], 0)
    with working(settings, tmp_path):
        found = Tail(log, "signals").wait(1)
        letters = Tail(log, "dead-letters").wait(len(bad))
    assert [item.data.command_id for item in found] == ["good"]
    assert found[0].data.result == "recovered"
    assert [letter.data.reason for letter in letters] == [
        "not_json",
        "bad_envelope",
        "unknown signing key",
        "wrong_partition",
        "wrong_key",
        "future_cause",
        "future_cause",
        "not_json",
    ]
    assert [(item.data.topic, item.data.partition, item.data.offset) for item in letters] == [
        ("commands", 1, begin + number) for number in range(len(bad))
    ]


def test_a_cause_that_exists_is_believed_and_taken_once(log: KafkaLog, settings: KafkaSettings, tmp_path: Path) -> None:
    here = on(1)[0]
    (signal,) = log.append([Outbound("signals", "shop", b"whatever came in")], 0)
    cause = f"case:signals+{log.log_id('signals')}/{signal.partition}@{signal.offset}#0.0"
    log.append([commanded("good", here, cause), commanded("again", on(1)[1], cause)], 0)
    log.append([commanded("last", on(1)[2])], 0)
    with working(settings, tmp_path):
        journal = Tail(log, "journal")
        wait_until(lambda: {"good", "last"} <= {item.data.command_id for item in journal.look()})
    assert "again" not in {item.data.command_id for item in journal.look()}


def test_a_defect_stops_the_worker_at_a_named_place_until_the_record_is_quarantined(
    log: KafkaLog, settings: KafkaSettings, tmp_path: Path
) -> None:
    partition = partition_of(POISON, PARTITIONS)
    (record,) = log.append([commanded("poison", POISON)], 0)
    log.append([commanded("good", on(partition)[0])], 0)
    for _ in range(3):
        with working(settings, tmp_path) as worker:
            error = worker.exception(60)
        assert isinstance(error, PoisonError)
        assert f"act/{partition} failed at commands/{partition}@{record.offset}" in str(error)
    with working(settings, tmp_path):
        (letter,) = Tail(log, "dead-letters").wait(1)
        (outcome,) = Tail(log, "signals").wait(1)
    assert (letter.data.reason, letter.data.offset) == ("quarantined", record.offset)
    assert outcome.data.command_id == "good"


def test_markers_of_transactions_and_records_that_retention_took_are_passed_over(
    log: KafkaLog, settings: KafkaSettings, tmp_path: Path
) -> None:
    producer = KafkaProducer(**producer_options(settings, "x"), transactional_id=f"{settings.prefix}x")
    producer.init_transactions()
    for _ in range(3):
        producer.begin_transaction()
        producer.send(settings.topic("commands"), key=b"x", value=b"garbage", partition=1)
        producer.commit_transaction()
    producer.close()
    log.append([commanded("good", on(1)[0])], 0)
    with working(settings, tmp_path):
        (outcome,) = Tail(log, "signals").wait(1)
        assert len(Tail(log, "dead-letters").wait(3)) == 3
    assert outcome.data.command_id == "good"


def test_a_topic_made_anew_is_read_from_its_beginning_and_targets_remember(
    log: KafkaLog, settings: KafkaSettings, tmp_path: Path
) -> None:
    here = on(1)[0]
    log.append([Outbound("commands", here, event(order("c1", here, cooldown_seconds=300), here, "first"))], 0)
    outcomes = Tail(log, "signals")
    with working(settings, tmp_path):
        outcomes.wait(1)
    admin = KafkaAdminClient(**client_options(settings, "tests"))
    admin.delete_topics([settings.topic("commands")])
    admin.close()
    make_topics(settings, PARTITIONS, ["commands"])
    fresh = KafkaLog(settings, "tests")
    publish_catalog(fresh)
    fresh.append([Outbound("commands", here, event(order("c2", here, cooldown_seconds=300), here, "second"))], 0)
    fresh.close()
    with working(settings, tmp_path):
        outcomes.wait(2)
    assert [(item.data.command_id, item.data.result) for item in outcomes.events] == [
        ("c1", "recovered"),
        ("c2", "refused"),
    ]
    assert "cooldown" in outcomes.events[1].data.reason


def test_records_that_the_cluster_has_lost_stop_the_worker_with_what_to_do(
    log: KafkaLog, settings: KafkaSettings, tmp_path: Path
) -> None:
    states = KafkaStates(settings, "act", log)
    states.take_over(1)
    states.save(UnitName("act", 1), Checkpoint((), None, 1_000, 1_000, log.log_id("commands")))
    with working(settings, tmp_path) as worker:
        error = worker.exception(60)
    assert isinstance(error, BrokerError)
    assert "commands/1 ends at 1" in str(error)
    assert "foreshock topics apply" in str(error)


def test_a_fenced_worker_starts_nothing_and_whoever_takes_over_next_does(
    log: KafkaLog, settings: KafkaSettings, tmp_path: Path
) -> None:
    here = on(1)[0]
    zombie, owner = tmp_path / "zombie", tmp_path / "owner"
    zombie.mkdir()
    owner.mkdir()
    journal, outcomes = Tail(log, "journal"), Tail(log, "signals")
    with working(settings, zombie):
        log.append([commanded("c1", here)], 0)
        outcomes.wait(1)
        KafkaStates(settings, "act", log).take_over(1)
        log.append([commanded("c2", on(1)[1])], 0)
        wait_until(lambda: "c2" in {item.data.command_id for item in journal.look()})
    with working(settings, owner):
        outcomes.wait(2)
    assert (len(calls(zombie)), len(calls(owner))) == (3, 3)
    assert {item.data.result for item in outcomes.events} == {"recovered"}
