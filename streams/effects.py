"""Effects carried out: what a step asked of the world is called here, and the answer goes back into its inbox.

In: started effects (after the checkpoint that holds them is durable). Out: answers as messages for the inbox.
A failure is an answer too. Calls can happen again after a crash: the effect's id is the idempotency key.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from connectors.codec import encode
from connectors.ports import Clock, Outbound
from models.event import Contract, Event, digest
from models.signal import EffectAnswered
from streams.runtime import Started, Unit
from streams.step import Effect

__all__ = ["EffectPool", "Performer", "answer"]

Performer = Callable[[Effect], Contract]
_log = structlog.get_logger(__name__)


class _Place(NamedTuple):
    topic: str
    partition: int
    run: str


def answer(performers: Mapping[str, Performer], unit: Unit, started: Started, clock: Clock) -> Outbound:
    """Carry out one effect now; its answer as a message for the unit's inbox, under the same key."""
    return _answer(performers, _Place(unit.step.inbox, unit.partition, unit.run), started, clock)


class EffectPool:
    """Carries out effects in `workers` threads, each effect once at a time; answers are fetched with `drain`."""

    def __init__(self, performers: Mapping[str, Performer], clock: Clock, workers: int = 8) -> None:
        self._performers, self._clock = performers, clock
        self._workers = workers
        self._todo: queue.SimpleQueue[tuple[_Place, Started] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._done: queue.SimpleQueue[tuple[str, Outbound]] = queue.SimpleQueue()
        self._running: set[str] = set()
        self._threads: list[threading.Thread] = []

    def start(self, unit: Unit, effects: Sequence[Started]) -> None:
        """Begin those that are not already under way."""
        place = _Place(unit.step.inbox, unit.partition, unit.run)
        for started in effects:
            if started.effect.id not in self._running:
                self._running.add(started.effect.id)
                self._todo.put((place, started))
        # Daemons: an executor's threads would be waited for as the process ends, however long their calls take.
        for number in range(len(self._threads), min(self._workers, len(self._running))):
            self._threads.append(threading.Thread(target=self._work, name=f"effect-{number}", daemon=True))
            self._threads[-1].start()

    def drain(self) -> list[Outbound]:
        """The answers that have come since the last call."""
        answers: list[Outbound] = []
        while True:
            try:
                effect_id, out = self._done.get_nowait()
            except queue.Empty:
                return answers
            self._running.discard(effect_id)
            answers.append(out)

    @property
    def idle(self) -> bool:
        """Nothing is under way and no answer waits."""
        return not self._running

    def close(self) -> None:
        """Wait for nothing: what is under way is asked again after the next start, under the same id."""
        self._closed.set()
        for _ in self._threads:
            self._todo.put(None)

    def _work(self) -> None:
        while (item := self._todo.get()) is not None:
            place, started = item
            if not self._closed.is_set():
                self._done.put((started.effect.id, _answer(self._performers, place, started, self._clock)))


def _answer(performers: Mapping[str, Performer], place: _Place, started: Started, clock: Clock) -> Outbound:
    effect = started.effect
    performer = performers.get(effect.kind)
    if performer is None:
        failure = f"nothing here can {effect.kind!r}: not configured"
    else:
        try:  # an answer that cannot be written down is none: nobody would hear of it
            return _message(performer(effect), place, started, clock.now())
        except Exception as error:  # noqa: BLE001 - an edge: whatever the world raises is the effect's answer
            _log.warning("effect failed", effect=effect.id, kind=effect.kind, error=repr(error))
            failure = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    data = EffectAnswered(effect_id=effect.id, kind=effect.kind, ok=False, error=failure)
    return _message(data, place, started, clock.now())


def _message(data: Contract, place: _Place, started: Started, now: int) -> Outbound:
    event = Event(id=digest("answer", started.effect.id), at=now, key=started.key, data=data, run=place.run)
    return Outbound(place.topic, started.key, encode(event), place.partition, now)
