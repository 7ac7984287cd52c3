"""The wall clock of a live host, on a machine whose own is set back or was wrong before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from connectors.clock import Pace, PacedClock, WallClock, write_plan
from models.errors import ConfigError

MS = 1_000_000


@pytest.fixture
def machine(monkeypatch):
    """A machine's two clocks (ns), to be set."""
    clocks = SimpleNamespace(wall=10_000 * MS, steady=0)
    given = SimpleNamespace(time_ns=lambda: clocks.wall, monotonic_ns=lambda: clocks.steady)
    monkeypatch.setattr("connectors.clock.time", given)
    return clocks


def test_it_is_the_machines_clock_while_that_goes_forward(machine):
    clock = WallClock(500)
    assert clock.now() == 10_000
    machine.wall, machine.steady = 12_000 * MS, 1_000 * MS
    assert clock.now() == 12_000


def test_time_goes_on_at_its_own_pace_while_the_machines_clock_is_behind_so_that_what_is_due_comes(machine):
    clock = WallClock()
    assert clock.now() == 10_000
    machine.wall = 3_000 * MS
    given = []
    for _ in range(5):
        machine.wall, machine.steady = machine.wall + 700 * MS, machine.steady + 700 * MS
        given.append(clock.now())
    assert given == [10_700, 11_400, 12_100, 12_800, 13_500]
    machine.wall = 20_000 * MS
    assert clock.now() == 20_000


def test_a_log_that_was_once_stamped_far_ahead_does_not_stop_time(machine):
    clock = WallClock(4_000_000_000_000)
    machine.steady = 250 * MS
    assert clock.now() == 4_000_000_000_250


def test_a_plan_in_a_file_may_be_continued_while_it_is_followed(machine, tmp_path):
    path = tmp_path / "plan"
    write_plan(path, [Pace(9_000, 500, 2.0)])
    clock = PacedClock(f"@{path}")
    assert clock.now() == 2_500
    write_plan(path, [Pace(9_000, 500, 2.0), Pace(10_500, 3_500, 0.0)])
    machine.wall += 400 * MS
    assert clock.now() == 3_300
    machine.wall += 5_000 * MS
    assert clock.now() == 3_500


def test_a_plan_that_cannot_be_read_or_is_none_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"kafka\.clock"):
        PacedClock(f"@{tmp_path / 'none'}")
    (tmp_path / "bad").write_text("1:2")
    with pytest.raises(ConfigError, match="WALL:VIRTUAL:SPEED"):
        PacedClock(f"@{tmp_path / 'bad'}")
