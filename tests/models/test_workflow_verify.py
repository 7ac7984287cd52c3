"""The rules that say whether an action helped: series under their bound, the guard no worse; references and jitter."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflow_rig import command, runbook, series

from models.anomaly import UNJUDGED, Kind, SeriesHealth, ServiceHealth
from models.command import SeriesRef
from models.jitter import full_jitter_ms
from models.references import MissingReferenceError, Scope, bad_reference, resolve
from models.runbook import Retry
from models.workflow import Reading, Verifying, Workflow
from models.workflow_guard import GuardReading, bucket_starts, poisson_excess_p, read_guard, worse
from models.workflow_verify import judge

APPLIED = 1_000_000  # on a bucket's border
QUIET = series([1] * 6, 5)


def flow(kind: Kind = Kind.SPIKE, template: str = "t1", **changes: Any) -> Workflow:
    refs = (SeriesRef(service="checkout", template_id=template, kind=kind),)
    before = {"checkout": GuardReading(count=12, buckets=6, upper=6, alive=True)}
    fields: dict[str, Any] = {"applied_at": APPLIED, "settle_until": APPLIED + 20_000, "guard_before": before}
    return Workflow(command=command(series=refs), runbook=runbook(), **{**fields, **changes})


def seen(watermark: int, *listed: SeriesHealth, alive: bool = True, **changes: Any) -> Reading:
    fields: dict[str, Any] = {"total": QUIET, "errors": series([2] * 6, 6), "open": listed, **changes}
    health = ServiceHealth(service="checkout", application="shop", alive=alive, watermark=watermark, **fields)
    return Reading(pending={}, until=0, healths={"checkout": health})


def spike(*observed: float) -> SeriesHealth:
    return series(list(observed), 5, "t1", (Kind.SPIKE,))


def verifying() -> Verifying:
    return Verifying(deadline=APPLIED + 500_000, next_probe=0)


def test_a_bucket_counts_only_when_it_is_closed_and_starts_after_the_action() -> None:
    case, state = flow(applied_at=APPLIED + 1), verifying()
    verdict = judge(case, state, seen(APPLIED + 29_999), 0)
    assert (verdict.kind, verdict.missing.split(";")[0]) == (
        "pending",
        "checkout/t1/spike: 1 of 2 buckets under its bound",
    )
    verdict = judge(case, state, seen(APPLIED + 30_000), 0)
    assert (verdict.kind, verdict.recovered_at) == ("recovered", APPLIED + 10_000)


def test_recovery_starts_at_the_first_of_the_good_buckets_after_the_last_bad_one() -> None:
    case, state = flow(), verifying()
    reading = seen(APPLIED + 60_000, spike(30, 30, 4, 6, 5, 5))  # buckets start at +0 .. +50 s; the bound is 5
    assert judge(case, state, reading, 0).recovered_at == APPLIED + 40_000


def test_a_series_no_longer_listed_remembers_the_bad_buckets_seen_before() -> None:
    case, state = flow(), verifying()
    assert judge(case, state, seen(APPLIED + 30_000, spike(30, 30, 30, 30, 30, 30)), 0).kind == "pending"
    assert judge(case, state, seen(APPLIED + 40_000), 0).kind == "pending"
    verdict = judge(case, state, seen(APPLIED + 50_000), 0)
    assert (verdict.kind, verdict.recovered_at) == ("recovered", APPLIED + 30_000)


def test_buckets_that_went_by_unseen_are_not_good() -> None:
    case, state = flow(), verifying()
    judge(case, state, seen(APPLIED + 10_000, spike(1, 1, 1, 1, 1, 1)), 0)
    verdict = judge(case, state, seen(APPLIED + 200_000, spike(1, 1, 1, 1, 1, 1)), 0)
    assert (verdict.kind, verdict.recovered_at) == ("recovered", APPLIED + 140_000)


@pytest.mark.parametrize("kind", [Kind.SERVICE_SILENT, Kind.DROP])
def test_a_silence_or_drop_is_over_two_buckets_after_it_is_no_longer_listed(kind: Kind) -> None:
    case, state = flow(kind), verifying()
    listed = SeriesHealth(template_id="t1", kinds=(kind,), observed=(0.0,) * 6, expected=9, upper=20)
    assert judge(case, state, seen(APPLIED + 60_000, listed), 0).kind == "pending"
    assert judge(case, state, seen(APPLIED + 70_000), 0).kind == "pending"
    verdict = judge(case, state, seen(APPLIED + 80_000), 0)
    assert (verdict.kind, verdict.recovered_at) == ("recovered", APPLIED + 60_000)


def test_a_failure_never_seen_before_is_over_when_it_no_longer_appears() -> None:
    case, state = flow(Kind.NOVELTY), verifying()
    novel = SeriesHealth(
        template_id="t1", kinds=(Kind.NOVELTY,), observed=(9, 9, 1, 0, 0, 0), expected=0, upper=UNJUDGED
    )
    assert judge(case, state, seen(APPLIED + 60_000, novel), 0).recovered_at == APPLIED + 30_000


def test_a_spike_without_a_known_bound_is_over_when_detect_says_so() -> None:
    case, state = flow(), verifying()
    listed = SeriesHealth(template_id="t1", kinds=(Kind.SPIKE,), observed=(9,) * 6, expected=0, upper=UNJUDGED)
    assert judge(case, state, seen(APPLIED + 60_000, listed), 0).kind == "pending"
    recent = listed.model_copy(update={"kinds": ()})
    assert judge(case, state, seen(APPLIED + 80_000, recent), 0).recovered_at == APPLIED + 60_000


def test_the_services_total_is_judged_even_when_nothing_is_listed() -> None:
    reading = seen(APPLIED + 60_000, total=series([1, 1, 1, 1, 1, 99], 50))
    assert judge(flow(template=""), verifying(), reading, 0).kind == "pending"


def test_a_worse_guard_condemns_only_after_the_settle_time() -> None:
    noisy = {"errors": series([2, 2, 2, 2, 60, 60], 6)}
    early = judge(flow(), verifying(), seen(APPLIED + 30_000, **noisy), 0)
    assert (early.kind, "guard worse" in early.missing) == ("pending", True)
    assert judge(flow(), verifying(), seen(APPLIED + 40_000, **noisy), 0).kind == "worse"


def test_a_service_that_dies_is_worse_whatever_it_counts() -> None:
    verdict = judge(flow(), verifying(), seen(APPLIED + 60_000, alive=False), 0)
    assert (verdict.kind, verdict.missing) == ("worse", "guard worse: checkout died")


def test_the_last_observed_bucket_is_the_newest_closed_one() -> None:
    assert bucket_starts(series([0, 0, 0], 1), 59_999) == [20_000, 30_000, 40_000]
    assert bucket_starts(series([0, 0, 0], 1), 60_000) == [30_000, 40_000, 50_000]


def test_a_guard_reading_takes_the_last_buckets_that_start_late_enough() -> None:
    reading = seen(60_000, errors=series([1, 2, 3, 4, 5, 6], 9)).healths["checkout"]
    assert read_guard(reading, "errors").count == 21
    assert read_guard(reading, "errors", since=30_000).count == 15
    assert read_guard(reading, "errors", since=0, last=2) == GuardReading(count=11, buckets=2, upper=9, alive=True)


def guard(count: float, buckets: int, upper: float = 1.0) -> GuardReading:
    return GuardReading(count=count, buckets=buckets, upper=upper, alive=True)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (guard(0, 6), guard(3, 2), False),  # three errors after none: p = 1/64, chance
        (guard(0, 6), guard(5, 2), True),  # p = 1/1024
        (guard(12, 6), guard(16, 2, upper=9), False),  # 2 -> 8 in 10 s, but 9 is normal
        (guard(600, 6), guard(240, 2), False),  # a rise below a quarter
        (guard(600, 6), guard(300, 2), True),
        (guard(6_000_000, 6), guard(4_000_000, 2), True),
        (guard(6, 6), guard(0, 0), False),
        (guard(12, 6, upper=UNJUDGED), guard(80, 2, upper=UNJUDGED), True),  # no baseline: before against after only
    ],
)
def test_worse_means_above_normal_by_more_than_a_quarter_and_more_than_chance(
    before: GuardReading, after: GuardReading, verdict: bool
) -> None:
    assert worse(before, after) is verdict


@given(st.integers(0, 40), st.integers(1, 6), st.integers(0, 40), st.integers(1, 2))
def test_the_excess_is_the_exact_binomial_tail(b: int, nb: int, a: int, na: int) -> None:
    share = na / (na + nb)
    p = poisson_excess_p(guard(b, nb), guard(a, na))
    if a <= (a + b) * share:
        assert p == 1
    else:
        n = a + b
        tail = sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(a, n + 1))
        assert p == pytest.approx(tail, rel=1e-9)


SCOPE = Scope("arn:db", {"size": 3}, {"max": 100, "tags": {"a": [1]}})


def test_a_reference_gives_the_value_itself_anywhere_in_a_nested_value() -> None:
    value = {"id": "$target", "list": ["$params.size", {"deep": "$snapshot.tags"}], "text": "$$target", "plain": "a $b"}
    found = {"id": "arn:db", "list": [3, {"deep": {"a": [1]}}], "text": "$target", "plain": "a $b"}
    assert resolve(value, SCOPE) == found
    assert bad_reference(value) == ""


@pytest.mark.parametrize("text", ["$snapshot", "$params.", "$other.name", "$target.arn", "$snapshot.a b"])
def test_a_malformed_reference_is_found_before_it_runs(text: str) -> None:
    assert text in bad_reference({"a": ["x", {"b": text}]})
    with pytest.raises(MissingReferenceError):
        resolve(text, SCOPE)


def test_a_reference_without_a_value_is_named() -> None:
    with pytest.raises(MissingReferenceError, match=r"\$params.colour has no value"):
        resolve(["$params.colour"], SCOPE)


@given(st.integers(1, 40), st.text(max_size=8))
def test_full_jitter_stays_below_the_growing_cap_and_repeats_itself(failures: int, who: str) -> None:
    retry = Retry(base_seconds=2, cap_seconds=60)
    wait = full_jitter_ms(retry, failures, who)
    assert 0 <= wait <= min(60_000, 2_000 * 2 ** (failures - 1))
    assert wait == full_jitter_ms(retry, failures, who)


def test_full_jitter_is_spread_evenly_and_grows_with_failures() -> None:
    retry = Retry(base_seconds=1, cap_seconds=1_000)
    for failures in (1, 4):
        longest = 1_000 * 2 ** (failures - 1)
        waits = sorted(full_jitter_ms(retry, failures, str(n)) / longest for n in range(400))
        # Kolmogorov-Smirnov: P(distance > 0.1) < 0.1% for 400 even draws; these draws are always the same.
        assert max(abs(wait - place / 400) for place, wait in enumerate(waits)) < 0.1
