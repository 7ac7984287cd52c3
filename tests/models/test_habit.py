"""What a series does now and then: remembered by its second largest excess, and forgotten."""

from __future__ import annotations

import pytest

from models.habit import Habits

WEEK = 7 * 8_640


def test_once_is_no_habit_and_twice_is_as_large_as_the_smaller():
    habits = Habits()
    habits.note("job", 100, 40.0)
    assert habits.usual("job", 100) == 0.0
    habits.note("job", 280, 9.0)
    assert habits.usual("job", 280) == pytest.approx(9.0)
    habits.note("job", 460, 12.0)
    assert habits.usual("job", 460) == pytest.approx(12.0)
    assert habits.usual("another", 460) == 0.0


def test_a_habit_fades_over_a_week_and_is_dropped_when_nothing_is_left():
    habits = Habits()
    habits.note("job", 0, 10.0)
    habits.note("job", 0, 10.0)
    assert habits.usual("job", WEEK) == pytest.approx(10.0 / 2.718281828)
    habits.note("another", 4 * WEEK, 5.0)
    assert list(habits.peaks) == ["another"]
