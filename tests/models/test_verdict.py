"""Watch and alarm: thresholds, the rule that decides, the service's own tail."""

from __future__ import annotations

import numpy as np
import pytest

from models.anomaly import Tier
from models.baseline import Baselines
from models.verdict import Limits, TailEpisodes, common_factor, judge_counts, limits_of

stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")


def poisson_base(mean: float) -> Baselines:
    base = Baselines(1)
    base.expected[:], base.dispersion[:], base.pair_dispersion[:] = mean, 1e-9, 1e-9
    return base


def judge(
    count: int, pair: int, base: Baselines, failing: bool = False, scale: float = 1.0, usual: float = 0.0
) -> list:
    limits = Limits(6.24, 4.94)
    return judge_counts(
        np.array([0]), np.array([count], np.int32), np.array([pair], np.int32), np.array([scale]), base,
        np.array([failing]), np.array([usual]), limits,
    )  # fmt: skip


def test_limits_share_the_budget_over_series_and_tests() -> None:
    assert limits_of(100, 10, 1.0, 0.0) == pytest.approx((6.24, 4.94), abs=0.005)
    assert limits_of(100, 1, 1.0, 7.5) == pytest.approx((7.5, 4.5))
    assert limits_of(100, 10, 0.5, 0.0).budget == pytest.approx(6.54, abs=0.005)


def test_a_watch_begins_at_the_lattice_point_nearest_to_three_and_a_half_sigma() -> None:
    for mean in (0.1, 0.3, 1.0, 3.0, 10.0, 100.0):
        base = poisson_base(mean)
        tail = stats.poisson.sf(np.arange(-1, 400), mean)  # P(X >= x) at x
        first = next(x for x in range(400) if tail[x] * tail[x + 1] <= 2.3263e-4**2 and tail[x] <= 2 * 2.3263e-4)
        assert not judge(first - 1, 0, base)
        found = judge(first, 0, base)
        assert [v.tier for v in found] == [Tier.WATCH]
        assert found[0].log_p == pytest.approx(np.log(tail[first]), rel=1e-6)


def test_an_alarm_holds_the_budget_or_has_failure_words_over_two_windows() -> None:
    base = poisson_base(4.2)
    assert judge(14, 18, base)[0].rule == "watch"
    assert judge(14, 25, base)[0].rule == "watch"  # 120 s: 5.1, enough with words only
    assert judge(14, 25, base, failing=True)[0].rule == "failure words"
    alarm = judge(45, 50, base)[0]
    assert (alarm.tier, alarm.rule, alarm.observed, alarm.expected) == (Tier.ALARM, "budget", 45, 4.2)


def test_what_only_two_windows_show_is_reported_on_two_windows() -> None:
    base = poisson_base(20.0)
    found = judge(34, 80, base)[0]
    assert (found.pair, found.observed, found.expected, found.tier) == (True, 80, 40.0, Tier.ALARM)


def test_a_rise_of_the_whole_service_is_no_anomaly_of_each_template() -> None:
    expected = np.full(12, 10.0)
    counts = np.full(12, 20, np.int32)
    counts[0] = 200
    assert common_factor(counts, expected) == 2.0
    assert common_factor(counts[:7], expected[:7]) == 1.0
    assert not judge(20, 40, poisson_base(10.0), scale=2.0)


def test_a_service_with_a_heavy_tail_raises_its_own_limit() -> None:
    tail = TailEpisodes()
    tail.refresh(0, 100, 1.0)
    calm = tail.limit
    for day in range(7):
        for hour in range(24):
            tail.note("t", day * 8_640 + hour * 360, 8.0)
            tail.note("t", day * 8_640 + hour * 360 + 1, 6.0)  # the same episode
    tail.refresh(7 * 8_640, 100, 1.0)
    assert len(tail.finished) == 24 * 7
    assert calm == pytest.approx(5.9, abs=0.1)
    assert tail.limit > calm + 2


def test_what_a_series_has_done_twice_is_a_watch_unless_it_goes_beyond() -> None:
    base = poisson_base(1.0)
    (alarm,) = judge(16, 17, base)
    (habit,) = judge(16, 17, base, usual=10.0)
    (beyond,) = judge(17, 18, base, usual=10.0)
    assert (alarm.tier, habit.tier, habit.rule, beyond.tier) == (Tier.ALARM, Tier.WATCH, "habit", Tier.ALARM)


def test_without_a_habit_two_windows_make_an_alarm_though_the_last_minute_is_quiet() -> None:
    (verdict,) = judge(0, 30, poisson_base(1.0), failing=True)
    assert (verdict.tier, verdict.pair) == (Tier.ALARM, True)
