"""Drives the step `case` through a real Unit in virtual time: effects are answered at once, ticks come when due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from connectors.codec import decode, encode
from connectors.history import recall_history
from connectors.local_predictor import answer_locally
from connectors.ports import Checkpoint, Entry, Record
from models.anomaly import Anomaly, BaselineView, Kind, Status, Tier, Window
from models.case import CaseState
from models.catalog import Application, Catalog, Target
from models.command import Command, Outcome
from models.event import Contract, Event
from models.history import HistoryRecord, PatternStats
from models.policy import Mode, Policy
from models.prediction import ModelAnswered
from models.runbook import ActionCall, Prior, Reversibility, Runbook, RunbookStep, Verification
from models.signal import Control, EffectAnswered, InfraEvent, InfraMeaning, Review
from models.signing import KeyRing, sign
from streams.case import CaseStep
from streams.runtime import Shard, Unit
from streams.step import Effect

T0 = 1_790_000_000_000
KEYS = KeyRing({"k1": b"0123456789abcdef0123456789abcdef"}, "k1")
POOL = "ERROR Pool - connection pool exhausted: orders-db active=<*>"
C = TypeVar("C", bound=Contract)


def runbook(name: str = "scale-db", **changes: Any) -> Runbook:
    fields: dict[str, Any] = {
        "id": name,
        "title": "Scale the database",
        "recommendation": "Scale the database: give it the next larger instance class.",
        "failure_modes": ("connection_pool_exhausted",),
        "target_kind": "rds",
        "reversibility": Reversibility.REVERSIBLE,
        "prior": Prior(ok=7, bad=1),
        "steps": (RunbookStep(name="scale", call=ActionCall(action="rds.scale")),),
        "verify": Verification(settle_seconds=20, timeout_seconds=300),
    }
    return Runbook(**fields | changes)


RESTART = runbook(
    "replace-instance",
    title="Replace the instance",
    recommendation="Replace the instance: start a new one from the group.",
    failure_modes=("instance_terminated",),
    target_kind="ec2",
    reversibility=Reversibility.RESTART_SAFE,
    steps=(RunbookStep(name="replace", call=ActionCall(action="ec2.replace")),),
)


def catalog(*books: Runbook, mode: Mode = Mode.ACT, targets: tuple[Target, ...] = (), **policy: Any) -> Catalog:
    books = books or (runbook(), RESTART)
    owned = targets or (
        Target(arn="arn:sim:rds:orders", kind="rds", service="orders"),
        Target(arn="arn:sim:ec2:instance/i-1", kind="ec2", service="checkout"),
    )
    names = tuple(target.arn for target in owned)
    application = Application(
        name="shop", services=("checkout", "orders"), targets=names, runbooks=tuple(book.id for book in books)
    )
    return Catalog(applications=(application,), targets=owned, runbooks=books, policy=Policy(mode=mode, **policy))


def anomaly(name: str = "a1", status: Status = Status.OPENED, **changes: Any) -> Anomaly:
    fields: dict[str, Any] = {
        "anomaly_id": name,
        "revision": 1,
        "status": status,
        "tier": Tier.ALARM,
        "kind": Kind.SPIKE,
        "service": "checkout",
        "application": "shop",
        "template_id": "abc123",
        "text": POOL,
        "severity": 4,
        "window": Window(start=T0 - 60_000, end=T0, closed=False),
        "observed": 45,
        "expected": 4.2,
        "log10_p": -6.77,
        "sigma": 5.1,
        "rule": "budget",
        "baseline": BaselineView(n=600, warm=True),
        "opened_at": T0,
    }
    return Anomaly(**fields | changes)


def infra(name: str = "e1", meaning: InfraMeaning = InfraMeaning.FAILURE, **changes: Any) -> InfraEvent:
    fields: dict[str, Any] = {
        "event_id": name,
        "source": "aws.ec2",
        "detail_type": "EC2 Instance State-change Notification",
        "resource": "arn:sim:ec2:instance/i-1",
        "resource_type": "ec2",
        "application": "shop",
        "meaning": meaning,
        "detail": {"state": "terminated"},
    }
    return InfraEvent(**fields | changes)


class Memory:
    """The topic `history` as the rig has seen it: the newest value of each key."""

    def __init__(self) -> None:
        self.kept: dict[str, Contract] = {}

    def records(self, application: str) -> list[HistoryRecord]:
        return [r for r in self.kept.values() if isinstance(r, HistoryRecord) and r.application == application]

    def stats(self, application: str) -> list[PatternStats]:
        return [r for r in self.kept.values() if isinstance(r, PatternStats) and application in ("", r.application)]


def claiming(probability: float, runbook_id: str = "scale-db") -> Callable[[Effect], Contract]:
    """A model that always says the same."""

    def answer(effect: Effect) -> ModelAnswered:
        said = {
            "failure_probability": probability,
            "horizon_minutes": 60,
            "failure_mode": "connection_pool_exhausted",
            "runbook_id": runbook_id,
            "summary": "it said so",
        }
        cid = str(effect.args["correlation_id"])
        return ModelAnswered(
            effect_id=effect.id, correlation_id=cid, stop_reason="tool_use", input=said, model_id="fake-1"
        )

    return answer


class CaseRig:
    """A log in memory, one Unit, a virtual clock. `performers[kind] = None` leaves that kind unanswered."""

    def __init__(self, given: Catalog | None = None, ask: Callable[[Effect], Contract] | None = answer_locally) -> None:
        self.now = T0
        self.memory = Memory()
        self.performers: dict[str, Callable[[Any], Contract] | None] = {
            "recall_history": recall_history(self.memory),
            "ask_model": ask,
        }
        self.log: list[Record] = []
        self.bytes: list[bytes] = []
        self.out: list[Event[Any]] = []
        self.asked: list[Effect] = []
        self.saved: Checkpoint | None = None
        self.entries: dict[str, Entry] = {}
        self.unit = Unit(CaseStep(KEYS, "run-1"), Shard(0, run="run-1"))
        self.say(given or catalog(), key="catalog")

    @property
    def state(self) -> CaseState:
        """The state of the case of "shop"."""
        found: CaseState = self.unit._key("shop").state
        return found

    def say(self, data: Contract, key: str = "shop", at: int | None = None) -> list[Event[Any]]:
        """Put a message on `signals` now, answer what it asks, and return what came out."""
        before = len(self.out)
        name = f"{data.TYPE}-{len(self.log)}"
        self._append(key, encode(Event(id=name, at=self.now if at is None else at, key=key, data=data)))
        self._tick()
        return self.out[before:]

    def wait(self, seconds: float) -> list[Event[Any]]:
        """Let time pass, with every tick at its time."""
        before, end = len(self.out), self.now + round(seconds * 1_000)
        while (due := self.unit.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self._tick()
        self.now = end
        return self.out[before:]

    def restart(self) -> None:
        """Load what was saved last into a new Unit, as after a crash."""
        shard, entries = Shard(0, run="run-1"), list(self.entries.values())
        self.unit = Unit(CaseStep(KEYS, "run-1"), shard, saved=self.saved, entries=entries)

    def of(self, kind: type[C]) -> list[C]:
        """Everything of this type that was emitted, in order."""
        return [event.data for event in self.out if isinstance(event.data, kind)]

    def last(self, kind: type[C]) -> C:
        return self.of(kind)[-1]

    def outcome(self, result: str = "recovered", **changes: Any) -> list[Event[Any]]:
        """act's word on the newest command."""
        command = self.last(Command)
        same = ("command_id", "correlation_id", "application", "pattern_id", "target", "runbook_id", "runbook_version")
        fields = {name: getattr(command, name) for name in same} | {"result": result, "applied": result != "refused"}
        return self.say(Outcome(**fields | changes))

    def review(self, verdict: str, digest: str, **changes: Any) -> list[Event[Any]]:
        cid = next(event.cid for event in reversed(self.out) if event.cid)
        fields = {"correlation_id": cid, "proposal_digest": digest, "verdict": verdict, "reviewer": "ana"}
        review = Review(**fields | {"expires_at": self.now + 600_000} | changes)
        return self.say(sign(review, KEYS))

    def control(self, kind: str, **changes: Any) -> list[Event[Any]]:
        return self.say(sign(Control(kind=kind, by="ana", **changes), KEYS), key="controls")

    def replayed(self) -> list[bytes]:
        """The whole log through a fresh Unit."""
        unit = Unit(CaseStep(KEYS, "run-1"), Shard(0, run="run-1"))
        found: list[bytes] = []
        for record in self.log:
            unit.due(record.logged_at)
            found += [out.value for out in unit.apply(record)]
        return found

    def _append(self, key: str, value: bytes) -> None:
        record = Record("signals", 0, len(self.log), key, value, self.now)
        self.log.append(record)
        self._collect(self.unit.apply(record))
        cut = self.unit.cut()
        if cut is not None:
            self.saved = cut.checkpoint
            self.entries |= {entry.key: entry for entry in cut.checkpoint.entries}
        for started in cut.effects if cut else ():
            self.asked.append(started.effect)
            perform = self.performers[started.effect.kind]
            if perform is not None:
                data = perform(started.effect)
                self._append(
                    started.key, encode(Event(id=f"ans-{len(self.log)}", at=self.now, key=started.key, data=data))
                )

    def _tick(self) -> None:
        for tick in self.unit.due(self.now):
            self._append(tick.key, tick.value)

    def _collect(self, outs: Any) -> None:
        for out in outs:
            event = decode(out.value)
            self.bytes.append(out.value)
            self.out.append(event)
            if out.topic == "history":
                self.memory.kept[out.key] = event.data


def failing(effect: Effect) -> Contract:
    """A model that cannot be reached."""
    return EffectAnswered(effect_id=effect.id, kind=effect.kind, ok=False, error="connection refused")
