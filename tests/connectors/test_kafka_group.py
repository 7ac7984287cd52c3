"""A member of a consumer group: joins, hand-overs, commits of one that was shut out."""

from __future__ import annotations

import pytest
from kafka_broker import make_topics

from connectors.kafka_group import KafkaGroup
from connectors.kafka_log import KafkaLog
from connectors.ports import Outbound
from models.errors import MissingTopicError


@pytest.fixture
def settings(kafka_settings):
    make_topics(kafka_settings, 2, ["commands"])
    return kafka_settings


def joined(group: KafkaGroup) -> KafkaGroup:
    """A member with all partitions: the group may share out more than once, but not as often as it polls."""
    assert any(group.poll(0.001).assigned == [0, 1] for _ in range(10))
    return group


def test_however_short_the_polls_a_member_gets_its_partitions(settings):
    for number in range(3):  # groups of their own: one that leaves in the midst of a join is a member for 6 s more
        joined(KafkaGroup(settings, f"act{number}", "commands")).close()


def test_records_come_from_where_was_sought_and_offsets_are_committed(settings):
    log, group = KafkaLog(settings, "tests"), joined(KafkaGroup(settings, "act", "commands"))
    log.append([Outbound("commands", "k", b"%d" % n, 1) for n in range(5)], 0)
    group.seek(1, 3)
    found = []
    while len(found) < 2:
        polled = group.poll(1)
        if polled.assigned:  # the group may share out once more
            group.seek(1, 3)
        found += polled.records.get(1, [])
    assert [record.value for record in found] == [b"3", b"4"]
    assert group.commit({1: 5})
    group.close()
    log.close()


def test_a_member_that_is_no_longer_one_cannot_commit(settings):
    group = joined(KafkaGroup(settings, "act", "commands"))
    group._consumer._coordinator.reset_generation()  # as after a session that ran out while the process was stopped
    assert not group.commit({1: 5})
    group.close()


def test_a_topic_that_is_not_there_is_named(kafka_settings):
    with pytest.raises(MissingTopicError, match="foreshock topics apply"):
        KafkaGroup(kafka_settings, "act", "commands")
