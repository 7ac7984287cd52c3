"""What act remembers of one target: its lease, cooldowns and lock, and the workflow under way. Mutable, JSON-able.

In: nothing. Out: `TargetState` (one per target) and `Workflow` (one per command being carried out), with `next_wake`.
The rules that move them live in models.workflow_run and its neighbours.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue

from models.anomaly import ServiceHealth
from models.command import Command
from models.cooldown import Cooldown
from models.references import Scope
from models.runbook import Runbook
from models.workflow_guard import GuardReading

__all__ = ["ENDED", "Branch", "BranchStatus", "Phase", "Reading", "TargetState", "Verifying", "Workflow", "next_wake"]


class Phase(StrEnum):
    """The states of a workflow, in the order of a life; the last four end it."""

    RECEIVED = "received"
    WAITING_LEASE = "waiting_lease"
    PRECHECKING = "prechecking"
    SNAPSHOTTING = "snapshotting"
    EXECUTING = "executing"
    SETTLING = "settling"
    VERIFYING = "verifying"
    COMPENSATING = "compensating"
    REFUSED = "refused"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    NEEDS_PERSON = "needs_person"


class BranchStatus(StrEnum):
    """One step's call: under way, waiting before a probe, probing what an attempt did; the last three end it.

    `doubtful`: nobody can tell whether the call took effect.
    """

    CALLING = "calling"
    BACKING_OFF = "backing_off"
    PROBING = "probing"
    APPLIED = "applied"
    FAILED = "failed"
    DOUBTFUL = "doubtful"


ENDED = frozenset({BranchStatus.APPLIED, BranchStatus.FAILED, BranchStatus.DOUBTFUL})


class State(BaseModel):
    """A mutable record; unknown fields are refused, so that an older program does not misread a newer state."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Branch(State):
    """One step's call (or its inverse). `attempt` counts calls, `probes` the probes in a row without an answer.

    `key` is the idempotency key of the last call while its outcome is unknown: a repetition carries it again. `until`
    (ms) ends the wait for an answer or the backoff. `definite`: the last failure is known to have changed nothing;
    `unsure`: an earlier attempt may have taken effect, and the target's state cannot show it.
    """

    step: int
    status: BranchStatus = BranchStatus.CALLING
    attempt: int = 0
    probes: int = 0
    effect_id: str = ""
    key: str = ""
    until: int = 0
    definite: bool = False
    unsure: bool = False
    error: str = ""


class Reading(State):
    """Reads asked together and awaited together. `pending` maps effect ids to what they read: a service, or "" for the
    target's state. `until` (ms) ends the wait; `errors` are the reads that failed.
    """

    pending: dict[str, str]
    until: int
    state: dict[str, JsonValue] | None = None
    healths: dict[str, ServiceHealth] = {}
    errors: list[str] = []


class Verifying(State):
    """How verification stands, by series: `seen_until` (ms) is up to where its buckets were judged, `bad_until` the end
    of the last one over its bound (or never seen). `state_since`: since when the target's state is as wanted.
    """

    deadline: int
    next_probe: int
    bad_until: dict[str, int] = {}
    seen_until: dict[str, int] = {}
    state_since: int = 0
    missing: str = "no reading yet"


class Workflow(State):
    """One command being carried out under the target's lease. `applied` lists steps in the order they took effect."""

    command: Command
    runbook: Runbook
    phase: Phase = Phase.RECEIVED
    calls: int = 0
    reading: Reading | None = None
    read_failures: int = 0
    retry_at: int = 0
    snapshot: dict[str, JsonValue] = {}
    guard_before: dict[str, GuardReading] = {}
    guard: dict[str, float] = {}
    stage: int = 0
    branches: list[Branch] = []
    applied: list[int] = []
    doubtful: list[int] = []
    undo: list[int] = []
    undone: list[int] = []
    touched: bool = False
    applied_at: int = 0
    settle_until: int = 0
    verifying: Verifying | None = None
    reason: str = ""

    @property
    def scope(self) -> Scope:
        """What the runbook's references refer to."""
        return Scope(self.command.target, self.command.params, self.snapshot)


class TargetState(State):
    """All that act keeps of one target. Times in ms of `logged_at`.

    `workflow` holds the lease; `queue` waits for it. `cooldowns` is by action name (`rds.scale`): two runbooks, or two
    applications, that would call the same action on this target share it. `seen` holds the last command ids, newest
    last; `dropped` counts what was ignored on purpose, by reason; `seq` numbers the journal.
    """

    target: str = ""
    seq: int = 0
    cooldowns: dict[str, Cooldown] = {}
    seen: list[str] = []
    workflow: Workflow | None = None
    queue: list[Command] = []
    dropped: dict[str, int] = {}

    def drop(self, reason: str) -> None:
        """Count something ignored on purpose."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def next_wake(state: TargetState) -> int | None:
    """When the target must be looked at again (ms) if no answer comes before: the earliest of all its waits."""
    waits = [command.expires_at + 1 for command in state.queue]
    flow = state.workflow
    if flow is not None:
        waits += [branch.until for branch in flow.branches if branch.status not in ENDED]
        if flow.reading is not None:
            waits.append(flow.reading.until)
        elif flow.retry_at:
            waits.append(flow.retry_at)
        if flow.phase is Phase.SETTLING:
            waits.append(flow.settle_until)
        if flow.verifying is not None and flow.phase is Phase.VERIFYING:
            waits.append(flow.verifying.deadline)
            if flow.reading is None:
                waits.append(flow.verifying.next_probe)
    return min(waits, default=None)
