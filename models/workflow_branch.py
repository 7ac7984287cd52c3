"""One step's call, from its first attempt to a certain end: applied, failed, or nobody can tell.

An attempt that is not answered with success is never simply repeated. The branch waits (exponential backoff, full
jitter), then reads the target's state, and only then goes on:

    the state shows the effect     -> applied; so too where the target no longer holds what the runbook requires of
                                      it before the first step: the call is under way
    it shows that nothing happened -> the next attempt, or failed after the last
    it cannot show it              -> the next attempt if the actuator said that nothing was done, or the runbook is
                                      safe to repeat (`restart_safe`); else doubtful

The actuator's word that the call was refused for good ends the branch at once. A repetition after an unknown outcome
carries the idempotency key of the attempt it repeats. The same rules carry out an inverse while compensating.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from models.jitter import full_jitter_ms
from models.references import resolve
from models.runbook import ActionCall, Reversibility, RunbookStep
from models.signal import EffectAnswered
from models.workflow import Branch, BranchStatus, Phase, Workflow
from models.workflow_turn import Line, Moves

__all__ = ["answer_branch", "shows_effect", "start_branch", "wake_branch"]

MAX_PROBES = 3
"""Probes in a row without an answer after which the state counts as unreadable."""


def start_branch(flow: Workflow, branch: Branch, moves: Moves) -> None:
    """Call the step's action (or its inverse) once more; where a person holds the switch, end instead."""
    if moves.world.paused(flow.command.application):
        _end(branch, BranchStatus.FAILED, "paused by a person")
        return
    call = _call(flow, branch)
    params = {name: resolve(value, flow.scope) for name, value in call.params.items()}
    args: dict[str, JsonValue] = {
        "action": call.action,
        "target": flow.command.target,
        "params": params,
        "idempotency_key": branch.key,
    }
    branch.attempt += 1
    branch.probes = 0
    branch.status = BranchStatus.CALLING
    branch.effect_id = moves.call(flow, "call_action", args, branch)
    branch.key = branch.key or branch.effect_id
    branch.until = moves.now + round(_step(flow, branch).timeout_seconds * 1_000)


def answer_branch(flow: Workflow, branch: Branch, answer: EffectAnswered, moves: Moves) -> None:
    """Take the answer of the branch's call or probe."""
    kind = "call_action" if branch.status is BranchStatus.CALLING else "read_state"
    detail = answer.result if answer.ok else {**answer.result, "error": answer.error}
    moves.line(flow, Line("answer", kind, answer.effect_id, answer.ok, branch, detail))
    branch.effect_id = ""
    if branch.status is BranchStatus.PROBING:
        state = answer.result.get("state")
        _probed(flow, branch, state if answer.ok and isinstance(state, dict) else None, moves)
    elif answer.ok:
        _end(branch, BranchStatus.APPLIED, "")
    else:
        branch.error = answer.error or "no reason given"
        branch.definite = answer.result.get("applied") is False
        _attempt_failed(flow, branch, answer.result.get("transient") is False, moves)


def wake_branch(flow: Workflow, branch: Branch, moves: Moves) -> None:
    """Go on where a wait is over: an answer that did not come, or a backoff."""
    if moves.now < branch.until:
        return
    if branch.status is BranchStatus.BACKING_OFF:
        _probe(flow, branch, moves)
        return
    moves.cancels.append(branch.effect_id)
    error = f"unknown outcome: no answer within {_step(flow, branch).timeout_seconds:g} s"
    kind = "call_action" if branch.status is BranchStatus.CALLING else "read_state"
    moves.line(flow, Line("answer", kind, branch.effect_id, False, branch, {"error": error}))
    branch.effect_id = ""
    if branch.status is BranchStatus.PROBING:
        _probed(flow, branch, None, moves)
    else:
        branch.error, branch.definite = error, False
        _attempt_failed(flow, branch, False, moves)


def shows_effect(
    wanted: Mapping[str, JsonValue], before: Mapping[str, JsonValue] | None, state: Mapping[str, JsonValue]
) -> bool | None:
    """Does the state show what was wanted; None where it cannot: nothing to compare, or `before` showed it already."""
    if not wanted:
        return None
    if before is not None and _holds(before, wanted):
        return None
    return _holds(state, wanted)


def _attempt_failed(flow: Workflow, branch: Branch, hopeless: bool, moves: Moves) -> None:
    if branch.definite:
        branch.key = ""
        if hopeless or branch.attempt >= _step(flow, branch).retry.attempts:
            _end(branch, BranchStatus.FAILED, branch.error)
            return
    _back_off(flow, branch, branch.attempt, moves)


def _back_off(flow: Workflow, branch: Branch, failures: int, moves: Moves) -> None:
    step = _step(flow, branch)
    identity = (flow.command.command_id, flow.phase, step.name, str(branch.attempt))
    branch.status = BranchStatus.BACKING_OFF
    branch.until = moves.now + full_jitter_ms(step.retry, failures, *identity)


def _probe(flow: Workflow, branch: Branch, moves: Moves) -> None:
    branch.status = BranchStatus.PROBING
    branch.probes += 1
    branch.effect_id = moves.call(flow, "read_state", {"target": flow.command.target}, branch)
    branch.until = moves.now + round(_step(flow, branch).timeout_seconds * 1_000)


def _probed(flow: Workflow, branch: Branch, state: Mapping[str, JsonValue] | None, moves: Moves) -> None:
    if state is None:
        if branch.probes < MAX_PROBES:
            _back_off(flow, branch, branch.probes, moves)
        else:
            unreadable = f"{branch.error}; then the target's state could not be read {MAX_PROBES} times"
            _end(branch, BranchStatus.FAILED if branch.definite else BranchStatus.DOUBTFUL, unreadable)
        return
    inverse = flow.phase is Phase.COMPENSATING
    shown = shows_effect(_wanted(flow, branch), None if inverse else flow.snapshot, state)
    if not shown and not inverse and _is_under_way(flow, state):
        shown = True
    branch.unsure = shown is None and (branch.unsure or not branch.definite)
    if shown is True:
        _end(branch, BranchStatus.APPLIED, "")
    elif branch.unsure and flow.runbook.reversibility is not Reversibility.RESTART_SAFE:
        _end(branch, BranchStatus.DOUBTFUL, f"{branch.error}; the target's state cannot show whether it took effect")
    elif branch.attempt >= _step(flow, branch).retry.attempts:
        _end(branch, BranchStatus.FAILED, branch.error)
    else:
        start_branch(flow, branch, moves)


def _is_under_way(flow: Workflow, state: Mapping[str, JsonValue]) -> bool:
    """The first step's call is taking its time: the target no longer stands as the precheck found it (`modifying`).

    Later steps cannot be told this way: the earlier ones have changed the target.
    """
    if flow.stage or len(flow.branches) > 1:
        return False
    required = {name: resolve(value, flow.scope) for name, value in flow.runbook.require_state.items()}
    return not _holds(state, required)


def _wanted(flow: Workflow, branch: Branch) -> dict[str, JsonValue]:
    step, scope = _step(flow, branch), flow.scope
    if flow.phase is not Phase.COMPENSATING and step.expect:
        return {name: resolve(value, scope) for name, value in step.expect.items()}
    params = _call(flow, branch).params
    return {name: resolve(value, scope) for name, value in params.items() if name in flow.snapshot}


def _holds(state: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue]) -> bool:
    return all(name in state and state[name] == value for name, value in wanted.items())


def _step(flow: Workflow, branch: Branch) -> RunbookStep:
    return flow.runbook.steps[branch.step]


def _call(flow: Workflow, branch: Branch) -> ActionCall:
    step = _step(flow, branch)
    if flow.phase is Phase.COMPENSATING and step.inverse is not None:
        return step.inverse
    return step.call


def _end(branch: Branch, status: BranchStatus, error: str) -> None:
    if status is BranchStatus.FAILED and branch.unsure:
        status = BranchStatus.DOUBTFUL
    branch.status, branch.error, branch.effect_id, branch.until = status, error, "", 0
