"""Generations of baselines in detect: parts put together, swapped between two minutes, or refused with the reason.

In: BaselineSnapshots and BaselineRollbacks from detect's inbox, and a service's state. Out: the state's baselines
replaced, all at once, between two minutes; what was replaced is kept until the next swap; AuditEntries that say so.

A generation stands where live learning would stand after the same minutes. So it is put in place before the minute is
learnt, and where it ends exactly where live learning is, nothing is learnt twice and nothing is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from models.audit import AuditEntry, Stage
from models.baseline import TESTABLE, Baselines
from models.generations import Generation, Generations, Kept, Told
from models.series import FIRST_TEMPLATE
from models.service_state import ServiceState, Unborn
from models.snapshot import BaselineRollback, BaselineSnapshot, SeriesTable
from models.template import BUCKET_MS
from models.template_rules import RULES_VERSION
from streams.step import Emit

__all__ = ["GenerationEvent", "audits_of", "check_generation", "restore", "swap", "take"]

GenerationEvent = BaselineSnapshot | BaselineRollback
_MAX_AHEAD: Final = 60
"""Minutes that a generation may end after what its service has closed: mine may be behind `logs`, but not so far."""


def check_generation(data: GenerationEvent) -> str:
    """What is wrong with the message by itself ("": nothing)."""
    if isinstance(data, BaselineSnapshot):
        if data.part >= data.parts:
            return f"part {data.part} of {data.parts}: parts are numbered from 0"
        if not data.series.fits():
            return "its columns have different lengths, or name a series twice"
    return ""


def take(state: ServiceState, data: GenerationEvent) -> None:
    """Take one message; what comes of it happens at the end of a minute, but a refusal is told at once."""
    if isinstance(data, BaselineRollback):
        _recall(state, data)
    else:
        _take_part(state, data)


def swap(state: ServiceState, minute: int, max_templates: int) -> None:
    """At the close of `minute`, before it is learnt: put a whole generation in place of what was learnt live."""
    shelf = state.generations
    first = shelf.incoming
    if first is None or not shelf.whole or first.training.minute > minute:
        return
    kept = Kept(shelf.running, list(state.series.ids), _columns(state))
    placed = left = taken = 0
    for part in shelf.in_order:
        placed += _place_unknown(state, part.series, max_templates)
        here = [row for row, name in enumerate(part.series.ids) if name in state.series.slot_of]
        _put(state, part.series, here, continuous=first.training.minute == minute)
        taken += len(here)
        left += len(part.series.ids) - len(here)
    shelf.swaps += 1
    shelf.previous, shelf.running = kept, Generation(first.generation, shelf.swaps, first.training.minute)
    shelf.clear()
    facts = _facts(state, first) | {"number": shelf.swaps, "series": taken, "series_new_here": placed}
    facts |= {"series_without_slot": left, "series_kept": state.series.used - taken, "replaces": kept.generation.id}
    _tell(shelf, Stage.BASELINES_SWAPPED, first.generation, facts)


def restore(state: ServiceState) -> None:
    """After a minute is learnt: put back what the last swap replaced, where a person wants it back. Series that it did
    not have begin anew.
    """
    shelf = state.generations
    kept = shelf.previous
    if not shelf.recall or kept is None:
        return
    now = np.array([state.series.slot_of.get(name, -1) for name in kept.ids], np.intp)
    held = now >= 0
    state.base.reset(slice(0, state.series.used))
    for name, column in kept.columns.items():
        getattr(state.base, name)[now[held]] = column[held]
    _break_blocks(state.base, slice(0, state.series.used))
    taken_back, shelf.running = shelf.running, kept.generation
    shelf.recall, shelf.previous, shelf.recalled = False, None, taken_back.id
    facts = {"service": state.service, "number": taken_back.number, "running": shelf.running.id}
    _tell(shelf, Stage.BASELINES_RESTORED, taken_back.id, facts | {"series": int(held.sum())})


def audits_of(state: ServiceState, application: str, at: int) -> list[Emit]:
    """What has happened to the service's generations since it was asked last. `at` (ms) for a service without a time
    of its own.
    """
    shelf = state.generations
    told, shelf.told = shelf.told, []
    when = state.next_bucket * BUCKET_MS if state.next_bucket >= 0 else at
    return [
        Emit("audit", what.generation, when, AuditEntry(
            stage=what.stage, correlation_id=what.generation, application=application, by="detect", facts=what.facts,
        ))
        for what in told
    ]  # fmt: skip


def _recall(state: ServiceState, data: BaselineRollback) -> None:
    """A generation that waits for its minute is withdrawn; else the running one is taken back at the next minute."""
    shelf = state.generations
    first = shelf.incoming
    if first is not None and shelf.whole:
        _refuse(state, first, "withdrawn", f"by {data.by} before its minute came")
        return
    if shelf.previous is not None:
        shelf.recall = True
    else:
        facts = {"service": state.service, "reason": "nothing_to_restore", "detail": _NOTHING_KEPT}
        _tell(shelf, Stage.BASELINES_REFUSED, shelf.running.id, facts)


_NOTHING_KEPT: Final = "no swap since the last rollback: only what the last swap replaced is kept"


def _take_part(state: ServiceState, part: BaselineSnapshot) -> None:
    shelf = state.generations
    first = shelf.incoming
    if part.generation == shelf.running.id or (shelf.whole and first and first.generation == part.generation):
        return  # a part doubled on its way
    if first is not None and first.generation != part.generation:
        if shelf.whole:
            _refuse(state, first, "superseded", f"by {part.generation} before its minute came")
        elif first.generation != shelf.refused:  # a doubled part of a refused one is no generation under way
            _refuse(
                state, first, "incomplete", f"{len(shelf.parts)} of {first.parts} parts when {part.generation} came"
            )
        shelf.clear()
    shelf.parts.setdefault(part.part, part)
    if len(shelf.parts) < part.parts:
        return
    reason, detail = _refusal(state, part)
    if reason:
        _refuse(state, part, reason, detail)
    else:
        shelf.whole = True


def _refusal(state: ServiceState, part: BaselineSnapshot) -> tuple[str, str]:
    """Why a generation whose parts are all there is not taken: a word and a sentence; empty where it is."""
    shelf, training = state.generations, part.training
    closed = state.lessons_until
    if not shelf.checks:
        return "checksum_differs", "its parts do not make up what was written; run the same replay again"
    if training.rules_version != RULES_VERSION:
        return "rules_version", f"its templates are of rules {training.rules_version}, this detect has {RULES_VERSION}"
    if state.next_bucket < 0:
        return "unknown_service", "no line of the service has come to this partition"
    if training.minutes < TESTABLE:
        return "too_few_minutes", f"{training.minutes} minutes; nothing is judged before {TESTABLE}"
    if part.generation == shelf.recalled:
        return "taken_back", "a person has taken it back; retrain on another range"
    if training.minute < shelf.running.minute:
        return "older", f"the running generation {shelf.running.id} has learnt later minutes"
    if training.minute > closed + _MAX_AHEAD:
        return "ahead", f"it ends {training.minute - closed} minutes after what the service has closed"
    return "", ""


def _refuse(state: ServiceState, part: BaselineSnapshot, reason: str, detail: str) -> None:
    shelf = state.generations
    shelf.clear()
    shelf.refused = part.generation
    facts = _facts(state, part) | {"reason": reason, "detail": detail}
    _tell(shelf, Stage.BASELINES_REFUSED, part.generation, facts)


def _facts(state: ServiceState, part: BaselineSnapshot) -> dict[str, Any]:
    training = part.training
    left_out = sum(span.end - span.start for span in training.left_out) // 60_000
    return {
        "service": state.service,
        "topic": training.topic,
        "minutes": training.minutes,
        "until": training.minute * 60_000,
        "left_out_minutes": left_out,
    }


def _tell(shelf: Generations, stage: Stage, generation: str, facts: dict[str, Any]) -> None:
    shelf.told.append(Told(stage, generation, facts))


def _columns(state: ServiceState) -> dict[str, Any]:
    return {name: getattr(state.base, name)[: state.series.used].copy() for name in Baselines.LEARNT}


def _place_unknown(state: ServiceState, table: SeriesTable, max_templates: int) -> int:
    """Give the series that this service has not seen a slot while there is one; returns how many got one."""
    room = max_templates + FIRST_TEMPLATE - state.series.used
    rows = [row for row, name in enumerate(table.ids) if name not in state.series.slot_of][: max(0, room)]
    state.grow(state.series.room_for(len(rows)))
    for row in rows:
        slot, name = state.series.used, table.ids[row]
        state.place(slot, name, Unborn(table.texts[row], table.failing[row]), table.born[row], False)
        state.series.severity[slot] = max(int(state.series.severity[slot]), table.severity[row])
        state.unborn.pop(name, None)
    return len(rows)


def _put(state: ServiceState, table: SeriesTable, rows: Sequence[int], *, continuous: bool) -> None:
    """What was learnt of these rows into their slots. Blocks of two and of ten minutes that were under way go on only
    where no minute is missing.
    """
    slots = state.series.slots_of([table.ids[row] for row in rows])
    for name in Baselines.LEARNT:
        column = getattr(table.learnt, name)
        getattr(state.base, name)[slots] = [column[row] for row in rows]
    if not continuous:
        _break_blocks(state.base, slots)


def _break_blocks(base: Baselines, rows: Any) -> None:
    base.pair_expected[rows] = -1.0
    base.ten_minutes[rows] = 0
