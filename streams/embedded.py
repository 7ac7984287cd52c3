"""The embedded host: every Unit in one process over SQLite, one transaction a micro-batch, so everything exactly once.

In: sources' messages, due ticks, effects' answers, what others appended. Out: the log.

Two ways to drive it. Live: the wall clock, effects in a pool. Lockstep (`--once`, demo, replay): a virtual clock that
follows the input; due ticks and effects' answers land before the next input, so the same input gives the same log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from connectors.clock import VirtualClock, WallClock
from connectors.ports import Outbound, Record, UnitName
from connectors.sources import Source
from connectors.sqlite import SqliteStore
from models.errors import PoisonError
from streams.effects import EffectPool, Performer, answer
from streams.runtime import Shard, Started, Unit
from streams.step import AnyStep

__all__ = ["EmbeddedHost", "Observer"]

Observer = Callable[[Sequence[Record]], None]
"""Is shown every record after the transaction that appended it has committed."""

_READ_LIMIT: Final = 64
_IDLE_SECONDS: Final = 0.05
_SAVE_EVERY: Final = 4_096
"""Micro-batches after which a unit that is not urgent saves whatever it costs: bounds the work of a restart."""
_RETAIN_EVERY: Final = 256


class EmbeddedHost:
    """Drives Units over one store. `steps` stand in pipeline order; `retention` is bytes kept a topic and partition."""

    def __init__(
        self,
        store: SqliteStore,
        steps: Sequence[AnyStep],
        performers: Mapping[str, Performer],
        *,
        clock: WallClock | VirtualClock,
        run: str = "",
        region: str = "",
        retention: Mapping[str, int] | None = None,
    ) -> None:
        self.store, self.clock = store, clock
        self.batches = 0
        self._performers = performers
        self._retention = retention or {}
        self._observers: list[Observer] = []
        self._pool = EffectPool(performers, clock) if isinstance(clock, WallClock) else None
        self.units = [
            self._restore(step, partition, run, region)
            for step in steps
            for partition in range(store.partitions(step.inbox))
        ]
        self._waiting: list[tuple[Unit, Started]] = []
        self._marked: dict[UnitName, int] = {}
        self._cursors: dict[str, str] = {}
        with store.transaction():  # other processes must know whose time a proposal expires in
            store.set_meta("time", "virtual" if isinstance(clock, VirtualClock) else "wall")
        for unit in self.units:
            self._start(unit, unit.pending())

    def observe(self, observer: Observer) -> None:
        """Show `observer` what is committed from now on."""
        self._observers.append(observer)

    # -- live --------------------------------------------------------------------------------------------------------

    def run(self, sources: Sequence[Source], stop: threading.Event) -> None:
        """Live until `stop` is set or every source has ended and nothing is under way; then all is saved."""
        while not stop.is_set():
            now = self.clock.now()
            inputs = [out for source in sources for out in source.poll(now)]
            worked = self._turn([*inputs, *self._answers(), *self._due(now)], _cursors(sources))
            if worked:
                continue
            if sources and all(source.ended for source in sources) and self._settled():
                break
            stop.wait(_IDLE_SECONDS)
        self.finish()

    # -- lockstep ----------------------------------------------------------------------------------------------------

    def run_lockstep(self, sources: Sequence[Source], stop: threading.Event) -> None:
        """Until every source has ended (or `stop` is set), in the input's own time; then all is saved."""
        self.settle()
        while not stop.is_set():
            inputs = [out for source in sources for out in source.poll(self.clock.now())]
            if inputs:
                self.take(inputs, _cursors(sources))
            elif all(source.ended for source in sources):
                break
            else:
                stop.wait(_IDLE_SECONDS)
        self.finish()

    def take(self, inputs: Sequence[Outbound], cursors: Mapping[str, str] | None = None) -> None:
        """One input in lockstep: the ticks due before it, then it, then the answers of what it set off."""
        reached = max((out.at for out in inputs), default=0)
        while (due := self._next_due()) is not None and due <= reached:
            self._advance_clock(due)
            self._turn(self._due(due))
            self.settle()
        self._advance_clock(reached)
        self._turn(inputs, cursors)
        self.settle()

    def settle(self) -> None:
        """Carry out every waiting effect until none is left and nothing new is in any inbox.

        In order of unit and key, as `Unit.pending` gives them after a crash: the answers land in the same order.
        """
        while True:
            waiting = sorted(self._waiting, key=lambda item: (self.units.index(item[0]), item[1].key))
            self._waiting = []
            answers = [answer(self._performers, unit, started, self.clock) for unit, started in waiting]
            if not self._turn(answers):
                return

    def finish(self) -> None:
        """Save every unit, whatever it costs."""
        with self.store.transaction():
            self._save(force=True)
        if self._pool is not None:
            self._pool.close()

    # -- one micro-batch -----------------------------------------------------------------------------------------------

    def _turn(self, inputs: Sequence[Outbound], cursors: Mapping[str, str] | None = None) -> bool:
        """Append the inputs, let every unit take what is in its inbox, commit; False when there was nothing to do."""
        if not inputs and not self._behind():
            return False
        moved = {name: cursor for name, cursor in (cursors or {}).items() if self._cursors.get(name) != cursor}
        try:
            with self.store.transaction():
                records = self._append(inputs, moved)
                records += self._pump()
                started = self._save(force=self.batches % _SAVE_EVERY == _SAVE_EVERY - 1)
                if self.batches % _RETAIN_EVERY == 0:
                    self._retain()
        except PoisonError as error:
            self._keep_crash(inputs, moved, error)
            raise
        self.batches += 1
        self._cursors.update(moved)
        for unit, effects in started:
            self._start(unit, effects)
        for observer in self._observers:
            observer(records)
        return True

    def _append(self, inputs: Sequence[Outbound], moved: Mapping[str, str]) -> list[Record]:
        self.store.set_cursors(moved)
        return list(self.store.append(inputs, self.clock.now()))

    def _pump(self) -> list[Record]:
        """Units in pipeline order, round after round, until all inboxes are empty."""
        appended: list[Record] = []
        moved = True
        while moved:
            moved = False
            for unit in self.units:
                while batch := self.store.read(unit.step.inbox, unit.partition, unit.next_offset, _READ_LIMIT):
                    moved = True
                    out = [emitted for record in batch for emitted in unit.apply(record)]
                    appended += self.store.append(out, self.clock.now())
        return appended

    def _save(self, *, force: bool) -> list[tuple[Unit, Sequence[Started]]]:
        started = []
        for unit in self.units:
            cut = unit.cut(force)
            if cut is not None:
                self.store.save(unit.name, cut.checkpoint)
                started.append((unit, cut.effects))
            elif unit.next_offset > self._marked.get(unit.name, 0):
                self.store.mark_emitted(unit.name, unit.next_offset)
            self._marked[unit.name] = unit.next_offset
        self.store.set_meta("clock", str(self.clock.now()))
        return started

    def _retain(self) -> None:
        """Forget what is over the topic's bytes, but never what a unit has not read and saved."""
        saved = {(unit.step.inbox, unit.partition): unit.saved_offset for unit in self.units}
        for topic, keep in self._retention.items():
            for partition in range(self.store.partitions(topic)):
                end = self.store.bounds(topic, partition)[1]
                self.store.retain(topic, partition, keep_bytes=keep, before=saved.get((topic, partition), end))

    def _keep_crash(self, inputs: Sequence[Outbound], moved: Mapping[str, str], error: PoisonError) -> None:
        """The batch is rolled back; keep its inputs, so that the crash is at the same place after a restart."""
        with self.store.transaction():
            self._append(inputs, moved)
            self.store.record_crash(UnitName(*error.unit), error.offset, repr(error.cause))

    # -- small pieces --------------------------------------------------------------------------------------------------

    def _restore(self, step: AnyStep, partition: int, run: str, region: str) -> Unit:
        name = UnitName(step.name, partition)
        return Unit(
            step,
            Shard(partition, self.store.partitions(step.inbox), run, region),
            saved=self.store.load(name),
            entries=self.store.entries(name),
            crashes=self.store.crashes(name),
        )

    def _start(self, unit: Unit, effects: Sequence[Started]) -> None:
        if self._pool is not None:
            self._pool.start(unit, effects)
        else:
            self._waiting += [(unit, started) for started in effects]

    def _answers(self) -> Sequence[Outbound]:
        return self._pool.drain() if self._pool is not None else ()

    def _due(self, now: int) -> list[Outbound]:
        return [tick for unit in self.units for tick in unit.due(now)]

    def _next_due(self) -> int | None:
        return min((due for unit in self.units if (due := unit.next_due()) is not None), default=None)

    def _advance_clock(self, at: int) -> None:
        if isinstance(self.clock, VirtualClock):
            self.clock.advance_to(at)

    def _behind(self) -> bool:
        return any(self.store.bounds(unit.step.inbox, unit.partition)[1] > unit.next_offset for unit in self.units)

    def _settled(self) -> bool:
        return self._pool is None or self._pool.idle


def _cursors(sources: Sequence[Source]) -> dict[str, str]:
    return {name: cursor for source in sources for name, cursor in source.cursors.items()}
