"""The policy as a table a person can read: what must hold before anything is done, and what is left if it does not.

In: a `Weighing`, everything a rule may look at. Out: a verdict and one Reason for each rule, passed or not. A rule
that does not pass caps the verdict (`act` > `review` > `alert` > `hold`); the lowest cap wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.calibration import MIN_CLAIMS
from models.confidence import gate
from models.cooldown import CooldownCheck
from models.decision import Confidence, Reason, Verdict
from models.incident import Incident
from models.policy import Mode, Policy
from models.prediction import Prediction
from models.runbook import Reversibility, Runbook
from models.signal import Control
from models.targets import TargetChoice

__all__ = ["MAX_ATTEMPTS", "ORDER", "RULES", "Rule", "Weighing", "judge"]

MAX_ATTEMPTS = 3
"""Actions tried for one incident before only a person may try a fourth."""
ORDER = (Verdict.HOLD, Verdict.ALERT, Verdict.REVIEW, Verdict.ACT)


class Weighing(NamedTuple):
    """What is known when it is decided. Times are ms; `pause` and `silence` are the controls in force, if any."""

    now: int
    incident: Incident
    evidence_at: int
    prediction: Prediction
    policy: Policy
    mode: Mode
    pause: Control | None
    silence: Control | None
    runbook: Runbook | None
    allowed: bool
    target: TargetChoice
    cooldown: CooldownCheck
    in_flight: Sequence[str]
    """Targets of commands under way in this application."""
    ordered_today: int
    tried: Sequence[tuple[str, str]]
    """(runbook, target) already tried for this incident."""
    rejected: Sequence[tuple[str, str]]
    """(runbook, target) a person has rejected for this incident."""
    confidence: Confidence | None
    open: bool
    """Something is still wrong."""


class Rule(NamedTuple):
    """A row: how far the verdict may go when it fails, the check, and whether a person's approval is bound by it."""

    otherwise: Verdict
    check: Callable[[Weighing], Reason | None]
    binds_people: bool = False


def judge(weighing: Weighing, approved_by: str = "") -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict and every reason. With `approved_by`, only the rules that bind people too are asked."""
    verdict, reasons = Verdict.ACT, []
    if approved_by:
        reasons.append(Reason(rule="review", passed=True, text=f"approved by {approved_by}"))
    for rule in RULES:
        if approved_by and not rule.binds_people:
            continue
        reason = rule.check(weighing)
        if reason is None:
            continue
        reasons.append(reason)
        if not reason.passed:
            verdict = min(verdict, rule.otherwise, key=ORDER.index)
    verdict, gated = _gated(weighing, verdict, approved_by)
    return verdict, (*reasons, *gated)


def _gated(weighing: Weighing, verdict: Verdict, approved_by: str) -> tuple[Verdict, tuple[Reason, ...]]:
    """The gate: measured confidence. Closed, it leaves a review."""
    if weighing.confidence is None or approved_by:
        return verdict, ()
    reasons = (*gate(weighing.confidence, weighing.policy), _claim(weighing.confidence, weighing.policy))
    if all(reason.passed for reason in reasons):
        return verdict, reasons
    return min(verdict, Verdict.REVIEW, key=ORDER.index), reasons


def _claim(confidence: Confidence, policy: Policy) -> Reason:
    """The model's own score, calibrated, may only veto, and only once 10 answers were verified."""
    claim, n = confidence.calibrated_claim, confidence.claims
    if claim is None or n < MIN_CLAIMS:
        shown = "none" if claim is None else f"{claim:.2f} calibrated"
        return Reason(rule="model's score", passed=True, text=f"{shown}, not counted: {n} of {MIN_CLAIMS} answers")
    passed = claim > policy.action_confidence
    text = f"{claim:.2f} calibrated over {n} answers, must be above {policy.action_confidence:.2f}"
    return Reason(rule="model's score", passed=passed, text=text)


def _not_silenced(w: Weighing) -> Reason:
    by = f"silenced by {w.silence.by}: {w.silence.reason}" if w.silence else "no silence"
    return Reason(rule="silence", passed=w.silence is None, text=by)


def _likely(w: Weighing) -> Reason:
    p, needed = w.prediction.failure_probability, w.policy.alert_probability
    if w.incident.failed:
        return Reason(rule="alert probability", passed=True, text="the failure has already happened")
    if p is None:
        return Reason(
            rule="alert probability", passed=True, text=f"no prediction ({w.prediction.reason}): people decide"
        )
    return Reason(
        rule="alert probability", passed=p >= needed, text=f"P(failure) {p:.2f}, at least {needed:.2f} needed"
    )


def _worth_preventing(w: Weighing) -> Reason:
    p, needed = w.prediction.failure_probability, w.policy.prevent_probability
    if w.incident.failed:
        return Reason(rule="prevent probability", passed=True, text="the failure is certain: this is a recovery")
    text = "no prediction" if p is None else f"P(failure) {p:.2f}, at least {needed:.2f} needed"
    return Reason(rule="prevent probability", passed=p is not None and p >= needed, text=text)


def _still_open(w: Weighing) -> Reason:
    return Reason(rule="still needed", passed=w.open, text="signals are open" if w.open else "every signal is clear")


def _not_paused(w: Weighing) -> Reason:
    text = f"paused by {w.pause.by}: {w.pause.reason}" if w.pause else "not paused"
    return Reason(rule="kill switch", passed=w.pause is None, text=text)


def _may_propose(w: Weighing) -> Reason:
    return Reason(rule="mode", passed=w.mode != Mode.OBSERVE, text=f"mode is {w.mode.value}")


def _may_act(w: Weighing) -> Reason:
    return Reason(rule="mode to act", passed=w.mode == Mode.ACT, text=f"mode is {w.mode.value}, act is needed")


def _fresh(w: Weighing) -> Reason:
    age = max(w.now - w.evidence_at, 0) / 1_000
    most = w.policy.evidence_max_age_seconds
    return Reason(
        rule="fresh evidence", passed=age <= most, text=f"newest evidence is {age:.0f} s old, at most {most:.0f} s"
    )


def _known_runbook(w: Weighing) -> Reason:
    text = f"{w.runbook.id} v{w.runbook.version}" if w.runbook else "no runbook was recommended"
    return Reason(rule="runbook", passed=w.runbook is not None, text=text)


def _on_allow_list(w: Weighing) -> Reason | None:
    if w.runbook is None:
        return None
    listed = "is" if w.allowed else "is not"
    return Reason(
        rule="allow-list", passed=w.allowed, text=f"{w.runbook.id} {listed} allowed for {w.incident.application}"
    )


def _has_target(w: Weighing) -> Reason | None:
    return None if w.runbook is None else Reason(rule="target", passed=bool(w.target.arn), text=w.target.why)


def _certain_target(w: Weighing) -> Reason | None:
    return None if not w.target.arn else Reason(rule="one target", passed=w.target.certain, text=w.target.why)


def _cool(w: Weighing) -> Reason | None:
    if not w.target.arn:
        return None
    left = max(w.cooldown.until - w.now, 0) / 1_000
    kind = "locked after repeated failures" if w.cooldown.locked else "cooling down"
    text = "not cooling down" if w.cooldown.allowed else f"{kind}: {left:.0f} s left"
    return Reason(rule="cooldown", passed=w.cooldown.allowed, text=text)


def _target_free(w: Weighing) -> Reason | None:
    if not w.target.arn:
        return None
    free = w.target.arn not in w.in_flight
    return Reason(
        rule="one action per target", passed=free, text="target is free" if free else "an action is under way"
    )


def _blast_radius(w: Weighing) -> Reason:
    under_way, most = len(w.in_flight), w.policy.max_in_flight
    return Reason(rule="blast radius", passed=under_way < most, text=f"{under_way} actions under way, at most {most}")


def _daily_budget(w: Weighing) -> Reason:
    most = w.policy.max_actions_per_day
    text = f"{w.ordered_today} actions in 24 hours, at most {most}"
    return Reason(rule="daily budget", passed=w.ordered_today < most, text=text)


def _reversible(w: Weighing) -> Reason | None:
    if w.runbook is None:
        return None
    kind = w.runbook.reversibility
    return Reason(rule="reversibility", passed=kind != Reversibility.IRREVERSIBLE, text=kind.value)


def _understood(w: Weighing) -> Reason | None:
    """Declared belief in a runbook is belief against its failure modes; where the mode is unknown it says nothing."""
    if w.runbook is None:
        return None
    mode = w.prediction.failure_mode or "unknown"
    declared = w.confidence is not None and w.confidence.by_declared_prior
    lost = declared and mode == "unknown"
    text = f"the failure mode is {mode}" + (f": what was declared of {w.runbook.id} says nothing of it" if lost else "")
    return Reason(rule="failure mode", passed=not lost, text=text)


def _not_tried(w: Weighing) -> Reason | None:
    if w.runbook is None or not w.target.arn:
        return None
    again = (w.runbook.id, w.target.arn) in w.tried
    spent = len(w.tried) >= MAX_ATTEMPTS
    text = "this was tried for this incident" if again else f"{len(w.tried)} of {MAX_ATTEMPTS} attempts made"
    return Reason(rule="not tried before", passed=not again and not spent, text=text)


def _not_rejected(w: Weighing) -> Reason | None:
    if w.runbook is None:
        return None
    rejected = (w.runbook.id, w.target.arn) in w.rejected
    text = "a person rejected this for this incident" if rejected else "nobody has rejected this"
    return Reason(rule="not rejected", passed=not rejected, text=text)


RULES: tuple[Rule, ...] = (
    Rule(Verdict.HOLD, _not_silenced),
    Rule(Verdict.HOLD, _likely),
    Rule(Verdict.ALERT, _worth_preventing),
    Rule(Verdict.ALERT, _still_open, binds_people=True),
    Rule(Verdict.ALERT, _not_paused, binds_people=True),
    Rule(Verdict.ALERT, _may_propose, binds_people=True),
    Rule(Verdict.REVIEW, _may_act),
    Rule(Verdict.ALERT, _fresh),
    Rule(Verdict.ALERT, _known_runbook, binds_people=True),
    Rule(Verdict.ALERT, _on_allow_list, binds_people=True),
    Rule(Verdict.ALERT, _has_target, binds_people=True),
    Rule(Verdict.REVIEW, _certain_target),
    Rule(Verdict.ALERT, _cool, binds_people=True),
    Rule(Verdict.ALERT, _target_free, binds_people=True),
    Rule(Verdict.ALERT, _blast_radius, binds_people=True),
    Rule(Verdict.REVIEW, _daily_budget),
    Rule(Verdict.REVIEW, _reversible),
    Rule(Verdict.REVIEW, _understood),
    Rule(Verdict.REVIEW, _not_tried),
    Rule(Verdict.ALERT, _not_rejected),
)
"""In the order a person would ask. After these comes the gate (models.confidence), which leaves a review."""
