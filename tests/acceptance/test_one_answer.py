"""One input, one answer: embedded, and on Kafka with one, two and four workers, with cold and with warm memories.

Windows that have closed are told alike, whoever tells them and however fast. What was decided on Kafka is decided again
by one Unit from the recorded `signals`. Incidents are joined alike where the pipeline keeps pace with the clock.
"""

from __future__ import annotations

import time

import pytest
from case_again import case_again
from kafka_broker import make_topics
from one_input import PARTITIONS, answers_of, embedded_answers, one_input, shop_catalog
from role_rig import Roles, feed_paced, wait_until
from topic_reading import read_all

from connectors.clock import PacedClock
from connectors.codec import decode
from connectors.kafka_log import KafkaLog
from models.topics import INSPECTED
from streams.catalog import publish_catalog
from streams.inspector import inspect

FAULTS = "pool_leak@00:40,instance_terminated@00:50"
LONG_FAULTS = "pool_leak@01:00,instance_terminated@01:25,bad_deploy@01:40"
ROLES = ("mine", "detect", "respond")
SERVICES = 20
SPEED = 60.0
SOON = 8_000


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return given_and_told(tmp_path_factory.mktemp("input"), 1, FAULTS)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return given_and_told(tmp_path_factory.mktemp("input"), 2, LONG_FAULTS)


def given_and_told(folder, hours, faults):
    """The input, of twenty services; and what the embedded host says of it, which must be something."""
    batch = one_input(folder, hours, faults)
    decoded = [decode(out.value).data for out in batch if out.topic == "logs"]
    assert len({name for data in decoded for name in data.services}) == SERVICES
    expected = embedded_answers(folder / "embedded", batch)
    assert len(expected.closed) > 10
    assert expected.incidents
    return batch, expected


class Run:
    """A deployment fed with the input; `speed` 0: as fast as it can."""

    def __init__(self, folder, settings, batch, speed):
        now = time.time_ns() // 1_000_000
        # As fast as it can, time stands at the input's end: lines that are an hour ahead of the log's time are refused.
        self.plan = f"{now + SOON}:{batch[0].at}:{speed}" if speed else f"{now}:{batch[-1].at}:1"
        self.folder, self.settings, self.batch, self.speed = folder, settings, batch, speed
        make_topics(settings, PARTITIONS)
        self.log = KafkaLog(settings, "test", virtual=True)
        publish_catalog(self.log, shop_catalog(), batch[0].at, at_once=False)

    def feed(self):
        feed_paced(self.log, self.batch, PacedClock(self.plan) if self.speed else None)

    def answers(self):
        return answers_of(*(read_all(self.log, topic) for topic in ("anomalies", "incidents", "predictions")))

    def misplaced(self):
        """What the inspector would refuse of all that the roles have written."""
        records = [record for topic in INSPECTED for record in read_all(self.log, topic)]
        return [record.position for record in records if inspect(record, PARTITIONS, self.settings.run) is not None]

    def case_is_said_once(self):
        """All that the case has been told was answered, as one Unit answers it; a decision is among it."""
        recorded, again = case_again(self.log, self.folder / "data", self.settings.run)
        return recorded == again and any(topic == "predictions" for topic, _ in recorded)


def test_two_workers_one_of_them_killed_tell_what_the_embedded_host_tells(tmp_path, kafka_settings, short):
    batch, expected = short
    run = Run(tmp_path, kafka_settings, batch, 0)
    with Roles.of(tmp_path, kafka_settings, PARTITIONS, clock=run.plan) as roles:
        first = roles.start(*ROLES)
        roles.start(*ROLES)
        run.feed()
        wait_until(lambda: run.log.ends("anomalies")[0] + run.log.ends("anomalies")[1] > 0, roles.said)
        roles.kill(first)
        wait_until(lambda: run.answers().closed == expected.closed, roles.said)
        wait_until(run.case_is_said_once, roles.said)
        assert [roles.stop(process) for process in list(roles.running)] == [0]
    assert run.answers().closed == expected.closed
    assert run.misplaced() == []
    assert run.log.ends("dead-letters") == dict.fromkeys(range(PARTITIONS), 0)


@pytest.mark.chaos
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_twenty_services_are_told_of_alike_by_any_number_of_workers(tmp_path, kafka_settings, long, workers):
    """At the pace of a clock: closed windows, incidents and verdicts."""
    batch, expected = long
    run = Run(tmp_path, kafka_settings, batch, SPEED)
    with Roles.of(tmp_path, kafka_settings, PARTITIONS, clock=run.plan) as roles:
        for _ in range(workers):
            roles.start(*ROLES)
        run.feed()
        wait_until(lambda: run.answers() == expected, roles.said)
        wait_until(run.case_is_said_once, roles.said)
        assert [roles.stop(process) for process in list(roles.running)] == [0] * workers, roles.said()
    assert run.answers() == expected


@pytest.mark.chaos
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_memories_make_no_difference(tmp_path, kafka_settings, long, workers):
    """As fast as they can: cold, and after every worker has been killed in the middle and started anew."""
    batch, expected = long
    run = Run(tmp_path, kafka_settings, batch, 0)
    with Roles.of(tmp_path, kafka_settings, PARTITIONS, clock=run.plan) as roles:
        for _ in range(workers):
            roles.start(*ROLES)
        half = len(batch) // 2
        feed_paced(run.log, batch[:half], None)
        wait_until(lambda: sum(run.log.ends("counts").values()) > half // 2, roles.said)
        for process in list(roles.running):
            roles.kill(process)
        for _ in range(workers):
            roles.start(*ROLES)
        feed_paced(run.log, batch[half:], None)
        wait_until(lambda: run.answers().closed == expected.closed, roles.said)
        wait_until(run.case_is_said_once, roles.said)
        assert [roles.stop(process) for process in list(roles.running)] == [0] * workers, roles.said()
    assert run.answers().closed == expected.closed
