"""Loghub-2k: one rule set, no per-system settings, and the floors of grouping accuracy (GA) and FGA."""

from __future__ import annotations

import pytest

from benchmarks.grouping import Grouping, grouping
from benchmarks.loghub import MissingDataError, load
from benchmarks.mining import mean, quality


@pytest.fixture(scope="module")
def results() -> dict[str, Grouping]:
    try:
        load()
    except MissingDataError as missing:
        pytest.skip(str(missing))
    return quality()


def test_grouping_counts_only_groups_that_are_exactly_right():
    # Groups {0,1}, {2}, {3,4} against {0,1}, {2,3,4}: one of three is right, of two wanted; 2 of 5 lines.
    assert grouping("aabcc", "xxyyy") == Grouping(ga=0.4, fga=2 * 1 / (3 + 2), predicted=3, true=2)
    assert grouping("abc", "xyz") == Grouping(1.0, 1.0, 3, 3)


def test_all_sixteen_systems_are_judged(results):
    assert len(results) == 16


def test_mean_grouping_accuracy_is_at_least_088(results):
    assert mean(results)[0] >= 0.88, results


def test_mean_f1_of_groups_is_at_least_090(results):
    assert mean(results)[1] >= 0.90, results
