"""decide, through a real Unit: verdicts, commands, reviews, cooldowns, and what a person's hand does."""

from __future__ import annotations

import pytest
from case_rig import KEYS, RESTART, T0, CaseRig, anomaly, catalog, claiming, failing, infra, runbook

from models.anomaly import Status, Tier
from models.audit import AuditEntry, DeadLetter, Stage
from models.catalog import Target
from models.command import Command
from models.decision import Alert, Decision, Verdict
from models.policy import Mode
from models.runbook import Verification
from models.signal import Control, Review
from models.signing import verify

SUGGEST = catalog(mode=Mode.SUGGEST)
UNPROVEN = catalog(runbook(prior=None), RESTART)


def stages(rig: CaseRig) -> list[str]:
    return [entry.stage.value for entry in rig.of(AuditEntry)]


def failed(decision: Decision) -> list[str]:
    return [reason.rule for reason in decision.reasons if not reason.passed]


def test_in_mode_act_with_a_declared_prior_it_orders_a_signed_command():
    rig = CaseRig()
    rig.say(anomaly())
    decision, command = rig.last(Decision), rig.last(Command)
    assert (decision.verdict, decision.command_id) == (Verdict.ACT, command.command_id)
    assert decision.confidence.by_declared_prior
    verify(command, KEYS)
    assert (command.target, command.runbook_id, command.run) == ("arn:sim:rds:orders", "scale-db", "run-1")
    assert (command.detected_at, command.issued_at, command.expires_at) == (T0, T0, T0 + 300_000)
    assert [(s.service, s.template_id, s.kind) for s in command.series] == [("checkout", "abc123", "spike")]
    assert [event.key for event in rig.out if event.type == "command"] == [command.target]
    assert stages(rig)[-2:] == ["DECIDED", "COMMANDED"]


def test_a_terminated_instance_is_replaced_itself():
    rig = CaseRig()
    rig.say(infra())
    command = rig.last(Command)
    assert (command.runbook_id, command.target) == ("replace-instance", "arn:sim:ec2:instance/i-1")
    assert command.services == ("checkout", "orders")


def test_a_recovered_resource_answers_only_for_its_own_service():
    watched = RESTART.model_copy(update={"verify": Verification(target_state={"status": "running"})})
    rig = CaseRig(catalog(runbook(), watched))
    rig.say(anomaly("a1", tier=Tier.ALARM, service="orders", text="order placed", severity=2, template_id="0a"))
    rig.say(anomaly("a2", tier=Tier.ALARM, service="checkout", text="cart priced", severity=2, template_id="0b"))
    assert rig.of(Command) == []
    rig.say(infra())
    command = rig.last(Command)
    assert command.runbook_id == "replace-instance"
    assert [(s.service, s.template_id) for s in command.series] == [("checkout", "0b")]
    assert command.services == ("checkout",)


def test_by_default_it_only_tells():
    rig = CaseRig(catalog(mode=Mode.OBSERVE))
    rig.say(anomaly())
    assert rig.last(Decision).verdict == Verdict.ALERT
    assert "mode" in failed(rig.last(Decision))
    assert rig.of(Command) == []
    assert rig.last(Alert).recommendation.startswith("Scale the database:")


def test_an_unlikely_failure_is_held_with_its_reasons():
    rig = CaseRig(ask=claiming(0.3))
    rig.say(anomaly())
    decision = rig.last(Decision)
    assert decision.verdict == Verdict.HOLD
    assert failed(decision)[:2] == ["alert probability", "prevent probability"]
    assert rig.last(Alert).severity == "info"


def test_without_a_prediction_people_are_told():
    rig = CaseRig(ask=failing)
    rig.say(anomaly())
    assert rig.last(Decision).verdict == Verdict.ALERT
    assert rig.last(Alert).severity == "warning"


def test_in_mode_suggest_a_person_is_asked_and_an_approval_orders():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    proposed = rig.last(Decision)
    assert (proposed.verdict, proposed.expires_at) == (Verdict.REVIEW, T0 + 1_800_000)
    assert rig.of(Command) == []
    rig.review("approve", proposed.proposal_digest)
    ordered = rig.last(Decision)
    assert (ordered.verdict, ordered.reviewer) == (Verdict.ACT, "ana")
    assert rig.last(Command).command_id == ordered.command_id
    assert stages(rig)[-4:] == ["REVIEW_REQUESTED", "APPROVED", "DECIDED", "COMMANDED"]


def test_in_mode_act_an_unproven_runbook_asks_a_person():
    rig = CaseRig(UNPROVEN)
    rig.say(anomaly())
    assert rig.last(Decision).verdict == Verdict.REVIEW
    assert failed(rig.last(Decision)) == ["confidence", "enough outcomes", "worst case", "uplift"]


def test_a_rejection_is_recorded_and_not_proposed_again_for_this_incident():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    rig.review("reject", rig.last(Decision).proposal_digest, reason="known load test")
    assert rig.last(Decision).verdict == Verdict.ALERT
    assert "not rejected" in failed(rig.last(Decision))
    rig.wait(900)
    assert stages(rig).count("REVIEW_REQUESTED") == 1
    assert rig.of(Command) == []


def test_a_second_review_of_a_proposal_changes_nothing_and_is_counted():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    digest = rig.last(Decision).proposal_digest
    rig.review("approve", digest)
    rig.review("approve", digest)
    rig.review("reject", digest)
    assert len(rig.of(Command)) == 1
    assert rig.state.join.ignored == {"duplicate review": 2}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"proposal_digest": "0" * 20}, "no such proposal"),
        ({"correlation_id": "fs-other"}, "review of another incident"),
        ({"expires_at": T0}, "review expired"),
    ],
)
def test_a_review_that_answers_nothing_is_a_dead_letter(changes, reason):
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    digest = changes.pop("proposal_digest", rig.last(Decision).proposal_digest)
    rig.review("approve", digest, **changes)
    assert rig.last(DeadLetter).reason == reason
    assert rig.of(Command) == []


def test_an_unsigned_or_changed_review_is_a_dead_letter():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    proposed = rig.last(Decision)
    review = Review(
        correlation_id=proposed.correlation_id,
        proposal_digest=proposed.proposal_digest,
        verdict="approve",
        reviewer="mallory",
        expires_at=T0 + 1_000_000,
    )
    rig.say(review)
    rig.say(review.model_copy(update={"key_id": "k1", "signature": "0" * 64}))
    assert [letter.reason for letter in rig.of(DeadLetter)] == ["unknown signing key", "bad signature"]
    assert rig.of(Command) == []


def test_a_proposal_expires_and_can_then_not_be_approved():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    digest = rig.last(Decision).proposal_digest
    rig.wait(1_800)
    assert "EXPIRED" in stages(rig)
    rig.review("approve", digest)
    assert rig.of(Command) == []


def test_a_pause_withdraws_what_was_proposed_and_a_resume_proposes_it_anew():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    digest = rig.last(Decision).proposal_digest
    rig.control("pause")
    rig.review("approve", digest)
    assert rig.last(DeadLetter).reason == "no such proposal"
    rig.control("resume")
    assert rig.last(Decision).verdict == Verdict.REVIEW
    rig.review("approve", rig.last(Decision).proposal_digest)
    assert len(rig.of(Command)) == 1


def test_an_approval_after_everything_is_clear_orders_nothing():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    rig.say(anomaly(status=Status.CLEARED))
    rig.review("approve", next(d.proposal_digest for d in rig.of(Decision) if d.proposal_digest))
    assert (rig.last(Decision).verdict, failed(rig.last(Decision))) == (Verdict.ALERT, ["still needed"])
    assert rig.of(Command) == []


def test_a_pause_holds_and_a_resume_lets_the_open_case_decide_anew():
    rig = CaseRig()
    rig.control("pause")
    rig.say(anomaly())
    assert (rig.last(Decision).verdict, failed(rig.last(Decision))) == (Verdict.ALERT, ["kill switch"])
    rig.control("resume")
    assert rig.last(Decision).verdict == Verdict.ACT
    assert len(rig.of(Command)) == 1


def test_a_pause_of_another_application_holds_nothing_and_a_timed_one_ends():
    rig = CaseRig()
    rig.control("pause", scope="mall")
    rig.control("pause", scope="shop", until=T0 + 10_000)
    rig.wait(10)
    rig.say(anomaly())
    assert rig.last(Decision).verdict == Verdict.ACT


def test_a_person_can_change_the_mode():
    rig = CaseRig()
    rig.control("mode", scope="shop", mode="observe")
    rig.say(anomaly())
    assert rig.of(Command) == []
    rig.control("mode", scope="shop", mode="act")
    assert len(rig.of(Command)) == 1


def test_a_silenced_application_is_held_and_nobody_is_told():
    rig = CaseRig()
    rig.control("silence", scope="shop", until=T0 + 3_600_000)
    rig.say(anomaly())
    assert rig.last(Decision).verdict == Verdict.HOLD
    assert rig.of(Alert) == []


def test_an_unsigned_control_is_a_dead_letter():
    rig = CaseRig()
    rig.say(Control(kind="pause", by="mallory"))
    assert rig.last(DeadLetter).reason == "unknown signing key"
    rig.say(anomaly())
    assert len(rig.of(Command)) == 1


def test_a_resume_written_again_after_its_time_does_not_end_a_later_pause():
    rig = CaseRig()
    rig.control("pause")
    rig.now = T0 + 600_001
    rig.control("resume", until=T0 + 600_000)
    assert rig.last(DeadLetter).reason == "stale"
    rig.say(anomaly(), at=rig.now)
    assert rig.of(Command) == []


def test_evidence_older_than_ten_minutes_is_not_acted_on():
    rig = CaseRig()
    rig.now = T0 + 700_000
    rig.say(anomaly(), at=T0)
    assert (rig.last(Decision).verdict, failed(rig.last(Decision))) == (Verdict.ALERT, ["fresh evidence"])


def test_two_targets_that_fit_equally_well_are_a_persons_choice():
    twins = tuple(Target(arn=f"arn:{n}", kind="rds") for n in "ab")
    rig = CaseRig(catalog(targets=twins))
    rig.say(anomaly())
    assert (rig.last(Decision).verdict, failed(rig.last(Decision))) == (Verdict.REVIEW, ["one target"])


def test_while_a_command_is_under_way_no_second_one_is_ordered():
    rig = CaseRig()
    rig.say(anomaly())
    rig.wait(300)
    assert len(rig.of(Command)) == 1
    assert {"one action per target", "blast radius"} <= set(failed(rig.last(Decision)))


def test_after_a_failure_it_waits_out_the_cooldown_and_then_asks_a_person():
    rig = CaseRig()
    rig.say(anomaly())
    rig.outcome("rolled_back", reason="no better after 300 s")
    decisions = len(rig.of(Decision))
    rig.wait(299)
    assert len(rig.of(Decision)) == decisions
    rig.say(anomaly(status=Status.UPDATED))
    rig.wait(1)
    again = rig.last(Decision)
    assert len(rig.of(Decision)) > decisions
    assert again.verdict == Verdict.REVIEW
    assert "not tried before" in failed(again)
    assert len(rig.of(Command)) == 1


def test_a_cooldown_that_ends_is_weighed_anew_even_when_all_questions_are_spent():
    rig = CaseRig()
    rig.say(anomaly())
    rig.wait(1_000)  # asked at 0, 300, 600 and 900 s
    rig.outcome("failed")
    rig.say(anomaly(status=Status.UPDATED))
    decisions = len(rig.of(Decision))
    rig.wait(299)
    assert len(rig.of(Decision)) == decisions
    rig.wait(1)
    assert len(rig.of(Decision)) == decisions + 1


def test_a_refused_command_may_be_ordered_again_after_the_cooldown_under_another_id():
    rig = CaseRig()
    rig.say(anomaly())
    rig.outcome("refused", reason="lease is held")
    rig.wait(299)
    rig.say(anomaly(status=Status.UPDATED))
    assert len(rig.of(Command)) == 1
    rig.wait(1)
    first, second = rig.of(Command)
    assert first.command_id != second.command_id


def test_a_failed_action_tells_people_that_a_person_is_needed():
    rig = CaseRig()
    rig.say(anomaly())
    rig.outcome("failed", reason="scaling\x1b[31m refused", needs_person=True)
    alert = rig.last(Alert)
    assert (alert.severity, alert.recommendation) == ("critical", "A person is needed: scaling [31m refused")


def test_a_command_whose_outcome_never_comes_counts_as_unknown_in_the_end():
    rig = CaseRig()
    rig.say(anomaly())
    rig.wait(3_600)
    assert rig.state.decide.in_flight == {}
    assert "NEEDS_PERSON" in stages(rig)
    assert any("no outcome came in time" in alert.recommendation for alert in rig.of(Alert))


def test_the_daily_budget_is_a_persons_to_exceed():
    rig = CaseRig(catalog(max_actions_per_day=1))
    for n in range(2):
        rig.say(anomaly(f"a{n}"))
        if n == 0:
            rig.outcome("recovered")
            rig.say(anomaly(f"a{n}", Status.CLEARED))
            rig.wait(700)
    assert failed(rig.last(Decision)) == ["daily budget"]
    assert rig.last(Decision).verdict == Verdict.REVIEW


def test_alerts_of_an_incident_have_one_id_and_growing_revisions():
    rig = CaseRig()
    rig.say(anomaly())
    rig.wait(20)
    rig.outcome("recovered")
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(400)
    alerts = rig.of(Alert)
    assert len({alert.alert_id for alert in alerts}) == 1
    assert [(alert.revision, alert.stage.value) for alert in alerts] == [
        (1, "opened"),
        (2, "predicted"),
        (3, "decided"),
        (4, "resolved"),
    ]


def test_a_new_incident_has_a_new_alert_that_begins_at_one():
    rig = CaseRig(catalog(mode=Mode.OBSERVE))
    for n in range(2):
        rig.say(anomaly(f"a{n}"))
        rig.say(anomaly(f"a{n}", Status.CLEARED))
        rig.wait(400)
    opened = [alert for alert in rig.of(Alert) if alert.stage == "opened"]
    assert [alert.revision for alert in opened] == [1, 1]
    assert len({alert.alert_id for alert in opened}) == 2


def test_every_stage_of_a_story_is_on_the_trail():
    rig = CaseRig(SUGGEST)
    rig.say(anomaly())
    rig.review("approve", rig.last(Decision).proposal_digest)
    rig.outcome("recovered")
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(400)
    wanted = [
        Stage.DETECTED,
        Stage.HISTORY_CHECKED,
        Stage.ANALYZED,
        Stage.DECIDED,
        Stage.REVIEW_REQUESTED,
        Stage.APPROVED,
        Stage.DECIDED,
        Stage.COMMANDED,
        Stage.LEARNED,
        Stage.CLOSED,
    ]
    assert [entry.stage for entry in rig.of(AuditEntry)] == wanted
    assert len({entry.correlation_id for entry in rig.of(AuditEntry)}) == 1


def test_a_review_does_not_use_up_the_end_of_a_cooldown_that_a_decision_waits_for():
    rig = CaseRig(catalog(mode=Mode.SUGGEST), ask=claiming(0.95))
    rig.say(anomaly())
    rig.wait(6)
    rig.state.decide.retry_at = rig.now = rig.now + 1_000  # another action's, which ended while this was asked
    before = len(rig.of(Decision))
    rig.review("reject", rig.last(Decision).proposal_digest)
    assert len(rig.of(Decision)) == before + 2  # the reviewer's, and the tick's that is due at once
    assert rig.state.decide.retry_at == 0


def test_a_review_that_finds_its_incident_quiet_for_long_enough_is_counted():
    rig = CaseRig(catalog(mode=Mode.SUGGEST), ask=claiming(0.95))
    rig.say(anomaly())
    rig.wait(6)
    rig.say(anomaly(status=Status.CLEARED))
    rig.now += 300_000
    rig.review("approve", rig.last(Decision).proposal_digest)
    assert rig.state.join.incident is None
    assert rig.of(Command) == []
    assert rig.state.join.ignored == {"review as the incident closed": 1}
