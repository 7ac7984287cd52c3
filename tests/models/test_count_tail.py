"""Tails of counts against scipy over the ranges the product states."""

from __future__ import annotations

import numpy as np
import pytest

from models.count_tail import LN10, log_lower_tail, log_point, log_upper_tail, sigma_from_log_p

special = pytest.importorskip("scipy.special", reason="scipy is the oracle")
stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")

MEANS = 10.0 ** np.arange(-3, 5.5, 0.5)
DISPERSIONS = np.array([1e-6, 1e-3, 0.01, 0.1, 0.3, 1.0, 10.0, 100.0])


def grid(reach: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts `reach` standard deviations from the mean, for every mean and dispersion."""
    mean, a, z = (part.ravel() for part in np.meshgrid(MEANS, DISPERSIONS, np.array(reach)))
    x = np.floor(np.maximum(mean + z * np.sqrt(mean + a * mean * mean), 0.0))
    return x, mean, a


def test_upper_tail_agrees_with_betainc_to_a_billionth_of_a_decade() -> None:
    x, mean, a = grid((-2, -1, 0, 1, 2, 3, 5, 8, 12))
    r = 1 / a
    exact = np.where(x > 0, special.betainc(np.maximum(x, 1), r, mean / (r + mean)), 1.0)
    use = exact > 1e-290
    here, above = log_upper_tail(x, mean, a)
    assert np.abs(here - np.log(exact))[use].max() / LN10 <= 1e-9
    next_exact = special.betainc(x + 1, r, mean / (r + mean))
    # fraction − 1 loses digits far out, where it decides nothing: a millionth of a decade is asked of it.
    use = next_exact > 1e-290
    assert np.abs(above - np.log(next_exact))[use].max() / LN10 <= 1e-6


def test_lower_tail_agrees_with_betainc_to_a_billionth_of_a_decade() -> None:
    x, mean, a = grid((-6, -3, -2, -1, 0, 1, 3))
    r = 1 / a
    exact = special.betainc(r, x + 1, r / (r + mean))
    use = exact > 1e-290
    assert np.abs(log_lower_tail(x, mean, a) - np.log(exact))[use].max() / LN10 <= 1e-9


def test_lower_tail_at_zero_is_the_closed_form() -> None:
    mean, a = np.array([0.5, 12.0, 200.0]), np.array([0.1, 0.3, 1e-9])
    assert np.allclose(log_lower_tail(np.zeros(3), mean, a), -np.log1p(a * mean) / a, rtol=1e-9)


def test_point_probabilities_sum_to_one() -> None:
    x = np.arange(0.0, 400.0)
    total = np.exp(log_point(x, np.full(400, 4.2), np.full(400, 0.3))).sum()
    assert total == pytest.approx(1.0, abs=1e-12)


def test_dispersion_zero_is_poisson() -> None:
    x = np.arange(0.0, 60.0)
    here, _ = log_upper_tail(x, np.full(60, 4.2), np.zeros(60))
    assert np.allclose(here, stats.poisson.logsf(x - 1, 4.2), atol=1e-6)


def test_sigma_agrees_with_the_normal_quantile_and_stops_at_38() -> None:
    sigma = np.array([-6.0, -3.0, -0.5, 0.0, 0.3, 1.0, 2.0, 3.5, 5.1, 8.0, 20.0, 37.0])
    log_p = stats.norm.logsf(sigma)
    assert np.abs(sigma_from_log_p(log_p) - sigma).max() <= 1e-12 * 38
    assert sigma_from_log_p(np.array([-1e6]))[0] == 38.0


def test_forty_five_against_four_is_worth_its_measured_sigma() -> None:
    a = np.array([1e-9, 0.1, 0.2, 0.3, 0.5, 1.0])
    here, _ = log_upper_tail(np.full(6, 45.0), np.full(6, 4.2), a)
    assert np.round(sigma_from_log_p(here), 1).tolist() == [11.4, 8.1, 6.7, 5.9, 4.9, 3.8]
