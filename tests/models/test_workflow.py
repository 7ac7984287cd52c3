"""The workflow's rules, driven turn by turn against a target in memory."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from workflow_rig import RESTART, SCALE, T0, Rig, command, runbook, switch_step

from models.audit import Stage
from models.command import JournalEntry, SeriesRef
from models.runbook import ActionCall, Reversibility, Verification
from models.workflow_run import MAX_QUEUE
from models.workflow_turn import Call


def test_a_recovery_is_verified_by_series_and_guard_and_its_times_are_in_order() -> None:
    rig = Rig()
    rig.order(command())
    rig.go()
    outcome = rig.outcome
    assert (outcome.result, outcome.verified_by) == ("recovered", ("series", "guard"))
    assert outcome.applied
    times = outcome.times
    assert list(times) == ["detected", "commanded", "applied", "recovered", "verified"]
    assert list(times.values()) == sorted(times.values())
    assert times["recovered"] == -(-times["applied"] // 10_000) * 10_000
    assert times["verified"] >= times["recovered"] + 20_000
    assert outcome.guard == {"checkout.before": 2.0, "checkout.after": 2.0}
    phases = ["received", "prechecking", "snapshotting", "executing", "settling", "verifying", "succeeded"]
    assert rig.states() == phases
    assert rig.stages() == [Stage.EXECUTING, Stage.VERIFYING, Stage.RECOVERED]
    assert rig.world["max_connections"] == 200


def test_every_call_has_its_intent_in_the_journal_before_its_answer() -> None:
    rig = Rig(fails={0: ("lost", False)})
    rig.order(command())
    rig.go()
    journal = [item for item in rig.out if isinstance(item, JournalEntry)]
    assert [item.seq for item in journal] == list(range(len(journal)))
    opened: set[str] = set()
    for item in journal:
        if item.entry == "intent":
            opened.add(item.effect_id)
        elif item.entry == "answer":
            opened.remove(item.effect_id)
    assert not opened


def test_what_does_not_help_is_undone_from_the_snapshot() -> None:
    rig = Rig(heals=False)
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "rolled_back"
    assert "not verified within 120 s: checkout/t1/spike: 0 of 2 buckets" in rig.outcome.reason
    assert rig.world["max_connections"] == 100
    assert rig.states()[-2:] == ["compensating", "rolled_back"]
    assert rig.stages()[-2:] == [Stage.ROLLING_BACK, Stage.ROLLED_BACK]


def test_a_worse_guard_is_undone_before_the_timeout() -> None:
    rig = Rig(errors_after=40.0, heals=False)
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "rolled_back"
    assert "guard worse: checkout: errors rose from 2 to 40 in 10 s" in rig.outcome.reason
    assert rig.outcome.guard == {"checkout.before": 2.0, "checkout.after": 40.0}
    assert rig.now - rig.outcome.times["applied"] < 60_000


def test_a_guard_that_is_worse_forbids_success_even_where_the_series_is_good() -> None:
    rig = Rig(errors_after=40.0)
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "rolled_back"


def test_the_target_state_must_hold_as_well() -> None:
    verify = Verification(settle_seconds=0, timeout_seconds=60, target_state={"status": "scaled"})
    rig = Rig(book=runbook(verify=verify))
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "rolled_back"
    assert "the target's status is 'available', not 'scaled'" in rig.outcome.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": "another"}, "ordered by run 'another'"),
        ({"expires_at": T0 - 1_000}, "expired 1 s ago"),
        ({"issued_at": T0 - 601_000, "expires_at": T0 + 1}, "stale"),
        ({"runbook_version": 2}, "unknown runbook scale-db version 2"),
        ({"target": "db2"}, "unknown target db2"),
        ({"application": "other"}, "not one of application other"),
        (
            {"series": (SeriesRef(service="checkout", template_id="", kind="source_stalled"),)},
            "does not tell of its stalled sources",
        ),
        ({"series": ()}, "nothing would show whether it helped"),
    ],
)
def test_a_command_that_may_not_run_is_refused_with_its_reason_and_calls_nothing(changes: Any, reason: str) -> None:
    rig = Rig()
    rig.order(command(**changes))
    rig.go()
    assert rig.outcome.result == "refused"
    assert reason in rig.outcome.reason
    assert not rig.outcome.applied
    assert not rig.actions
    assert not rig.pending


def test_a_target_in_another_state_than_required_is_left_alone() -> None:
    rig = Rig(world={"status": "modifying", "max_connections": 100})
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "refused"
    assert "the target's status is 'modifying', the runbook requires 'available'" in rig.outcome.reason
    assert not rig.actions


def test_an_inverse_that_could_not_be_filled_in_refuses_before_anything_is_called() -> None:
    rig = Rig(world={"status": "available"})
    rig.order(command())
    rig.go()
    assert "$snapshot.max_connections has no value" in rig.outcome.reason
    assert not rig.actions


def test_without_a_health_reading_nothing_is_done_because_nothing_could_be_verified() -> None:
    rig = Rig(healthy=False)
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "refused"
    assert "no health of service checkout" in rig.outcome.reason
    assert not rig.actions


def test_an_unreadable_target_is_refused_after_three_tries() -> None:
    rig = Rig(unreadable=True)
    rig.order(command())
    rig.go()
    assert "prechecking: not readable 3 times: db: throttled" in rig.outcome.reason


def test_a_refused_attempt_is_retried_after_a_growing_wait_and_a_probe_under_a_new_key() -> None:
    rig = Rig(fails={0: ("refused", False), 1: ("refused", False)})
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "recovered"
    assert len({call["idempotency_key"] for call in rig.actions}) == 3
    calls = [item.call for item in rig.out if isinstance(item, JournalEntry) and item.entry == "intent"]
    assert calls[2:7] == ["call_action", "read_state", "call_action", "read_state", "call_action"]


def test_attempts_end_and_a_step_that_never_took_effect_needs_no_undoing() -> None:
    rig = Rig(fails=dict.fromkeys(range(9), ("refused", False)))
    rig.order(command())
    rig.go()
    assert len(rig.actions) == 3
    assert rig.outcome.result == "failed"
    assert "step scale failed: throttled" in rig.outcome.reason
    assert rig.outcome.applied


@pytest.mark.parametrize("how", ["lost", "silent"])
def test_an_unknown_outcome_that_took_effect_is_found_by_the_probe_and_not_repeated(how: str) -> None:
    rig = Rig(fails={0: (how, True)})
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "recovered"
    assert len(rig.actions) == 1


@pytest.mark.parametrize("how", ["lost", "silent"])
def test_an_unknown_outcome_without_effect_is_repeated_under_the_same_key(how: str) -> None:
    rig = Rig(fails={0: (how, False)})
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "recovered"
    first, second = rig.actions
    assert first["idempotency_key"] == second["idempotency_key"] == first["id"]
    assert first["id"] != second["id"]


def test_an_outcome_no_state_can_show_is_undone_where_repeating_is_not_safe() -> None:
    step = SCALE.model_copy(update={"call": ActionCall(action="rds.boost"), "expect": {"status": "available"}})
    rig = Rig(book=runbook(step), fails={0: ("lost", True)})
    rig.order(command())
    rig.go()
    assert [call["action"] for call in rig.actions] == ["rds.boost", "rds.scale"]
    assert rig.outcome.result == "rolled_back"
    assert "cannot show whether it took effect" in rig.outcome.reason


def test_an_outcome_no_state_can_show_is_repeated_where_the_runbook_is_restart_safe() -> None:
    rig = Rig(book=runbook(RESTART, reversibility=Reversibility.RESTART_SAFE), fails={0: ("lost", False)})
    rig.order(command())
    rig.go()
    assert [call["action"] for call in rig.actions] == ["ecs.restart", "ecs.restart"]
    assert rig.outcome.result == "recovered"


def test_an_outcome_no_state_can_show_and_nothing_can_undo_goes_to_a_person() -> None:
    rig = Rig(book=runbook(RESTART, reversibility=Reversibility.IRREVERSIBLE), fails={0: ("lost", False)})
    rig.order(command())
    rig.go()
    assert (rig.outcome.result, rig.outcome.needs_person) == ("unknown", True)
    assert rig.states()[-1] == "needs_person"


def test_a_compensation_that_fails_goes_to_a_person() -> None:
    rig = Rig(heals=False, fails=dict.fromkeys(range(1, 9), ("refused", False)))
    rig.order(command())
    rig.go()
    assert (rig.outcome.result, rig.outcome.needs_person) == ("failed", True)
    assert "undoing step scale failed" in rig.outcome.reason
    assert rig.stages()[-1] is Stage.NEEDS_PERSON


def test_steps_are_undone_in_the_reverse_order_in_which_they_took_effect() -> None:
    rig = Rig(book=runbook(switch_step("a"), switch_step("b"), switch_step("c")), heals=False)
    rig.world |= {"a": 0, "b": 0, "c": 0}
    rig.order(command())
    rig.go()
    assert [call["params"] for call in rig.actions] == [{"a": 1}, {"b": 1}, {"c": 1}, {"c": 0}, {"b": 0}, {"a": 0}]


def test_all_branches_of_a_group_end_before_the_failed_one_has_the_others_undone() -> None:
    rig = Rig(
        book=runbook(switch_step("a", "g"), switch_step("b", "g"), switch_step("c")), fails={0: ("refused", False)}
    )
    rig.world |= {"a": 0, "b": 0, "c": 0}
    rig.order(command())
    rig.perform()  # precheck
    rig.perform()  # guard
    assert [call.kind for call in rig.pending.values()] == ["call_action", "call_action"]
    rig.go()
    assert [call["params"] for call in rig.actions] == [{"a": 1}, {"b": 1}, {"b": 0}]
    assert rig.outcome.result == "rolled_back"


def test_two_incidents_wanting_one_target_give_one_action() -> None:
    rig = Rig()
    rig.order(command("c1"))
    rig.order(command("c2", correlation_id="fs-2"))
    assert rig.states()[-1] == "waiting_lease"
    rig.go()
    assert [(item.command_id, item.result) for item in rig.outcomes()] == [("c1", "recovered"), ("c2", "refused")]
    assert "superseded: command c1" in rig.outcomes()[1].reason
    assert len(rig.actions) == 1


def test_who_waited_for_a_workflow_that_called_nothing_gets_its_turn() -> None:
    rig = Rig(book=runbook(require_state={"ready": "$params.ready"}))
    rig.world["ready"] = "yes"
    rig.order(command("c1", params={"ready": "no"}))
    rig.order(command("c2", params={"ready": "yes"}))
    rig.go()
    assert [(item.command_id, item.result) for item in rig.outcomes()] == [("c1", "refused"), ("c2", "recovered")]


def test_who_waits_beyond_its_expiry_or_beyond_the_queue_is_refused() -> None:
    rig = Rig()
    for number in range(MAX_QUEUE + 2):
        rig.order(command(f"c{number}", expires_at=T0 + 10_000))
    assert [item.command_id for item in rig.outcomes()] == [f"c{MAX_QUEUE + 1}"]
    assert "lease held by command c0" in rig.outcome.reason
    rig.go()
    late = [item for item in rig.outcomes() if "expired while waiting" in item.reason]
    assert [item.command_id for item in late] == [f"c{n}" for n in range(1, MAX_QUEUE + 1)]
    assert len(rig.outcomes()) == MAX_QUEUE + 2


def test_a_second_command_of_the_same_id_is_ignored_and_counted() -> None:
    rig = Rig()
    rig.order(command())
    rig.go()
    rig.order(command())
    rig.go()
    assert len(rig.outcomes()) == 1
    assert rig.state.dropped == {"duplicate command": 1}


def test_an_action_cools_down_after_it_whatever_runbook_would_call_it() -> None:
    rig = Rig()
    rig.order(command("c1"))
    rig.go()
    rig.now += 299_000
    rig.book = runbook(id="other-book")
    rig.order(command("c2", runbook_id="other-book", issued_at=rig.now, expires_at=rig.now + 9))
    assert "cooldown: rds.scale on this target for another 1 s" in rig.outcomes()[-1].reason
    rig.now += 1_000
    rig.order(command("c3", runbook_id="other-book", issued_at=rig.now, expires_at=rig.now + 9))
    assert rig.state.workflow is not None


def test_three_failures_lock_the_target_for_an_hour() -> None:
    rig = Rig(heals=False)
    for number in range(3):
        rig.applied_at = 0
        rig.order(command(f"c{number}", issued_at=rig.now, expires_at=rig.now + 300_000, cooldown_seconds=0))
        rig.go(rig.now + 1_000_000)
    ended = rig.now
    assert [item.result for item in rig.outcomes()] == ["rolled_back"] * 3
    for wait, allowed in ((3_599_999, False), (3_600_000, True)):
        rig.now = ended + wait
        rig.order(command(f"after-{wait}", issued_at=rig.now, expires_at=rig.now + 300_000))
        assert (rig.state.workflow is not None) is allowed
    assert "locked after repeated failure" in rig.outcomes()[3].reason


def test_a_pause_stops_the_next_call_and_a_half_done_runbook_goes_to_a_person() -> None:
    rig = Rig(book=runbook(switch_step("a"), switch_step("b")))
    rig.world |= {"a": 0, "b": 0}
    rig.order(command())
    for _ in range(2):
        rig.perform()
    rig.pauses = {"shop": 0}
    rig.go()
    assert [call["params"] for call in rig.actions] == [{"a": 1}]
    assert (rig.outcome.result, rig.outcome.needs_person) == ("failed", True)
    assert "step b failed: paused by a person" in rig.outcome.reason


def test_a_pause_lets_a_running_verification_end() -> None:
    rig = Rig()
    rig.order(command())
    for _ in range(3):
        rig.perform()
    rig.pauses = {"*": 0}
    rig.go()
    assert rig.outcome.result == "recovered"


def test_a_pause_before_the_first_call_refuses_and_one_that_is_over_does_not() -> None:
    rig = Rig(pauses={"*": T0 + 1})
    rig.order(command("c1"))
    assert rig.outcome.reason == "paused by a person"
    rig.now = T0 + 1
    rig.order(command("c2"))
    assert rig.state.workflow is not None


def test_a_late_answer_is_counted_and_changes_nothing() -> None:
    rig = Rig()
    rig.order(command())
    rig.go()
    before = rig.state.model_dump(exclude={"dropped"})
    rig.answer(Call("gone", "call_action", {}), True, {})
    assert rig.state.dropped == {"late answer": 1}
    assert rig.state.model_dump(exclude={"dropped"}) == before


def test_an_action_that_timed_out_is_no_longer_waited_for() -> None:
    rig = Rig(fails={0: ("silent", True)})
    rig.order(command())
    rig.go()
    assert not rig.pending


def test_who_waits_for_the_lease_is_refused_the_moment_its_time_is_over() -> None:
    rig = Rig(fails={0: ("silent", True)})
    rig.order(command("c1"))
    rig.order(command("c2", expires_at=T0 + 10_000))
    rig.go(T0 + 10_001)
    assert (rig.outcome.command_id, rig.now) == ("c2", T0 + 10_001)


def test_verification_ends_at_its_deadline_even_while_a_probe_is_awaited() -> None:
    verify = Verification(settle_seconds=0, timeout_seconds=3)
    rig = Rig(book=runbook(verify=verify))
    rig.order(command())
    while rig.perform():
        pass
    rig.go(T0)  # the settle time is over, the first probe is asked and answered
    rig.healthy = False
    applied = rig.state.workflow.applied_at if rig.state.workflow else 0
    rig.go()
    assert rig.outcome.result == "rolled_back"
    assert rig.now == applied + 3_000


def test_a_first_attempt_of_unknown_outcome_stays_in_doubt_when_its_repetition_is_refused() -> None:
    step = RESTART.model_copy(update={"inverse": ActionCall(action="ecs.stop")})
    book = runbook(step, reversibility=Reversibility.RESTART_SAFE)
    rig = Rig(book=book, fails={0: ("lost", True), 1: ("refused", False), 2: ("refused", False)})
    rig.order(command())
    rig.go()
    assert [call["action"] for call in rig.actions] == ["ecs.restart"] * 3 + ["ecs.stop"]
    assert "step restart doubtful" in rig.outcome.reason


def test_an_unknown_outcome_of_a_call_that_is_under_way_is_not_repeated() -> None:
    rig = Rig(fails={0: ("lost", False)})
    rig.order(command())
    for _ in range(3):
        rig.perform()
    rig.world["status"], rig.applied_at = "modifying", rig.now
    rig.go()
    assert len(rig.actions) == 1
    assert rig.outcome.result == "recovered"


def test_a_call_refused_for_good_is_not_tried_again() -> None:
    rig = Rig()
    rig.order(command())
    for _ in range(2):
        rig.perform()
    (call,) = rig.pending.values()
    rig.answer(call, False, {"applied": False, "transient": False}, "no such action")
    assert (rig.outcome.result, rig.state.workflow) == ("failed", None)


def test_a_state_nested_too_deeply_to_be_written_down_counts_as_unreadable() -> None:
    deep: Any = {}
    for _ in range(200):
        deep = [deep]
    rig = Rig()
    rig.world["tags"] = deep
    rig.order(command())
    rig.go()
    assert rig.outcome.result == "refused"
    assert "nested more than 64 levels deep" in rig.outcome.reason


@pytest.mark.parametrize("field", ["cooldown_seconds", "lock_seconds"])
def test_a_command_cannot_ask_for_a_wait_that_no_clock_holds(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        command(**{field: 1e308})
