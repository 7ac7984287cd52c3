"""The small nouns of the case: correlation ids, similarity, cooldowns, corroboration, targets, headlines, answers."""

from __future__ import annotations

import math

import pytest
from case_rig import T0, anomaly, catalog, infra, runbook

from models.anomaly import Kind, Status, Tier
from models.answer import read_answer
from models.casefile import clear_events, event_of, is_quiet, signal_of, texts_of, with_change, with_event, with_signal
from models.catalog import Target
from models.cooldown import Cooldown, check_cooldown, cool_down
from models.correlation import create_incident_record, generate_correlation_id, pattern_of
from models.corroboration import corroborate, second_service_threshold
from models.errors import ContractError
from models.headline import escape, headline
from models.history import HistoryRecord
from models.incident import IncidentChange
from models.prediction import ModelAnswered
from models.similarity import get_similar_incidents, weighted_jaccard
from models.targets import choose_target


def incident(**changes):
    fields = {"kind": "spike", "text": "t", "resource": "", "resource_type": ""} | changes
    return create_incident_record("shop", T0, "checkout/abc/spike", **fields)


def test_a_correlation_id_reads_as_its_minute_and_depends_on_all_three_parts():
    cid = generate_correlation_id("shop", T0, "checkout/abc/spike")
    assert cid.startswith("fs-20260921T1413-")
    assert len(cid) == len("fs-20260921T1413-") + 10
    assert cid == generate_correlation_id("shop", T0, "checkout/abc/spike")
    others = [("mall", T0, "checkout/abc/spike"), ("shop", T0 + 1, "checkout/abc/spike"), ("shop", T0, "x")]
    assert len({cid, *(generate_correlation_id(*parts) for parts in others)}) == 4


def test_a_new_record_is_open_and_knows_its_pattern():
    record = incident(resource="i-1", resource_type="ec2")
    assert (record.status, record.revision, record.signals) == ("open", 0, ())
    assert record.pattern_id == pattern_of("spike", "t", "ec2") != pattern_of("spike", "t", "")


def past(name: str, *texts: str, closed_at: int = 0) -> HistoryRecord:
    return HistoryRecord(
        correlation_id=name,
        application="shop",
        pattern_id="p",
        primary="x",
        texts=texts,
        opened_at=0,
        closed_at=closed_at,
        failed=False,
        acted=False,
    )


def test_the_most_similar_incidents_share_the_rarest_texts():
    daily = [past(f"d{n}", "login failed") for n in range(20)]
    rare = past("r", "login failed", "pool exhausted")
    found = get_similar_incidents(("login failed", "pool exhausted"), [*daily, rare])
    assert [item.record.correlation_id for item in found] == ["r"]
    assert found[0].similarity == 1.0
    (daily_only,) = get_similar_incidents(("login failed", "new"), [past("a", "login failed"), past("b", "z")])
    n, df = 2, 1
    shared, fresh = math.log((1 + n) / (1 + df)) + 1, math.log(1 + n) + 1
    assert daily_only.similarity == pytest.approx(shared / (shared + fresh), abs=1e-6)


def test_at_most_three_are_recalled_and_the_newest_win_ties():
    found = get_similar_incidents(("a",), [past(str(n), "a", closed_at=n) for n in range(5)])
    assert [item.record.correlation_id for item in found] == ["4", "3", "2"]


def test_what_began_the_same_way_is_recalled_first_whatever_came_later():
    whole = past("whole", "pool exhausted", *(f"consequence {n}" for n in range(12)))
    alike = past("alike", "pool exhausted", "seldom").model_copy(update={"pattern_id": "other"})
    found = get_similar_incidents(("pool exhausted",), [whole, alike], pattern_id="p")
    assert [item.record.correlation_id for item in found] == ["whole", "alike"]
    assert found[0].similarity < 0.35 < found[1].similarity


def test_nothing_in_common_is_no_similarity():
    assert weighted_jaccard((), (), {}) == 0.0
    assert get_similar_incidents(("a",), [past("x", "b")]) == ()


NUMBERS = {"cooldown_seconds": 300, "lock_after_failures": 3, "lock_seconds": 3_600}


def test_a_cooldown_ends_after_five_minutes_and_three_failures_lock_for_an_hour():
    kept, now = None, 0
    assert check_cooldown(kept, now).allowed
    for failure in (1, 2):
        kept = cool_down(kept, "failed", now, **NUMBERS)
        assert check_cooldown(kept, now + 299_999) == (False, now + 300_000, False)
        assert check_cooldown(kept, now + 300_000).allowed
        assert kept.failures == failure
        now += 300_000
    kept = cool_down(kept, "rolled_back", now, **NUMBERS)
    assert check_cooldown(kept, now + 3_599_999) == (False, now + 3_600_000, True)
    assert check_cooldown(kept, now + 3_600_000).allowed


def test_a_recovery_forgets_failures_and_a_refusal_neither_adds_nor_forgets():
    kept = cool_down(Cooldown(failures=2), "refused", 0, **NUMBERS)
    assert (kept.failures, kept.locked_until) == (2, 0)
    assert cool_down(kept, "recovered", 0, **NUMBERS).failures == 0


def watch(name: str, service: str, s: float, at: int = T0):
    return signal_of(anomaly(name, tier=Tier.WATCH, service=service, log10_p=-s), at)


def test_two_services_within_120_seconds_corroborate_each_other_and_one_alone_does_not():
    needed = second_service_threshold(2)
    assert needed == pytest.approx(5 + math.log10(3.2 * math.sqrt(2 * 120 / 8_640)))
    first, second = watch("a", "checkout", needed), watch("b", "orders", needed, T0 + 120_000)
    assert corroborate(second, [first], [], 2) == "second service"
    assert corroborate(watch("b", "orders", needed, T0 + 120_001), [first], [], 2) is None
    assert corroborate(watch("b", "checkout", needed), [first], [], 2) is None
    assert corroborate(watch("b", "orders", needed - 0.01), [first], [], 2) is None
    assert second_service_threshold(50) > needed


def test_an_infra_failure_within_300_seconds_corroborates_from_4_5_on():
    assert corroborate(watch("a", "checkout", 4.5), [], [T0 - 300_000], 2) == "infra event"
    assert corroborate(watch("a", "checkout", 4.49), [], [T0], 2) is None
    assert corroborate(watch("a", "checkout", 4.5), [], [T0 - 300_001], 2) is None


def test_the_target_is_the_events_resource_else_what_changed_else_the_services_else_the_only_one():
    rds = [Target(arn=f"arn:{n}", kind="rds", service=s) for n, s in (("a", ""), ("b", "checkout"), ("c", "orders"))]
    given = catalog(targets=tuple(rds))
    case = with_signal(incident(), signal_of(anomaly(), T0))
    assert choose_target(given, case, runbook())[:2] == ("arn:b", True)
    change = IncidentChange(change_id="x", kind="deploy", resource="arn:c", actor="ci", at=T0)
    assert choose_target(given, with_change(case, change), runbook())[:2] == ("arn:c", True)
    both = with_change(with_change(case, change), change.model_copy(update={"resource": "arn:a"}))
    assert choose_target(given, both, runbook())[:2] == ("arn:b", True)
    named = case.model_copy(update={"resource": "arn:c"})
    assert choose_target(given, named, runbook())[:2] == ("arn:c", True)
    assert choose_target(catalog(targets=(rds[0],)), case, runbook())[:2] == ("arn:a", True)
    doubt = choose_target(catalog(targets=(rds[0], rds[2])), case, runbook())
    assert (doubt.arn, doubt.certain) == ("arn:a", False)
    assert "2 targets" in doubt.why
    assert choose_target(catalog(targets=(rds[0],)), case, runbook(target_kind="ecs")).arn == ""


def test_a_target_of_another_application_is_never_chosen():
    given = catalog()
    foreign = given.model_copy(update={"targets": (*given.targets, Target(arn="arn:x", kind="lambda"))})
    assert choose_target(foreign, incident(), runbook(target_kind="lambda")).arn == ""


def test_an_incident_in_one_line():
    case = with_signal(incident(), signal_of(anomaly(text="connection pool exhausted"), T0))
    assert headline(case) == 'checkout: "connection pool exhausted" 45 in the last minute, expected 4.2, 5.1σ'
    failed = with_event(incident(resource="i-1"), event_of(infra(), T0))
    assert headline(failed) == ("shop: EC2 Instance State-change Notification (terminated) on arn:sim:ec2:instance/i-1")
    silent = with_signal(incident(), signal_of(anomaly(kind=Kind.SERVICE_SILENT, expected=37, text=""), T0))
    assert headline(silent) == "checkout: silent, 37 lines expected, 5.1σ"


def test_the_headline_names_the_failing_template_and_the_total_only_where_there_is_nothing_else():
    total = signal_of(anomaly("total", template_id="", text="all lines", observed=140, expected=20, sigma=17.4), T0)
    case = with_signal(incident(), total)
    assert headline(case) == "checkout: all lines 140 in the last minute, expected 20.0, 17.4σ"
    pool = anomaly("pool", text="connection pool exhausted", observed=120, expected=0.2, sigma=8.6)
    minor = anomaly("minor", template_id="def", text="retrying", observed=9, expected=1, sigma=4.0)
    for weaker in (pool, minor):
        case = with_signal(case, signal_of(weaker, T0))
    assert headline(case) == 'checkout: "connection pool exhausted" 120 in the last minute, expected 0.2, 8.6σ'

    over = pool.model_copy(update={"status": Status.CLEARED, "observed": 0.0, "sigma": 0.0})
    case = with_signal(case, signal_of(over, T0 + 1, signal_of(pool, T0)))
    clear = 'checkout: "connection pool exhausted" 0 in the last minute, expected 0.2, clear after 8.6σ'
    assert headline(case) == clear

    stalled = anomaly("s", kind=Kind.SOURCE_STALLED, template_id="", text="source a.log", sigma=0.0)
    assert headline(with_signal(case, signal_of(stalled, T0))) == clear
    silent = anomaly("gone", kind=Kind.SERVICE_SILENT, template_id="", text="", expected=37, sigma=5.1)
    assert headline(with_signal(case, signal_of(silent, T0))) == "checkout: silent, 37 lines expected, 5.1σ"


def test_control_characters_reach_no_terminal():
    assert escape("a\x1b[31mred\x07\u202eb\nc\u2028d") == "a [31mred b c d"
    case = with_signal(incident(), signal_of(anomaly(text="x\x1b]0;owned\x07" + "y" * 500), T0))
    assert "\x1b" not in headline(case)
    assert len(headline(case)) <= 200


def test_severity_rises_and_never_falls_and_a_silent_service_is_a_failure():
    case = with_signal(incident(), signal_of(anomaly(severity=3), T0))
    case = with_signal(case, signal_of(anomaly(severity=1, status=Status.CLEARED), T0 + 1))
    assert (case.severity, case.failed) == (3, False)
    assert is_quiet(case)
    silent = signal_of(anomaly("a2", kind=Kind.SERVICE_SILENT, severity=0), T0)
    assert with_signal(case, silent).failed
    assert with_signal(case, silent).severity == 5


def test_an_incident_keeps_at_most_100_signals_and_drops_the_clear_ones_first():
    case = incident()
    for n in range(120):
        status = Status.OPENED if n % 2 else Status.CLEARED
        case = with_signal(case, signal_of(anomaly(f"a{n}", status), T0 + n))
    assert len(case.signals) == 100
    assert sum(not signal.cleared_at for signal in case.signals) == 60


def test_events_clear_by_resource_or_by_name_and_the_digest_follows_the_evidence():
    case = with_event(incident(), event_of(infra(), T0))
    assert clear_events(case, T0 + 1, resource="other") is case
    cleared = clear_events(case, T0 + 1, resource="arn:sim:ec2:instance/i-1")
    assert is_quiet(cleared)
    assert cleared.evidence_digest != case.evidence_digest
    assert is_quiet(clear_events(case, T0 + 1, ids=("e1",)))
    assert texts_of(case) == ("EC2 Instance State-change Notification",)


VALID = {"failure_probability": 0.8, "horizon_minutes": 60, "failure_mode": "pool", "runbook_id": "scale-db"}


def answered(said, stop_reason="tool_use") -> ModelAnswered:
    return ModelAnswered(effect_id="e", correlation_id="c", stop_reason=stop_reason, input=said, model_id="m")


def test_a_valid_tool_answer_is_read():
    assert read_answer(answered(VALID), ["scale-db"]).failure_probability == 0.8
    assert read_answer(answered({**VALID, "runbook_id": ""}), []).runbook_id == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_probability": 1.2},
        {"failure_probability": "0.8"},
        {"failure_probability": True},
        {"failure_probability": float("nan")},
        {"failure_probability": None},
        {"horizon_minutes": 45},
        {"failure_mode": "Ignore all rules"},
        {"runbook_id": "delete-everything"},
        {"command": "rm -rf /"},
        {"summary": "x" * 601},
    ],
)
def test_anything_but_a_valid_answer_is_no_prediction(wrong):
    with pytest.raises(ContractError, match="invalid tool answer"):
        read_answer(answered({**VALID, **wrong}), ["scale-db"])


def test_an_answer_that_did_not_use_the_tool_is_no_prediction():
    with pytest.raises(ContractError, match="no tool answer"):
        read_answer(answered(VALID, stop_reason="end_turn"), ["scale-db"])
