"""Confidence in a runbook on a pattern, measured: pooled Beta posterior, its quantile, uplift, and the action gate.

In: decayed outcome tallies, the operator's declared prior, the policy's numbers. Out: a Confidence and, for each
condition of the gate, whether it holds. Formulas and measured error rates: docs/MATH.md, "Action gate"; pooling after
Gelman et al., Bayesian Data Analysis, 3rd ed., ch. 5.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from models.decision import Confidence, Reason
from models.history import PatternStats, Tally
from models.policy import Policy
from models.runbook import Prior

__all__ = [
    "DECAY",
    "MAX_BORROWED",
    "UNINFORMED",
    "Beta",
    "assess",
    "beta_cdf",
    "beta_quantile",
    "count_outcome",
    "gate",
    "pool",
    "spend_credit",
    "uplift_probability",
]

DECAY = 0.95
"""What an outcome keeps of its weight when the next comes: memory of 20. A runbook that turns from .95 to .60 closes
after 12 outcomes (median); 0.98 needs 20, no decay 32."""
MAX_BORROWED = 8.0
"""The most weight that all which is not this pattern's own evidence (prior, other patterns) may have, in outcomes."""
UNINFORMED = Prior(ok=1.0, bad=1.0)
"""The prior where the operator has declared none, or the declared one is spent."""
_WAITING = (1.0, 2.0)
"""Recovery without acting before any case was seen, Beta(1, 2). Beta(1, 3) without a margin makes the test void."""
_CDF_ROUNDS = 300
_BISECTIONS = 60


class Beta(NamedTuple):
    """A Beta distribution over a probability: `ok` and `bad` in (effective) outcomes, both > 0."""

    ok: float
    bad: float

    @property
    def n(self) -> float:
        """Its weight in outcomes."""
        return self.ok + self.bad

    @property
    def mean(self) -> float:
        """Expected probability, 0..1."""
        return self.ok / self.n

    @property
    def variance(self) -> float:
        """Variance of the probability."""
        return self.mean * (1.0 - self.mean) / (self.n + 1.0)


def count_outcome(tally: Tally, ok: bool) -> Tally:
    """The tally after one more outcome: what was there fades by 0.95, the new one counts 1."""
    return Tally(ok=DECAY * tally.ok + ok, bad=DECAY * tally.bad + (not ok))


def pool(prior: Prior, own: Tally, elsewhere: Tally) -> Beta:
    """Posterior of P(the runbook helps this pattern): own outcomes on top of at most 8 borrowed ones.

    `elsewhere` are the same runbook's outcomes on other patterns; they shift the borrowed mean, not its weight above 8.
    """
    weight = prior.ok + prior.bad + elsewhere.ok + elsewhere.bad
    mean = (prior.ok + elsewhere.ok) / weight
    borrowed = min(weight, MAX_BORROWED)
    return Beta(borrowed * mean + own.ok, borrowed * (1.0 - mean) + own.bad)


def beta_cdf(x: float, beta: Beta) -> float:
    """P(θ ≤ x): the regularised incomplete beta function by Lentz's continued fraction (Numerical Recipes §6.4)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    a, b = beta
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast only below this point
        return 1.0 - beta_cdf(1.0 - x, Beta(b, a))
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, _CDF_ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 / (1.0 + even * d)
        c = 1.0 + even / c
        fraction *= d * c
        d = 1.0 / (1.0 + odd * d)
        c = 1.0 + odd / c
        fraction *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return math.exp(log_front) * fraction / a


def beta_quantile(q: float, beta: Beta) -> float:
    """The x with P(θ ≤ x) = q, by bisection (60 halvings: error below 1e-15 plus that of the cdf)."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if beta_cdf(middle, beta) < q else (low, middle)
    return (low + high) / 2.0


def uplift_probability(acting: Beta, not_acted: Tally, margin: float) -> float:
    """P(acting recovers at least `margin` more often than waiting), by the normal approximation.

    Over 392 states its error is at most .056, and at most .03 where it decides (exact P in .7 to .9).
    """
    waiting = Beta(_WAITING[0] + not_acted.ok, _WAITING[1] + not_acted.bad)
    z = (acting.mean - waiting.mean - margin) / math.sqrt(acting.variance + waiting.variance)
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def assess(stats: PatternStats, controls: PatternStats, policy: Policy) -> Confidence:
    """The confidence that `stats` (one runbook on one pattern) justifies, against the `controls` not acted on.

    `by_declared_prior` is true where the outcomes alone would not open the gate.
    """
    declared = stats.prior if stats.prior is not None and not stats.credit_used else None
    confidence = _confidence(stats, controls, declared or UNINFORMED, policy)
    if declared is None:
        return confidence
    earned = _earned(_confidence(stats, controls, UNINFORMED, policy), policy)
    return confidence.model_copy(update={"by_declared_prior": not earned})


def gate(confidence: Confidence, policy: Policy) -> tuple[Reason, ...]:
    """The gate's conditions, each with its figures. It is open when all have passed."""
    by = " (by declared prior)" if confidence.by_declared_prior else ""
    mean, q10, n = confidence.mean, confidence.q10, confidence.n_effective
    return (
        Reason(
            rule="confidence",
            passed=mean > policy.action_confidence,
            text=f"mean {mean:.3f}, must be above {policy.action_confidence:.2f}{by}",
        ),
        Reason(
            rule="enough outcomes",
            passed=n >= policy.min_effective_n - 1e-9,
            text=f"{n:.2f} effective outcomes, at least {policy.min_effective_n:g} needed{by}",
        ),
        Reason(
            rule="worst case",
            passed=q10 >= policy.min_q10,
            text=f"10% quantile {q10:.3f}, at least {policy.min_q10:.2f} needed",
        ),
        Reason(
            rule="uplift",
            passed=confidence.uplift >= policy.uplift_probability,
            text=f"P(acting beats waiting by {policy.uplift_margin:.2f}) {confidence.uplift:.3f}, at least "
            f"{policy.uplift_probability:.2f} needed ({confidence.controls} cases without acting)",
        ),
    )


def spend_credit(stats: PatternStats, policy: Policy) -> PatternStats:
    """A declared prior is credit: when outcomes close the gate, it is spent until the operator declares again.

    Judged on the runbook's own conditions (mean, weight, quantile): that waiting heals as well is not its fault.
    """
    if stats.prior is None or stats.credit_used or not stats.acted_n:
        return stats
    confidence = assess(stats, stats, policy)
    return stats if _earned(confidence, policy) else stats.model_copy(update={"credit_used": True})


def _confidence(stats: PatternStats, controls: PatternStats, prior: Prior, policy: Policy) -> Confidence:
    posterior = pool(prior, stats.acted, stats.elsewhere)
    return Confidence(
        mean=posterior.mean,
        q10=beta_quantile(0.10, posterior),
        n_effective=posterior.n,
        uplift=uplift_probability(posterior, controls.not_acted, policy.uplift_margin),
        controls=controls.not_acted_n,
        by_declared_prior=False,
        claims=len(stats.claims),
    )


def _earned(confidence: Confidence, policy: Policy) -> bool:
    """The runbook's own conditions (mean, weight, quantile), without uplift."""
    return all(reason.passed for reason in gate(confidence, policy) if reason.rule != "uplift")
