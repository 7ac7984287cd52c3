"""A Unit: one step on one partition. No I/O, no asyncio, no clock: hosts read and write, a Unit only decides.

In: records of the step's inbox, one after another. Out: messages for other topics, ticks that are due, checkpoints,
and effects to start once a checkpoint is kept. Every host keeps this order:

    apply -> emissions durable -> entries, then shared state and resume position -> inbox offset -> start effects

so a crash between any two repeats identical emissions (same ids, same causes) and loses none.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from connectors.codec import decode_record, encode
from connectors.ports import Checkpoint, Crash, Entry, Outbound, Record, UnitName
from models.errors import ContractError, GapError, HorizonError, NewerVersionError, PoisonError
from models.event import Cause, Event, digest, event_id
from models.signal import Tick
from models.topics import TOPICS
from streams.inbox_guard import InboxGuard, Shard
from streams.refusal import letter_key, refuse
from streams.step import AnyStep, Effect, Emit, Part

__all__ = ["QUARANTINE_AFTER", "Cut", "Shard", "Started", "Unit"]

QUARANTINE_AFTER: Final = 3
"""Failures of a step at one record after which the record becomes a dead letter."""
SAVING_SHARE: Final = 0.10
"""A step that is not urgent saves when its checkpoint is at most this share of the bytes it has read since the last."""
_WISHES_SPARE: Final = 64
_UNKNOWN_SIZE: Final = 4_096


class Started(NamedTuple):
    """An effect to start, and the key its answer belongs to."""

    key: str
    effect: Effect


class Cut(NamedTuple):
    """A checkpoint, and the effects that may start once it is durable."""

    checkpoint: Checkpoint
    effects: Sequence[Started]


class _Live:
    """A key in memory. `raw` holds the saved state until somebody needs it."""

    __slots__ = ("applied", "pending", "raw", "size", "state", "wake_at")

    def __init__(self, applied: int = -1, wake_at: int | None = None, raw: bytes | None = None) -> None:
        self.applied, self.wake_at, self.raw = applied, wake_at, raw
        self.pending: dict[str, Effect] = {}
        self.state: Any = None
        self.size = len(raw) if raw is not None else _UNKNOWN_SIZE


class Unit:
    """One step on one partition: applies records in order, exactly once for each key.

    Saved positions of another log (`log_id` differs: the inbox was deleted and made anew) are forgotten, not states.
    """

    def __init__(
        self,
        step: AnyStep,
        shard: Shard | int,
        *,
        saved: Checkpoint | None = None,
        entries: Iterable[Entry] = (),
        crashes: Mapping[int, Crash] | None = None,
    ) -> None:
        self._shard = shard if isinstance(shard, Shard) else Shard(shard)
        self.step, self.partition = step, self._shard.partition
        self.name = UnitName(step.name, self.partition)
        self.counters: Counter[str] = Counter()
        """What was skipped on purpose, by reason."""
        renewed = saved is not None and saved.log_id != self._shard.log_id
        self._crashes = {} if renewed or crashes is None else crashes
        self._next = saved.resume_at if saved and not renewed else 0
        self._emitted = saved.emitted if saved and not renewed else 0
        self._saved_next = self._next
        self._guard = InboxGuard(self._shard)
        self._shared = step.shared.initial("") if saved is None or saved.shared is None else self._unpack(saved.shared)
        self._live: dict[str, _Live] = {}
        self._wishes: list[tuple[int, str]] = []
        self._ticked: dict[str, int] = {}
        self._dirty: dict[str, None] = {}
        self._started: list[Started] = []
        self._read_bytes = 0
        for entry in entries:
            self._restore(entry._replace(applied=-1) if renewed else entry)
        if renewed:
            self.counters["log_renewed"] += 1

    @property
    def run(self) -> str:
        """The deployment whose events it writes."""
        return self._shard.run

    @property
    def next_offset(self) -> int:
        """The offset of the record it wants next."""
        return self._next

    @property
    def saved_offset(self) -> int:
        """Where reading resumes after a restart: the log must keep its inbox from here on."""
        return self._saved_next

    def next_due(self) -> int | None:
        """The earliest wish to be woken that no tick was made for yet (ms), or None."""
        while self._wishes and not self._wished(*self._wishes[0]):
            heapq.heappop(self._wishes)
        return self._wishes[0][0] if self._wishes else None

    def states(self) -> Iterator[tuple[str, Any]]:
        """Every key and its state, to be looked at only."""
        return ((key, self._key(key).state) for key in sorted(self._live))

    def apply(self, record: Record) -> Sequence[Outbound]:
        """Take the record and return what it causes. Records below the wanted offset are skipped (a redelivery).

        Raises GapError when records are missing, HorizonError when the record claims a cause beyond the known end of
        its log (nothing has changed: call `learn_end`, then again). The Unit must be thrown away after PoisonError (the
        step fails) and UpgradeError (a newer program of this deployment wrote the record, or a state it needs).
        """
        if record.offset < self._next:
            self.counters["redelivered"] += 1
            return ()
        if record.offset > self._next:
            raise GapError(str(self.name), self._next, record.offset)
        crash = self._crashes.get(record.offset)
        if crash is not None and crash.failures >= QUARANTINE_AFTER:
            out = [self._dead_letter(record, 0, "quarantined", crash.error)]
        else:
            out = self._take(record)
        self._next = record.offset + 1
        self._read_bytes += len(record.value)
        if record.offset < self._emitted:
            self.counters["emitted_before"] += len(out)
            return ()
        return out

    def skip_to(self, offset: int) -> None:
        """The log has nothing left below `offset` (retention, transaction markers): go on from there, and count it."""
        if offset > self._next:
            self.counters["missing"] += offset - self._next
            self._next = offset

    def learn_end(self, topic: str, partition: int, end: int, log_id: str = "") -> None:
        """That log now goes up to `end` (exclusive): causes below it may be believed."""
        self._guard.learn_end(topic, partition, end, log_id)

    def due(self, now: int) -> Sequence[Outbound]:
        """Ticks for every wish that has come, in order of time and key; the host appends them to the inbox."""
        ticks = []
        while (at := self.next_due()) is not None and at <= now:
            _, key = heapq.heappop(self._wishes)
            self._ticked[key] = at
            tick = Event(
                id=digest("tick", self.step.name, key, str(at)),
                at=at,
                key=key,
                data=Tick(step=self.step.name, due_at=at),
                region=self._shard.region,
                run=self._shard.run,
            )
            ticks.append(Outbound(self.step.inbox, key, encode(tick), self.partition, at))
        return ticks

    def cut(self, force: bool = False) -> Cut | None:
        """A checkpoint of all that changed, or None: nothing new, or saving would cost more than it is worth now."""
        if self._next == self._saved_next:
            return None
        if not (force or self.step.urgent) and self._saving_cost() > SAVING_SHARE * self._read_bytes:
            return None
        entries = [self._entry(key) for key in self._dirty]
        started, self._started = self._started, []
        self._dirty = {}
        self._read_bytes = 0
        self._saved_next = self._next
        # Reading again after a restart, the log has more than was taken so far.
        emitted = max(self._next, self._emitted)
        return Cut(Checkpoint(entries, self._pack(), self._next, emitted, self._shard.log_id), started)

    def pending(self) -> Sequence[Started]:
        """After recovery: every effect without an answer, to be started again under its old id."""
        return [Started(key, effect) for key in sorted(self._live) for effect in self._live[key].pending.values()]

    def _take(self, record: Record) -> list[Outbound]:
        try:
            event = decode_record(record)
            self._guard.check_place(record, event)
            if self._guard.seen_before(record, event):
                self.counters["duplicate"] += 1
                return []
            parts = self._parts(event)
        except NewerVersionError as error:
            self._guard.check_version(record, error)
            return [self._dead_letter(record, 0, error.reason, error.detail)]
        except ContractError as error:
            return [self._dead_letter(record, 0, error.reason, error.detail)]
        except HorizonError:
            raise
        except Exception as error:  # an edge: whatever a step raises stops the process at a named place
            raise self._poison(record, error) from error
        out: list[Outbound] = []
        for number, part in enumerate(parts):
            live = self._key(part.key)
            if live.applied >= record.offset:
                self.counters["applied_before"] += 1
                continue
            live.applied = record.offset
            self._dirty[part.key] = None
            try:
                out += self._advance(record, number, part, live)
            except ContractError as error:
                out.append(self._dead_letter(record, number, error.reason, error.detail))
            except Exception as error:  # the same edge
                raise self._poison(record, error) from error
        return out

    def _parts(self, event: Event[Any]) -> Sequence[Part]:
        """Ticks and answers go straight to their key, and only while it waits for them; all else the step admits."""
        data = event.data
        if isinstance(data, Tick):
            live = self._live.get(event.key)
            if data.step != self.step.name or live is None or live.wake_at != data.due_at:
                self.counters["stale_tick"] += 1
                return ()
            live.wake_at = None
            self._ticked.pop(event.key, None)
            return (Part(event.key, event),)
        effect_id = getattr(data, "effect_id", None)
        if effect_id is not None:
            live = self._live.get(event.key)
            if live is None or live.pending.pop(effect_id, None) is None:
                self.counters["late_answer"] += 1
                return ()
            return (Part(event.key, event),)
        self._shared, parts = self.step.admit(self._shared, event)
        return parts

    def _advance(self, record: Record, number: int, part: Part, live: _Live) -> list[Outbound]:
        turn = self.step.advance(self._shared, live.state, part)
        live.state = turn.state
        self._wish(part.key, live, turn.wake_at)
        for name in turn.cancels:
            live.pending.pop(name, None)
        for effect in turn.effects:
            if effect.id not in live.pending:
                live.pending[effect.id] = effect
                self._started.append(Started(part.key, effect))
        return [self._stamp(record, number, place, part.key, emit) for place, emit in enumerate(turn.emits)]

    def _wish(self, key: str, live: _Live, at: int | None) -> None:
        """Keep the key's wish. A wish that was moved stays in the heap until it comes to the top: when most of them
        are such, the heap is built anew, so it never holds much more than one a key.
        """
        if at is not None and at != live.wake_at:
            heapq.heappush(self._wishes, (at, key))
        live.wake_at = at
        if len(self._wishes) > _WISHES_SPARE + 2 * len(self._live):
            self._wishes = [(kept.wake_at, name) for name, kept in self._live.items() if kept.wake_at is not None]
            heapq.heapify(self._wishes)

    def _stamp(self, record: Record, part: int, number: int, key: str, emit: Emit) -> Outbound:
        position = record.position
        event = Event(
            id=event_id(self.step.name, position, key, number, self._shard.log_id),
            at=emit.at,
            key=emit.key,
            data=emit.data,
            cause=str(Cause(self.step.name, position, part, number, self._shard.log_id)),
            cid=emit.cid,
            region=self._shard.region,
            run=self._shard.run,
        )
        partition = self.partition if TOPICS[emit.topic].keeps_partition else None
        return Outbound(emit.topic, emit.key, encode(event), partition, emit.at)

    def _dead_letter(self, record: Record, part: int, reason: str, detail: str) -> Outbound:
        self.counters["dead_letter"] += 1
        emit = Emit("dead-letters", letter_key(record), record.logged_at, refuse(record, reason, detail))
        return self._stamp(record, part, 0, emit.key, emit)

    def _poison(self, record: Record, error: Exception) -> PoisonError:
        return PoisonError(self.name, record.topic, record.partition, record.offset, error)

    def _key(self, key: str) -> _Live:
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = _Live()
            live.state = self.step.state.initial(key)
        elif live.raw is not None:
            live.state, live.raw = self.step.state.load(live.raw), None
        return live

    def _wished(self, at: int, key: str) -> bool:
        live = self._live.get(key)
        return live is not None and live.wake_at == at and self._ticked.get(key) != at

    def _restore(self, entry: Entry) -> None:
        live = self._live[entry.key] = _Live(entry.applied, entry.wake_at, entry.state)
        live.pending = {item[0]: Effect(*item) for item in orjson.loads(entry.pending)}
        if entry.wake_at is not None:
            heapq.heappush(self._wishes, (entry.wake_at, entry.key))

    def _entry(self, key: str) -> Entry:
        live = self._key(key)
        state = self.step.state.dump(live.state)
        live.size = len(state)
        return Entry(key, live.applied, live.wake_at, orjson.dumps([list(e) for e in live.pending.values()]), state)

    def _saving_cost(self) -> int:
        return sum(self._live[key].size for key in self._dirty)

    def _pack(self) -> bytes:
        head = orjson.dumps(self._guard.seen)
        return len(head).to_bytes(4, "big") + head + self.step.shared.dump(self._shared)

    def _unpack(self, raw: bytes) -> Any:
        size = int.from_bytes(raw[:4], "big")
        self._guard.seen = {origin: (o, p, n) for origin, (o, p, n) in orjson.loads(raw[4 : 4 + size]).items()}
        return self.step.shared.load(raw[4 + size :])
