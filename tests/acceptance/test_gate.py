"""Acting is earned: the gate, cooldowns and locks through the whole case, incident after incident, with fixed seeds.

The shares behind each claim are measured in tests/models/test_confidence.py; here the same must come out of the case.
"""

from __future__ import annotations

import random

import pytest
from case_rig import T0, CaseRig, anomaly, catalog, claiming, runbook

from models.anomaly import Status
from models.calibration import spiegelhalter_z
from models.command import Command
from models.decision import Decision, Verdict
from models.history import PatternStats
from models.policy import Mode
from models.runbook import Prior

SEEDS = range(8)
NO_PRIOR = catalog(runbook(prior=None), max_actions_per_day=1_000)
DECLARED = catalog(runbook(prior=Prior(ok=7, bad=1)), max_actions_per_day=1_000)


def incident(rig: CaseRig, number: int, helps: bool) -> Verdict:
    """One incident from alarm to closing: what was decided by itself; where it asked, a person approves."""
    rig.say(anomaly(f"a{number}"))
    first = next(d for d in reversed(rig.of(Decision)) if not d.reviewer)
    if first.verdict == Verdict.REVIEW:
        rig.review("approve", first.proposal_digest)
    rig.wait(60)
    rig.outcome("recovered" if helps else "rolled_back")
    rig.say(anomaly(f"a{number}", Status.CLEARED))
    rig.wait(4_000)  # past the closing, the cooldown and any lock
    return first.verdict


def verdicts(given, seed: int, true_rate: float, incidents: int) -> tuple[CaseRig, list[Verdict]]:
    rng, rig = random.Random(seed), CaseRig(given, ask=claiming(0.95))
    return rig, [incident(rig, n, rng.random() < true_rate) for n in range(incidents)]


def failed(decision: Decision) -> list[str]:
    return [reason.rule for reason in decision.reasons if not reason.passed]


def test_a_predictor_that_says_95_and_is_right_60_percent_of_the_time_loses_auto_action():
    """docs/MATH.md: after 20 outcomes 2% of such worlds are open."""
    lost, found, scores = 0, 0, []
    for seed in SEEDS:
        rig, seen = verdicts(DECLARED, seed, 0.60, 26)
        assert seen[0] == Verdict.ACT, "the declared prior may act from the start"
        lost += seen[-1] == Verdict.REVIEW
        (row,) = [row for row in rig.state.learn.stats.values() if row.runbook_id]
        z = spiegelhalter_z(row.claims)
        found += z is not None and abs(z) > 1.96
        scores.append(row.brier)
    assert lost >= 7
    assert found >= 7
    assert sum(scores) / len(scores) == pytest.approx(0.3625, abs=0.06), "right, it would be 0.0475"


def test_one_that_is_right_95_percent_of_the_time_gains_it():
    """docs/MATH.md: without a prior, 92% are open after 10 outcomes."""
    gained = 0
    for seed in SEEDS:
        _, seen = verdicts(NO_PRIOR, seed, 0.95, 13)
        assert seen[0] == Verdict.REVIEW
        gained += seen[-1] == Verdict.ACT
    assert gained >= 6


def test_with_too_few_outcomes_a_person_is_asked():
    rig, seen = verdicts(NO_PRIOR, 1, 1.0, 7)
    assert seen == [Verdict.REVIEW] * 6 + [Verdict.ACT]
    asked = [decision for decision in rig.of(Decision) if decision.verdict == Verdict.REVIEW]
    assert all("enough outcomes" in failed(decision) for decision in asked)
    assert rig.last(Decision).confidence.by_declared_prior is False


def heals_alone(rig: CaseRig, times: int) -> None:
    rig.control("mode", scope="shop", mode="observe")
    for n in range(times):
        rig.say(anomaly(f"h{n}"))
        rig.wait(60)
        rig.say(anomaly(f"h{n}", Status.CLEARED))
        rig.wait(400)
    rig.control("mode", scope="shop", mode="act")


def test_what_heals_without_acting_earns_nothing_once_ten_such_cases_are_known():
    rig = CaseRig(DECLARED, ask=claiming(0.95))
    heals_alone(rig, 10)
    assert rig.last(PatternStats).not_acted_n == 10
    seen = [incident(rig, n, helps=True) for n in range(12)]
    assert set(seen) == {Verdict.REVIEW}
    assert failed(next(d for d in reversed(rig.of(Decision)) if not d.reviewer)) == ["uplift"]


def test_what_does_not_heal_alone_keeps_its_action_after_ten_such_cases():
    rig = CaseRig(DECLARED, ask=claiming(0.95))
    rig.control("mode", scope="shop", mode="observe")
    for n in range(10):
        rig.say(anomaly(f"h{n}"))
        rig.wait(2_000)
        rig.say(anomaly(f"h{n}", Status.CLEARED))
        rig.wait(400)
    rig.control("mode", scope="shop", mode="act")
    assert incident(rig, 1, helps=True) == Verdict.ACT


def test_a_calibrated_score_vetoes_what_the_tallies_would_still_allow():
    """Ten answers of 0.95 of which the first five were wrong, then a long run of successes at other scores."""
    rig = CaseRig(NO_PRIOR, ask=claiming(0.95))
    for n in range(5):
        incident(rig, n, helps=False)
    rig.performers["ask_model"] = claiming(0.99)
    verdict = [incident(rig, 10 + n, helps=True) for n in range(24)]
    assert verdict[-1] == Verdict.ACT, "the tallies are open again"
    rig.performers["ask_model"] = claiming(0.71)
    rig.say(anomaly("last"))
    decision = rig.last(Decision)
    assert failed(decision) == ["model's score"]
    assert decision.verdict == Verdict.REVIEW
    assert decision.confidence.calibrated_claim < 0.80 < decision.confidence.mean


def test_a_cooldown_holds_across_a_restart():
    rig = CaseRig(DECLARED)
    rig.say(anomaly("a1"))
    rig.wait(100)
    rig.outcome("recovered")
    rig.say(anomaly("a1", Status.CLEARED))
    rig.restart()
    rig.wait(100)
    rig.say(anomaly("a2", severity=5))  # a worse one within the same incident: asked and decided anew
    assert "cooldown" in failed(rig.last(Decision))
    assert len(rig.of(Command)) == 1
    cooling = next(reason for reason in rig.last(Decision).reasons if reason.rule == "cooldown")
    assert cooling.text == "cooling down: 200 s left"


def test_three_failures_lock_for_an_hour_also_across_a_restart():
    rig = CaseRig(catalog(runbook(), mode=Mode.SUGGEST))
    for n in range(3):
        rig.say(anomaly(f"a{n}"))
        rig.review("approve", rig.last(Decision).proposal_digest)
        rig.outcome("failed")
        rig.say(anomaly(f"a{n}", Status.CLEARED))
        rig.wait(400)
    assert len(rig.of(Command)) == 3
    rig.restart()
    rig.say(anomaly("a4"))
    locked = next(reason for reason in rig.last(Decision).reasons if reason.rule == "cooldown")
    assert locked.text == "locked after repeated failures: 3200 s left"
    assert rig.last(Decision).verdict == Verdict.ALERT
    rig.say(anomaly("a4", Status.CLEARED))
    rig.wait(3_200)
    rig.say(anomaly("a5"))
    assert rig.last(Decision).verdict == Verdict.REVIEW


def test_two_troubles_that_want_one_target_give_one_action():
    rig = CaseRig(DECLARED, ask=claiming(0.95))
    rig.say(anomaly("a1"))
    rig.say(anomaly("a2", service="orders", text="slow query", severity=5))
    rig.wait(1_000)
    assert len(rig.of(Command)) == 1
    assert len({decision.correlation_id for decision in rig.of(Decision)}) == 1


def test_a_declared_prior_acts_from_the_start_and_the_decision_says_so():
    rig = CaseRig(DECLARED)
    rig.say(anomaly())
    decision = rig.last(Decision)
    assert decision.verdict == Verdict.ACT
    assert any("by declared prior" in reason.text for reason in decision.reasons)
    assert rig.last(Command).issued_at == T0
