"""A target in memory with its services' health, to drive the workflow against: no clock, no runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from models.anomaly import Kind, SeriesHealth, ServiceHealth
from models.audit import AuditEntry, Stage
from models.catalog import Application, Catalog, Target
from models.command import Command, JournalEntry, Outcome, SeriesRef
from models.runbook import ActionCall, Retry, Reversibility, Runbook, RunbookStep, Verification
from models.signal import EffectAnswered
from models.workflow import TargetState, next_wake
from models.workflow_run import receive, take_answer, wake
from models.workflow_turn import Call, Moves, World

T0 = 1_700_000_000_000
RUN = "run-1"
SCALE = RunbookStep(
    name="scale",
    call=ActionCall(action="rds.scale", params={"max_connections": 200}),
    inverse=ActionCall(action="rds.scale", params={"max_connections": "$snapshot.max_connections"}),
    retry=Retry(attempts=3, base_seconds=1, cap_seconds=8),
)
RESTART = RunbookStep(name="restart", call=ActionCall(action="ecs.restart"))


def runbook(*steps: RunbookStep, **changes: Any) -> Runbook:
    fields: dict[str, Any] = {
        "id": "scale-db",
        "title": "Scale",
        "recommendation": "Scale it",
        "failure_modes": ("pool",),
        "target_kind": "rds",
        "reversibility": Reversibility.REVERSIBLE,
        "require_state": {"status": "available"},
        "steps": steps or (SCALE,),
        "verify": Verification(settle_seconds=20, timeout_seconds=120),
    }
    return Runbook(**{**fields, **changes})


def command(name: str = "c1", **changes: Any) -> Command:
    fields: dict[str, Any] = {
        "command_id": name,
        "correlation_id": "fs-1",
        "application": "shop",
        "pattern_id": "p",
        "target": "db",
        "runbook_id": "scale-db",
        "runbook_version": 1,
        "series": (SeriesRef(service="checkout", template_id="t1", kind="spike"),),
        "services": ("checkout",),
        "cooldown_seconds": 300,
        "lock_after_failures": 3,
        "lock_seconds": 3600,
        "detected_at": T0 - 5_000,
        "issued_at": T0,
        "expires_at": T0 + 300_000,
        "run": RUN,
    }
    return Command(**{**fields, **changes})


def series(observed: list[float], upper: float, template: str = "", kinds: tuple[Kind, ...] = ()) -> SeriesHealth:
    return SeriesHealth(template_id=template, kinds=kinds, observed=tuple(observed), expected=1, upper=upper)


@dataclass
class Rig:
    """A target in memory, its services' health by time, and the calls under way. `fails` scripts calls by number."""

    book: Runbook = field(default_factory=runbook)
    state: TargetState = field(default_factory=lambda: TargetState(target="db"))
    now: int = T0
    pauses: dict[str, int] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=lambda: {"status": "available", "max_connections": 100})
    heals: bool = True
    errors_after: float = 2.0
    healthy: bool = True
    applied_at: int = 0
    pending: dict[str, Call] = field(default_factory=dict)
    actions: list[dict[str, Any]] = field(default_factory=list)
    out: list[Any] = field(default_factory=list)
    fails: dict[int, tuple[str, bool]] = field(default_factory=dict)
    """Action number (0-based) -> how it fails (refused, lost, silent) and whether it took effect all the same."""
    unreadable: bool = False

    def moves(self) -> Moves:
        app = Application(name="shop", services=("checkout",), targets=("db", "db2"))
        catalog = Catalog(applications=(app,), targets=(Target(arn="db", kind="rds"),), runbooks=(self.book,))
        return Moves(self.state, World(self.now, RUN, catalog, self.pauses))

    def order(self, order: Command) -> None:
        self._take(receive, order)

    def _take(self, turn: Any, *args: Any) -> None:
        moves = self.moves()
        turn(self.state, *args, moves)
        self.out += moves.contracts
        for name in moves.cancels:
            self.pending.pop(name, None)
        self.pending |= {call.id: call for call in moves.calls}
        # Whatever happens, the state survives a crash as it is.
        again = TargetState.model_validate_json(self.state.model_dump_json())
        assert again.model_dump_json() == self.state.model_dump_json()
        self.state = again

    def answer(self, call: Call, ok: bool, result: dict[str, Any], error: str = "") -> None:
        self.pending.pop(call.id, None)
        result = json.loads(json.dumps(result))
        answered = EffectAnswered(effect_id=call.id, kind=call.kind, ok=ok, result=result, error=error)
        self._take(take_answer, answered)

    def perform(self) -> bool:
        """Answer the oldest call that will ever be answered."""
        for call in list(self.pending.values()):
            if call.kind == "read_state":
                if self.unreadable:
                    self.answer(call, False, {}, "throttled")
                else:
                    self.answer(call, True, {"state": self.world})
                return True
            if call.kind == "probe_health":
                self.answer(call, True, {"health": self.health().model_dump(mode="json") if self.healthy else None})
                return True
            if self._act(call):
                return True
        return False

    def _act(self, call: Call) -> bool:
        number = next((n for n, seen in enumerate(self.actions) if seen["id"] == call.id), None)
        if number is not None:
            return False  # a silent one: it never answers
        self.actions.append({"id": call.id, **call.args})
        how, takes_effect = self.fails.get(len(self.actions) - 1, ("ok", True))
        if takes_effect:
            self.world.update(call.args["params"])  # type: ignore[arg-type]
            self.applied_at = self.now
        if how == "ok":
            self.answer(call, True, {"reply": {}})
        elif how == "refused":
            self.answer(call, False, {"applied": False}, "throttled")
        elif how == "lost":
            self.answer(call, False, {}, "unknown outcome: connection reset")
        else:
            return False
        return True

    def health(self) -> ServiceHealth:
        newest = self.now // 10_000 * 10_000 - 10_000
        starts = [newest - 10_000 * place for place in range(5, -1, -1)]
        sick = [not (self.heals and self.applied_at and start >= self.applied_at) for start in starts]
        errors = [self.errors_after if self.applied_at and start >= self.applied_at else 2.0 for start in starts]
        listed = (series([30.0 if bad else 1.0 for bad in sick], 5, "t1", (Kind.SPIKE,)),)
        return ServiceHealth(
            service="checkout",
            application="shop",
            alive=True,
            watermark=self.now,
            total=series([100.0] * 6, 150),
            errors=series(errors, 6),
            open=listed,
        )

    def go(self, until: int = T0 + 3_600_000) -> None:
        """Perform calls, and let time pass to the next wish, until nothing is wished for any more."""
        while True:
            while self.perform():
                pass
            due = next_wake(self.state)
            if due is None or due > until:
                assert self.state.workflow is None or due is not None
                return
            self.now = max(self.now, due)
            self._take(wake)

    def outcomes(self) -> list[Outcome]:
        return [item for item in self.out if isinstance(item, Outcome)]

    @property
    def outcome(self) -> Outcome:
        (only,) = self.outcomes()
        return only

    def states(self) -> list[str]:
        return [item.state for item in self.out if isinstance(item, JournalEntry) and item.entry == "state"]

    def stages(self) -> list[Stage]:
        return [item.stage for item in self.out if isinstance(item, AuditEntry)]


def switch_step(name: str, group: str = "") -> RunbookStep:
    on, off = ({"params": {name: value}} for value in (1, 0))
    return RunbookStep(
        name=name,
        group=group,
        call=ActionCall(action="rds.scale", **on),
        inverse=ActionCall(action="rds.scale", **off),
        retry=Retry(attempts=1),
    )
