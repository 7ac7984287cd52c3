"""The step "case": join > predict > decide > learn, four functions folded in this order over one application's state.

In (topic `signals`, keyed by application): anomalies, infrastructure events, changes, answers, outcomes, reviews,
controls, catalogs, ticks. Out: incidents, predictions and decisions, alerts, commands, history, audit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from models.case import CaseShared, CaseState, PredictState
from models.catalog import Catalog
from models.errors import ContractError
from models.event import Event
from models.nesting import MAX_DEPTH, too_deep
from models.signal import Control, InfraEvent, Review
from models.signing import KeyRing, verify, verify_control
from streams.alert import tell
from streams.casework import Work
from streams.decide import check_review, decide, decide_wish
from streams.join import join, join_wish
from streams.learn import learn
from streams.predict import predict, predict_wish
from streams.step import ModelKeeper, Part, Turn

__all__ = ["CaseStep"]

_LAST_TIME: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z: the last time a correlation id can name."""
_APPLICATIONS_MOST: Final = 10_000
_KEY_MOST: Final = 512
_BYTES_MOST: Final = 65_536
"""Bytes of one event's data. A case keeps up to 100 events and writes them all at every turn: sixty with texts of 1 MB
took it a minute. Answers of effects and catalogs, which are this deployment's own, may be longer.
"""


class CaseStep:
    """The case of every application on a partition. `keys` signs commands and verifies reviews and controls; `run` is
    this deployment's id, which a command must carry to be obeyed.
    """

    name = "case"
    inbox = "signals"
    urgent = True

    def __init__(self, keys: KeyRing, run: str = "") -> None:
        self._keys, self._run = keys, run
        self.shared = ModelKeeper(CaseShared)
        self.state = ModelKeeper(CaseState, key_field="application")

    def admit(self, shared: CaseShared, event: Event[Any]) -> tuple[CaseShared, Sequence[Part]]:
        """Keep catalogs and controls for all cases; everything else belongs to its application's case.

        Raises SignatureError for an unverifiable control or review, ContractError for a stale resume or an impossible
        time.
        """
        data = event.data
        if not 0 <= event.at <= _LAST_TIME:
            raise ContractError("time out of range", f"at = {event.at}: years 1970 to 9999 can be named")
        if isinstance(data, Catalog):
            shared.catalog = data
            return shared, ()
        if isinstance(data, Control):
            verify_control(data, self._keys, event.logged_at)
            return shared, _control(shared, event, data)
        if isinstance(data, Review):
            verify(data, self._keys)
        if not event.key:
            raise ContractError("no application", f"{event.type} without a key: name its application")
        if len(event.key) > _KEY_MOST or len(data.model_dump_json().encode()) > _BYTES_MOST:
            sizes = f"a key of at most {_KEY_MOST} characters and data of at most {_BYTES_MOST} bytes"
            raise ContractError("too large", f"{event.type}: a signal has {sizes}")
        if isinstance(data, InfraEvent) and too_deep(data.detail):
            raise ContractError("too large", f"{event.type}: its detail is nested more than {MAX_DEPTH} levels deep")
        if event.key not in shared.applications and len(shared.applications) < _APPLICATIONS_MOST:
            shared.applications.append(event.key)
        return shared, (Part(event.key, event),)

    def advance(self, shared: CaseShared, state: CaseState, part: Part) -> Turn[CaseState]:
        """One turn of one case. Raises ContractError for a review that answers nothing, before anything changes."""
        event = part.event
        if isinstance(event.data, Review) and not check_review(state, event.data, event.logged_at):
            ignored = state.join.ignored
            ignored["duplicate review"] = ignored.get("duplicate review", 0) + 1
            return Turn(state, wake_at=_wish(state))
        work = Work(event, shared.catalog, shared.controls, self._keys, self._run)
        join(state, work)
        predict(state, work)
        decide(state, work)
        tell(state, work)
        learn(state, work)
        if work.closed:
            _put_away(state, work)
        return Turn(state, work.emits, work.effects, _wish(state), work.cancels)


def _control(shared: CaseShared, event: Event[Any], control: Control) -> Sequence[Part]:
    """Put the control in force, and let the cases it concerns decide anew. A resume ends the pause of its scope; one
    of "*" ends every pause.
    """
    if control.kind != "resume":
        shared.controls[f"{control.kind}/{control.scope}"] = control
    elif control.scope == "*":
        shared.controls = {place: kept for place, kept in shared.controls.items() if not place.startswith("pause/")}
    else:
        shared.controls.pop(f"pause/{control.scope}", None)
    known = shared.applications
    return tuple(Part(name, event) for name in known if control.scope in ("*", name))


def _put_away(state: CaseState, work: Work) -> None:
    """The incident is history now: only what outlives it stays (statistics, cooldowns, what is in flight)."""
    if state.join.recall_id:
        work.cancels.append(state.join.recall_id)
    state.join.incident, state.join.recall_id = None, ""
    state.join.quiet_since, state.join.event_expires = 0, {}
    state.predict = PredictState()
    state.decide.tried, state.decide.rejected, state.decide.retry_at = [], [], 0


def _wish(state: CaseState) -> int | None:
    """The earliest of the verbs' wishes."""
    return min((*join_wish(state), *predict_wish(state), *decide_wish(state)), default=None)
