"""Orders under way: what ordering an action leaves behind, and what its outcome (or the lack of one) settles.

In: a decision to act, an Outcome, time. Out: a signed Command, audit entry COMMANDED (act audits outcomes), and in the
state: what is in flight, what cools down, what was tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.audit import Stage
from models.case import CaseState, InFlight, Tried
from models.catalog import Catalog
from models.command import Command, Outcome, SeriesRef
from models.cooldown import CooldownCheck, check_cooldown, cool_down
from models.event import digest
from models.incident import Incident, IncidentSignal
from models.policy import Policy
from models.runbook import Runbook
from models.signing import sign
from models.targets import names_resource
from models.workflow_admission import actions_of
from streams.casework import Settled, Work

__all__ = ["action_key", "cooling", "order", "policy_digest", "settle"]

_SPARE_SECONDS: Final = 600.0
"""Patience beyond what a runbook's own times add up to: queues, restarts, retries' waits."""


def order(state: CaseState, work: Work, incident: Incident, runbook: Runbook, target: str, command_id: str) -> None:
    """Put a signed command on its way, and remember it until its outcome comes."""
    made, policy, cid = state.decide, work.catalog.policy, incident.correlation_id
    signals = _concerned(incident, work.catalog, runbook, target)
    command = Command(
        command_id=command_id,
        correlation_id=cid,
        application=state.application,
        pattern_id=incident.pattern_id,
        target=target,
        runbook_id=runbook.id,
        runbook_version=runbook.version,
        series=_series(signals),
        services=_services(signals, incident, work),
        cooldown_seconds=policy.cooldown_seconds,
        lock_after_failures=policy.lock_after_failures,
        lock_seconds=policy.lock_seconds,
        detected_at=incident.opened_at,
        issued_at=work.now,
        expires_at=work.now + round(policy.command_expires_seconds * 1_000),
        run=work.run,
    )
    work.emit("commands", target, sign(command, work.keys), cid)
    claim = state.predict.last.failure_probability if state.predict.last else None
    made.in_flight[command_id] = InFlight(
        command_id=command_id,
        correlation_id=cid,
        pattern_id=incident.pattern_id,
        runbook_id=runbook.id,
        runbook_version=runbook.version,
        target=target,
        actions=tuple(actions_of(runbook)),
        issued_at=work.now,
        until=command.expires_at + _patience_ms(runbook),
        claim=claim,
    )
    made.tried.append(Tried(command_id=command_id, runbook_id=runbook.id, target=target))
    made.ordered_at.append(work.now)
    work.audit(state, Stage.COMMANDED, "decide", cid, command_id=command_id, runbook_id=runbook.id, target=target)


def settle(state: CaseState, work: Work, command_id: str, outcome: Outcome | None) -> None:
    """A command came to its end; without an outcome in time it counts as unknown. One not under way is ignored."""
    made, policy = state.decide, work.catalog.policy
    ended = made.in_flight.pop(command_id, None)
    if ended is None:
        ignored = state.join.ignored
        ignored["outcome of no command under way"] = ignored.get("outcome of no command under way", 0) + 1
        return
    result = outcome.result if outcome else "unknown"
    applied = outcome.applied if outcome else True
    cooled = [action_key(ended.target, action) for action in ended.actions]
    for key in cooled:
        made.cooldowns[key] = cool_down(
            made.cooldowns.get(key),
            result,
            work.now,
            cooldown_seconds=policy.cooldown_seconds,
            lock_after_failures=policy.lock_after_failures,
            lock_seconds=policy.lock_seconds,
        )
    made.tried = [
        item.model_copy(update={"result": result, "applied": applied}) if item.command_id == command_id else item
        for item in made.tried
    ]
    if result != "recovered" and state.join.incident is not None:
        ends = (max(made.cooldowns[key].until, made.cooldowns[key].locked_until) for key in cooled)
        made.retry_at = max(ends, default=0)
    work.settled.append(Settled(ended, outcome))
    if outcome is None:
        cid = ended.correlation_id
        work.audit(state, Stage.NEEDS_PERSON, "decide", cid, command_id=command_id, reason="no outcome came in time")


def action_key(target: str, action: str) -> str:
    """The key a cooldown is kept under: one action on one target, whichever runbook called it."""
    return f"{target}|{action}"


def cooling(state: CaseState, runbook: Runbook, target: str, now: int) -> CooldownCheck:
    """Whether every action of the runbook may be done on the target; the longest cooldown or lock, if not."""
    kept = state.decide.cooldowns
    checks = [check_cooldown(kept.get(action_key(target, action)), now) for action in actions_of(runbook)]
    refused = [check for check in checks if not check.allowed]
    return max(refused, key=lambda check: check.until, default=CooldownCheck(True))


def policy_digest(policy: Policy) -> str:
    """Names the policy a decision was made under."""
    return digest(policy.model_dump_json())


def _concerned(incident: Incident, catalog: Catalog, runbook: Runbook, arn: str) -> list[IncidentSignal]:
    """The open signals an action on this target answers for: all, or, where it brings back a failed resource whose
    state is verified, only those of the resource's own service (another service's trouble may have another cause).
    """
    found = [signal for signal in incident.signals if not signal.cleared_at]
    target = catalog.target(arn)
    failed = any(names_resource(arn, event.resource) for event in incident.events if not event.cleared_at)
    if target is None or not target.service or not failed or not runbook.verify.target_state:
        return found
    return [signal for signal in found if signal.service == target.service]


def _series(signals: Sequence[IncidentSignal]) -> tuple[SeriesRef, ...]:
    """What must be back under its bound, each series once."""
    found = {(signal.service, signal.template_id, signal.kind): None for signal in signals}
    return tuple(SeriesRef(service=service, template_id=name, kind=kind) for service, name, kind in found)


def _services(signals: Sequence[IncidentSignal], incident: Incident, work: Work) -> tuple[str, ...]:
    """The services in trouble; where only infrastructure spoke, all of the application's."""
    found = sorted({signal.service for signal in signals})
    return tuple(found) or work.catalog.application(incident.application).services


def _patience_ms(runbook: Runbook) -> int:
    """The longest an outcome may take: every step's attempts, twice (they may be undone), and the verification."""
    steps = sum(step.timeout_seconds * step.retry.attempts for step in runbook.steps)
    verify = runbook.verify.settle_seconds + runbook.verify.timeout_seconds
    return round((2 * steps + verify + _SPARE_SECONDS) * 1_000)
