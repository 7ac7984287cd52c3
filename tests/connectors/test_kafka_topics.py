"""Topics on a real broker: made as planned, by two at once, too; what would break keys is refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource
from kafka_broker import broker

from connectors.kafka_clients import MAX_MESSAGE_BYTES, producer_options
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_topics import TopicState, apply, describe, diff, open_admin, plan
from models.errors import BrokerError, ConfigError
from models.topics import TOPICS

DAY = 86_400_000


@pytest.fixture
def admin(kafka_settings: KafkaSettings) -> Iterator[Any]:
    made = open_admin(kafka_settings)
    yield made
    mine = [name for name in made.list_topics() if name.startswith(kafka_settings.prefix)]
    if mine:
        made.delete_topics(mine)
    made.close()


def names(settings: KafkaSettings, partitions: int = 2) -> list[str]:
    return [wanted.name for wanted in plan(settings, partitions)]


def test_the_plan_holds_every_topic_and_a_changelog_for_each_step() -> None:
    plans = {wanted.name: wanted for wanted in plan(KafkaSettings(prefix="p-", retention_days={"logs": 1.5}), 6)}
    assert {wanted.topic for wanted in plans.values()} == {*TOPICS, ""}
    assert {name for name, wanted in plans.items() if wanted.changelog_of} == {
        f"p-foreshock-{step}-state" for step in ("mine", "detect", "case", "act")
    }
    assert {wanted.partitions for wanted in plans.values()} == {6}
    assert plans["p-logs"].configs["retention.ms"] == str(int(1.5 * DAY))
    assert plans["p-counts"].configs["retention.ms"] == str(30 * DAY)
    assert {name for name, wanted in plans.items() if wanted.compacted and not wanted.changelog_of} == {
        "p-health", "p-history", "p-catalog"
    }  # fmt: skip
    for wanted in plans.values():
        assert wanted.configs["message.timestamp.type"] == "LogAppendTime"
        assert ("retention.ms" in wanted.configs) is not wanted.compacted
        if not wanted.compacted:  # a file is closed, and can be deleted, many times within what is kept
            assert int(wanted.configs["segment.ms"]) * 12 <= int(wanted.configs["retention.ms"])


def test_what_is_missing_is_created_as_planned_and_a_second_apply_changes_nothing(
    admin: Any, kafka_settings: KafkaSettings
) -> None:
    plans = plan(kafka_settings, 2)
    differences = diff(plans, describe(admin, kafka_settings, names(kafka_settings)))
    assert [str(item) for item in differences] == [f"{name} is missing" for name in names(kafka_settings)]
    assert apply(admin, kafka_settings, plans) == differences
    found = describe(admin, kafka_settings, names(kafka_settings))
    assert diff(plans, found) == []
    assert apply(admin, kafka_settings, plans) == []
    state = found[kafka_settings.changelog("detect")]
    assert (state.partitions, state.replication, state.nexts) == (2, 1, {0: 0, 1: 0})
    assert (state.configs["cleanup.policy"], state.configs["segment.bytes"]) == ("compact", "16777216")


def test_two_processes_may_apply_at_once(admin: Any, kafka_settings: KafkaSettings) -> None:
    others = [open_admin(kafka_settings, f"admin-{number}") for number in range(3)]
    plans = plan(kafka_settings, 2)
    try:
        with ThreadPoolExecutor(3) as pool:
            done = list(pool.map(lambda other: apply(other, kafka_settings, plans), others))
    finally:
        for other in others:
            other.close()
    assert len(done) == 3
    assert diff(plans, describe(admin, kafka_settings, names(kafka_settings))) == []


def test_the_largest_message_and_the_brokers_time_are_taken(admin: Any, kafka_settings: KafkaSettings) -> None:
    apply(admin, kafka_settings, plan(kafka_settings, 2))
    producer = KafkaProducer(**producer_options(kafka_settings, "test"))
    try:
        value = b"x" * (MAX_MESSAGE_BYTES - 1_000)
        sent = producer.send(kafka_settings.topic("counts"), key=b"k", value=value, partition=1, timestamp_ms=1)
        assert sent.get(timeout=20).timestamp > 1_000_000_000_000
    finally:
        producer.close()
    state = describe(admin, kafka_settings, names(kafka_settings))[kafka_settings.topic("counts")]
    assert (state.firsts, state.nexts) == ({0: 0, 1: 0}, {0: 0, 1: 1})
    assert (state.size_bytes or 0) > 1_000


def test_a_changed_setting_is_altered_and_what_others_set_stays(admin: Any, kafka_settings: KafkaSettings) -> None:
    apply(admin, kafka_settings, plan(kafka_settings, 2))
    logs = kafka_settings.topic("logs")
    admin.alter_configs([ConfigResource("TOPIC", logs, {"retention.ms": "100000", "retention.bytes": "1000000000"})])
    while not (found := diff(plan(kafka_settings, 2), describe(admin, kafka_settings, names(kafka_settings)))):
        pass  # the controller has it; this broker will
    (difference,) = found
    assert str(difference) == f"{logs}: retention.ms is 100000, must be {3 * DAY}"
    assert apply(admin, kafka_settings, plan(kafka_settings, 2)) == [difference]
    state = describe(admin, kafka_settings, [logs])[logs]
    assert (state.configs["retention.ms"], state.configs["retention.bytes"]) == (str(3 * DAY), "1000000000")


def test_another_number_of_partitions_is_refused_with_the_way_to_move_and_nothing_is_changed(
    admin: Any, kafka_settings: KafkaSettings
) -> None:
    apply(admin, kafka_settings, plan(kafka_settings, 2))
    shorter = kafka_settings.model_copy(update={"retention_days": {"logs": 1.0}})
    with pytest.raises(ConfigError) as caught:
        apply(admin, shorter, plan(shorter, 3))
    assert "partitions is 2, must be 3" in str(caught.value)
    for word in ("Write `partitions: 2`", "kafka.prefix", "foreshock topics apply", "foreshock lag"):
        assert word in str(caught.value)
    found = describe(admin, kafka_settings, names(kafka_settings))
    assert {state.partitions for state in found.values()} == {2}
    assert found[kafka_settings.topic("logs")].configs["retention.ms"] == str(3 * DAY)


def test_a_compacted_topic_is_not_made_to_forget(admin: Any, kafka_settings: KafkaSettings) -> None:
    alerts = kafka_settings.topic("alerts")
    configs = {"cleanup.policy": "compact"}
    admin.create_topics({alerts: {"num_partitions": 2, "replication_factor": 1, "configs": configs}})
    admin.wait_for_topics([alerts])
    with pytest.raises(ConfigError, match=rf"{alerts}: cleanup.policy is compact, must be delete.*would be lost"):
        apply(admin, kafka_settings, plan(kafka_settings, 2))
    assert list(describe(admin, kafka_settings, names(kafka_settings))) == [alerts]


def test_other_copies_are_left_to_a_person_and_do_not_hold_up_the_rest() -> None:
    plans = plan(KafkaSettings(replication=3, min_insync=2), 1)
    found = {p.name: TopicState(p.name, 1, 1, {**p.configs, "min.insync.replicas": "1"}) for p in plans[:1]}
    copies, insync, *_ = diff(plans, found)
    assert (copies.setting, copies.refused) == ("replication", False)
    assert "kafka-reassign-partitions.sh" in copies.remedy
    assert (insync.setting, insync.must_be, insync.remedy) == ("min.insync.replicas", "2", "")


def test_more_copies_than_brokers_are_refused_with_the_settings_to_change(
    admin: Any, kafka_settings: KafkaSettings
) -> None:
    three = kafka_settings.model_copy(update={"replication": 9})
    with pytest.raises(BrokerError, match=r"cannot be created: .* Set kafka.replication and kafka.min_insync"):
        apply(admin, three, plan(three, 2))


def test_a_changelog_stays_near_the_size_of_its_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    quick = {"log.cleaner.backoff.ms": "50", "log.retention.check.interval.ms": "50", "log.initial.task.delay.ms": "50"}
    quick["file.delete.delay.ms"] = "0"
    with broker(tmp_path_factory.mktemp("compacting"), properties=quick) as own:
        settings = KafkaSettings(bootstrap_servers=(own.bootstrap,))
        admin = open_admin(settings)
        try:
            apply(admin, settings, plan(settings, 1))
            _check_size(admin, settings)
        finally:
            admin.close()


def _check_size(admin: Any, settings: KafkaSettings) -> None:
    """A state of 8 MB (80 keys of 100 KB), written 10 times over."""
    import os
    import time

    name, value = settings.changelog("detect"), os.urandom(100_000)
    producer = KafkaProducer(**producer_options(settings, "test") | {"compression_type": None})
    for _ in range(10):
        for key in range(80):
            producer.send(name, key=str(key).encode(), value=value, partition=0)
        producer.flush()
    producer.close()
    state, file = 80 * 100_000, 16 * 1024 * 1024
    deadline = time.monotonic() + 60
    while (size := describe(admin, settings, [name])[name].size_bytes or 0) > 1.3 * state + 1.1 * file:
        assert time.monotonic() < deadline, f"{size} bytes for a state of {state}"
        time.sleep(0.1)
    assert size > state
