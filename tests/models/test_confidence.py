"""The Beta machinery against scipy, and the gate against the measured table of docs/MATH.md."""

from __future__ import annotations

import random
from itertools import product

import pytest
from pydantic import ValidationError
from scipy import integrate
from scipy.stats import beta as scipy_beta

from models.confidence import (
    DECAY,
    UNINFORMED,
    Beta,
    assess,
    beta_cdf,
    beta_quantile,
    count_outcome,
    gate,
    pool,
    spend_credit,
    uplift_probability,
)
from models.history import PatternStats, Tally
from models.ledger import after_action
from models.policy import Policy
from models.runbook import Prior

POLICY = Policy()
NOTHING = Tally()
SHAPES = [(0.55, 7.45), (1, 1), (1, 2), (7, 1), (7.45, 0.55), (3.2, 18.9), (27, 1.4), (200, 13)]


def row(prior: Prior | None = None, **changes) -> PatternStats:
    return PatternStats(application="shop", pattern_id="p", runbook_id="r", prior=prior, **changes)


def is_open(stats: PatternStats, controls: PatternStats | None = None) -> bool:
    return all(reason.passed for reason in gate(assess(stats, controls or row(), POLICY), POLICY))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cdf_and_the_quantile_are_those_of_scipy(shape):
    for x in (0.001, 0.1, 0.35, 0.5, 0.8, 0.93, 0.999):
        assert beta_cdf(x, Beta(*shape)) == pytest.approx(scipy_beta.cdf(x, *shape), abs=1e-12)
    for q in (0.01, 0.1, 0.5, 0.9):
        assert beta_quantile(q, Beta(*shape)) == pytest.approx(scipy_beta.ppf(q, *shape), abs=1e-9)


def test_the_cdf_is_0_and_1_at_and_beyond_the_ends():
    assert [beta_cdf(x, Beta(2, 3)) for x in (-1.0, 0.0, 1.0, 2.0)] == [0.0, 0.0, 1.0, 1.0]


def test_borrowed_evidence_weighs_at_most_8_outcomes():
    posterior = pool(Prior(ok=7, bad=1), NOTHING, Tally(ok=20, bad=1))
    assert posterior.ok == pytest.approx(7.45, abs=0.005)
    assert posterior.bad == pytest.approx(0.55, abs=0.005)
    with_own = pool(Prior(ok=7, bad=1), Tally(ok=3, bad=2), Tally(ok=20, bad=1))
    assert (with_own.ok - posterior.ok, with_own.bad - posterior.bad) == (pytest.approx(3), pytest.approx(2))


def test_outcomes_fade_to_a_memory_of_20():
    tally = NOTHING
    for _ in range(500):
        tally = count_outcome(tally, True)
    assert tally.ok == pytest.approx(1 / (1 - DECAY))
    assert count_outcome(tally, False) == Tally(ok=DECAY * tally.ok, bad=1.0)


@pytest.mark.parametrize(
    ("prior", "own", "wanted"),
    [
        ((7, 1), NOTHING, True),
        ((6, 1), NOTHING, True),
        ((7, 1), Tally(bad=1), False),
        ((1, 1), NOTHING, False),
        ((1, 1), Tally(ok=4), False),
        ((1, 1), Tally(ok=5), True),
    ],
)
def test_the_gate_opens_where_the_measured_table_says(prior, own, wanted):
    assert is_open(row(Prior(ok=prior[0], bad=prior[1]), acted=own)) is wanted


def test_without_a_declared_prior_six_straight_successes_open_the_gate():
    stats, opened = row(), []
    for n in range(1, 9):
        stats = after_action(stats, True, None, POLICY)
        opened.append((n, is_open(stats)))
    assert [n for n, is_ in opened if is_] == [6, 7, 8]


def test_the_mean_must_be_strictly_above_the_threshold():
    reasons = gate(assess(row(acted=Tally(ok=15, bad=3)), row(), POLICY), POLICY)  # Beta(16, 4): mean 0.8
    assert [reason.passed for reason in reasons if reason.rule == "confidence"] == [False]


def test_uplift_is_the_exact_probability_within_6_percent_and_3_where_it_decides():
    for (ok, bad), controls in product([(7, 1), (12, 2), (20, 1.5), (27, 1.2)], product((0, 3, 12), repeat=2)):
        waiting = Tally(ok=controls[0], bad=controls[1])

        def density(x, ok=ok, bad=bad, waiting=waiting):
            return scipy_beta.pdf(x, ok, bad) * scipy_beta.cdf(x - 0.10, 1 + waiting.ok, 2 + waiting.bad)

        exact, _ = integrate.quad(density, 0.1, 1)
        allowed = 0.03 if 0.7 <= exact <= 0.9 else 0.06
        assert uplift_probability(Beta(ok, bad), waiting, 0.10) == pytest.approx(exact, abs=allowed)


def test_what_heals_alone_ten_times_closes_the_gate_whatever_acting_shows():
    controls = row(not_acted=NOTHING)
    for _ in range(10):
        controls = controls.model_copy(update={"not_acted": count_outcome(controls.not_acted, True)})
    perfect = row(Prior(ok=7, bad=1), acted=Tally(ok=20, bad=0), acted_n=100)
    reasons = gate(assess(perfect, controls, POLICY), POLICY)
    assert [reason.rule for reason in reasons if not reason.passed] == ["uplift"]


def test_a_declared_prior_is_spent_when_outcomes_close_the_gate():
    stats = after_action(row(Prior(ok=7, bad=1)), True, None, POLICY)
    assert not stats.credit_used
    assert assess(stats, row(), POLICY).by_declared_prior
    stats = after_action(stats, False, None, POLICY)
    stats = after_action(stats, False, None, POLICY)
    assert stats.credit_used
    spent = assess(stats, row(), POLICY)
    assert not spent.by_declared_prior
    assert spent.n_effective == pytest.approx(2 + stats.acted.ok + stats.acted.bad)


def test_credit_is_not_spent_before_anything_was_tried():
    weak = row(Prior(ok=1, bad=2))
    assert spend_credit(weak, POLICY) is weak


def test_a_prior_stops_being_the_reason_once_outcomes_alone_open_the_gate():
    stats = row(Prior(ok=7, bad=1))
    said = []
    for _ in range(8):
        stats = after_action(stats, True, None, POLICY)
        said.append(assess(stats, row(), POLICY).by_declared_prior)
    assert said == [True] * 5 + [False] * 3


def share_open(true_rate: float, prior: Prior, outcomes: int, worlds: int = 500) -> float:
    rng, found = random.Random(20_260_101), 0
    for _ in range(worlds):
        stats = row(prior)
        for _ in range(outcomes):
            stats = after_action(stats, rng.random() < true_rate, None, POLICY)
        found += is_open(stats)
    return found / worlds


@pytest.mark.parametrize(
    ("true_rate", "prior", "outcomes", "table"),
    [
        (0.60, Prior(ok=7, bad=1), 5, 0.24),
        (0.60, Prior(ok=7, bad=1), 10, 0.09),
        (0.95, Prior(ok=7, bad=1), 10, 0.95),
        (0.60, UNINFORMED, 10, 0.05),
        (0.95, UNINFORMED, 20, 0.95),
    ],
)
def test_the_gate_opens_as_often_as_measured(true_rate, prior, outcomes, table):
    """±0.05: 500 worlds (σ ≤ 0.019), and the table is without decay (which moves it by ≤ 0.01)."""
    assert share_open(true_rate, prior, outcomes) == pytest.approx(table, abs=0.05)


@pytest.mark.parametrize("ok", [-5.0, 1e300, 1e308])
def test_outcomes_that_nobody_can_have_counted_are_refused(ok):
    with pytest.raises(ValidationError, match="ok"):
        Tally(ok=ok, bad=1.0)


def test_the_most_outcomes_that_are_taken_still_give_a_quantile():
    for ok, bad in ((1e6, 0.0), (0.0, 1e6), (1e6, 1e6)):
        posterior = pool(UNINFORMED, Tally(ok=ok, bad=bad), Tally(ok=ok, bad=bad))
        assert abs(beta_quantile(0.1, posterior) - posterior.mean) < 0.01
