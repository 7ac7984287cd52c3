"""The workflow: from a command to exactly one outcome. Verify before, verify after, undo what did not help.

In: a command, an answer or a tick, with the target's state and the world. Out: the state moved on, and `Moves`. Pure:
the same turns give the same bytes.

    received -> prechecking -> snapshotting -> executing -> settling -> verifying -> succeeded
            \\-> waiting_lease                   \\-----------------------\\-> compensating -> rolled_back
                                                                                         \\-> needs_person
    refused: from every state before the first call of an action

While a person holds the switch no action is called, neither a step nor an inverse; readings go on.
"""

from __future__ import annotations

from models.audit import Stage
from models.command import Command
from models.jitter import full_jitter_ms
from models.nesting import MAX_DEPTH, too_deep
from models.runbook import Retry, Reversibility
from models.signal import EffectAnswered
from models.workflow import ENDED, Branch, BranchStatus, Phase, Reading, TargetState, Verifying, Workflow
from models.workflow_admission import precheck, refusal
from models.workflow_branch import answer_branch, start_branch, wake_branch
from models.workflow_finish import Ending, Result, finish, refuse
from models.workflow_guard import read_guard
from models.workflow_reading import abandon_reading, answer_reading, start_reading
from models.workflow_turn import Moves
from models.workflow_verify import guarded_services, judge, verified_series

__all__ = ["MAX_QUEUE", "MAX_SEEN", "PROBE_EVERY_MS", "receive", "take_answer", "wake"]

MAX_QUEUE = 3
"""Commands that may wait for one target's lease: more incidents than this on one target are a person's business."""
MAX_SEEN = 256
"""Command ids remembered for each target: far more than can be ordered within the 10 min until a command is stale."""
PROBE_EVERY_MS = 10_000
"""A closed bucket comes every 10 s: probing more often shows nothing new."""
_READ_RETRY = Retry(attempts=3, base_seconds=1.0, cap_seconds=10.0)


def receive(state: TargetState, command: Command, moves: Moves) -> None:
    """Take a command whose signature was verified. A second one of the same id is ignored: the first outcome stands."""
    if command.command_id in state.seen:
        state.drop("duplicate command")
        return
    state.seen = [*state.seen[1 - MAX_SEEN :], command.command_id]
    moves.state(command, Phase.RECEIVED, {"runbook": command.runbook_id, "params": command.params})
    reason = refusal(state, command, moves.world)
    holder = state.workflow
    if not reason and holder is not None and len(state.queue) >= MAX_QUEUE:
        reason = f"lease held by command {holder.command.command_id}, and {MAX_QUEUE} are waiting already"
    if reason:
        refuse(command, reason, moves)
    elif holder is not None:
        state.queue.append(command)
        moves.state(command, Phase.WAITING_LEASE, {"holder": holder.command.command_id})
    else:
        _begin(state, command, moves)


def take_answer(state: TargetState, answer: EffectAnswered, moves: Moves) -> None:
    """Take the answer of a call. One that nobody waits for any more is counted and ignored."""
    if too_deep(answer.result):
        nested = {"ok": False, "result": {}, "error": f"the answer is nested more than {MAX_DEPTH} levels deep"}
        answer = answer.model_copy(update=nested)
    flow = state.workflow
    branch = _branch_of(flow, answer.effect_id)
    if flow is None:
        state.drop("late answer")
    elif flow.reading is not None and answer.effect_id in flow.reading.pending:
        answer_reading(flow, flow.reading, answer, moves)
        _after_reading(state, flow, moves)
    elif branch is not None:
        answer_branch(flow, branch, answer, moves)
        _after_branches(state, flow, moves)
    else:
        state.drop("late answer")
    _serve_queue(state, moves)


def wake(state: TargetState, moves: Moves) -> None:
    """Time has passed: end what waited long enough."""
    flow = state.workflow
    if flow is not None:
        _wake_flow(state, flow, moves)
    _serve_queue(state, moves)


def _wake_flow(state: TargetState, flow: Workflow, moves: Moves) -> None:
    now, verifying = moves.now, flow.verifying
    if flow.phase is Phase.VERIFYING and verifying is not None and now >= verifying.deadline:
        abandon_reading(flow, moves)
        flow.reading = None
        timeout = flow.runbook.verify.timeout_seconds
        _compensate(state, flow, f"not verified within {timeout:g} s: {verifying.missing}", moves)
    elif flow.reading is not None:
        if now >= flow.reading.until:
            abandon_reading(flow, moves)
            _after_reading(state, flow, moves)
    elif flow.phase in (Phase.PRECHECKING, Phase.SNAPSHOTTING):
        if now >= flow.retry_at:
            _read(flow, moves)
    elif flow.phase is Phase.SETTLING:
        if now >= flow.settle_until:
            _start_verifying(flow, moves)
    elif flow.phase is Phase.VERIFYING and verifying is not None:
        if now >= verifying.next_probe:
            _read(flow, moves)
    else:
        for branch in flow.branches:
            if branch.status not in ENDED:
                wake_branch(flow, branch, moves)
        _after_branches(state, flow, moves)


def _serve_queue(state: TargetState, moves: Moves) -> None:
    late = [command for command in state.queue if moves.now > command.expires_at]
    state.queue = [command for command in state.queue if moves.now <= command.expires_at]
    for command in late:
        refuse(command, "expired while waiting for the target's lease", moves)
    while state.workflow is None and state.queue:
        command = state.queue.pop(0)
        reason = refusal(state, command, moves.world)
        if reason:
            refuse(command, reason, moves)
        else:
            _begin(state, command, moves)


def _begin(state: TargetState, command: Command, moves: Moves) -> None:
    runbook = moves.world.catalog.runbook(command.runbook_id, command.runbook_version)
    if runbook is None:  # refusal() has just found it
        refuse(command, f"unknown runbook {command.runbook_id}", moves)
        return
    flow = state.workflow = Workflow(command=command, runbook=runbook)
    moves.enter(flow, Phase.PRECHECKING)
    _read(flow, moves)


def _read(flow: Workflow, moves: Moves) -> None:
    """Start the reading that the phase needs."""
    flow.retry_at = 0
    services = list(dict.fromkeys([*(ref.service for ref in verified_series(flow)), *guarded_services(flow)]))
    if flow.phase is Phase.PRECHECKING:
        start_reading(flow, moves, target=True, services=())
    elif flow.phase is Phase.SNAPSHOTTING:
        start_reading(flow, moves, target=False, services=services)
    elif flow.verifying is not None:
        flow.verifying.next_probe = moves.now + PROBE_EVERY_MS
        target = bool(flow.runbook.verify.target_state)
        start_reading(flow, moves, target=target, services=services)


def _after_reading(state: TargetState, flow: Workflow, moves: Moves) -> None:
    reading = flow.reading
    if reading is None or reading.pending:
        return
    flow.reading = None
    if flow.phase is Phase.VERIFYING:
        _verify(state, flow, reading, moves)
    elif reading.errors:
        _read_again(state, flow, reading, moves)
    elif flow.phase is Phase.PRECHECKING:
        reason = precheck(flow, reading.state or {})
        if reason:
            finish(state, flow, Ending(Phase.REFUSED, "refused", f"precheck: {reason}"), moves)
            return
        moves.enter(flow, Phase.SNAPSHOTTING, state=flow.snapshot)
        flow.read_failures = 0
        _read(flow, moves)
        _after_reading(state, flow, moves)  # nothing to ask where neither series nor guard is verified
    else:
        _snapshot(state, flow, reading, moves)


def _read_again(state: TargetState, flow: Workflow, reading: Reading, moves: Moves) -> None:
    flow.read_failures += 1
    if flow.read_failures >= _READ_RETRY.attempts:
        reason = f"{flow.phase}: not readable {flow.read_failures} times: {reading.errors[0]}"
        finish(state, flow, Ending(Phase.REFUSED, "refused", reason), moves)
        return
    wait = full_jitter_ms(_READ_RETRY, flow.read_failures, flow.command.command_id, flow.phase)
    flow.retry_at = moves.now + wait


def _snapshot(state: TargetState, flow: Workflow, reading: Reading, moves: Moves) -> None:
    """Keep the guard's reading from before; without one, or without the series' health, help could not be verified."""
    signal = flow.runbook.verify.guard
    for service in guarded_services(flow):
        health = reading.healths.get(service)
        if health is not None and signal != "none":
            guard = read_guard(health, signal)
            if guard.buckets:
                flow.guard_before[service] = guard
    unseen = [ref.service for ref in verified_series(flow) if ref.service not in reading.healths]
    if guarded_services(flow) and not flow.guard_before:
        unseen.append(guarded_services(flow)[0])
    if unseen:
        reason = f"snapshotting: no health of service {unseen[0]}, so nothing would show whether it helped"
        finish(state, flow, Ending(Phase.REFUSED, "refused", reason), moves)
        return
    guards: dict[str, float] = {name: round(guard.mean, 3) for name, guard in flow.guard_before.items()}
    moves.enter(flow, Phase.EXECUTING, guard_before=guards)
    moves.audit(flow.command, Stage.EXECUTING, {"runbook": flow.runbook.id, "version": flow.runbook.version})
    _start_stage(state, flow, moves)


def _stages(flow: Workflow) -> list[list[int]]:
    """The runbook's steps in order; neighbours of one group run together."""
    stages: list[list[int]] = []
    steps = flow.runbook.steps
    for place, step in enumerate(steps):
        if place and step.group and step.group == steps[place - 1].group:
            stages[-1].append(place)
        else:
            stages.append([place])
    return stages


def _start_stage(state: TargetState, flow: Workflow, moves: Moves) -> None:
    flow.branches = [Branch(step=place) for place in _stages(flow)[flow.stage]]
    for branch in flow.branches:
        start_branch(flow, branch, moves)
    _after_branches(state, flow, moves)


def _after_branches(state: TargetState, flow: Workflow, moves: Moves) -> None:
    """All branches of a stage end before anything is decided."""
    if flow.phase is Phase.EXECUTING:
        for branch in flow.branches:
            if branch.status in (BranchStatus.APPLIED, BranchStatus.DOUBTFUL) and branch.step not in flow.applied:
                flow.applied.append(branch.step)
    if any(branch.status not in ENDED for branch in flow.branches):
        return
    if flow.phase is Phase.COMPENSATING:
        _after_inverse(state, flow, moves)
        return
    flow.doubtful += [branch.step for branch in flow.branches if branch.status is BranchStatus.DOUBTFUL]
    bad = [branch for branch in flow.branches if branch.status is not BranchStatus.APPLIED]
    if bad:
        step = flow.runbook.steps[bad[0].step].name
        _compensate(state, flow, f"step {step} {bad[0].status}: {bad[0].error}", moves)
        return
    flow.stage += 1
    if flow.stage < len(_stages(flow)):
        _start_stage(state, flow, moves)
        return
    flow.branches = []
    flow.applied_at = moves.now
    flow.settle_until = moves.now + round(flow.runbook.verify.settle_seconds * 1_000)
    moves.enter(flow, Phase.SETTLING, until=flow.settle_until)


def _start_verifying(flow: Workflow, moves: Moves) -> None:
    deadline = moves.now + round(flow.runbook.verify.timeout_seconds * 1_000)
    flow.verifying = Verifying(deadline=deadline, next_probe=moves.now)
    moves.enter(flow, Phase.VERIFYING, deadline=deadline)
    moves.audit(flow.command, Stage.VERIFYING, {"applied_at": flow.applied_at})
    _read(flow, moves)


def _verify(state: TargetState, flow: Workflow, reading: Reading, moves: Moves) -> None:
    if flow.verifying is None:
        return
    verdict = judge(flow, flow.verifying, reading, moves.now)
    flow.verifying.missing = verdict.missing
    if verdict.kind == "recovered":
        words = "verified by " + ", ".join(verdict.verified_by)
        ending = Ending(Phase.SUCCEEDED, "recovered", words, verdict.recovered_at, verdict.verified_by)
        finish(state, flow, ending, moves)
    elif verdict.kind == "worse":
        _compensate(state, flow, verdict.missing, moves)


def _compensate(state: TargetState, flow: Workflow, reason: str, moves: Moves) -> None:
    """Undo, in reverse order, what took effect or may have."""
    flow.reason, flow.branches = reason, []
    steps = flow.runbook.steps
    flow.undo = [place for place in reversed(flow.applied) if steps[place].inverse is not None]
    if flow.touched:
        moves.enter(flow, Phase.COMPENSATING, reason=reason, undo=[steps[place].name for place in flow.undo])
    if flow.undo:
        moves.audit(flow.command, Stage.ROLLING_BACK, {"reason": reason})
    _undo_next(state, flow, moves)


def _undo_next(state: TargetState, flow: Workflow, moves: Moves) -> None:
    if flow.undo:
        flow.branches = [Branch(step=flow.undo[0])]
        start_branch(flow, flow.branches[0], moves)
        _after_branches(state, flow, moves)
        return
    finish(state, flow, _ending_undone(flow), moves)


def _after_inverse(state: TargetState, flow: Workflow, moves: Moves) -> None:
    branch = flow.branches[0]
    if branch.status is BranchStatus.APPLIED:
        flow.undone.append(flow.undo.pop(0))
        _undo_next(state, flow, moves)
        return
    step = flow.runbook.steps[branch.step].name
    reason = f"{flow.reason}; undoing step {step} {branch.status}: {branch.error}. See the target's journal and undo it"
    result: Result = "unknown" if branch.status is BranchStatus.DOUBTFUL else "failed"
    finish(state, flow, Ending(Phase.NEEDS_PERSON, result, reason), moves)


def _ending_undone(flow: Workflow) -> Ending:
    """What is left once every inverse has been called: nothing, or something only a person can judge."""
    kept = [place for place in flow.applied if place not in flow.undone]
    names = ", ".join(flow.runbook.steps[place].name for place in kept)
    if flow.runbook.reversibility is not Reversibility.RESTART_SAFE and any(place in flow.doubtful for place in kept):
        reason = (
            f"{flow.reason}; whether it took effect ({names}) is unknown and it cannot be undone. Look at the target"
        )
        return Ending(Phase.NEEDS_PERSON, "unknown", reason)
    if flow.runbook.reversibility is Reversibility.IRREVERSIBLE and kept:
        return Ending(Phase.NEEDS_PERSON, "failed", f"{flow.reason}; {names} cannot be undone. Look at the target")
    return Ending(Phase.ROLLED_BACK, "rolled_back" if flow.undone else "failed", flow.reason)


def _branch_of(flow: Workflow | None, effect_id: str) -> Branch | None:
    if flow is None or not effect_id:
        return None
    return next((branch for branch in flow.branches if branch.effect_id == effect_id), None)
