"""How far a model's own probabilities can be believed: Platt calibration and two scores.

In: claims, pairs (stated probability 0..1, outcome 0 or 1). Out: a calibrated probability, the Brier score,
Spiegelhalter's z. Why Platt with a prior and not isotonic regression or bins: least excess Brier at every n from 5 to
300 with distinct claims (docs/MATH.md, "Action gate").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["MIN_CLAIMS", "Claim", "brier", "calibrate", "fit_platt", "spiegelhalter_z"]

Claim = tuple[float, int]

MIN_CLAIMS = 10
"""Below this many verified answers a calibrated claim is shown and ignored."""
_SLOPE_VARIANCE = 0.25
_EDGE = 1e-4
_ROUNDS = 60
_HALVINGS = 40


def fit_platt(claims: Sequence[Claim]) -> tuple[float, float]:
    """(u, v) of logit c = u + v·logit p: the posterior mode under u ~ N(0, 1), v ~ N(1, 0.5²), v ≥ 0.

    Platt (1999), with Newton steps halved until the posterior rises: the plain step diverges on a constant claim (Lin,
    Lin & Weng, Machine Learning 68, 2007). No claims: (0, 1), the claim as it is.
    """
    points = [(_logit(p), y) for p, y in claims]
    u, v = _newton(points, free_slope=True)
    return (u, v) if v >= 0.0 else _newton(points, free_slope=False)


def calibrate(claim: float, claims: Sequence[Claim]) -> float:
    """P(the answer turns out right), given how earlier claims turned out. 0..1."""
    u, v = fit_platt(claims)
    return _sigmoid(u + v * _logit(claim))


def brier(claims: Sequence[Claim]) -> float | None:
    """Mean squared error of the claims (Brier 1950): 0 is perfect, 0.25 is always saying 0.5. None without claims."""
    if not claims:
        return None
    return math.fsum((p - y) ** 2 for p, y in claims) / len(claims)


def spiegelhalter_z(claims: Sequence[Claim]) -> float | None:
    """Calibration without bins: about N(0, 1) when the claims are calibrated (Spiegelhalter, Stat. Med. 5, 1986).

    None where it says nothing: no claims, or all of them exactly 0.5, 0 or 1.
    """
    scale = math.fsum((1 - 2 * p) ** 2 * p * (1 - p) for p, _ in claims)
    if scale <= 0.0:
        return None
    return math.fsum((y - p) * (1 - 2 * p) for p, y in claims) / math.sqrt(scale)


def _newton(points: Sequence[tuple[float, int]], free_slope: bool) -> tuple[float, float]:
    u, v = 0.0, 1.0 if free_slope else 0.0
    best = _log_posterior(points, u, v)
    for _ in range(_ROUNDS):
        step_u, step_v = _step(points, u, v, free_slope)
        for _ in range(_HALVINGS):
            value = _log_posterior(points, u + step_u, v + step_v)
            if value >= best:
                break
            step_u, step_v = step_u / 2.0, step_v / 2.0
        else:
            return u, v
        u, v, best = u + step_u, v + step_v, value
        if abs(step_u) + abs(step_v) < 1e-12:
            break
    return u, v


def _step(points: Sequence[tuple[float, int]], u: float, v: float, free_slope: bool) -> tuple[float, float]:
    """The Newton step of the (concave) log posterior."""
    gradient_u, gradient_v = -u, (1.0 - v) / _SLOPE_VARIANCE
    h_uu, h_uv, h_vv = 1.0, 0.0, 1.0 / _SLOPE_VARIANCE
    for x, y in points:
        c = _sigmoid(u + v * x)
        weight = c * (1.0 - c)
        gradient_u += y - c
        gradient_v += (y - c) * x
        h_uu += weight
        h_uv += weight * x
        h_vv += weight * x * x
    if not free_slope:
        return gradient_u / h_uu, 0.0
    determinant = h_uu * h_vv - h_uv * h_uv
    return (
        (h_vv * gradient_u - h_uv * gradient_v) / determinant,
        (h_uu * gradient_v - h_uv * gradient_u) / determinant,
    )


def _log_posterior(points: Sequence[tuple[float, int]], u: float, v: float) -> float:
    likelihood = math.fsum(y * (u + v * x) - _softplus(u + v * x) for x, y in points)
    return likelihood - u * u / 2.0 - (v - 1.0) ** 2 / (2.0 * _SLOPE_VARIANCE)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _logit(p: float) -> float:
    """A claim of exactly 0 or 1 counts as 0.0001 away from it: nobody can be that sure."""
    clipped = min(max(p, _EDGE), 1.0 - _EDGE)
    return math.log(clipped / (1.0 - clipped))
