"""Virtual time that waits for the slowest: every process reads the same plan, and time never goes backwards."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from connectors.clock import PLAN_NOTICE_MS, PacedClock
from streams.pacing import Pacer, Stretch


@pytest.fixture
def machine(monkeypatch):
    """The machine's time (ms), to be set."""
    machine = SimpleNamespace(wall=1_000_000)
    monkeypatch.setattr("connectors.clock.time", SimpleNamespace(time_ns=lambda: machine.wall * 1_000_000))
    return machine


@pytest.fixture
def pacer(tmp_path, machine):
    return Pacer(tmp_path / "plan", 5_000, lambda: machine.wall)


def test_time_stands_until_a_stretch_begins_and_never_passes_its_end(pacer, machine, tmp_path):
    clock = PacedClock(f"@{tmp_path / 'plan'}")
    machine.wall += 10_000
    assert pacer.now == clock.now() == 5_000
    pacer.begin(Stretch(65_000, 100.0, 10_000))
    machine.wall += PLAN_NOTICE_MS + 300
    assert pacer.now == clock.now() == 35_000
    machine.wall += 1_000
    assert pacer.now == clock.now() == 65_000


def test_it_stops_for_whoever_is_too_far_behind_and_goes_on_when_it_has_caught_up(pacer, machine):
    pacer.begin(Stretch(1_005_000, 100.0, 10_000))
    machine.wall += PLAN_NOTICE_MS + 200
    assert pacer.now == 25_000
    pacer.mind(15_000)
    machine.wall += 50
    assert pacer.now == 30_000
    pacer.mind(15_000)
    machine.wall += 5_000
    stood = pacer.now
    assert stood == 30_000 + PLAN_NOTICE_MS * 100  # it takes notice to stop
    pacer.mind(stood - 6_000)
    machine.wall += 5_000
    assert pacer.now == stood
    pacer.mind(stood - 4_000)
    machine.wall += PLAN_NOTICE_MS + 10
    assert pacer.now == stood + 1_000


def test_every_change_is_announced_before_it_holds_and_time_never_goes_backwards(pacer, machine, tmp_path):
    clock, last = PacedClock(f"@{tmp_path / 'plan'}"), 0
    pacer.begin(Stretch(100_000, 300.0, 5_000))
    for step in range(200):
        machine.wall += 7
        if step % 13 == 0:
            pacer.mind(last - (6_000 if step % 2 else 0))
        if step == 90:
            pacer.stand()
        if step == 120:
            pacer.begin(Stretch(200_000, 20.0, 5_000))
        now = clock.now()
        assert now >= last
        last = now


def test_at_the_end_of_its_stretch_it_does_not_go_on(pacer, machine):
    pacer.begin(Stretch(6_000, 100.0, 500))
    machine.wall += 5_000
    pacer.mind(0)
    pacer.mind(6_000)
    machine.wall += 5_000
    assert pacer.now == 6_000
    assert pacer.speeds[-1] == 0.0
