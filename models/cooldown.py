"""Cooldown and lock of one action on one target: no second try right after the first, none after three failures.

In: what is remembered of a target and action, an outcome or a time (ms). Out: whether it may be tried, until when not.
"""

from __future__ import annotations

from typing import NamedTuple

from models.command import Outcome
from models.event import Model

__all__ = ["FAILURES", "Cooldown", "CooldownCheck", "check_cooldown", "cool_down"]

FAILURES = ("rolled_back", "failed", "unknown")
"""Results that count towards the lock. A refusal has called nothing: it only cools down."""


class Cooldown(Model):
    """What is remembered of one action on one target: cool until, failures in a row, locked until (ms; 0 = not)."""

    until: int = 0
    failures: int = 0
    locked_until: int = 0


class CooldownCheck(NamedTuple):
    """May it be tried now; if not, until when (ms), and is that a lock (repeated failure) or a cooldown."""

    allowed: bool
    until: int = 0
    locked: bool = False


def check_cooldown(cooldown: Cooldown | None, now: int) -> CooldownCheck:
    """Whether an action may be ordered at `now` (ms). Nothing remembered means yes."""
    if cooldown is None:
        return CooldownCheck(True)
    if now < cooldown.locked_until:
        return CooldownCheck(False, cooldown.locked_until, locked=True)
    if now < cooldown.until:
        return CooldownCheck(False, cooldown.until)
    return CooldownCheck(True)


def cool_down(
    cooldown: Cooldown | None,
    result: Outcome | str,
    now: int,
    *,
    cooldown_seconds: float,
    lock_after_failures: int,
    lock_seconds: float,
) -> Cooldown:
    """The cooldown after an outcome (or its result's name) at `now`: a failure adds up and locks at the limit, a
    recovery forgets earlier failures.
    """
    before = cooldown or Cooldown()
    name = result.result if isinstance(result, Outcome) else result
    failures = before.failures + 1 if name in FAILURES else 0 if name == "recovered" else before.failures
    locked = name in FAILURES and failures >= lock_after_failures
    return Cooldown(
        until=now + round(cooldown_seconds * 1_000),
        failures=0 if locked else failures,
        locked_until=now + round(lock_seconds * 1_000) if locked else before.locked_until,
    )
