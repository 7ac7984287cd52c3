"""The worker: one step (act) on its partitions of a Kafka topic, driven by a plain consumer. No framework.

In: records of the step's inbox. Out: what its Units emit, their checkpoints, the answers of effects and due ticks as
further records of the inbox. The order of streams/runtime.py is kept for every batch: emissions acknowledged, entries,
then the position, then the group's offset, and only then effects start: an intent is in the journal before its call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, MutableSet, Sequence
from typing import Final, NamedTuple

import structlog

from connectors.heartbeat import Heartbeat
from connectors.kafka_group import KafkaGroup
from connectors.kafka_groups import committed_offsets
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_states import KafkaStates
from connectors.ports import Clock, Outbound, Record, UnitName
from models.errors import (
    BrokerError,
    FencedError,
    GapError,
    HorizonError,
    MissingTopicError,
    PoisonError,
)
from streams.effects import EffectPool, Performer
from streams.inbox_guard import NO_LOG
from streams.liveness import WATCH_SECONDS
from streams.runtime import Shard, Unit
from streams.step import AnyStep
from streams.worker_watch import WorkerWatch

__all__ = ["Worker", "WorkerOptions"]

_IDLE_SECONDS: Final = 0.2
_BUSY_SECONDS: Final = 0.02
"""While effects are under way: their answers wait for the end of a poll."""
_DRAIN_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class WorkerOptions(NamedTuple):
    """`run`, `region`: as in the envelope of what is written. `virtual`: the clock is not the wall's. `repeated` is
    told the ids of effects that another process may have started; performers that look there must have the same set.
    `heartbeat` beats while the worker gets on.
    """

    run: str
    region: str = ""
    virtual: bool = False
    repeated: MutableSet[str] | None = None
    heartbeat: Heartbeat | None = None


class Worker:
    """One process of a role. Any number may run: the group shares the partitions out.

    `run` raises PoisonError (70) where the step fails, BrokerError (69) where Kafka does not let it work, StalledError
    (75) where it gets nowhere; each says what to do. Whatever happens, and whenever, another worker goes on from the
    last checkpoint: what this one emitted after it is emitted again with the same ids, what it began is begun again.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        step: AnyStep,
        performers: Mapping[str, Performer],
        clock: Clock,
        options: WorkerOptions,
    ) -> None:
        self._step, self._clock, self._options = step, clock, options
        self._repeated: MutableSet[str] = options.repeated if options.repeated is not None else set()
        self._log = KafkaLog(settings, step.name, virtual=options.virtual)
        self._states = KafkaStates(settings, step.name, self._log)
        self._group = KafkaGroup(settings, step.name, step.inbox, virtual=options.virtual)
        self._pool = EffectPool(performers, clock)
        self._units: dict[int, Unit] = {}
        self._owned: frozenset[int] = frozenset()
        self._watch = WorkerWatch(
            KafkaLog(settings, f"{step.name}-watch", connect_seconds=WATCH_SECONDS),
            step,
            self._positions,
            committed=lambda: committed_offsets(settings, f"{step.name}-watch", step.name, step.inbox),
            heartbeat=options.heartbeat,
        )

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then wait a little for the answers under way, and leave the group."""
        self._watch.start()
        try:
            while not stop.is_set():
                self._watch.check()
                self._turn()
            self._drain()
        finally:
            self._watch.stop()
            self._pool.close()
            self._group.close()
            self._log.close()

    # -- one turn ------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """All that a turn takes is saved when it ends, so that a partition can be let go between any two."""
        polled = self._group.poll(self._patience())
        for partition in polled.revoked:
            self._let_go(partition)
        self._owned = (self._owned - set(polled.revoked)) | set(polled.assigned)
        if polled.assigned:
            log_id = self._log.log_id(self._step.inbox)
            for partition in polled.assigned:
                self._take_over(partition, log_id)
        for partition, records in polled.records.items():
            if partition in self._units:
                self._feed(self._units[partition], records)
        self._hand_in()

    def _take_over(self, partition: int, log_id: str) -> None:
        self._states.take_over(partition)
        name = UnitName(self._step.name, partition)
        count = self._log.partitions(self._step.inbox)
        unit = Unit(
            self._step,
            Shard(partition, count, self._options.run, self._options.region, log_id, bounded=True),
            saved=self._states.load(name),
            entries=self._states.entries(name),
            crashes=self._states.crashes(name),
        )
        self._check_end(unit)
        self._group.seek(partition, unit.next_offset)
        pending = unit.pending()
        self._repeated |= {started.effect.id for started in pending}
        self._units[partition] = unit
        self._pool.start(unit, pending)
        _log.info("taken over", unit=str(name), at=unit.next_offset, pending=len(pending))

    def _let_go(self, partition: int) -> None:
        if self._units.pop(partition, None) is not None:
            _log.info("let go", unit=f"{self._step.name}/{partition}")
        self._states.give_up(partition)

    def _feed(self, unit: Unit, records: Sequence[Record]) -> None:
        """Take the records in; all that comes of them is durable, and the effects are started, when this returns."""
        out: list[Outbound] = []
        try:
            for record in records:
                out += self._apply(unit, record)
        except GapError as gap:
            _log.info("gap", unit=str(unit.name), want=gap.want, got=gap.got)
            self._group.seek(unit.partition, gap.want)
        except PoisonError as error:
            failures = self._states.record_crash(unit.name, error.offset, repr(error.cause))
            _log.error("the step failed", unit=str(unit.name), offset=error.offset, failures=failures)
            raise
        self._log.append(out, self._clock.now())
        self._keep(unit)

    def _apply(self, unit: Unit, record: Record) -> Sequence[Outbound]:
        try:
            return unit.apply(record)
        except HorizonError as horizon:
            self._learn_end(unit, horizon)
        except GapError as gap:
            kept = self._log.read(record.topic, record.partition, gap.want, 1)
            if not kept or kept[0].offset < gap.got:
                raise
            unit.skip_to(gap.got)  # retention or the markers of transactions: there is nothing in between
        return self._apply(unit, record)

    def _learn_end(self, unit: Unit, horizon: HorizonError) -> None:
        try:
            ends, log_id = self._log.ends(horizon.topic), self._log.log_id(horizon.topic)
        except MissingTopicError:  # what came of a log that was deleted is believed, nothing else
            ends, log_id = {}, NO_LOG
        unit.learn_end(horizon.topic, horizon.partition, ends.get(horizon.partition, 0), log_id)

    def _keep(self, unit: Unit) -> None:
        cut = unit.cut(force=True)
        if cut is None:
            return
        try:
            self._states.save(unit.name, cut.checkpoint)
        except FencedError as error:  # this process was stopped for a while; the group will say so at the next poll
            _log.warning("fenced", unit=str(unit.name), error=str(error))
            self._let_go(unit.partition)
            return
        if self._group.commit({unit.partition: unit.next_offset}):
            self._pool.start(unit, cut.effects)
        else:
            self._let_go(unit.partition)

    def _hand_in(self) -> None:
        """Answers and due ticks go into the inbox. An answer counts wherever its partition is by now."""
        now = self._clock.now()
        ticks = [tick for unit in self._units.values() for tick in unit.due(now)]
        self._log.append([*self._pool.drain(), *ticks], now)

    # -- small pieces --------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        while not self._pool.idle and time.monotonic() < deadline:
            time.sleep(_BUSY_SECONDS)
            self._log.append(self._pool.drain(), self._clock.now())

    def _patience(self) -> float:
        """How long a poll may wait (s)."""
        if not self._pool.idle:
            return _BUSY_SECONDS
        due = min((at for unit in self._units.values() if (at := unit.next_due()) is not None), default=None)
        if due is None:
            return _IDLE_SECONDS
        return min(_IDLE_SECONDS, max(0.0, (due - self._clock.now()) / 1_000))

    def _positions(self) -> Mapping[int, int]:
        units = dict(self._units)
        return {part: units[part].next_offset if part in units else -1 for part in self._owned}

    def _check_end(self, unit: Unit) -> None:
        inbox = self._step.inbox
        end = self._log.bounds(inbox, unit.partition)[1]
        if unit.next_offset > end:
            raise BrokerError(
                f"{inbox}/{unit.partition} ends at {end}, but {unit.name} has taken it up to {unit.next_offset}: the "
                "cluster has lost records that it had acknowledged. Restore the topic; or, to go on without them, "
                "delete it and create it anew (`foreshock topics apply`): what targets remember is kept"
            )
