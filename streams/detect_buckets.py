"""Closing the buckets of a service, in order: slots for new templates, windows, judgement, learning.

In: a service's state with open buckets, and the bucket up to which it is covered. Out: closed buckets and what they
said. Everything here follows from the counts of the closed buckets alone, not from how they were delivered.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.anomaly import Kind
from models.baseline import MEMORY, TESTABLE, WARM, Ints, Rows
from models.open_anomaly import name_of
from models.policy import DetectionPolicy
from models.series import FIRST_TEMPLATE, OVERFLOW, TOTAL
from models.service_state import OpenBucket, ServiceState, Unborn
from models.silence import AWAY_BUCKETS
from models.verdict import limits_of
from models.window import BUCKETS_A_MINUTE, LONG_MINUTES
from streams.detect_generations import restore, swap
from streams.detect_judge import Judge
from streams.detect_rows import bound_fresh

__all__ = ["FAILING_LAG", "close_until"]


_BURST: Final = 3
"""Lines in a template's first minute that make it a burst."""
FAILING_LAG: Final = 10
"""Minutes after which a series with failure words or error severity is learnt."""


def close_until(state: ServiceState, end: int, whole: bool, policy: DetectionPolicy, judge: Judge) -> None:
    """Close all buckets before `end`. `whole` says that all live sources cover them. Time without a line of a service
    that is away is closed at one stroke.
    """
    if state.next_bucket < end:
        state.forget_rooms()
    while state.next_bucket < end:
        bucket = state.next_bucket
        away = whole and state.gap.length(bucket - 1) >= AWAY_BUCKETS
        if away or (not whole and _nothing_is_left(state)):
            stop = min((at for at in state.pending if at < end), default=end)
            if stop > bucket:
                if away:
                    judge.silence(bucket, stop)
                else:
                    _break_off(state, stop - 1)
                state.next_bucket = stop
                continue
            if away:
                _return(state, bucket)
        _close(state, bucket, whole, policy, judge)
        state.next_bucket = bucket + 1


def _nothing_is_left(state: ServiceState) -> bool:
    """The windows are empty and nothing waits to be cleared: closing empty buckets changes nothing but the time."""
    waiting = any(held.finding.kind in (Kind.SPIKE, Kind.NOVELTY) for held in state.open.values())
    return int(state.ring.pair[TOTAL]) == 0 and not waiting


def _break_off(state: ServiceState, bucket: int) -> None:
    """Up to `bucket` not all sources have covered the time: no gap grows over it, no minute of it is learnt."""
    state.gap.end(bucket, finished=False)
    state.first_minute = bucket // BUCKETS_A_MINUTE + 1


def _return(state: ServiceState, bucket: int) -> None:
    """A service that was away comes back in `bucket`: its minutes count from the next whole one."""
    state.first_minute = _whole_minute_from(bucket)
    state.minutes.clear()


def _whole_minute_from(bucket: int) -> int:
    return -(-bucket // BUCKETS_A_MINUTE)


def _close(state: ServiceState, bucket: int, whole: bool, policy: DetectionPolicy, judge: Judge) -> None:
    opened = state.pending.pop(bucket, None)
    counts = None
    if opened is not None:
        if opened.fresh:
            _give_slots(state, opened, bucket, policy.max_templates)
        counts = opened.counts
        state.series.raise_severity(opened.severity, bucket // BUCKETS_A_MINUTE)
    state.ring.push(bucket, counts)
    judge.spikes(bucket)
    judge.novelties(bucket)
    if not whole:
        _break_off(state, bucket)
    elif counts is not None:
        state.gap.end(bucket, finished=True)
    else:
        state.gap.note_empty(bucket, float(state.base.low[TOTAL]))
        judge.silence(bucket, bucket + 1)
    if bucket % BUCKETS_A_MINUTE == BUCKETS_A_MINUTE - 1:
        _close_minute(state, bucket, judge)
    lesson = state.lesson_at(bucket)
    if lesson is not None:
        _learn_after(state, lesson, bucket, policy)
    judge.settle(bucket)


def _close_minute(state: ServiceState, bucket: int, judge: Judge) -> None:
    """Keep the minute just closed, and judge drops on it."""
    minute = bucket // BUCKETS_A_MINUTE
    if minute >= state.first_minute:
        state.minutes.push(minute, state.ring.minute, state.base.low)
        judge.drops(minute, bucket)
    else:
        state.minutes.clear()
    _note_births(state, minute, bucket)


def _learn_after(state: ServiceState, minute: int, bucket: int, policy: DetectionPolicy) -> None:
    """Learn the minute before this one, which has closed: no tested window holds that any more. Predict the next.

    Series that speak of failure are learnt ten minutes late. "connection pool exhausted" comes once in ten minutes for
    hours, and then 7, 9, 19, 54 times a minute: learnt at once, three minutes of that teach a rare series a dispersion
    (by 1,000 times) with which the fourth is no surprise. If it becomes an alarm, its ramp is never learnt.
    """
    swap(state, minute, policy.max_templates)
    failing = state.series.failing[: state.series.used]
    _learn(state, minute - 1, ~failing)
    _learn(state, minute - FAILING_LAG, failing)
    restore(state)
    state.predict()
    state.next_lesson = minute + 1
    state.series.new &= state.base.n < TESTABLE
    _set_limits(state, bucket, policy)


def _note_births(state: ServiceState, minute: int, bucket: int) -> None:
    """A template that was born in a burst may come back in one."""
    born = np.flatnonzero(state.series.born[: state.series.used] == minute)
    for slot in born.tolist():
        # Of a warm service it is judged as what was never seen.
        if state.ring.minute[slot] >= _BURST and not state.series.new[slot]:
            state.habits.note(state.series.ids[slot], bucket, float(state.ring.minute[slot]))


def _learn(state: ServiceState, minute: int, wanted: NDArray[np.bool_]) -> None:
    """Learn `minute` of the series `wanted`, where it was whole.

    A template is first seen because it spoke, so its first minute says too much; minutes of an alarm say what is wrong.
    """
    if minute < state.first_minute:
        return
    series, used = state.series, state.series.used
    taught = wanted & ~series.frozen[:used] & (series.born[:used] < minute) & (series.thaw[:used] < minute)
    rows: Rows = slice(0, used) if taught.all() else np.flatnonzero(taught)
    state.base.learn(state.minutes.counts[minute % LONG_MINUTES, rows], minute, rows)


def _set_limits(state: ServiceState, bucket: int, policy: DetectionPolicy) -> None:
    """Count the series that are tested and have had at least about a line in the last day, and share the budget."""
    used, budget = state.series.used, policy.alarms_per_service_day
    active = (state.base.n[:used] >= TESTABLE) & (_decayed(state) >= 1.0)
    tested = int(np.count_nonzero(active))
    failing = int(np.count_nonzero(active & state.series.failing[:used]))
    state.tail.refresh(bucket, tested, budget)
    state.limits = limits_of(tested, failing, budget, state.tail.limit)


def _decayed(state: ServiceState) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """About how many lines each series had, forgotten over a day."""
    used = state.series.used
    counts: np.ndarray[tuple[int], np.dtype[np.float64]] = state.base.mean[:used] * np.minimum(
        state.base.n[:used], MEMORY
    )
    return counts


def _give_slots(state: ServiceState, opened: OpenBucket, bucket: int, max_templates: int) -> None:
    """Give the templates first seen in this bucket their slots, in order of id; what finds none counts as overflow."""
    series = state.series
    state.pending[bucket] = opened  # growing, bounding and leaving must reach it, too
    bound_fresh(state, opened, max_templates)
    names = sorted(opened.fresh)
    slots = list(range(series.used, min(series.used + len(names), max_templates + FIRST_TEMPLATE)))
    state.grow(series.room_for(len(slots)))
    if len(slots) < len(names):
        slots += _make_room(state, [opened.fresh[name][0] for name in names[len(slots) :]])
    new = int(state.base.n[TOTAL]) >= WARM
    for name, slot in zip(names, slots, strict=True):
        if slot < 0:
            opened.counts[OVERFLOW] += opened.fresh.pop(name)[0]
        else:
            _place(state, name, slot, bucket // BUCKETS_A_MINUTE, new)
    del state.pending[bucket]
    waiting = {name for other in state.pending.values() for name in other.fresh}
    for name in [name for name in state.unborn if name not in waiting]:
        del state.unborn[name]


def _place(state: ServiceState, name: str, slot: int, minute: int, new: bool) -> None:
    """Let a template take its slot, with what open buckets have counted of it."""
    seen = state.unborn[name]
    if slot < state.series.used:
        _leave(state, slot)
    state.place(slot, name, seen, minute, new)


def _leave(state: ServiceState, slot: int) -> None:
    """The template in this slot gives way: what open buckets hold of it waits under its id."""
    series = state.series
    name = series.ids[slot]
    state.habits.forget(name)
    state.habits.forget(name_of(name, Kind.DROP))
    for other in state.pending.values():
        if other.counts[slot]:
            other.count(name, int(other.counts[slot]), int(other.severity[slot]))
            state.unborn[name] = Unborn(series.texts[slot], bool(series.failing[slot]))


def _make_room(state: ServiceState, below: list[int]) -> list[int]:
    kept = [held.slot for held in (*state.open.values(), *state.early.values())]
    kept += [recent.slot for recent in state.recent.values()]
    lines: Ints = state.ring.pair[: state.series.used]
    return state.series.leaving(_decayed(state) + lines, kept, below)
