"""The policy table: each rule alone takes the verdict to where the table says, and says why with figures."""

from __future__ import annotations

import pytest
from case_rig import KEYS, T0, anomaly, runbook

from models.casefile import signal_of, with_signal
from models.confidence import assess
from models.cooldown import CooldownCheck
from models.correlation import create_incident_record
from models.decision import Verdict
from models.history import PatternStats, Tally
from models.policy import Mode, Policy
from models.prediction import Prediction
from models.rules import RULES, Weighing, judge
from models.runbook import Reversibility
from models.signal import Control
from models.signing import sign
from models.targets import TargetChoice

POLICY = Policy()
INCIDENT = with_signal(
    create_incident_record("shop", T0, "checkout/abc/spike", kind="spike", text="t"), signal_of(anomaly(), T0)
)


def prediction(p: float | None = 0.8) -> Prediction:
    return Prediction(
        correlation_id=INCIDENT.correlation_id,
        application="shop",
        revision=1,
        question="predict",
        failure_probability=p,
        horizon_minutes=60,
        by="local" if p is not None else "none",
        evidence_digest="d",
        reason="" if p is not None else "no answer within 30 s",
    )


NO_CASES = Tally()


def confidence(ok: float = 20, bad: float = 0, controls: Tally = NO_CASES, n: int = 0, claim: float | None = None):
    row = PatternStats(application="shop", pattern_id="p", runbook_id="r", acted=Tally(ok=ok, bad=bad))
    waiting = PatternStats(application="shop", pattern_id="p", not_acted=controls)
    return assess(row, waiting, POLICY).model_copy(update={"claims": n, "calibrated_claim": claim})


GOOD = Weighing(
    now=T0 + 1_000,
    incident=INCIDENT,
    evidence_at=T0,
    prediction=prediction(),
    policy=POLICY,
    mode=Mode.ACT,
    pause=None,
    silence=None,
    runbook=runbook(),
    allowed=True,
    target=TargetChoice("arn:db", True, "arn:db is the only target of kind rds"),
    cooldown=CooldownCheck(True),
    in_flight=(),
    ordered_today=0,
    tried=(),
    rejected=(),
    confidence=confidence(),
    open=True,
)
PAUSE = sign(Control(kind="pause", by="ana", reason="game day"), KEYS)

CASES = [
    ("silence", {"silence": PAUSE}, Verdict.HOLD, "silenced by ana: game day"),
    ("alert probability", {"prediction": prediction(0.49)}, Verdict.HOLD, "P(failure) 0.49, at least 0.50"),
    ("prevent probability", {"prediction": prediction(0.69)}, Verdict.ALERT, "P(failure) 0.69, at least 0.70"),
    ("prevent probability", {"prediction": prediction(None)}, Verdict.ALERT, "no prediction"),
    ("still needed", {"open": False}, Verdict.ALERT, "every signal is clear"),
    ("kill switch", {"pause": PAUSE}, Verdict.ALERT, "paused by ana: game day"),
    ("mode", {"mode": Mode.OBSERVE}, Verdict.ALERT, "mode is observe"),
    ("mode to act", {"mode": Mode.SUGGEST}, Verdict.REVIEW, "mode is suggest"),
    ("fresh evidence", {"now": T0 + 600_001}, Verdict.ALERT, "600 s old, at most 600 s"),
    (
        "runbook",
        {"runbook": None, "target": TargetChoice("", False, ""), "confidence": None},
        Verdict.ALERT,
        "no runbook",
    ),
    ("allow-list", {"allowed": False}, Verdict.ALERT, "is not allowed"),
    ("target", {"target": TargetChoice("", False, "no target")}, Verdict.ALERT, "no target"),
    ("one target", {"target": TargetChoice("arn:a", False, "2 targets fit")}, Verdict.REVIEW, "2 targets fit"),
    ("cooldown", {"cooldown": CooldownCheck(False, T0 + 61_000)}, Verdict.ALERT, "cooling down: 60 s left"),
    ("cooldown", {"cooldown": CooldownCheck(False, T0 + 61_000, True)}, Verdict.ALERT, "locked after repeated"),
    ("one action per target", {"in_flight": ["arn:db"]}, Verdict.ALERT, "under way"),
    ("blast radius", {"in_flight": ["arn:x"]}, Verdict.ALERT, "1 actions under way, at most 1"),
    ("daily budget", {"ordered_today": 20}, Verdict.REVIEW, "20 actions in 24 hours, at most 20"),
    ("reversibility", {"runbook": runbook(reversibility=Reversibility.IRREVERSIBLE)}, Verdict.REVIEW, "irreversible"),
    (
        "failure mode",
        {
            "prediction": prediction(0.9).model_copy(update={"failure_mode": "unknown"}),
            "confidence": confidence().model_copy(update={"by_declared_prior": True}),
        },
        Verdict.REVIEW,
        "says nothing of it",
    ),
    ("not tried before", {"tried": [("scale-db", "arn:db")]}, Verdict.REVIEW, "this was tried"),
    ("not tried before", {"tried": [("a", "b")] * 3}, Verdict.REVIEW, "3 of 3 attempts"),
    ("not rejected", {"rejected": [("scale-db", "arn:db")]}, Verdict.ALERT, "a person rejected this"),
    ("confidence", {"confidence": confidence(7, 2)}, Verdict.REVIEW, "mean 0.727, must be above 0.80"),
    ("enough outcomes", {"confidence": confidence(4, 0)}, Verdict.REVIEW, "6.00 effective outcomes, at least 7"),
    ("worst case", {"confidence": confidence(0, 0)}, Verdict.REVIEW, "10% quantile 0.100"),
    ("uplift", {"confidence": confidence(controls=Tally(ok=10))}, Verdict.REVIEW, "beats waiting by 0.10"),
    ("model's score", {"confidence": confidence(n=10, claim=0.7)}, Verdict.REVIEW, "0.70 calibrated over 10"),
]


def test_with_nothing_against_it_the_verdict_is_to_act_and_every_rule_is_stated():
    verdict, reasons = judge(GOOD)
    assert verdict == Verdict.ACT
    assert all(reason.passed for reason in reasons)
    assert len(reasons) == len(RULES) + 5


@pytest.mark.parametrize(
    ("rule", "changes", "verdict", "words"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)]
)
def test_each_rule_alone_caps_the_verdict_and_says_why(rule, changes, verdict, words):
    found, reasons = judge(GOOD._replace(**changes))
    assert found == verdict
    failed = {reason.rule: reason.text for reason in reasons if not reason.passed}
    assert words in failed[rule]


def test_every_rule_of_the_table_has_a_case():
    named = {reason.rule for reason in judge(GOOD)[1]}
    assert named == {case[0] for case in CASES}


def test_the_lowest_cap_wins_and_all_reasons_stand():
    verdict, reasons = judge(GOOD._replace(mode=Mode.SUGGEST, open=False, ordered_today=99))
    assert verdict == Verdict.ALERT
    assert [reason.rule for reason in reasons if not reason.passed] == ["still needed", "mode to act", "daily budget"]


def test_a_failure_that_has_happened_needs_no_probability():
    failed = INCIDENT.model_copy(update={"failed": True})
    assert judge(GOOD._replace(incident=failed, prediction=prediction(0.01)))[0] == Verdict.ACT


def test_a_models_score_below_ten_answers_is_shown_and_ignored():
    verdict, reasons = judge(GOOD._replace(confidence=confidence(n=9, claim=0.2)))
    assert verdict == Verdict.ACT
    assert "0.20 calibrated, not counted: 9 of 10" in reasons[-1].text


@pytest.mark.parametrize(
    "rule", ["kill switch", "mode", "cooldown", "one action per target", "blast radius", "still needed"]
)
def test_a_persons_approval_does_not_lift_what_binds_people_too(rule):
    changes = next(case[1] for case in CASES if case[0] == rule)
    assert judge(GOOD._replace(**changes), approved_by="bo")[0] == Verdict.ALERT


@pytest.mark.parametrize("rule", ["confidence", "uplift", "reversibility", "mode to act", "one target", "daily budget"])
def test_a_persons_approval_stands_in_for_what_only_binds_the_machine(rule):
    changes = next(case[1] for case in CASES if case[0] == rule)
    verdict, reasons = judge(GOOD._replace(**changes), approved_by="bo")
    assert verdict == Verdict.ACT
    assert reasons[0].text == "approved by bo"
