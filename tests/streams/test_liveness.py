"""Lag without progress is told apart from a busy consumer and from an idle one."""

from __future__ import annotations

from streams.liveness import STALL_SECONDS, WATCH_SECONDS, ProgressWatch


def watched(*looks):
    """Looks as (seconds, positions, ends); what the last one finds."""
    watch = ProgressWatch(25.0)
    found = []
    for now, positions, ends in looks:
        found = watch.look(now, positions, ends)
    return found


def test_a_consumer_that_stopped_is_noticed_within_thirty_seconds():
    assert STALL_SECONDS + WATCH_SECONDS <= 30
    assert watched((0, {0: 5}, {0: 9}), (20, {0: 5}, {0: 9})) == []
    assert watched((0, {0: 5}, {0: 9}), (25, {0: 5}, {0: 9})) == [0]


def test_one_that_moves_or_has_nothing_to_read_is_not_stalled():
    assert watched((0, {0: 5}, {0: 9}), (20, {0: 6}, {0: 9}), (30, {0: 6}, {0: 9})) == []
    assert watched((0, {0: 5}, {0: 5}), (90, {0: 5}, {0: 5}), (91, {0: 5}, {0: 6})) == []


def test_a_partition_may_wait_its_turn_while_others_are_read_but_not_for_ever():
    looks = [(now, {0: 5, 1: now}, {0: 9, 1: 999}) for now in range(0, 151, 5)]
    assert watched(*looks[:-1]) == []
    assert watched(*looks) == [0]


def test_partitions_that_went_to_others_are_forgotten():
    assert watched((0, {0: 5}, {0: 9}), (10, {1: 5}, {1: 9}), (30, {0: 5, 1: 6}, {0: 9, 1: 9})) == []
