"""act: carries out signed commands, one at a time on each target, and says what came of them.

In (inbox `commands`, key target): Command, EffectAnswered, Tick; Control and Catalog for all targets of the partition.
Out: JournalEntry (`journal`, key target), Outcome (`signals`, key application), AuditEntry (`audit`, key correlation
id). Effects: `read_state`, `probe_health`, `call_action`. The rules are the pure workflow in models.workflow_run. The
runtime makes the intent durable before an effect starts, and starts pending ones again under the same id after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.audit import AuditEntry
from models.catalog import Catalog
from models.command import Command, JournalEntry, Outcome
from models.errors import ContractError
from models.event import Event
from models.signal import Control, EffectAnswered, Tick
from models.signing import KeyRing, verify, verify_control
from models.workflow import TargetState, next_wake
from models.workflow_run import receive, take_answer, wake
from models.workflow_turn import Moves, World
from streams.step import Effect, Emit, ModelKeeper, Part, Turn

__all__ = ["ActShared", "ActStep"]


class ActShared(BaseModel):
    """What all targets of a partition share: the newest catalog, and who has paused what until when (ms, 0 = open)."""

    model_config = ConfigDict(extra="forbid")

    catalog: Catalog = Catalog()
    pauses: dict[str, int] = {}


class ActStep:
    """The step `act`. `keys` verifies commands and controls; `run` is the only deployment whose commands it obeys.

    What no known key has signed becomes a dead letter (reason "bad signature" or "unknown signing key"), never an
    Outcome: a forged command must not speak for a real one.
    """

    name = "act"
    inbox = "commands"
    urgent = True

    def __init__(self, keys: KeyRing, run: str) -> None:
        self._keys, self._run = keys, run
        self.shared = ModelKeeper(ActShared)
        self.state = ModelKeeper(TargetState, "target")

    def admit(self, shared: ActShared, event: Event[Any]) -> tuple[ActShared, Sequence[Part]]:
        """Verify what is signed, note the catalog and the switch, pass the rest to its target.

        Raises SignatureError or ContractError before anything has changed.
        """
        data = event.data
        match data:
            case Command():
                verify(data, self._keys)
                if data.target != event.key:
                    raise ContractError("wrong_key", f"a command for {data.target} came under key {event.key}")
                return shared, (Part(event.key, event),)
            case EffectAnswered() | Tick():
                return shared, (Part(event.key, event),)
            case Control():
                verify_control(data, self._keys, event.logged_at)
                _switch(shared, data)
            case Catalog():
                shared.catalog = data
            case _:
                raise ContractError("wrong_topic", f"{event.type} does not belong on {self.inbox}")
        return shared, ()

    def advance(self, shared: ActShared, state: TargetState, part: Part) -> Turn[TargetState]:
        """Move the target's workflow by one command, answer or tick."""
        event = part.event
        data = event.data
        # A tick counts as its due time at the earliest: a clock set back must not make it wait for itself again.
        now = max(event.logged_at, data.due_at) if isinstance(data, Tick) else event.logged_at
        moves = Moves(state, World(now, self._run, shared.catalog, shared.pauses))
        if isinstance(data, Command):
            receive(state, data, moves)
        elif isinstance(data, EffectAnswered):
            take_answer(state, data, moves)
        else:
            wake(state, moves)
        return Turn(
            state,
            [_emit(contract, now) for contract in moves.contracts],
            [Effect(*call) for call in moves.calls],
            next_wake(state),
            moves.cancels,
        )


def _switch(shared: ActShared, control: Control) -> None:
    """`resume` of everything ends every pause; of one application, its own. Modes and silences concern decide."""
    if control.kind == "pause":
        shared.pauses[control.scope] = control.until
    elif control.kind == "resume":
        for scope in list(shared.pauses) if control.scope == "*" else [control.scope]:
            shared.pauses.pop(scope, None)


def _emit(contract: JournalEntry | Outcome | AuditEntry, now: int) -> Emit:
    match contract:
        case JournalEntry():
            return Emit("journal", contract.target, now, contract, contract.correlation_id)
        case Outcome():
            return Emit("signals", contract.application, now, contract, contract.correlation_id)
        case AuditEntry():
            return Emit("audit", contract.correlation_id, now, contract, contract.correlation_id)
