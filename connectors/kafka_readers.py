"""What effects look up on Kafka: past incidents and statistics, and a service's health. Read-only, from any thread.

In: the compacted topics `history` and `health`. Out: the newest value of each key, as of the moment of the question.
The twin of connectors/sqlite_readers.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Final, TypeVar

import structlog

from connectors.codec import decode_record
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Record
from models.anomaly import ServiceHealth
from models.errors import BrokerError, ContractError, ForeshockError
from models.event import Contract
from models.history import HistoryRecord, PatternStats

__all__ = ["KafkaReaders"]

C = TypeVar("C", bound=Contract)
_DEADLINE: Final = 10.0
"""Seconds in which a question must be answered: an effect that fails is an answer, too, and may be asked again."""
_IDLE: Final = 1.0
"""Seconds after which what has been added is read though nobody asked, so that the next question waits for little."""
_PAGE: Final = 2_000
_log = structlog.get_logger(__name__)


class KafkaReaders:
    """The ports HistoryReader and HealthReader over a cluster. A thread for each topic reads it into memory; a question
    waits until that thread has read up to where the topic ended when it was asked.

    Questions raise BrokerError when that takes longer than `deadline` seconds, or the broker refuses.
    """

    def __init__(
        self, settings: KafkaSettings, client: str = "readers", *, virtual: bool = False, deadline: float = _DEADLINE
    ) -> None:
        def log() -> KafkaLog:
            return KafkaLog(settings, client, virtual=virtual, connect_seconds=deadline)

        self._history = _Topic(log(), "history", deadline)
        self._health = _Topic(log(), "health", deadline)

    def records(self, application: str) -> Sequence[HistoryRecord]:
        """The closed incidents of an application, oldest first."""
        return [item for item in self._all(HistoryRecord) if item.application == application]

    def stats(self, application: str) -> Sequence[PatternStats]:
        """The statistics of an application; "" means those of all."""
        return [item for item in self._all(PatternStats) if application in ("", item.application)]

    def health(self, service: str) -> ServiceHealth | None:
        """The newest health of a service, or None."""
        found = self._health.newest().get(service)
        return found.data if found is not None and isinstance(found.data, ServiceHealth) else None

    def close(self) -> None:
        """Stop reading; questions that wait fail."""
        self._history.close()
        self._health.close()

    def _all(self, kind: type[C]) -> list[C]:
        found = sorted(self._history.newest().values(), key=lambda item: (item.record.logged_at, *item.record.position))
        return [item.data for item in found if isinstance(item.data, kind)]


class _Value:
    """A key's newest record, decoded when somebody wants it: most health never is."""

    def __init__(self, record: Record) -> None:
        self.record = record

    @cached_property
    def data(self) -> Contract | None:
        """None for what is no event of ours: a reader passes it over."""
        try:
            event = decode_record(self.record)
        except ContractError as error:
            _log.warning("unreadable message", place=str(self.record.position), reason=error.reason)
            return None
        found: Contract = event.data
        return found


class _Topic:
    """The newest value of each key of one topic, read by a thread of its own that the first question starts."""

    def __init__(self, log: KafkaLog, topic: str, deadline: float) -> None:
        self._log, self._topic, self._deadline = log, topic, deadline
        self._changed = threading.Condition()
        self._newest: dict[str, _Value] = {}
        self._read_to: dict[int, int] = {}
        self._asked = self._answered = 0
        self._failure: ForeshockError | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def newest(self) -> dict[str, _Value]:
        """Each key's, as of now or later."""
        until = time.monotonic() + self._deadline
        with self._changed:
            self._start()
            self._asked += 1
            number = self._asked
            self._changed.notify_all()
            while self._answered < number:
                left = until - time.monotonic()
                if self._closed or left <= 0 or not self._changed.wait(left):
                    raise BrokerError(
                        f"{self._topic} could not be read to its end within {self._deadline:g} s. "
                        "Look at the broker with `foreshock doctor`."
                    )
            if self._failure is not None:
                raise self._failure
            return dict(self._newest)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._work, name=f"reader-{self._topic}", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """Round after round: see who asks, read to the end as it is then, tell them."""
        while True:
            with self._changed:
                if self._asked == self._answered and not self._closed:
                    self._changed.wait(_IDLE)
                if self._closed:
                    break
                number = self._asked
            failure: ForeshockError | None = None
            try:
                self._read_on()
            except ForeshockError as error:
                _log.warning("cannot read", topic=self._topic, error=str(error))
                failure = error
            with self._changed:
                self._answered, self._failure = number, failure
                self._changed.notify_all()
                if failure is not None and not self._closed:
                    self._changed.wait(_IDLE)
        self._log.close()

    def _read_on(self) -> None:
        for partition, end in self._log.ends(self._topic).items():
            while (at := self._read_to.get(partition, 0)) < end:
                page = self._log.read(self._topic, partition, at, _PAGE)
                with self._changed:
                    for record in page:
                        self._take(record)
                self._read_to[partition] = page[-1].offset + 1 if page else end

    def _take(self, record: Record) -> None:
        if record.value:
            self._newest[record.key] = _Value(record)
        else:  # a tombstone
            self._newest.pop(record.key, None)
