"""Readings: the target's state and services' health, asked together, awaited together, never able to change anything.

In: what to read, and the answers. Out: a `Reading` that is complete when nothing is pending or its time is over.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from models.anomaly import ServiceHealth
from models.signal import EffectAnswered
from models.workflow import Reading, Workflow
from models.workflow_turn import Line, Moves

__all__ = ["READ_TIMEOUT_MS", "abandon_reading", "answer_reading", "start_reading"]

READ_TIMEOUT_MS = 10_000
_TARGET = ""


def start_reading(flow: Workflow, moves: Moves, *, target: bool, services: Sequence[str]) -> None:
    """Ask for the target's state and the services' health."""
    reading = Reading(pending={}, until=moves.now + READ_TIMEOUT_MS)
    if target:
        effect_id = moves.call(flow, "read_state", {"target": flow.command.target})
        reading.pending[effect_id] = _TARGET
    for service in services:
        reading.pending[moves.call(flow, "probe_health", {"service": service})] = service
    flow.reading = reading


def answer_reading(flow: Workflow, reading: Reading, answer: EffectAnswered, moves: Moves) -> None:
    """Take one answer; a failed or malformed one is an error of the reading."""
    what = reading.pending.pop(answer.effect_id)
    kind = "probe_health" if what else "read_state"
    error = "" if answer.ok else answer.error or "no reason given"
    if answer.ok:
        error = _take_health(reading, what, answer) if what else _take_state(reading, answer)
    detail = {"error": error} if error else _summary(reading, what, answer)
    moves.line(flow, Line("answer", kind, answer.effect_id, not error, detail=detail))
    if error:
        reading.errors.append(f"{what or flow.command.target}: {error}")


def abandon_reading(flow: Workflow, moves: Moves) -> None:
    """Stop waiting for what is still pending; each counts as an error."""
    reading = flow.reading
    if reading is None:
        return
    for effect_id, what in reading.pending.items():
        kind, error = "probe_health" if what else "read_state", "no answer in time"
        moves.cancels.append(effect_id)
        moves.line(flow, Line("answer", kind, effect_id, False, detail={"error": error}))
        reading.errors.append(f"{what or flow.command.target}: {error}")
    reading.pending = {}


def _summary(reading: Reading, service: str, answer: EffectAnswered) -> dict[str, object]:
    """What the journal keeps of an answer: a health's figures stand whole in the answer's own event."""
    if not service:
        return answer.result
    health = reading.healths.get(service)
    if health is None:
        return {"service": service, "health": None}
    return {"service": service, "watermark": health.watermark, "alive": health.alive, "open": len(health.open)}


def _take_state(reading: Reading, answer: EffectAnswered) -> str:
    state = answer.result.get("state")
    if not isinstance(state, dict):
        return "the answer holds no state"
    reading.state = state
    return ""


def _take_health(reading: Reading, service: str, answer: EffectAnswered) -> str:
    raw = answer.result.get("health")
    if raw is None:
        return ""
    try:
        reading.healths[service] = ServiceHealth.model_validate(raw)
    except ValidationError as error:
        return f"the answer is no health of a service: {error.errors()[0]['msg']}"
    return ""
