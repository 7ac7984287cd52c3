"""What detect leaves out of what it learns: a leak is found the second time too, a job is no alarm the third time."""

from __future__ import annotations

import numpy as np
import pytest
from detect_driver import Driver

from models.anomaly import Anomaly, Kind, Status, Tier

SERVICE = "checkout"
LEAK, JOB, BUSY = "connection failed", "nightly job wrote rows", "request served"
HOUR = 60


RARE = (0.91, 0.06, 0.02, 0.01)
"""Share of minutes with 0, 1, 2 and 3 failures while nothing is wrong: rare, and a little bursty."""


class Clockwork:
    """Minutes of one service: requests as noise, a rare failure, and whatever a test adds."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.minute = 0
        self._chance = np.random.default_rng(5)

    def go(self, minutes: int, extra: dict[str, list[int]] | None = None) -> list[Anomaly]:
        """Let `minutes` pass; `extra`: lines of a template in each of them, spread over the minute."""
        before = len(self.driver.told)
        for minute in range(minutes):
            rows = []
            for tenth in range(6):
                bucket = (self.minute + minute) * 6 + tenth
                rows.append((bucket, BUSY, int(self._chance.poisson(5))))
                if tenth == 0:
                    rows.append((bucket, LEAK, int(self._chance.choice(4, p=RARE))))
                for name, counts in (extra or {}).items():
                    rows.append((bucket, name, counts[minute] // 6 + (tenth < counts[minute] % 6)))
            end = (self.minute + minute + 1) * 60_000
            self.driver.counts({"source": end}, {SERVICE: [row for row in rows if row[2]]})
        self.minute += minutes
        return self.driver.told[before:]


def alarms(told: list[Anomaly], template: str) -> list[Anomaly]:
    return [a for a in told if a.template_id == template and a.tier is Tier.ALARM and a.status is not Status.CLEARED]


RAMP = [1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 50, 50, 50]
"""Learnt a minute late, each minute of this makes the next one no surprise."""


def test_a_leak_that_creeps_up_is_found_and_found_again_hours_later():
    shop = Clockwork()
    shop.go(6 * HOUR)
    for _ in range(2):
        told = shop.go(len(RAMP), {LEAK: RAMP})
        first = alarms(told, LEAK)[0]
        assert first.kind is Kind.SPIKE
        begun = (shop.minute - len(RAMP)) * 60_000
        assert first.window.end - begun <= 7 * 60_000
        shop.go(2 * HOUR)


def test_a_job_that_logs_in_bursts_is_an_alarm_twice_and_then_a_habit():
    shop = Clockwork()
    shop.go(1, {JOB: [1]})
    shop.go(6 * HOUR)
    found = []
    for _ in range(5):
        found.append(bool(alarms(shop.go(1, {JOB: [24]}) + shop.go(29), JOB)))
    assert found == [True, True, False, False, False]
    assert alarms(shop.go(1, {JOB: [24 * 3]}) + shop.go(5), JOB)  # three times as much is none of habit


def test_a_failure_is_never_a_habit():
    shop = Clockwork()
    shop.go(6 * HOUR)
    assert all(alarms(shop.go(1, {LEAK: [24]}) + shop.go(59), LEAK) for _ in range(4))


@pytest.mark.parametrize("template", [JOB, LEAK])
def test_a_templates_first_minute_is_not_learnt(template):
    shop = Clockwork()
    shop.go(HOUR)
    shop.go(1, {template: [30]} if template == JOB else {"other failed": [30]})
    shop.go(HOUR)
    state = shop.driver.states[SERVICE]
    slot = state.series.slot_of[template if template == JOB else "other failed"]
    assert state.base.n[slot] > 30
    assert state.base.mean[slot] == 0.0


def test_before_warm_only_failures_are_alarms_and_only_several_lines_of_them():
    shop = Clockwork()
    shop.go(1, {JOB: [1], LEAK: [1]})
    shop.go(2 * HOUR)
    assert not alarms(shop.go(1, {JOB: [40]}) + shop.go(9), JOB)
    assert not alarms(shop.go(1, {LEAK: [4]}) + shop.go(9), LEAK)
    assert alarms(shop.go(1, {LEAK: [12]}) + shop.go(9), LEAK)


def test_a_template_that_falls_silent_now_and_then_is_an_alarm_twice_and_then_a_habit():
    shop = Clockwork()
    steady = "cache refreshed"
    shop.go(6 * HOUR, {steady: [12] * 6 * HOUR})
    found = []
    for _ in range(4):
        told = shop.go(30)
        told += shop.go(90, {steady: [12] * 90})
        found.append(bool(alarms(told, steady)))
    assert found == [True, True, False, False]
