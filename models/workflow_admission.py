"""May this command be carried out? act is the authority for a target's lease, cooldown and lock.

In: a command whose signature was verified, the target's state, the world. Out: why not ("" = it may), and the first
reading's verdict on the runbook's own conditions.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from models.anomaly import Kind
from models.catalog import Catalog
from models.command import Command
from models.cooldown import check_cooldown
from models.references import MissingReferenceError, resolve
from models.runbook import Runbook
from models.workflow import TargetState, Workflow
from models.workflow_turn import World

__all__ = ["MAX_AGE_MS", "actions_of", "precheck", "refusal"]

MAX_AGE_MS = 600_000
"""A command that reached the log later than this after it was ordered is stale, whatever its expiry says."""


def refusal(state: TargetState, command: Command, world: World) -> str:
    """Why the command may not start now; "" when it may. The first reason counts, from identity to timing."""
    return (
        _wrong_run(command, world)
        or _too_late(command, world.now)
        or _unknown(command, world.catalog)
        or _cooling(state, command, world)
        or ("paused by a person" if world.paused(command.application) else "")
    )


def actions_of(runbook: Runbook) -> list[str]:
    """The names of the actions its steps call, each once, in order."""
    return list(dict.fromkeys(step.call.action for step in runbook.steps))


def precheck(flow: Workflow, state: Mapping[str, JsonValue]) -> str:
    """Why the runbook must not touch a target in this state; "" when it may. Takes the state as the snapshot."""
    flow.snapshot = dict(state)
    try:
        for name, value in flow.runbook.require_state.items():
            wanted = resolve(value, flow.scope)
            if name not in state:
                return f"the target's state has no {name}, the runbook requires {wanted!r}"
            if state[name] != wanted:
                return f"the target's {name} is {state[name]!r}, the runbook requires {wanted!r}"
        for step in flow.runbook.steps:
            resolve(step.call.params, flow.scope)
            resolve(step.expect, flow.scope)
            if step.inverse is not None:
                resolve(step.inverse.params, flow.scope)
        resolve(flow.runbook.verify.target_state, flow.scope)
    except MissingReferenceError as error:
        return f"the runbook cannot be filled in: {error}"
    return ""


def _wrong_run(command: Command, world: World) -> str:
    if command.run == world.run:
        return ""
    return f"ordered by run {command.run or 'without a name'!r}, this is {world.run!r}"


def _too_late(command: Command, now: int) -> str:
    if now > command.expires_at:
        return f"expired {(now - command.expires_at) / 1000:.0f} s ago"
    if now - command.issued_at > MAX_AGE_MS:
        return f"stale: ordered {(now - command.issued_at) / 1000:.0f} s ago, {MAX_AGE_MS // 1000} s are allowed"
    return ""


def _unknown(command: Command, catalog: Catalog) -> str:
    runbook = catalog.runbook(command.runbook_id, command.runbook_version)
    if runbook is None:
        return f"unknown runbook {command.runbook_id} version {command.runbook_version}"
    target = catalog.target(command.target)
    if target is None:
        return f"unknown target {command.target}"
    if command.target not in catalog.application(command.application).targets:
        return f"target {command.target} is not one of application {command.application}"
    if target.kind != runbook.target_kind:
        return f"runbook {runbook.id} is for {runbook.target_kind}, the target is {target.kind}"
    if not runbook.verify.target_state and not (runbook.verify.series and command.series):
        return "nothing would show whether it helped: no series, no target state to verify"
    if runbook.verify.series and any(ref.kind == Kind.SOURCE_STALLED for ref in command.series):
        return "nothing would show whether it helped: a service's health does not tell of its stalled sources"
    return ""


def _cooling(state: TargetState, command: Command, world: World) -> str:
    runbook = world.catalog.runbook(command.runbook_id, command.runbook_version)
    for action in actions_of(runbook) if runbook else ():
        check = check_cooldown(state.cooldowns.get(action), world.now)
        if not check.allowed:
            word = "locked after repeated failure" if check.locked else "cooldown"
            return f"{word}: {action} on this target for another {(check.until - world.now) / 1000:.0f} s"
    return ""
