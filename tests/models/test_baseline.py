"""Baselines against a slow scalar reference, and the promises other parts rely on."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from models.baseline import TESTABLE, WARM, Baselines
from models.count_tail import log_upper_tail
from models.verdict import LOG_WATCH


class Scalar:
    """One series, one minute at a time, with every recursion written out."""

    def __init__(self) -> None:
        self.n, self.m, self.f, self.a_moment, self.b_moment = 0, 0.0, 0.0, 0.0, 0.0
        self.s2, self.s2f, self.mu, self.a, self.low = 1.0, 1.0, 0.0, 0.0, 0.0

    def learn(self, x: float) -> None:
        if self.n >= 30:
            x = min(x, self.mu + 5 * sqrt(self.mu + self.a * self.mu**2) + 1)
        rate, fast = max(1 / (self.n + 1), 1 / 1440), max(1 / (self.n + 1), 1 / 10)
        d = x - self.m
        if self.n:
            moment = max(1 / self.n, 1 / 1440)
            self.a_moment += moment * (d * d - self.m - self.a_moment)
            self.b_moment += moment * (self.m**2 - self.b_moment)
        self.s2 = (1 - rate) ** 2 * self.s2 + rate**2 if self.n else 1.0
        self.s2f = (1 - fast) ** 2 * self.s2f + fast**2 if self.n else 1.0
        self.m += rate * d
        self.f += fast * (x - self.f)
        self.n += 1
        self._predict()

    def _predict(self) -> None:
        slow = self.m + 0.5 * (1 / self.n if self.n < 1440 else self.s2)
        w = min(self.n, 2880) * slow**2 / 2
        ratio = max(self.a_moment, 0) / self.b_moment if self.b_moment > 0 else 0.0
        self.a = (2 * 0.3 + w * ratio) / (2 + w)
        if self.n < 288:
            self.a += 2 * sqrt(2 / self.n - 2 / 288) * (1 + self.a)
        error = sqrt((slow + self.a * slow**2) * self.s2f)
        self.mu = slow + max(0, self.f - slow - error)
        self.low = slow - max(0, slow - self.f - error)


def learn_all(base: Baselines, table: np.ndarray, start: int = 0) -> None:
    for t, row in enumerate(table):
        base.learn(row.astype(np.int32), start + t, slice(0, len(row)))
        base.predict(len(row))


def test_baselines_agree_with_a_slow_scalar_reference() -> None:
    rng = np.random.default_rng(7)
    means = np.array([0.0, 0.05, 0.7, 4.2, 30.0, 500.0])
    table = rng.poisson(means * rng.gamma(2.0, 0.5, (1700, 6)))
    table[900] *= 40  # an outlier to winsorise
    table[1200:1230] //= 5  # a dip for the lower side
    base, scalars = Baselines(6), [Scalar() for _ in means]
    for t, row in enumerate(table):
        base.learn(row.astype(np.int32), t, slice(0, 6))
        base.predict(6)
        for scalar, x in zip(scalars, row.tolist(), strict=True):
            scalar.learn(float(x))
        if t in (0, 1, 29, 30, 287, 288, 901, 1215, 1439, 1440, 1699):
            assert np.allclose(base.expected, [s.mu for s in scalars], rtol=1e-9)
            assert np.allclose(base.low, [s.low if t >= 29 else 0.0 for s in scalars], rtol=1e-9)
            assert np.allclose(base.dispersion, [s.a for s in scalars], rtol=1e-9)


def test_no_count_at_or_below_the_guard_is_a_watch() -> None:
    means, dispersions = 10.0 ** np.arange(-3, 6.01, 0.25), 10.0 ** np.arange(-9, 2.01, 0.5)
    mean, a = (grid.ravel() for grid in np.meshgrid(means, dispersions))
    base = Baselines(len(mean))
    base.n[:], base.mean[:], base.fast[:] = 20_000, mean, mean
    base.excess[:], base.square[:] = a * mean * mean, mean * mean
    base.predict(len(mean))
    here, _ = log_upper_tail(np.floor(base.guard), base.expected, base.dispersion)
    assert here.min() > LOG_WATCH + np.log(2.0)
    pair, _ = log_upper_tail(np.floor(base.pair_guard), 2 * base.expected, base.pair_dispersion)
    assert pair.min() > LOG_WATCH + np.log(2.0)


def test_series_not_taught_stay_as_they_are_and_learn_the_same_in_company() -> None:
    rng = np.random.default_rng(3)
    table = rng.poisson([3.0, 8.0, 20.0], (400, 3))
    some, all_of_them = Baselines(3), Baselines(3)
    rows = np.array([0, 2], np.intp)
    for t, row in enumerate(table.astype(np.int32)):
        some.learn(row[rows], t, rows)
        all_of_them.learn(row, t, slice(0, 3))
    assert some.n.tolist() == [400, 0, 400]
    for name in Baselines.LEARNT:
        assert getattr(some, name)[[0, 2]].tolist() == getattr(all_of_them, name)[[0, 2]].tolist()


def test_a_series_is_not_judged_before_thirty_minutes() -> None:
    base = Baselines(1)
    learn_all(base, np.full((TESTABLE - 1, 1), 4))
    assert np.isinf(base.guard[0])
    base.learn(np.array([4], np.int32), TESTABLE, slice(0, 1))
    base.predict(1)
    assert np.isfinite(base.guard[0])


@pytest.mark.parametrize(("persistent", "steady"), [(False, 0.0), (True, 0.5)])
def test_long_stretches_tell_persistent_bursts_from_independent_ones(persistent: bool, steady: float) -> None:
    rng = np.random.default_rng(11)
    minutes, series = 8_640, 60
    if persistent:  # one state an hour
        level = np.repeat(rng.gamma(2.0, 0.5, (minutes // 60, series)), 60, axis=0)
    else:
        level = rng.gamma(2.0, 0.5, (minutes, series))
    base = Baselines(series)
    learn_all(base, rng.poisson(20.0 * level))
    long_run = float(np.median(base.stretch_dispersion(1_000.0, slice(0, series))))
    assert long_run == pytest.approx(steady, abs=0.12)
    assert (base.pair_dispersion <= base.dispersion).all()
    assert (base.pair_dispersion >= base.dispersion / 2).all()


def test_before_warm_a_long_stretch_is_taken_to_be_as_dispersed_as_a_minute() -> None:
    base = Baselines(1)
    learn_all(base, np.random.default_rng(2).poisson(20.0, (WARM - 1, 1)))
    assert base.stretch_dispersion(15.0, slice(0, 1))[0] >= base.dispersion[0]


@pytest.mark.parametrize("mean", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_watches_come_at_the_nominal_rate(mean: float, spread: float) -> None:
    """Whole update loop on tumbling minutes, one day after a day of learning: 0.3-2 times Φ(−3.5)."""
    rng = np.random.default_rng(int(mean) + int(10 * spread))
    series, minutes = 1_500, 2_400
    base, watches = Baselines(series), 0
    waiting = None
    for t in range(minutes):
        level = mean * rng.gamma(1 / spread, spread, series) if spread else mean
        x = rng.poisson(level, series).astype(np.int32)
        if t >= 1_440:
            over = np.flatnonzero(x > base.guard)
            here, above = log_upper_tail(x[over].astype(float), base.expected[over], base.dispersion[over])
            watches += int(((here + above <= 2 * LOG_WATCH) & (here <= LOG_WATCH + np.log(2))).sum())
        if waiting is not None:
            base.learn(waiting, t - 1, slice(0, series))
            base.predict(series)
        waiting = x
    rate = watches / (series * (minutes - 1_440)) / 2.3262907903552502e-4
    assert 0.3 <= rate <= 2.0
