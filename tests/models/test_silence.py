"""Gaps and drops: the figures the method is known by, and closed forms against long ways round."""

from __future__ import annotations

import numpy as np
import pytest

from models.count_tail import log_lower_tail
from models.silence import AWAY_BUCKETS, SILENCE_ALARM, SILENCE_WATCH, Gap, log_drop, silence_surprisal
from models.verdict import LOG_WATCH


@pytest.mark.parametrize(
    ("dispersion", "watch", "alarm"),
    [(0.0, 8.4, 13.7), (0.05, 10.4, 19.6), (0.1, 13.1, 29.2), (0.2, 21.6, 72), (0.3, 37.7, 198)],
)
def test_what_must_have_been_expected_for_a_silence(dispersion: float, watch: float, alarm: float) -> None:
    assert silence_surprisal(watch, dispersion) == pytest.approx(SILENCE_WATCH, rel=0.005)
    assert silence_surprisal(alarm, dispersion) == pytest.approx(SILENCE_ALARM, rel=0.005)


def run_gap(start: int, length: int, low: float) -> Gap:
    gap = Gap()
    for bucket in range(start, start + length):
        gap.note_empty(bucket, low)
    return gap


def test_bisection_finds_the_bucket_that_going_one_by_one_finds() -> None:
    gap = run_gap(100, AWAY_BUCKETS, 0.8)

    def dispersion(minutes: float) -> float:
        return 0.05 + 0.2 / minutes

    start, end = 100 + AWAY_BUCKETS, 3_000
    for limit in (SILENCE_WATCH, SILENCE_ALARM):
        plain = next(b for b in range(start, end) if gap.surprisal(b, 0.8, dispersion) >= limit)
        assert gap.first_at(limit, start, end, 0.8, dispersion) == plain
    assert gap.first_at(1e6, start, end, 0.8, dispersion) is None


def test_a_gap_no_longer_than_usual_is_no_silence() -> None:
    gap = run_gap(0, 60, 10.0)
    gap.end(60, finished=True)
    for bucket in range(100, 180):
        gap.note_empty(bucket, 10.0)
    assert gap.surprisal(100 + 88, 10.0, lambda _: 0.0) == 0.0
    assert gap.surprisal(100 + 92, 10.0, lambda _: 0.0) > SILENCE_ALARM


def test_a_gap_broken_off_by_uncovered_time_is_not_a_usual_one() -> None:
    gap = run_gap(0, 60, 10.0)
    gap.end(60, finished=False)
    assert gap.usual(60) == 0.0
    assert gap.length(61) == 0


def test_no_drop_is_hidden_by_the_bound_below_which_the_exact_tail_is_asked() -> None:
    expected, dispersion = (
        grid.ravel()
        for grid in np.meshgrid(10.0 ** np.arange(1.1, 6, 0.1), [1e-9, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.0])
    )
    for share in np.arange(0.0, 1.0, 0.02):
        counted = np.floor(expected * share)
        exact = log_lower_tail(counted, expected, dispersion)
        quick = log_drop(counted, expected, dispersion)
        found = exact <= LOG_WATCH
        assert (quick[found] == exact[found]).all()


def test_little_expected_is_never_a_drop() -> None:
    assert log_drop(np.zeros(1), np.array([11.9]), np.zeros(1))[0] == 0.0
    assert log_drop(np.zeros(1), np.array([12.1]), np.zeros(1))[0] < LOG_WATCH
