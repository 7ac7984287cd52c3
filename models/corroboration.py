"""When two weak signals are one strong one: the alarm rules that need more than one service (docs/MATH.md, "Alarms").

In: a watch, other recent signals, times of recent infrastructure failures (ms, event time). Out: the rule that makes
it an alarm, or None. s = −log10 p, the surprisal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from models.incident import IncidentSignal

__all__ = ["INFRA_WITHIN_MS", "SECOND_SERVICE_WITHIN_MS", "corroborate", "second_service_threshold", "surprisal"]

SECOND_SERVICE_WITHIN_MS = 120_000
INFRA_WITHIN_MS = 300_000
_FLOOR = 4.5
"""The least surprisal that counts as corroborating: 3.2e-5, seven times rarer than a watch."""
_BUDGET = 0.1
"""Chance coincidences of two services allowed per application and day."""
_EPISODES = 3.2
"""Measured episodes with s ≥ 5 per service and day that the threshold is scaled by."""


def surprisal(signal: IncidentSignal) -> float:
    """s = −log10 p of the exact count."""
    return -signal.log10_p


def second_service_threshold(services: int) -> float:
    """The least s of each of two services, for an application of `services` services (at least 2 are assumed).

    Two services meet by chance within 120 s about K(K−1)·λ²·120/86400 times a day; s is set so that this is 0.1.
    """
    k = max(services, 2)
    pairs = k * (k - 1) * (SECOND_SERVICE_WITHIN_MS / 1_000) / (86_400 * _BUDGET)
    return max(_FLOOR, 5.0 + math.log10(_EPISODES * math.sqrt(pairs)))


def corroborate(
    signal: IncidentSignal, others: Iterable[IncidentSignal], failed_at: Iterable[int], services: int
) -> str | None:
    """The name of the rule by which `signal` counts as an alarm, or None."""
    s = surprisal(signal)
    if s >= _FLOOR and any(abs(signal.updated_at - at) <= INFRA_WITHIN_MS for at in failed_at):
        return "infra event"
    needed = second_service_threshold(services)
    if s >= needed and any(_partner(signal, other, needed) for other in others):
        return "second service"
    return None


def _partner(signal: IncidentSignal, other: IncidentSignal, needed: float) -> bool:
    near = abs(signal.updated_at - other.updated_at) <= SECOND_SERVICE_WITHIN_MS
    return near and other.service != signal.service and surprisal(other) >= needed
