"""How a command ends: exactly one outcome, the cooldown it starts, and what becomes of those who waited.

In: a target's state and its workflow (or a command that never became one). Out: journal, outcome and audit in `Moves`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.audit import Stage
from models.command import Command, Outcome
from models.cooldown import cool_down
from models.workflow import Phase, TargetState, Workflow
from models.workflow_admission import actions_of
from models.workflow_turn import Moves

__all__ = ["Ending", "Result", "finish", "refuse"]

Result = Literal["recovered", "rolled_back", "failed", "refused", "unknown"]
_STAGES: dict[Result, Stage] = {
    "recovered": Stage.RECOVERED,
    "rolled_back": Stage.ROLLED_BACK,
    "failed": Stage.FAILED,
    "unknown": Stage.NEEDS_PERSON,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """The last phase of a workflow, its result in one word, and why. The rest is known of a recovery only."""

    phase: Phase
    result: Result
    reason: str
    recovered_at: int = 0
    verified_by: tuple[str, ...] = ()


def refuse(command: Command, reason: str, moves: Moves) -> None:
    """End a command that has called nothing on its target; it starts no cooldown."""
    moves.state(command, Phase.REFUSED, {"reason": reason})
    moves.contracts.append(_outcome(command, "refused", reason))
    stage = Stage.EXPIRED if reason.startswith(("expired", "stale")) else Stage.FAILED
    moves.audit(command, stage, {"result": "refused", "reason": reason})


def finish(state: TargetState, flow: Workflow, ending: Ending, moves: Moves) -> None:
    """End the workflow and give the lease back. Once it has called something, its actions cool down and whoever waited
    is refused: the target is no longer what their evidence was about.
    """
    state.workflow = None
    if not flow.touched:
        refuse(flow.command, ending.reason, moves)
        return
    command = flow.command
    moves.enter(flow, ending.phase, reason=ending.reason, result=ending.result)
    outcome = _outcome(command, ending.result, ending.reason).model_copy(
        update={
            "verified_by": ending.verified_by,
            "times": _times(flow, ending, moves.now),
            "guard": dict(flow.guard),
            "needs_person": ending.phase is Phase.NEEDS_PERSON,
            "applied": True,
        }
    )
    moves.contracts.append(outcome)
    moves.audit(command, _STAGES[ending.result], {"result": ending.result, "reason": ending.reason})
    if outcome.needs_person and ending.result != "unknown":
        moves.audit(command, Stage.NEEDS_PERSON, {"reason": ending.reason})
    for action in actions_of(flow.runbook):
        state.cooldowns[action] = cool_down(
            state.cooldowns.get(action),
            ending.result,
            moves.now,
            cooldown_seconds=command.cooldown_seconds,
            lock_after_failures=command.lock_after_failures,
            lock_seconds=command.lock_seconds,
        )
    waiting, state.queue = state.queue, []
    for other in waiting:
        refuse(other, f"superseded: command {command.command_id} acted on this target meanwhile", moves)


def _outcome(command: Command, result: Result, reason: str) -> Outcome:
    return Outcome(
        command_id=command.command_id,
        correlation_id=command.correlation_id,
        application=command.application,
        pattern_id=command.pattern_id,
        target=command.target,
        runbook_id=command.runbook_id,
        runbook_version=command.runbook_version,
        result=result,
        reason=reason,
        times={"detected": command.detected_at, "commanded": command.issued_at},
    )


def _times(flow: Workflow, ending: Ending, now: int) -> dict[str, int]:
    times = {"detected": flow.command.detected_at, "commanded": flow.command.issued_at}
    if flow.applied_at:
        times["applied"] = flow.applied_at
    if ending.result == "recovered":
        times |= {"recovered": ending.recovered_at, "verified": now}
    return times
