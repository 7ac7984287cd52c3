"""Agents on a real broker: nothing lost and nothing doubled through kills, stops, pauses, joins and lost deliveries."""

from __future__ import annotations

import threading

import pytest
from kafka_rig import (
    Members,
    be_agents_that_lose_ends,
    expected_totals,
    feed,
    feed_within_transaction,
    make_toy_topics,
    totals_of,
    wait_until,
)
from topic_reading import read_all, unique

from connectors.kafka_log import KafkaLog

BATCHES = 500


@pytest.fixture
def log(kafka_settings):
    make_toy_topics(kafka_settings)
    made = KafkaLog(kafka_settings, "test")
    yield made
    made.close()


def told(log):
    return totals_of(unique(read_all(log, "audit")))


def test_two_members_take_every_line_once(kafka_settings, log, tmp_path):
    with Members.of(kafka_settings, tmp_path / "log") as members:
        members.start()
        members.start()
        feed(log, range(100))
        wait_until(lambda: told(log) == expected_totals(100), "all lines counted once")
        assert [members.stop(process) for process in list(members.running)] == [0, 0]


def test_what_is_lost_of_a_topics_end_comes_all_the_same(kafka_settings, log, tmp_path):
    """No record comes after it that would show the gap."""
    feed(log, range(50))
    with Members.of(kafka_settings, tmp_path / "log") as members:
        member = members.start(program=be_agents_that_lose_ends)
        wait_until(lambda: told(log) == expected_totals(50), "all lines counted once")
        assert member.is_alive(), "the member's watch took it for stalled"
    assert "going back" in (tmp_path / "log").read_text()


def test_what_is_lost_behind_the_marker_of_a_transaction_comes_all_the_same(kafka_settings, log, tmp_path):
    """The offset that the step wants next is then that of the marker, which no consumer ever gets."""
    feed(log, range(50))
    feed_within_transaction(kafka_settings, range(50, 52))
    with Members.of(kafka_settings, tmp_path / "log") as members:
        member = members.start(program=be_agents_that_lose_ends)
        wait_until(lambda: told(log) == expected_totals(52), "all lines up to the markers counted once")
        feed(log, range(52, 60))
        wait_until(lambda: told(log) == expected_totals(60), "all lines counted once")
        assert member.is_alive(), "the member's watch took it for stalled"
    assert "going back" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("widened", [False, True])
def test_members_that_are_killed_stopped_and_frozen_lose_and_double_nothing(kafka_settings, log, tmp_path, widened):
    with Members.of(kafka_settings, tmp_path / "log", widened) as members:
        members.start()
        members.start()
        feed(log, range(10))
        wait_until(lambda: told(log) == expected_totals(10), "both have begun")
        feeder = threading.Thread(target=feed_slowly, args=(kafka_settings,))
        feeder.start()
        for disturbance in ("kill", "stop", "join", "freeze", "kill", "join"):
            victim = members.running[0]
            if disturbance == "kill":
                members.kill(victim)
                members.start()
            elif disturbance == "stop":
                assert members.stop(victim) == 0
                members.start()
            elif disturbance == "freeze":
                members.freeze(victim, 10)
            else:
                members.start()
                feeder.join(1.5)
        feeder.join()
        wait_until(lambda: told(log) == expected_totals(BATCHES), "all lines counted once")
    if widened:  # unwidened, the race is rare, but there: seen in 1 of about 20 runs
        assert "delivery skipped records" in (tmp_path / "log").read_text(), "nothing was put right"


def feed_slowly(settings):
    log, paused = KafkaLog(settings, "feeder"), threading.Event()
    for start in range(10, BATCHES, 10):
        feed(log, range(start, start + 10))
        paused.wait(0.25)
    log.close()
