"""Rings of buckets and minutes against plain sums."""

from __future__ import annotations

import numpy as np

from models.window import BUCKETS_A_MINUTE, BucketRing, MinuteRing, learning_delay


def test_sliding_sums_are_the_plain_sums_over_any_stretch() -> None:
    rng = np.random.default_rng(5)
    table = rng.poisson(3.0, (70, 4)).astype(np.int32)
    table[20:25] = 0
    ring = BucketRing(4)
    for at, row in enumerate(table):
        bucket = 1_000_003 + at
        ring.push(bucket, row if row.any() else None)
        assert ring.minute.tolist() == table[max(0, at - 5) : at + 1].sum(axis=0).tolist()
        assert ring.pair.tolist() == table[max(0, at - 11) : at + 1].sum(axis=0).tolist()
        if at >= 12:
            assert ring.last_six(bucket, [1, 3]).tolist() == table[at - 5 : at + 1, [1, 3]].tolist()
            assert ring.recent(range(bucket - 3, bucket)).tolist() == table[at - 3 : at].sum(axis=0).tolist()


def test_growing_keeps_what_was_counted() -> None:
    ring = BucketRing(1)
    ring.push(7, np.array([5], np.int32))
    ring.grow(3)
    ring.push(8, np.array([1, 2, 3], np.int32))
    assert ring.minute.tolist() == [6, 2, 3]


def test_minutes_sum_over_the_last_five_and_fifteen() -> None:
    ring = MinuteRing(1)
    for minute in range(40):
        ring.push(minute, np.array([minute], np.int32), np.array([0.5]))
    counted, low = ring.stretch(39, 5)
    assert (counted[0], low[0]) == (35 + 36 + 37 + 38 + 39, 2.5)
    counted, low = ring.stretch(39, 15)
    assert (counted[0], low[0]) == (sum(range(25, 40)), 7.5)


def test_services_share_out_the_buckets_of_a_minute_to_learn_in() -> None:
    of_each = np.bincount([learning_delay(f"svc-{number:04d}") for number in range(1_000)])
    assert len(of_each) == BUCKETS_A_MINUTE
    assert of_each.max() < 1.5 * of_each.mean()
