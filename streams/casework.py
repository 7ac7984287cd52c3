"""One turn of the case: the event, what the step was given, and what the four verbs want done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from models.audit import AuditEntry, Stage
from models.case import CaseState, InFlight
from models.catalog import Catalog
from models.command import Outcome
from models.decision import Decision
from models.event import Contract, Event
from models.prediction import Prediction
from models.signal import Control, Tick
from models.signing import KeyRing
from streams.step import Effect, Emit

__all__ = ["Settled", "Work"]


@dataclass(frozen=True, slots=True)
class Settled:
    """A command that came to its end in this turn (its outcome may be missing: the wait ran out)."""

    in_flight: InFlight
    outcome: Outcome | None


@dataclass(slots=True)
class Work:
    """What join, predict, decide and learn see and leave behind in one turn. `now` is the event's `logged_at` (ms)."""

    event: Event[Any]
    catalog: Catalog
    controls: dict[str, Control]
    keys: KeyRing
    run: str
    emits: list[Emit] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    opened: bool = False
    changed: bool = False
    """The incident's evidence is not what it was before this turn."""
    closed: bool = False
    predicted: Prediction | None = None
    decided: Decision | None = None
    settled: list[Settled] = field(default_factory=list)

    @property
    def now(self) -> int:
        """The only clock of the case: when the log took the event (ms). A tick counts as its due time at the least:
        a clock set back must not make it wait for itself again.
        """
        data = self.event.data
        return max(self.event.logged_at, data.due_at) if isinstance(data, Tick) else self.event.logged_at

    def emit(self, topic: str, key: str, data: Contract, cid: str) -> None:
        """Put a contract on a topic."""
        self.emits.append(Emit(topic, key, self.now, data, cid))

    def audit(self, state: CaseState, stage: Stage, by: str, cid: str, /, **facts: JsonValue) -> None:
        """Put a stage on the trail of incident `cid`."""
        entry = AuditEntry(stage=stage, correlation_id=cid, application=state.application, by=by, facts=facts)
        self.emit("audit", cid, entry, cid)

    def control(self, kind: str, application: str) -> Control | None:
        """The control of this kind in force for the application: its own, else the one for all."""
        for scope in (application, "*"):
            control = self.controls.get(f"{kind}/{scope}")
            if control is not None and (control.until == 0 or self.now < control.until):
                return control
        return None
