"""One turn of a target: what it may know (`World`) and what it brings about (`Moves`).

In: the target's state and the words of the rules. Out: journal lines, audit entries, outcomes, calls and cancelled
calls, in the order they came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from models.audit import AuditEntry, Stage
from models.catalog import Catalog
from models.command import Command, JournalEntry, Outcome
from models.event import digest
from models.workflow import Branch, Phase, TargetState, Workflow

__all__ = ["Call", "Line", "Moves", "World"]


class Call(NamedTuple):
    """A call into the world, as data; `kind` is `call_action`, `read_state` or `probe_health`."""

    id: str
    kind: str
    args: dict[str, JsonValue]


class Line(NamedTuple):
    """A journal line about a call: its intent (before it starts) or its answer. `branch`: of a step's own call."""

    entry: Literal["intent", "answer"]
    call: str
    effect_id: str
    ok: bool | None = None
    branch: Branch | None = None
    detail: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class World:
    """What a turn may know besides the target's own state. `pauses` maps a scope (application or "*") to its end (ms,
    0 = until further notice).
    """

    now: int
    run: str
    catalog: Catalog
    pauses: Mapping[str, int]

    def paused(self, application: str) -> bool:
        """True while a person holds the switch over this application or over everything."""
        ends = (self.pauses.get(scope) for scope in ("*", application))
        return any(end is not None and (end == 0 or end > self.now) for end in ends)


@dataclass(slots=True)
class Moves:
    """What one turn of one target brings about; the rules append to it."""

    target: TargetState
    world: World
    contracts: list[JournalEntry | Outcome | AuditEntry] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)

    @property
    def now(self) -> int:
        """This turn's time: `logged_at` of its event (ms)."""
        return self.world.now

    def enter(self, flow: Workflow, phase: Phase, **detail: Any) -> None:
        """The workflow enters `phase`."""
        flow.phase = phase
        self.state(flow.command, phase, detail)

    def state(self, command: Command, phase: Phase, detail: Mapping[str, Any]) -> None:
        """Journal that the command's workflow stands in `phase`."""
        self._append(command, phase, {"entry": "state", "detail": dict(detail)})

    def line(self, flow: Workflow, line: Line) -> None:
        """Journal the intent of a call, or its answer."""
        step = flow.runbook.steps[line.branch.step].name if line.branch else ""
        attempt = line.branch.attempt if line.branch else 0
        rest = {**line._asdict(), "detail": dict(line.detail), "step": step, "attempt": attempt}
        del rest["branch"]
        self._append(flow.command, flow.phase, rest)

    def call(self, flow: Workflow, kind: str, args: dict[str, JsonValue], branch: Branch | None = None) -> str:
        """Order a call, after journalling its intent. Its id, which is returned, is the same in a replay."""
        effect_id = digest("act", self.target.target, flow.command.command_id, str(flow.calls))
        flow.calls += 1
        if kind == "call_action":
            flow.touched = True
            args = {**args, "idempotency_key": args.get("idempotency_key") or effect_id}
        self.line(flow, Line("intent", kind, effect_id, branch=branch, detail=args))
        self.calls.append(Call(effect_id, kind, args))
        return effect_id

    def audit(self, command: Command, stage: Stage, facts: Mapping[str, JsonValue]) -> None:
        """Note a stage of the incident."""
        entry = AuditEntry(
            stage=stage,
            correlation_id=command.correlation_id,
            application=command.application,
            by="act",
            facts={"command_id": command.command_id, "target": command.target, **facts},
        )
        self.contracts.append(entry)

    def _append(self, command: Command, phase: Phase, rest: Mapping[str, Any]) -> None:
        entry = JournalEntry(
            command_id=command.command_id,
            correlation_id=command.correlation_id,
            target=command.target,
            seq=self.target.seq,
            state=phase.value,
            **rest,
        )
        self.contracts.append(entry)
        self.target.seq += 1
