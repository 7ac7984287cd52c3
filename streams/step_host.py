"""Drives a step's Units over Kafka, inside an asyncio loop. Knows nothing of Faust: its agent hands records over.

In: partitions taken and given up, records of the inbox. Out, always in this order for what a record causes: emissions
durable -> entries, then shared state and position, on the changelog -> inbox offset committed -> effects started.

Delivery is not trusted: a record that is not the wanted one is refused, and reading goes back (streams/runtime.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

from connectors.kafka_log import KafkaLog
from connectors.kafka_states import KafkaStates
from connectors.kafka_writer import KafkaWriter
from connectors.ports import Clock, Record, UnitName
from models.errors import BrokerError, FencedError, GapError, HorizonError, MissingTopicError, PoisonError
from streams.effects import EffectPool
from streams.inbox_guard import NO_LOG, Shard
from streams.redelivery import Consumer, Redelivery
from streams.runtime import Cut, Unit
from streams.step import AnyStep

__all__ = ["Deployment", "Doors", "StepHost"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_SAVE_SECONDS: Final = 2.0
"""Of a step that is not urgent: each save is two requests, which took a sixth of mine's time every 0.5 s."""
_SAVE_ANYWAY_SECONDS: Final = 60.0
"""A step that is not urgent saves after that long whatever it costs: bounds the work of a restart."""
_REST: Final = 9
"""After a checkpoint was made, none is for so many times as long: partitions that are due together take turns. Those of
1,000 services were made in one go once a minute, and alerts came two seconds late meanwhile.
"""
_TICK_SECONDS: Final = 0.02
_LOOK_SECONDS: Final = 1.0
_MAX_UNDELIVERED: Final = 2_000
_LAST_SAVE_SECONDS: Final = 5.0
_COMMIT_SECONDS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Deployment:
    """What all hosts of a deployment share."""

    partitions: int
    run: str
    region: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class Doors:
    """The host's doors to Kafka. `log` and `states` block and are used from one thread at a time."""

    writer: KafkaWriter
    log: KafkaLog
    states: KafkaStates


@dataclass(slots=True, eq=False)
class _Seat:
    """One partition while it is ours."""

    unit: Unit
    redelivery: Redelivery
    sent: list[asyncio.Future[Any]] = field(default_factory=list)
    saving: asyncio.Task[None] | None = None
    saved_at: float = field(default_factory=time.monotonic)
    tried_at: float = 0.0


class StepHost:
    """One step on the partitions this process has. `fail` ends the process with the error's exit code."""

    def __init__(
        self,
        step: AnyStep,
        deployment: Deployment,
        doors: Doors,
        pool: EffectPool | None,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.step = step
        self.counters: Counter[str] = Counter()
        """records, read_bytes, gaps, lost, saves, saved_bytes, and what was refused, by reason."""
        self.saving_seconds = 0.0
        """Processor time of making checkpoints and handing them to the changelog's producer."""
        self._deployment, self._doors, self._pool, self._fail = deployment, doors, pool, fail
        self._seats: dict[int, _Seat] = {}
        self._lock = asyncio.Lock()
        self._blocking = asyncio.Lock()
        self._rests_until = 0.0

    # -- partitions come and go ----------------------------------------------------------------------------------------

    async def take(self, partitions: Iterable[int], consumer: Consumer) -> None:
        """These partitions are ours: fence off whoever had them, load what was saved, go on from there."""
        self._consumer = consumer
        seats = {}
        for partition in sorted(partitions):
            seats[partition] = await self._seat(partition)
        async with self._lock:
            self._seats = seats
            for seat in seats.values():
                await consumer.commit(self.step.inbox, seat.unit.partition, seat.unit.next_offset)
                if self._pool is not None:
                    self._pool.start(seat.unit, seat.unit.pending())
        _log.info("partitions taken", step=self.step.name, partitions=sorted(seats))

    async def give_up(self) -> None:
        """All partitions go: save what can be saved in time (the rest is read again by the next owner), and forget."""
        async with self._lock:
            seats, self._seats = self._seats, {}
            spent = {"process_seconds": time.process_time(), "saving_seconds": round(self.saving_seconds, 3)}
            done = dict(self.counters)  # without the checkpoint below, which is made however much it costs
            for seat in seats.values():
                seat.redelivery.cancel()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.gather(*map(self._save_last, seats.values())), _LAST_SAVE_SECONDS)
            for partition in seats:
                self._doors.states.give_up(partition)
        if seats:
            _log.info("partitions given up", step=self.step.name, partitions=sorted(seats))
            _log.info("host statistics", step=self.step.name, **spent, **done)

    async def _seat(self, partition: int) -> _Seat:
        inbox, deployment, states = self.step.inbox, self._deployment, self._doors.states
        log_id, (first, end) = await self._block(self._take_over, partition)
        name = UnitName(self.step.name, partition)
        saved = states.load(name)
        if saved is not None and saved.log_id == log_id and saved.resume_at > end:
            raise BrokerError(
                f"{self.step.name} has taken {inbox}/{partition} up to {saved.resume_at}, but it ends at {end}: the "
                "log was cut (an unclean leader election, a restored backup). Restore it, or delete and make the topic "
                "anew (`foreshock topics apply`): what was learnt is kept, reading begins at the new log's start."
            )
        shard = Shard(partition, deployment.partitions, deployment.run, deployment.region, log_id, bounded=True)
        unit = Unit(self.step, shard, saved=saved, entries=states.entries(name), crashes=states.crashes(name))
        if unit.next_offset < first:
            if saved is not None:
                _log.error("records are gone unread", step=self.step.name, partition=partition, missing=first)
            unit.skip_to(first)
        return _Seat(unit, Redelivery(unit, self._doors.log, self._block, self._consumer, self.counters))

    def _take_over(self, partition: int) -> tuple[str, tuple[int, int]]:
        log, inbox = self._doors.log, self.step.inbox
        self._doors.states.take_over(partition)
        return log.log_id(inbox), log.bounds(inbox, partition)

    # -- records -------------------------------------------------------------------------------------------------------

    async def apply(self, record: Record) -> None:
        """Take a delivered record: apply it, or refuse it and have reading go back.

        Whatever else happens ends the process: Faust would begin its agent anew, and the next checkpoint would say that
        this record was taken, though not all that it caused was sent.
        """
        async with self._lock:
            seat = self._seats.get(record.partition)
            if seat is None:
                self.counters["not_ours"] += 1  # it will be delivered to whoever owns it
                return
            try:
                await self._apply(seat, record)
            except PoisonError as error:
                await self._keep_crash(seat, error)
                self._fail(error)
            except BaseException as error:  # an edge: see above; also for an agent that is cancelled in the middle
                self._fail(error)
                raise
        if len(seat.sent) > _MAX_UNDELIVERED:
            seat.sent = [sent for sent in seat.sent if not sent.done()]
            if len(seat.sent) > _MAX_UNDELIVERED:
                await asyncio.wait([seat.sent[0]])
        self._consider_saving(seat)

    async def _apply(self, seat: _Seat, record: Record) -> None:
        while True:
            try:
                out = seat.unit.apply(record)
                break
            except HorizonError as claim:
                end, log_id = await self._block(self._end_of, claim.topic, claim.partition)
                seat.unit.learn_end(claim.topic, claim.partition, end, log_id)
            except GapError as gap:
                if not await seat.redelivery.heal(gap):
                    return
        self.counters["records"] += 1
        self.counters["read_bytes"] += len(record.value)
        for each in out:
            seat.sent.append(await self._doors.writer.send(each))

    def _end_of(self, topic: str, partition: int) -> tuple[int, str]:
        """Where a log ends, and which it is. What came of a log that was deleted is believed, nothing else."""
        log = self._doors.log
        try:
            return log.ends(topic).get(partition, 0), log.log_id(topic)
        except MissingTopicError:
            return 0, NO_LOG

    async def _keep_crash(self, seat: _Seat, error: PoisonError) -> None:
        await asyncio.gather(*seat.sent, return_exceptions=True)
        await self._block(self._doors.states.record_crash, seat.unit.name, error.offset, repr(error.cause))

    # -- saving --------------------------------------------------------------------------------------------------------

    def _consider_saving(self, seat: _Seat) -> None:
        if seat.saving is not None and not seat.saving.done():
            return
        now = time.monotonic()
        if not self.step.urgent and (now - seat.tried_at < _SAVE_SECONDS or now < self._rests_until):
            return
        seat.tried_at = now
        cut = self._cut(seat, force=now - seat.saved_at > _SAVE_ANYWAY_SECONDS)
        if cut is not None:
            seat.saving = asyncio.create_task(self._save_or_fail(seat, cut, self._taken(seat)))

    def _cut(self, seat: _Seat, force: bool) -> Cut | None:
        cut, spent = _timed(seat.unit.cut, force)
        self.saving_seconds += spent
        self._rests_until = time.monotonic() + _REST * spent
        return cut

    def _taken(self, seat: _Seat) -> list[asyncio.Future[Any]]:
        sent, seat.sent = seat.sent, []
        return sent

    async def _save_or_fail(self, seat: _Seat, cut: Cut, sent: list[asyncio.Future[Any]]) -> None:
        try:
            await self._save(seat, cut, sent)
        except FencedError as error:  # this process was stopped for a while; the group will say so, too
            _log.warning("fenced", step=self.step.name, partition=seat.unit.partition, error=str(error))
            if self._seats.get(seat.unit.partition) is seat:
                self._seats.pop(seat.unit.partition).redelivery.cancel()
        except Exception as error:  # noqa: BLE001 - an edge: a checkpoint that fails ends the process at a named place
            self._fail(error)

    async def _save(self, seat: _Seat, cut: Cut, sent: list[asyncio.Future[Any]]) -> None:
        partition = seat.unit.partition
        await asyncio.gather(*sent)
        _, spent = await self._block(_timed, self._doors.states.save, seat.unit.name, cut.checkpoint)
        # For whoever looks at lag: reading resumes where the checkpoint says. Of a topic that is gone, it never ends.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(
                self._consumer.commit(self.step.inbox, partition, cut.checkpoint.resume_at), _COMMIT_SECONDS
            )
        seat.saved_at = time.monotonic()
        self.saving_seconds += spent
        self.counters["saves"] += 1
        self.counters["saved_bytes"] += sum(len(entry.state) for entry in cut.checkpoint.entries)
        if self._pool is not None and self._seats.get(partition) is seat:
            self._pool.start(seat.unit, cut.effects)

    async def _save_last(self, seat: _Seat) -> None:
        if seat.saving is not None:
            await seat.saving
        cut = self._cut(seat, force=True)
        if cut is not None:
            with contextlib.suppress(FencedError):  # somebody else has it already
                await self._save(seat, cut, self._taken(seat))

    # -- time ----------------------------------------------------------------------------------------------------------

    async def tend(self) -> None:
        """For as long as it runs: due ticks and effects' answers go into the inbox, and what is due is saved."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            async with self._lock:
                now = self._deployment.clock.now()
                ticks = [tick for seat in self._seats.values() for tick in seat.unit.due(now)]
                answers = self._pool.drain() if self._pool is not None else []
                for out in (*ticks, *answers):
                    await self._doors.writer.send(out)
                for seat in self._seats.values():
                    self._consider_saving(seat)

    async def look_for_lost(self) -> None:
        """For as long as it runs: what was lost on its way is delivered again, also where nothing comes after it."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for seat in list(self._seats.values()):
                await seat.redelivery.look()

    def positions(self) -> dict[int, int]:
        """The next offset of every partition held. May be asked from another thread."""
        return {partition: seat.unit.next_offset for partition, seat in dict(self._seats).items()}

    async def _block(self, call: Callable[..., Any], *args: Any) -> Any:
        async with self._blocking:
            return await asyncio.to_thread(call, *args)


def _timed(call: Callable[..., T], *args: Any) -> tuple[T, float]:
    """What it returns, and the processor seconds it took this thread."""
    began = time.thread_time()
    result = call(*args)
    return result, time.thread_time() - began
