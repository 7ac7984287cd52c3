"""A small two-step pipeline for the laws of the runtime: split (stateless) -> total (state, ticks, effects)."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from connectors.clock import VirtualClock
from connectors.codec import encode
from connectors.data_folder import DataFolder
from connectors.ports import Outbound
from connectors.sqlite import SqliteStore
from models.audit import AuditEntry, Stage
from models.errors import ContractError
from models.event import Contract, Event
from models.log import LogBatch, SourceRange
from models.signal import Change, EffectAnswered, Tick
from models.topics import partition_of
from streams.embedded import EmbeddedHost
from streams.step import Effect, Emit, ModelKeeper, NothingKeeper, Part, Turn

PARTITIONS = 2
SERVICES = [next(f"toy{n}" for n in range(99) if partition_of(f"toy{n}", PARTITIONS) == p) for p in range(PARTITIONS)]


class Count(BaseModel):
    lines: int = 0


class Split:
    """Each line of a batch becomes a change of the application it names, numbered by application."""

    name, inbox, urgent = "split", "logs", False
    shared, state = NothingKeeper(), ModelKeeper(Count)

    def admit(self, shared: None, event: Event[Any]) -> tuple[None, Sequence[Part]]:
        numbers = defaultdict(list)
        for line in event.data.messages.split("\n") if event.data.lines else ():
            application, _, number = line.partition(" ")
            numbers[application].append(number)
        return shared, [Part(application, event, taken) for application, taken in numbers.items()]

    def advance(self, shared: None, state: Count, part: Part) -> Turn[Count]:
        emits = []
        for number in part.share:
            state.lines += 1
            change = Change(
                change_id=f"{part.key}-{state.lines}",
                source="toy",
                kind="config",
                resource="r",
                application=part.key,
                after=number,
            )
            emits.append(Emit("signals", part.key, part.event.at, change))
        return Turn(state, emits)


class Totals(BaseModel):
    total: int = 0
    answered: list[str] = []
    ticks: int = 0
    wish: int | None = None


class Total:
    """Running totals by application; every third asks the world, and five quiet seconds bring a tick."""

    name, inbox, urgent = "total", "signals", True
    shared, state = NothingKeeper(), ModelKeeper(Totals)
    fails_at = ""

    def admit(self, shared: None, event: Event[Any]) -> tuple[None, Sequence[Part]]:
        return shared, (Part(event.key, event),)

    def advance(self, shared: None, state: Totals, part: Part) -> Turn[Totals]:
        data, key, effects = part.event.data, part.key, []
        if isinstance(data, Change):
            if data.after == "bad":
                raise ContractError("refused", "bad number")
            if data.after == self.fails_at:
                raise RuntimeError("a defect")
            state.total += int(data.after)
            state.wish = part.event.logged_at + 5_000
            facts: dict[str, Any] = {"total": state.total}
            if state.total % 3 == 0:
                effects.append(Effect(f"{key}:{state.total}", "ask", {"total": state.total}))
        elif isinstance(data, EffectAnswered):
            state.answered.append(f"{data.effect_id}:{data.ok}")
            facts = {"answer": data.effect_id, "ok": data.ok}
        elif isinstance(data, Tick):
            state.ticks += 1
            state.wish = None
            facts = {"tick": data.due_at}
        else:
            raise ContractError("unexpected", part.event.type)
        entry = AuditEntry(stage=Stage.DETECTED, correlation_id=key, application=key, by="total", facts=facts)
        return Turn(state, [Emit("audit", key, part.event.at, entry)], effects, state.wish)


def batch(number: int, lines: int = 7) -> Outbound:
    """The `number`-th batch of the toy input: the same bytes every time."""
    at = 1_000_000 + number * 1_500 + number // 10 * 8_000  # a pause that lets ticks come due
    # An application's lines come by one log partition only: across partitions there is no order to keep.
    applications = [number % PARTITIONS + PARTITIONS * ((number + i * i) % 3) for i in range(lines)]
    messages = "\n".join(f"app{app} {number * lines + i + 1}" for i, app in enumerate(applications))
    event = Event(
        id=f"toy-{number}",
        at=at,
        key=str(number % PARTITIONS),
        data=LogBatch(
            sources=(
                SourceRange(source_id="toy", cursor_from=str(number), cursor_to=str(number + 1), covered_until=at),
            ),
            services=(SERVICES[number % PARTITIONS],),
            service_index=[0] * lines,
            timestamps=[at] * lines,
            severity=[0] * lines,
            messages=messages,
        ),
    )
    return Outbound("logs", event.key, encode(event), number % PARTITIONS, at)


class ToySource:
    """Batches from where the log says it stopped."""

    def __init__(self, store: SqliteStore, batches: int) -> None:
        self._next, self._batches = int(store.cursors().get("toy", 0)), batches

    @property
    def ended(self) -> bool:
        return self._next >= self._batches

    @property
    def cursors(self) -> dict[str, str]:
        return {"toy": str(self._next)}

    def poll(self, now: int) -> Sequence[Outbound]:
        if self.ended:
            return ()
        self._next += 1
        return (batch(self._next - 1),)

    def close(self) -> None:
        return


def ask(effect: Effect) -> Contract:
    if effect.args["total"] % 2:
        raise OSError("the world says no")
    return EffectAnswered(effect_id=effect.id, kind=effect.kind, ok=True)


def run_lockstep(folder: Path, batches: int, fails_at: str = "") -> None:
    """One life of the process: goes on where the last one stopped."""
    with DataFolder(folder, partitions=PARTITIONS) as data:
        clock = VirtualClock(int(data.store.meta("clock") or 0))
        total = Total()
        total.fails_at = fails_at
        host = EmbeddedHost(data.store, [Split(), total], {"ask": ask}, clock=clock)
        host.run_lockstep([ToySource(data.store, batches)], threading.Event())


def run_lockstep_telling(folder: Path, batches: int, started: Connection) -> None:
    """The same, saying when it begins."""
    started.send(True)
    run_lockstep(folder, batches)


def contents(folder: Path, *topics: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every record of the topics, in order: what two folders must have equal."""
    store = SqliteStore(folder / "foreshock.db", read_only=True)
    return {
        f"{topic}/{partition}": [(r.key, r.value, r.logged_at) for r in store.read(topic, partition, 0, 1_000_000)]
        for topic in topics
        for partition in range(store.partitions(topic))
    }
