"""learn, through a real Unit: every outcome is counted, and so is every incident nobody acted on."""

from __future__ import annotations

import pytest
from case_rig import CaseRig, anomaly, catalog, claiming, infra, runbook

from models.anomaly import Status
from models.confidence import DECAY
from models.decision import Decision
from models.history import HistoryRecord, PatternStats, Tally
from models.policy import Mode
from models.runbook import Prior, Verification
from models.signal import InfraMeaning

OBSERVE = catalog(mode=Mode.OBSERVE)


def cleared_after(rig: CaseRig, seconds: float, name: str = "a1") -> None:
    rig.say(anomaly(name))
    rig.wait(seconds)
    rig.say(anomaly(name, Status.CLEARED))
    rig.wait(400)


def acted(rig: CaseRig) -> list[PatternStats]:
    return [row for row in rig.of(PatternStats) if row.runbook_id]


def waited(rig: CaseRig) -> list[PatternStats]:
    return [row for row in rig.of(PatternStats) if not row.runbook_id]


@pytest.mark.parametrize("result", ["rolled_back", "failed", "unknown"])
def test_every_outcome_but_recovery_counts_against_the_runbook(result):
    rig = CaseRig()
    rig.say(anomaly())
    rig.outcome(result)
    (row,) = acted(rig)
    assert (row.acted, row.acted_n, row.claims[0][1]) == (Tally(ok=0, bad=1), 1, 0)


def test_a_refusal_touched_nothing_and_counts_nothing():
    rig = CaseRig()
    rig.say(anomaly())
    rig.outcome("refused")
    assert acted(rig) == []
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(400)
    assert not rig.last(HistoryRecord).acted
    assert waited(rig)[-1].not_acted_n == 1


def test_outcomes_fade_as_new_ones_come():
    rig = CaseRig()
    for n in range(2):
        rig.say(anomaly(f"a{n}"))
        rig.outcome("recovered")
        rig.say(anomaly(f"a{n}", Status.CLEARED))
        rig.wait(400)
    assert [row.acted for row in acted(rig)] == [Tally(ok=1), Tally(ok=1 + DECAY)]
    keys = {event.key for event in rig.out if event.type == "pattern_stats"}
    assert keys == {f"shop/{acted(rig)[0].pattern_id}/scale-db"}


def test_the_claim_behind_a_command_is_scored_by_its_outcome():
    rig = CaseRig(ask=claiming(0.95))
    rig.say(anomaly())
    rig.outcome("recovered")
    (row,) = acted(rig)
    assert row.claims == ((0.95, 1),)
    assert row.brier == pytest.approx(0.0025)


def test_what_clears_within_the_horizon_without_acting_is_a_recovery_and_later_is_none():
    soon = CaseRig(OBSERVE)
    cleared_after(soon, 320)
    assert soon.last(HistoryRecord).recovered_without_acting is True
    assert waited(soon)[-1].not_acted == Tally(ok=1)
    late = CaseRig(OBSERVE)
    cleared_after(late, 321)
    assert late.last(HistoryRecord).recovered_without_acting is False
    assert waited(late)[-1].not_acted == Tally(bad=1)


def test_the_horizon_is_that_of_the_recommended_runbook():
    slow = runbook(verify=Verification(settle_seconds=100, timeout_seconds=900))
    rig = CaseRig(catalog(slow, mode=Mode.OBSERVE))
    cleared_after(rig, 900)
    assert rig.last(HistoryRecord).recovered_without_acting is True


def test_a_failure_that_follows_is_no_recovery_however_soon_it_clears():
    rig = CaseRig(OBSERVE)
    rig.say(anomaly())
    rig.say(infra("e1"))
    rig.say(infra("e2", InfraMeaning.RECOVERY))
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(400)
    record = rig.last(HistoryRecord)
    assert (record.failed, record.recovered_without_acting) == (True, False)


def test_a_failed_resource_that_comes_back_soon_has_recovered_alone_and_one_that_never_does_has_not():
    back = CaseRig(OBSERVE)
    back.say(infra("e1"))
    back.wait(60)
    back.say(infra("e2", InfraMeaning.RECOVERY))
    back.wait(400)
    assert back.last(HistoryRecord).recovered_without_acting is True
    gone = CaseRig(OBSERVE)
    gone.say(infra("e1"))
    gone.wait(1_300)
    assert gone.last(HistoryRecord).recovered_without_acting is False


def test_a_rejected_proposal_is_a_control_case():
    rig = CaseRig(catalog(mode=Mode.SUGGEST))
    rig.say(anomaly())
    rig.review("reject", rig.last(Decision).proposal_digest)
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(400)
    assert waited(rig)[-1].not_acted_n == 1


def test_a_prediction_nobody_acted_on_is_scored_by_whether_the_failure_came():
    rig = CaseRig(OBSERVE, ask=claiming(0.8))
    cleared_after(rig, 30)
    assert waited(rig)[-1].claims == ((0.8, 0),)


def test_an_acted_incident_is_no_control_case():
    rig = CaseRig()
    rig.say(anomaly())
    rig.outcome("recovered")
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(400)
    record = rig.last(HistoryRecord)
    assert (record.acted, record.runbook_id, record.result) == (True, "scale-db", "recovered")
    assert record.recovered_without_acting is None
    assert waited(rig) == []


def test_the_record_holds_what_the_future_needs_to_recall_it():
    rig = CaseRig(OBSERVE)
    cleared_after(rig, 30)
    record = rig.last(HistoryRecord)
    assert record.texts == (anomaly().text,)
    assert record.seconds_to_recover == 30.0
    assert record.closed_at - record.opened_at == 330_000
    assert [event.key for event in rig.out if event.type == "history_record"] == [record.correlation_id]


def test_a_new_version_of_a_runbook_is_declared_anew():
    rig = CaseRig()
    rig.say(anomaly())
    rig.outcome("failed")
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(700)
    rig.say(anomaly("a2"))
    assert "confidence" in [reason.rule for reason in rig.last(Decision).reasons if not reason.passed]
    assert rig.state.learn.stats[f"{acted(rig)[0].pattern_id}/scale-db"].credit_used
    rig.say(anomaly("a2", Status.CLEARED))
    rig.wait(700)
    rig.say(catalog(runbook(version=2, prior=Prior(ok=7.5, bad=0.5))), key="catalog")
    rig.say(anomaly("a3"))
    assert "confidence" not in [reason.rule for reason in rig.last(Decision).reasons if not reason.passed]


def test_outcomes_on_another_pattern_are_recalled_and_count_as_borrowed():
    rig = CaseRig(catalog(runbook(prior=None)))
    pattern = "elsewhere"
    other = PatternStats(
        application="mall", pattern_id=pattern, runbook_id="scale-db", acted=Tally(ok=19, bad=0.5), acted_n=60
    )
    rig.memory.kept["mall/elsewhere/scale-db"] = other
    rig.say(anomaly())
    confidence = rig.last(Decision).confidence
    assert confidence.n_effective == pytest.approx(8)
    assert confidence.mean == pytest.approx(20 / 21.5)
    rig.outcome("recovered")
    assert acted(rig)[-1].elsewhere == Tally()
