"""The topics that no step reads, inspected on a real broker: what does not belong there is one letter."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from cli_rig import run_cli
from fork_server import fork_server
from kafka import KafkaAdminClient, KafkaProducer
from kafka_broker import make_topics, proxied_broker
from role_rig import Roles, wait_until
from topic_reading import read_all

from connectors.clock import WallClock
from connectors.codec import decode_record
from connectors.kafka_clients import producer_options
from connectors.kafka_groups import committed_offsets, read_groups
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_share import KafkaShare
from connectors.ports import Record
from connectors.shared_log import INSPECT
from models.errors import BrokerError, StalledError
from models.topics import INSPECTED, TOPICS, partition_of
from streams import inspector
from streams.dead_letters import raw_bytes, read_letters
from streams.inspector import Inspector, inspect
from streams.inspector_watch import InspectorWatch, Place
from streams.step_host import Deployment

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
PARTITIONS = 4
MEGABYTE = 1_000_000


class Message(NamedTuple):
    """`reason` "": it belongs there."""

    reason: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.v1.json").read_bytes())
    return found


def messages(topic: str, run: str) -> list[Message]:
    """Genuine ones of each type before, between and after everything that breaks a contract."""
    good = [Message("", topic, home(topic, golden(name)["key"]), *line(golden(name))) for name in TOPICS[topic].types]
    event = golden(TOPICS[topic].types[0])
    key, value = line(event)
    at = home(topic, event["key"])
    newer = event | {"v": 2, "data": {"x": 1}, "run": run}
    stranger = golden("log_batch")

    def wrong(reason: str, value: bytes | None, key: bytes | None = key, partition: int = at) -> Message:
        return Message(reason, topic, partition, key, value)

    return [
        *good,
        wrong("not_json", b"\x00\xff garbage \x80"),
        wrong("not_json", None),
        wrong("not_json", b"x" * MEGABYTE),
        wrong("not_json", b"a key of a megabyte", b"\xff" * MEGABYTE),
        wrong("bad_envelope", b"[]"),
        wrong("bad_envelope", json.dumps(event | {"at": "noon"}).encode()),
        wrong("unknown_type", json.dumps(event | {"type": "nonsense"}).encode()),
        *good,
        wrong("bad_payload", json.dumps(event | {"data": {"x": 1}}).encode()),
        wrong("unknown_version", json.dumps(event | {"v": 0}).encode()),
        wrong("unknown_version", json.dumps(event | {"v": 99, "run": run}).encode()),
        wrong("unknown_version", json.dumps(newer | {"run": "another"}).encode()),
        wrong("", json.dumps(newer).encode()),
        Message("wrong_topic", topic, home(topic, stranger["key"]), *line(stranger)),
        wrong("wrong_key", value, b"somebody"),
        wrong("wrong_key", value, b"\xff\xfe"),
        wrong("wrong_key", value, b""),
        wrong("wrong_partition", value, partition=(at + 1) % PARTITIONS),
        *good,
    ]


def line(event: dict[str, Any]) -> tuple[bytes, bytes]:
    return event["key"].encode(), json.dumps(event).encode()


def home(topic: str, key: str) -> int:
    return 0 if topic == "catalog" else partition_of(key, PARTITIONS)


def write(settings: KafkaSettings, *given: Message) -> list[str]:
    """Their places, in order."""
    options = {**producer_options(settings, "stranger"), "max_request_size": 4 * MEGABYTE}
    producer = KafkaProducer(**options)
    sent = [producer.send(settings.topic(m.topic), m.value, m.key, partition=m.partition) for m in given]
    places = [f"{m.topic}/{m.partition}@{future.get(30).offset}" for m, future in zip(given, sent, strict=True)]
    producer.close()
    return places


def garbage(topic: str, partition: int = 0) -> Message:
    return Message("not_json", topic, partition, b"x", b"\xff garbage")


def deployment_of(settings: KafkaSettings) -> Deployment:
    return Deployment(PARTITIONS, settings.run, "", WallClock())


@contextmanager
def inspecting(settings: KafkaSettings) -> Iterator[list[BaseException]]:
    """An inspector at work; what it has failed of."""
    failed: list[BaseException] = []
    working = Inspector(settings, deployment_of(settings), failed.append)
    working.start()
    try:
        yield failed
    finally:
        working.stop()


def inspected_to_the_end(settings: KafkaSettings, log: KafkaLog) -> bool:
    for topic in INSPECTED:
        ends = {partition: end for partition, end in log.ends(topic).items() if end}
        try:
            if committed_offsets(settings, "tests", INSPECT, topic) != ends:
                return False
        except BrokerError:  # a new broker's first group has no coordinator yet
            return False
    return True


def shares(settings: KafkaSettings) -> list[int]:
    """How many partitions each member of the group has."""
    admin = KafkaAdminClient(bootstrap_servers=list(settings.bootstrap_servers))
    try:
        group = admin.describe_groups([settings.group(INSPECT)])[settings.group(INSPECT)]
    finally:
        admin.close()
    assigned = [member["member_assignment"] for member in group["members"]]
    return [
        sum(len(topic["partitions"]) for topic in each["assigned_partitions"]) if isinstance(each, dict) else 0
        for each in assigned
    ]


def be_killed_before_the_commit(settings: KafkaSettings) -> None:
    KafkaShare.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    working = Inspector(settings, deployment_of(settings), lambda _: os._exit(70))
    working._work()


@pytest.fixture
def settings(kafka_settings: KafkaSettings) -> KafkaSettings:
    make_topics(kafka_settings, PARTITIONS)
    return kafka_settings


@pytest.fixture
def log(kafka_settings: KafkaSettings) -> Iterator[KafkaLog]:
    made = KafkaLog(kafka_settings, "tests")
    yield made
    made.close()


def test_the_inspected_topics_are_all_that_no_step_reads_but_the_dead_letters_own() -> None:
    read = {topic.name for topic in TOPICS.values() if topic.inbox_of}
    assert set(TOPICS) - set(INSPECTED) == read | {"dead-letters"}


def test_whatever_breaks_its_contract_on_any_topic_is_one_dead_letter_and_nothing_genuine_is(
    settings: KafkaSettings, log: KafkaLog
) -> None:
    given = [message for topic in INSPECTED for message in messages(topic, settings.run)]
    places = write(settings, *given)
    before = {topic: read_all(log, topic) for topic in INSPECTED}
    with inspecting(settings) as failed:
        wait_until(lambda: inspected_to_the_end(settings, log), "it does not come to the end")
    assert failed == []
    letters = {letter.place: letter for letter in read_letters(log)}
    found = {place: letter.data.reason for place, letter in letters.items()}
    assert found == {place: message.reason for place, message in zip(places, given, strict=True) if message.reason}
    records = read_all(log, "dead-letters")
    assert len(records) == len(found) == len({decode_record(record).id for record in records})
    for place, message in zip(places, given, strict=True):
        if message.reason:
            assert raw_bytes(letters[place].data) == (message.value or b"")[:4_096]
    assert {topic: read_all(log, topic) for topic in INSPECTED} == before


def test_letters_of_one_partition_are_in_the_order_of_what_they_are_about(
    settings: KafkaSettings, log: KafkaLog
) -> None:
    places = write(settings, *(garbage(topic, 1) for _ in range(20) for topic in ("alerts", "audit")))
    with inspecting(settings):
        wait_until(lambda: inspected_to_the_end(settings, log), "it does not come to the end")
    told = [letter.place for letter in read_letters(log)]
    for topic in ("alerts", "audit"):
        about = [place for place in places if place.startswith(topic)]
        assert [place for place in told if place.startswith(topic)] == about


def test_killed_between_letter_and_commit_it_writes_the_same_letter_again_and_people_see_one(
    settings: KafkaSettings, log: KafkaLog, tmp_path: Path
) -> None:
    places = write(settings, garbage("incidents"), garbage("incidents"))
    with fork_server() as server:
        process = server.Process(target=be_killed_before_the_commit, args=(settings,))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert committed_offsets(settings, "tests", INSPECT, "incidents") == {}
    with inspecting(settings):
        wait_until(lambda: inspected_to_the_end(settings, log), "it does not come to the end")
    ids = [decode_record(record).id for record in read_all(log, "dead-letters")]
    assert ids == [*dict.fromkeys(ids)] * 2
    config = tmp_path / "foreshock.yaml"
    servers = json.dumps(settings.bootstrap_servers)
    config.write_text(
        f"partitions: {PARTITIONS}\nkafka:\n  prefix: {settings.prefix}\n  bootstrap_servers: {servers}\n"
    )
    listed = run_cli("dead-letters", "list", "--json", "--config", config)
    assert [row["original"] for row in listed.rows] == places
    refused = run_cli("dead-letters", "replay", places[0], "--yes", "--config", config)
    assert (refused.code, "no step reads there" in refused.out) == (1, True)


def test_while_topics_are_missing_it_waits_says_so_once_and_begins_when_they_are_there(
    kafka_settings: KafkaSettings, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def joined(settings: KafkaSettings, *args: Any, **options: Any) -> KafkaShare:
        tries.append(settings.prefix)
        return KafkaShare(settings, *args, **options)

    monkeypatch.setattr(inspector, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr(inspector, "KafkaShare", joined)
    with structlog.testing.capture_logs() as said, inspecting(kafka_settings) as failed:
        wait_until(lambda: len(tries) > 2, "it does not try again")
        make_topics(kafka_settings, PARTITIONS, INSPECTED[:3])
        make_topics(kafka_settings, PARTITIONS, [name for name in TOPICS if name not in INSPECTED[:3]])
        write(kafka_settings, garbage("journal"))
        wait_until(lambda: inspected_to_the_end(kafka_settings, log), "it does not come to the end")
    assert failed == []
    assert [letter.place for letter in read_letters(log)] == ["journal/0@0"]
    warned = [line["error"] for line in said if line["log_level"] == "warning" and "inspected" in line["event"]]
    assert len(warned) == 1
    assert "foreshock topics apply" in warned[0]


def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    with proxied_broker(tmp_path) as (own, proxy):
        settings = KafkaSettings(bootstrap_servers=(own.bootstrap,))
        make_topics(settings, PARTITIONS)
        log = KafkaLog(settings, "tests")
        with inspecting(settings) as failed:
            write(settings, garbage("alerts"))
            wait_until(lambda: len(list(read_letters(log))) == 1, "no letter")
            proxy.cut()
            with structlog.testing.capture_logs() as said, inspecting(settings) as failed_later:
                wait_until(lambda: any("not inspected for now" in line["event"] for line in said), "it says nothing")
                proxy.restore()
                write(settings, garbage("alerts"))
                wait_until(lambda: len(list(read_letters(log))) == 2, "no letter after the outage")
        assert failed == failed_later == []
        log.close()


def test_an_inspector_that_stops_without_an_error_is_told_as_one_that_stands_still(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = KafkaShare.poll

    def poll(share: KafkaShare, seconds: float) -> Sequence[Record]:
        read(share, seconds)
        return []

    monkeypatch.setattr(KafkaShare, "poll", poll)
    write(settings, garbage("audit", 2))
    failed: list[BaseException] = []
    working = Inspector(settings, deployment_of(settings), failed.append, stall_seconds=0.5, look_seconds=0.1)
    working.start()
    wait_until(lambda: bool(failed), "nobody notices")
    working.stop()
    (error,) = failed
    assert isinstance(error, StalledError)
    assert "audit/2 " in str(error)


def looked(settings: KafkaSettings, assigned: frozenset[Place] | None) -> list[BaseException]:
    """What a watch without any patience tells in ten looks."""
    failed: list[BaseException] = []
    looks = itertools.count(1)
    enough = threading.Event()

    def asked() -> frozenset[Place] | None:
        if next(looks) > 10:
            enough.set()
        return assigned

    watch = InspectorWatch(settings, asked, failed.append, stall_seconds=1e-6, look_seconds=0.01)
    watch.start()
    wait_until(lambda: enough.is_set() or bool(failed), "it does not look")
    watch.stop()
    return failed


def test_one_that_is_at_the_end_or_waits_for_kafka_is_left_alone(settings: KafkaSettings, log: KafkaLog) -> None:
    everything = frozenset((topic, part) for topic in INSPECTED for part in range(PARTITIONS))
    with inspecting(settings):
        write(settings, garbage("alerts"))
        wait_until(lambda: inspected_to_the_end(settings, log), "it does not come to the end")
        assert looked(settings, everything) == []
    write(settings, garbage("alerts"))
    assert looked(settings, None) == []
    assert isinstance(looked(settings, everything)[0], StalledError)
    assert isinstance(looked(settings, frozenset())[0], StalledError)  # a group that shares nothing out


def test_a_defect_ends_the_process_with_its_reason(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("a defect")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Inspector, "_take", fail)
    write(settings, garbage("alerts"))
    with inspecting(settings) as failed:
        wait_until(lambda: bool(failed), "nobody is told")
    assert failed == [error]


def test_a_record_at_which_inspecting_fails_is_a_dead_letter_and_does_not_end_the_role(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(inspector, "decode_record", fail)
    error = inspect(Record("alerts", 0, 7, "k", b"{}", 0), PARTITIONS, "run")
    assert error is not None
    assert (error.reason, error.detail) == ("defect", "RuntimeError('a defect')")


def test_workers_of_respond_share_the_topics_out_and_end_in_good_order(
    settings: KafkaSettings, log: KafkaLog, tmp_path: Path
) -> None:
    with Roles.of(tmp_path, settings, PARTITIONS) as roles:
        first, second = roles.start("respond"), roles.start("respond")
        wait_until(lambda: all(shares(settings)) and len(shares(settings)) == 2, roles.said)
        places = write(settings, *(garbage(topic, part) for topic in INSPECTED for part in range(PARTITIONS)))
        wait_until(lambda: inspected_to_the_end(settings, log), roles.said)
        groups = read_groups(settings, "tests")
        assert [group.role for group in groups[:4]] == ["mine", "detect", "respond", "act"]
        assert [(group.role, group.topic, len(group.members)) for group in groups[4:]] == [
            (INSPECT, topic, 2) for topic in INSPECTED
        ]
        assert roles.stop(first) == 0
        places += write(settings, garbage("alerts", 0), garbage("alerts", 3))
        wait_until(lambda: inspected_to_the_end(settings, log), roles.said)
        assert roles.stop(second) == 0
    assert sorted(letter.place for letter in read_letters(log)) == sorted(places)
