"""Platt calibration against a general optimiser, and what it makes of liars and of honest models."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from scipy.optimize import minimize

from models.calibration import brier, calibrate, fit_platt, spiegelhalter_z


def claims_of(seed: int, n: int, say, truth) -> list[tuple[float, int]]:
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        p = say(rng)
        found.append((p, int(rng.random() < truth(p))))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_the_fit_is_the_posterior_mode(seed):
    claims = claims_of(seed, 40, lambda rng: rng.uniform(0.02, 0.98), lambda p: p**0.5)
    x = np.array([math.log(p / (1 - p)) for p, _ in claims])
    y = np.array([y for _, y in claims])

    def loss(uv):
        z = uv[0] + uv[1] * x
        return float(np.sum(np.logaddexp(0, z) - y * z) + uv[0] ** 2 / 2 + (uv[1] - 1) ** 2 / 0.5)

    best = minimize(loss, [0.0, 1.0], bounds=[(None, None), (0, None)], method="L-BFGS-B", options={"ftol": 1e-14})
    assert fit_platt(claims) == pytest.approx(tuple(best.x), abs=1e-4)


def test_without_claims_a_claim_stays_as_it_is():
    assert calibrate(0.83, []) == pytest.approx(0.83)


@pytest.mark.parametrize("p", [0.0, 0.001, 0.95, 0.9999, 1.0])
@pytest.mark.parametrize("outcomes", [[1] * 20, [0] * 20, [1, 0] * 30])
def test_a_constant_claim_does_not_diverge(p, outcomes):
    c = calibrate(p, [(p, y) for y in outcomes])
    assert 0.0 < c < 1.0
    if outcomes[0] == outcomes[1]:
        assert (c > 0.5) == bool(outcomes[0])


def test_a_model_that_claims_the_opposite_gets_slope_zero_not_a_negative_one():
    claims = [(0.95, 0), (0.05, 1)] * 40
    _, v = fit_platt(claims)
    assert v == 0.0


@pytest.mark.parametrize(("n", "median"), [(3, 0.82), (5, 0.72), (10, 0.67), (20, 0.64)])
def test_says_95_is_right_60_is_believed_as_measured(n, median):
    found = [calibrate(0.95, claims_of(seed, n, lambda rng: 0.95, lambda p: 0.60)) for seed in range(600)]
    assert statistics.median(found) == pytest.approx(median, abs=0.035)


def test_ten_claims_veto_most_liars_and_few_honest_models():
    def vetoed(truth):
        said = (claims_of(seed, 10, lambda rng: 0.95, lambda p: truth) for seed in range(600))
        return sum(calibrate(0.95, claims) <= 0.80 for claims in said) / 600

    assert vetoed(0.60) == pytest.approx(0.84, abs=0.05)
    assert vetoed(0.95) < 0.05


def test_brier_of_perfect_and_of_undecided_claims():
    assert brier([]) is None
    assert brier([(1.0, 1), (0.0, 0)]) == 0.0
    assert brier([(0.5, 1), (0.5, 0)]) == 0.25


def test_spiegelhalter_finds_the_liar_and_lets_the_calibrated_pass():
    def found(n, truth, say):
        zs = (spiegelhalter_z(claims_of(seed, n, say, truth)) for seed in range(500))
        return sum(z is not None and abs(z) > 1.96 for z in zs) / 500

    assert found(10, lambda p: 0.60, lambda rng: 0.95) == pytest.approx(0.94, abs=0.06)
    assert found(100, lambda p: p, lambda rng: rng.uniform(0.05, 0.95)) < 0.08
    assert spiegelhalter_z([]) is None
    assert spiegelhalter_z([(0.5, 1), (0.5, 0)]) is None
