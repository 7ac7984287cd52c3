"""A foreign producer on every topic: what breaks the contract is a dead letter with its place, and the rest goes on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fork_server import fork_server
from kafka import KafkaProducer
from kafka_rig import make_toy_topics, totals_of, wait_until
from run_rig import foreshock
from topic_reading import read_all, unique
from trouble_rig import PARTITIONS, Deployment, be_failing_agents

from connectors.codec import encode
from connectors.kafka_clients import producer_options
from connectors.kafka_groups import committed_offsets
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from connectors.shared_log import INSPECT
from models.event import Event
from models.history import HistoryRecalled
from models.incident import Incident
from models.log import LogBatch, SourceRange
from models.signal import Change, InfraEvent
from models.template import TemplateCounts
from models.topics import INSPECTED, TOPICS, partition_of
from streams.dead_letters import read_letters

BEGIN = 1_767_600_000_000
MEGABYTE = 1_000_000
INBOXES = {"logs": "mine", "counts": "detect", "signals": "respond", "commands": "act"}
OTHERS = [name for name in TOPICS if name not in INBOXES]
REASONS = ("not_json", "bad_envelope", "not_json", "wrong_topic", "not_json")
NAME = {part: next(f"svc{n}" for n in range(99) if partition_of(f"svc{n}", PARTITIONS) == part) for part in range(4)}


def good_batch(partition: int, number: int) -> bytes:
    at = BEGIN + number * 1_000
    source = SourceRange(source_id="s", cursor_from=str(number), cursor_to=str(number + 1), covered_until=at)
    batch = LogBatch(
        sources=(source,),
        services=(NAME[partition],),
        service_index=[0],
        timestamps=[at],
        severity=[0],
        messages=f"line of number {number}",
    )
    return encode(Event(id=f"b{partition}.{number}", at=at, key=str(partition), data=batch, run="tests"))


def good_failure(application: str, number: int) -> bytes:
    data = InfraEvent(
        event_id=f"{application}.{number}",
        source="tests",
        detail_type="RDS-EVENT-0004",
        resource=f"db-{application}",
        resource_type="rds",
        application=application,
        meaning="failure",
    )
    return encode(Event(id=f"e{application}.{number}", at=BEGIN, key=application, data=data, run="tests"))


def changed(value: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(value) | fields).encode()


def bad_ones(topic: str, partition: int) -> list[tuple[str, bytes | None, bytes | None]]:
    """Reason, key and value of messages that the inbox must refuse."""
    other = (partition + 1) % PARTITIONS
    name = str(partition) if topic in ("logs", "counts") else NAME[partition]
    key = name.encode()
    good = good_batch(partition, 0) if topic == "logs" else good_failure(name, 0)
    stranger = good_failure(name, 0) if topic == "logs" else good_batch(partition, 0)
    kept = good if topic in ("logs", "signals") else stranger  # of a type that may not be on the others, either
    refused = "" if topic in ("logs", "signals") else "wrong_topic"
    far = f"mine:logs/{partition}@{10**17}#0.0"
    nowhere = "mine:logs/9999@999#0.0"
    found: list[tuple[str, bytes | None, bytes | None]] = [
        ("not_json", key, b"\x00\xff garbage \x80"),
        ("not_json", key, b""),
        ("not_json", key, None),
        ("not_json", None, b"x"),
        ("not_json", key, b"[" * 100_000),
        ("not_json", key, b"x" * MEGABYTE),
        ("not_json", key, b"x" * (39 * MEGABYTE // 10)),
        ("not_json", b"\xff" * 2 * MEGABYTE, b"a key of two megabytes"),
        ("not_json", key, changed(good).replace(b'"at": 17', b'"at": NaN, "x": 17', 1)),
        ("bad_envelope", key, b"[]"),
        ("bad_envelope", key, b'{"type": "log_batch"}'),
        ("bad_envelope", key, changed(good, at=1e300)),
        ("bad_envelope", key, changed(good, key=7)),
        ("unknown_type", key, changed(good, type="x" * MEGABYTE)),
        ("unknown_version", key, changed(good, v=99)),
        ("bad_payload", key, changed(good, data={"x" * MEGABYTE: 1})),
        ("wrong_topic", key, stranger),
        (refused or "wrong_key", None, kept),
        (refused or "wrong_key", b"\xff\xfe", kept),
        (refused or "wrong_key", b"somebody", kept),
        (refused or "future_cause", key, changed(kept, cause=far)),
        (refused or "future_cause", key, changed(kept, cause=nowhere)),
    ]
    if topic in ("logs", "signals"):
        elsewhere = str(other) if topic == "logs" else NAME[other]
        found.append(("wrong_partition", elsewhere.encode(), changed(good, key=elsewhere)))
    if topic == "logs":
        data = json.loads(good)["data"]
        for wrong in (
            {"timestamps": [2**63]},
            {"service_index": [5]},
            {"severity": [0, 0]},
            {"timestamps": ["9" * 400]},
        ):
            found.append(("", key, changed(good, data=data | wrong)))
    return found


@dataclass
class Foreign:
    """A deployment that a stranger has written to. `bad`: place to reason ("": whatever it says); `batches`: the
    offsets of good batches by partition; `applications`: those with a failure among their signals.
    """

    deployment: Deployment
    bad: dict[str, str] = field(default_factory=dict)
    batches: dict[int, list[int]] = field(default_factory=dict)
    applications: set[str] = field(default_factory=set)

    def send(self, producer: KafkaProducer, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        name = self.deployment.settings.topic(topic)
        return int(producer.send(name, key=key, value=value, partition=partition).get(30).offset)


def write_all(foreign: Foreign, settings: KafkaSettings) -> None:
    options = {**producer_options(settings, "stranger"), "max_request_size": 5 * MEGABYTE}
    producer = KafkaProducer(**options)
    for topic in OTHERS:
        for partition in range(PARTITIONS):
            none = b"" if TOPICS[topic].compacted else None  # a compacted topic takes nothing without a key
            big = b"x" * (39 * MEGABYTE // 10)
            told = (b"x", b"\xff garbage"), (none, b"{}"), (b"\xff", None), (b"1", good_batch(1, 1)), (b"big", big)
            for reason, (key, value) in zip(REASONS, told, strict=True):
                offset = foreign.send(producer, topic, partition, key, value)
                if topic != "dead-letters":
                    foreign.bad[f"{topic}/{partition}@{offset}"] = reason
    for step in ("mine", "detect", "case", "act"):
        for partition in range(PARTITIONS):
            for key in (
                f"{partition}/entry/x",
                f"{partition}/position/",
                f"{partition}/crash/1",
                f"{partition}",
                "junk",
            ):
                for value in (b"\xff", None, b"\x01" + bytes(8) + b"\x00\x00\x00\x017"):
                    producer.send(settings.changelog(step), key=key.encode(), value=value, partition=partition)
    producer.flush()
    transactional = KafkaProducer(**options, transactional_id=f"{settings.prefix}stranger")
    transactional.init_transactions()
    for topic in INBOXES:
        for partition in range(2):
            write_inbox(foreign, producer, transactional, topic, partition)
    transactional.close()
    producer.close()


def write_inbox(
    foreign: Foreign, producer: KafkaProducer, transactional: KafkaProducer, topic: str, partition: int
) -> None:
    """Bad ones, a good one after every third; then what a transaction leaves: markers between offsets."""
    for number, (reason, key, value) in enumerate(bad_ones(topic, partition)):
        offset = foreign.send(producer, topic, partition, key, value)
        foreign.bad[f"{topic}/{partition}@{offset}"] = reason
        if number % 3 == 0:
            write_good(foreign, producer, topic, partition, number + 1)
    for ending in (transactional.commit_transaction, transactional.abort_transaction):
        transactional.begin_transaction()
        offset = foreign.send(transactional, topic, partition, b"x", b"within a transaction")
        foreign.bad[f"{topic}/{partition}@{offset}"] = "not_json"
        ending()
        write_good(foreign, producer, topic, partition, 1_000 + offset)
    last = foreign.send(producer, topic, partition, b"x", b"the last one")
    foreign.bad[f"{topic}/{partition}@{last}"] = "not_json"


def write_good(foreign: Foreign, producer: KafkaProducer, topic: str, partition: int, number: int) -> None:
    if topic == "logs":
        offset = foreign.send(producer, topic, partition, b"%d" % partition, good_batch(partition, number))
        foreign.batches.setdefault(partition, []).append(offset)
    elif topic == "signals":
        name = next(f"app{number}-{n}" for n in range(99) if partition_of(f"app{number}-{n}", PARTITIONS) == partition)
        foreign.send(producer, topic, partition, name.encode(), good_failure(name, number))
        foreign.applications.add(name)


@pytest.fixture(scope="module")
def foreign(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    folder: Path = tmp_path_factory.mktemp("foreign")
    settings = KafkaSettings(bootstrap_servers=(kafka,), prefix=f"t{secrets.token_hex(5)}-")
    roles = (("mine", "detect", "respond"), ("act",))
    deployment = Deployment(folder, settings, roles)
    deployment.apply_topics()
    found = Foreign(deployment)
    write_all(found, settings)
    with deployment:
        deployment.wait_until(
            lambda: found.bad.keys() <= {letter.place for letter in deployment.letters()},
            lambda: str(sorted(found.bad.keys() - {letter.place for letter in deployment.letters()})[:9]),
        )
        yield found


def test_each_bad_message_is_found_with_its_reason_and_place(foreign: Foreign) -> None:
    done = foreshock("dead-letters", "list", "--json", "--config", foreign.deployment.config)
    assert done.returncode == 0, done.stderr
    letters = [json.loads(line) for line in done.stdout.splitlines()]
    reasons = {letter["original"]: letter["reason"] for letter in letters}
    assert reasons.keys() == foreign.bad.keys()
    assert {place: reasons[place] for place, reason in foreign.bad.items() if reason} == {
        place: reason for place, reason in foreign.bad.items() if reason
    }
    assert len(letters) == len(foreign.bad)
    for place in ("logs/0", "signals/1", "commands/0"):
        offsets = [int(letter["original"].split("@")[1]) for letter in letters if letter["original"].startswith(place)]
        assert offsets == sorted(offsets)


def test_what_is_good_is_taken_in_order_and_no_role_ends(foreign: Foreign) -> None:
    deployment = foreign.deployment
    counts = [event.data.input for event in deployment.events("counts") if isinstance(event.data, TemplateCounts)]
    for partition, offsets in foreign.batches.items():
        assert [place.offset for place in counts if place.partition == partition] == offsets
    deployment.wait_until(
        lambda: (
            foreign.applications
            <= {event.data.application for event in deployment.events("incidents") if isinstance(event.data, Incident)}
        ),
        "not every application has its incident",
    )
    assert deployment.exits == [], deployment.exits[0].said[-1_000:]


def test_history_is_recalled_from_among_the_garbage(foreign: Foreign) -> None:
    deployment = foreign.deployment

    def recalled() -> set[str]:
        return {event.key for event in deployment.events("signals") if isinstance(event.data, HistoryRecalled)}

    deployment.wait_until(lambda: foreign.applications <= recalled(), "history was not recalled for all")


def test_offsets_are_committed_to_the_end(foreign: Foreign) -> None:
    deployment = foreign.deployment
    places = [place for place in foreign.bad if not place.startswith("counts")]  # detect saves within a minute
    last = {place.rsplit("@", 1)[0]: int(place.rsplit("@", 1)[1]) for place in places}

    def behind() -> list[str]:
        found = {
            f"{topic}/{partition}": offset
            for topic, role in (INBOXES | dict.fromkeys(INSPECTED, INSPECT)).items()
            for partition, offset in committed_offsets(deployment.settings, "test", role, topic).items()
        }
        return [place for place, offset in last.items() if found.get(place, 0) <= offset]

    deployment.wait_until(lambda: not behind(), lambda: f"behind: {behind()}")


def test_a_letter_is_shown_and_replayed_to_come_back(foreign: Foreign) -> None:
    config = foreign.deployment.config
    place = next(place for place, reason in foreign.bad.items() if reason == "wrong_key")
    done = foreshock("dead-letters", "show", place, "--config", config)
    assert "reason    wrong_key" in done.stdout
    done = foreshock("dead-letters", "replay", place, "--yes", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    topic, again = place.split("/")[0], len(foreign.bad) + 1
    foreign.deployment.wait_until(lambda: len(foreign.deployment.letters()) >= again, "it did not come back")
    newest = max(foreign.deployment.letters(), key=lambda letter: letter.event.logged_at)
    assert (newest.data.topic, newest.data.reason) == (topic, "wrong_key")


@pytest.mark.parametrize("command", [("incidents",), ("lag",), ("tap", "history"), ("tap", "dead-letters")])
def test_readers_pass_over_the_garbage(foreign: Foreign, command: tuple[str, ...]) -> None:
    done = foreshock(*command, "--config", foreign.deployment.config)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_record_at_which_a_step_fails_is_quarantined_after_three_lives(kafka_settings, tmp_path: Path) -> None:
    make_toy_topics(kafka_settings)
    log = KafkaLog(kafka_settings, "test")
    place = partition_of("app", 2)
    log.append([change(number) for number in (1, 13, 2)], 0)
    with fork_server() as server:
        for _ in range(3):
            process = server.Process(target=be_failing_agents, args=(kafka_settings, tmp_path / "log"))
            process.start()
            process.join(60)
            assert process.exitcode == 70
        assert f"total/{place} failed at signals/{place}@1: RuntimeError('a defect')" in (tmp_path / "log").read_text()
        process = server.Process(target=be_failing_agents, args=(kafka_settings, tmp_path / "log"))
        process.start()
        wait_until(lambda: totals_of(unique(read_all(log, "audit"))) == {("app", 1): 1, ("app", 3): 1}, "it goes on")
        process.kill()
    (letter,) = read_letters(log)
    assert (letter.place, letter.data.reason) == (f"signals/{place}@1", "quarantined")
    log.close()


def change(number: int) -> Outbound:
    data = Change(
        change_id=str(number), source="toy", kind="config", resource="r", application="app", after=str(number)
    )
    return Outbound("signals", "app", encode(Event(id=f"c{number}", at=BEGIN, key="app", data=data)))
