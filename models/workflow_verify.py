"""Did it help? The verdict over a round of readings taken after the runbook's steps.

In: a workflow, the newest health of its services and the state of its target. Out: a `Verdict`: recovered, worse, or
what is still missing. Buckets are 10 s of event time; only those that start after the last step took effect count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from models.anomaly import UNJUDGED, Kind, SeriesHealth, ServiceHealth
from models.command import SeriesRef
from models.references import resolve
from models.template import BUCKET_MS
from models.workflow import Reading, Verifying, Workflow
from models.workflow_guard import bucket_starts, read_guard, worse

__all__ = ["GOOD_BUCKETS", "Verdict", "guarded_services", "judge", "verified_series"]

GOOD_BUCKETS = 2
"""Full buckets in a row, the newest included, that must be under the bound."""
_COUNTED = (Kind.SPIKE, Kind.NOVELTY)
"""Kinds judged by their counts: a spike against `upper`, a failure never seen before against none at all. The others
are back to normal when detect no longer lists them.
"""


class Verdict(NamedTuple):
    """`recovered_at` (ms) and `verified_by` belong to `recovered`; `missing` says what the other two lack."""

    kind: Literal["recovered", "worse", "pending"]
    recovered_at: int = 0
    verified_by: tuple[str, ...] = ()
    missing: str = ""


def verified_series(flow: Workflow) -> tuple[SeriesRef, ...]:
    """The series that must come back under their bound."""
    return flow.command.series if flow.runbook.verify.series else ()


def guarded_services(flow: Workflow) -> tuple[str, ...]:
    """The services whose guard signal is watched."""
    return flow.command.services if flow.runbook.verify.guard != "none" else ()


def judge(flow: Workflow, verifying: Verifying, reading: Reading, now: int) -> Verdict:
    """The verdict of this round; remembers in `verifying` and `flow.guard` what it has seen."""
    recovered: list[int] = []
    by: list[str] = []
    missing = list(_judge_state(flow, verifying, reading, now))
    if flow.runbook.verify.target_state:
        by.append("target_state")
    for ref in verified_series(flow):
        since, lacks = _judge_series(flow, verifying, ref, reading.healths.get(ref.service))
        recovered.append(since)
        missing += [lacks] if lacks else []
    if recovered:
        by.append("series")
    for service in flow.guard_before:
        bad, lacks = _judge_guard(flow, service, reading.healths.get(service))
        if bad:
            return Verdict("worse", missing=lacks)
        missing += [lacks] if lacks else []
    if flow.guard_before:
        by.append("guard")
    if missing:
        return Verdict("pending", missing="; ".join(missing))
    return Verdict("recovered", max(recovered, default=verifying.state_since), tuple(by))


def _judge_state(flow: Workflow, verifying: Verifying, reading: Reading, now: int) -> Iterator[str]:
    wanted = flow.runbook.verify.target_state
    if not wanted:
        return
    if reading.state is None:
        verifying.state_since = 0
        yield "the target's state could not be read"
        return
    wrong = next((name for name, value in wanted.items() if reading.state.get(name) != resolve(value, flow.scope)), "")
    if wrong:
        verifying.state_since = 0
        yield f"the target's {wrong} is {reading.state.get(wrong)!r}, not {resolve(wanted[wrong], flow.scope)!r}"
    elif not verifying.state_since:
        verifying.state_since = now


def _judge_series(
    flow: Workflow, verifying: Verifying, ref: SeriesRef, health: ServiceHealth | None
) -> tuple[int, str]:
    """Since when the series is good (ms), and what is missing until it counts."""
    name = f"{ref.service}/{ref.template_id}/{ref.kind}"
    first = _bucket_after(flow.applied_at)
    if health is None:
        return 0, f"{name}: no health reading"
    closed = health.watermark // BUCKET_MS * BUCKET_MS
    bad = max(verifying.bad_until.get(name, 0), _last_bad(ref, health, first, verifying.seen_until.get(name, first)))
    verifying.bad_until[name] = bad
    verifying.seen_until[name] = max(closed, verifying.seen_until.get(name, 0))
    since = max(first, bad)
    if closed < since + GOOD_BUCKETS * BUCKET_MS:
        good = max(0, (closed - since) // BUCKET_MS)
        return since, f"{name}: {good} of {GOOD_BUCKETS} buckets under its bound"
    return since, ""


def _last_bad(ref: SeriesRef, health: ServiceHealth, first: int, seen_until: int) -> int:
    """The end (ms) of the last bucket over its bound that starts at `first` or later; 0 where there is none."""
    closed = health.watermark // BUCKET_MS * BUCKET_MS
    unjudged = any(series.upper >= UNJUDGED for series in health.open if series.template_id == ref.template_id)
    if ref.kind not in _COUNTED or (ref.kind == Kind.SPIKE and unjudged):
        return closed if any(_is_same(ref, series) for series in health.open) else 0
    bad = 0
    series_open = [series for series in health.open if series.template_id == ref.template_id]
    if not ref.template_id:
        series_open.append(health.total)
    for series in series_open:
        starts = bucket_starts(series, health.watermark)
        bound = 0.0 if ref.kind == Kind.NOVELTY else series.upper
        over = (start for start, n in zip(starts, series.observed, strict=True) if start >= first and n > bound)
        bad = max([bad, *(start + BUCKET_MS for start in over)])
        if starts and starts[0] > max(first, seen_until):
            bad = max(bad, starts[0])  # buckets went by between two readings: unseen is not good
    return bad


def _is_same(ref: SeriesRef, series: SeriesHealth) -> bool:
    """A silent service has no template to compare."""
    return ref.kind in series.kinds and (ref.kind == Kind.SERVICE_SILENT or ref.template_id == series.template_id)


def _judge_guard(flow: Workflow, service: str, health: ServiceHealth | None) -> tuple[bool, str]:
    """Is the service's guard worse for good, and what is missing until it counts as no worse."""
    signal = flow.runbook.verify.guard
    if health is None or signal == "none":
        return False, f"{service}: no health reading for the guard"
    before, since = flow.guard_before[service], _bucket_after(flow.applied_at)
    after = read_guard(health, signal, since, GOOD_BUCKETS)
    if after.buckets < GOOD_BUCKETS:
        return False, f"{service}: {after.buckets} of {GOOD_BUCKETS} guard buckets"
    flow.guard[f"{service}.before"], flow.guard[f"{service}.after"] = round(before.mean, 3), round(after.mean, 3)
    if not worse(before, after):
        return False, ""
    text = (
        f"{service}: {signal} rose from {before.mean:g} to {after.mean:g} in 10 s" if after.alive else f"{service} died"
    )
    # Until the settle time is over, noise of the action itself is expected: only what comes later condemns it.
    settled = read_guard(health, signal, _bucket_after(flow.settle_until), GOOD_BUCKETS)
    return settled.buckets == GOOD_BUCKETS, f"guard worse: {text}"


def _bucket_after(moment: int) -> int:
    """The start of the first bucket that starts at `moment` or later."""
    return -(-moment // BUCKET_MS) * BUCKET_MS
