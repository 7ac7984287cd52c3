"""The way of lines into Kafka: each message once and in order, whatever happens to the broker. In: batches of messages.
Out: acknowledged messages, and how much is still under way.

What is not acknowledged is in memory up to a limit. Where nothing is acknowledged any more, what follows goes to the
spool, and is sent in order once the broker is back. A slow broker only makes the caller wait (`ready`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from connectors.kafka_clients import producer_options
from connectors.kafka_errors import advising
from connectors.kafka_headers import kafka_headers
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Clock, Outbound
from connectors.spool import Spool
from models.errors import BrokerError
from models.topics import partition_of

__all__ = ["KafkaSender", "SendLimits", "check_topic", "close_producer", "open_producer"]

_LOGS: Final = "logs"
_FOREVER_MS: Final = (1 << 31) - 1
_CONNECT_MS: Final = 10_000
_FIRST_CONNECT_MS: Final = 3_000
_CHECK_SECONDS: Final = 2.0
_CLIENT: Final = "ingest"
_REFILL_BYTES: Final = 4 * 1024 * 1024
_REQUEST_BYTES: Final = 1024 * 1024
"""Four batches a request, where there are as many: half the processor time of one a request."""


@dataclass(frozen=True, slots=True)
class SendLimits:
    """`memory_bytes` of messages may be unacknowledged in memory; after `stall_seconds` without an acknowledgement what
    follows is spooled.
    """

    memory_bytes: int = 32 * 1024 * 1024
    stall_seconds: float = 2.0


class _Sending(NamedTuple):
    """A message that was accepted; `segment` of the spool it was taken from (None: it only is in memory)."""

    out: Outbound
    segment: int | None


def open_producer(
    settings: KafkaSettings, seconds: float, tell: Callable[[str], None] = lambda _: None
) -> KafkaProducer:
    """A producer that never gives a message up while it lives. Raises BrokerError where no broker answers for so long,
    or none lets it in. `tell` hears that no broker answers while it is waited for.
    """
    deadline = time.monotonic() + seconds
    options = {
        **producer_options(settings, _CLIENT),
        "delivery_timeout_ms": _FOREVER_MS,
        "bootstrap_timeout_ms": _FIRST_CONNECT_MS,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
        "batch_size": _REQUEST_BYTES,
        "send_buffer_bytes": _REQUEST_BYTES,
    }
    with advising(settings, "send lines"):
        while True:
            try:
                return KafkaProducer(**options)
            except KafkaError as error:
                left = deadline - time.monotonic()
                if not getattr(error, "retriable", False) or left <= 0:
                    raise
                where = ", ".join(settings.bootstrap_servers)
                tell(f"foreshock: no broker answers at {where}: waiting for one, {left:.0f} s more")
                options["bootstrap_timeout_ms"] = _CONNECT_MS


def close_producer(producer: KafkaProducer) -> None:
    """At once: what was not acknowledged by now is not waited for."""
    producer._sender.force_close()
    with suppress(KafkaError):
        producer.close(timeout=_CHECK_SECONDS)


def check_topic(settings: KafkaSettings) -> None:
    """Raises BrokerError where `logs` is gone from a cluster that answers: kafka-python would wait for it for ever."""
    log = KafkaLog(settings, _CLIENT, connect_seconds=_CHECK_SECONDS)
    try:
        log.log_id(_LOGS)
    except BrokerError as error:
        if error.__cause__ is None:  # else no broker was reached, or it did not let us ask
            raise
    finally:
        log.close()


class KafkaSender:
    """Sends what it accepts. `partitions` of each topic; `clock`, where time is virtual, goes with every message.

    Only one thread may use it. `acknowledged` counts messages, `ends` has the offset behind the last acknowledged one
    of each partition of `logs`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        producer: KafkaProducer,
        spool: Spool,
        partitions: dict[str, int],
        *,
        limits: SendLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._producer, self._spool = settings, producer, spool
        self._partitions, self._limits, self._clock = partitions, limits or SendLimits(), clock
        self._queue: deque[_Sending] = deque()
        self._held: list[Outbound] = []
        self._unacknowledged: dict[int, _Sending] = {}
        self._letters = 0
        self._number = 0
        self._heard = time.monotonic()
        self._failure: BaseException | None = None
        self._news = threading.Condition()
        self._done: deque[int] = deque()
        self.memory_bytes = 0
        self.acknowledged = 0
        self.acknowledged_bytes = 0
        self.ends: dict[int, int] = {}

    @property
    def silent_seconds(self) -> float:
        """How long messages have been under way without an acknowledgement."""
        return time.monotonic() - self._heard if self._unacknowledged else 0.0

    @property
    def stalled(self) -> bool:
        """Nothing was acknowledged for a while: the broker is away."""
        return self.silent_seconds > self._limits.stall_seconds

    @property
    def ready(self) -> bool:
        """There is room for another batch, in memory or, while the broker is away, in the spool."""
        if self._held:
            return False
        if self._spool.empty and self.memory_bytes < self._limits.memory_bytes:
            return True
        return self.stalled and not self._spool.full

    @property
    def settled(self) -> bool:
        """Everything accepted was acknowledged."""
        return not (self._queue or self._unacknowledged or self._held) and self._spool.empty

    def accept(self, batch: Sequence[Outbound]) -> None:
        """Take messages, to be sent after all accepted before. Dead letters go first and the batches wait for them:
        where a partition has a line, the log has the letters of the lines before it.
        """
        self._held += sorted(batch, key=lambda out: out.topic == _LOGS)
        self.pump()

    def pump(self) -> None:
        """Note what was acknowledged and send what may be sent. Raises BrokerError once a message was refused: nothing
        after it in its partition will be sent.
        """
        self._collect()
        self._place()
        while True:
            while self._queue and not (self._letters and self._queue[0].out.topic == _LOGS):
                self._send(self._queue.popleft())
            if self._queue or not self._refill():
                return

    def wait(self, seconds: float) -> None:
        """Return when something was acknowledged, or after `seconds`."""
        with self._news:
            if not self._done and self._failure is None:
                self._news.wait(seconds)

    def keep_rest(self) -> None:
        """Put what was not acknowledged into the spool, where it is not there yet: the last thing to do. What a broker
        has of it all the same is found out at the next start.
        """
        self._collect()
        if not (self._unacknowledged or self._queue or self._held) or self._spool_all():
            return
        raise BrokerError(
            f"{self.memory_bytes:,} bytes were neither acknowledged nor could they be kept on the disk: it is full. "
            "Files are read again from there; what came by a pipe is lost. Free some space."
        )

    # -- small pieces --------------------------------------------------------------------------------------------------

    def _place(self) -> None:
        if not self._held:
            return
        if self._spool.empty and (self.memory_bytes < self._limits.memory_bytes or not self.stalled):
            for out in self._held:
                self.memory_bytes += len(out.value)
                self._queue.append(_Sending(out, None))
            self._held = []
        else:
            self._spool_all()

    def _spool_all(self) -> bool:
        """Put what waits into the spool; False where the disk is full. A spool begins with all that is under way: it
        must go on where the log ends, or the lines in between would be taken for sent after a kill.
        """
        if not self._spool.empty:
            kept = self._spool.append(self._held)
            self._held = [] if kept else self._held
            return kept
        under_way = [*self._unacknowledged.items(), *((None, item) for item in self._queue)]
        if not self._spool.append([*(item.out for _, item in under_way), *self._held]):
            return False
        self._queue.clear()
        for number, item in under_way:
            spooled = self._spool.take()
            assert spooled is not None, "it was just put there"
            copy = _Sending(item.out, spooled.segment)
            if number is None:
                self._queue.append(copy)
            else:
                self._unacknowledged[number] = copy
        self._held = []
        return True

    def _refill(self) -> bool:
        """Take some of the spool into memory, where there is room and something to take."""
        taken = 0
        while self.memory_bytes < self._limits.memory_bytes // 2 and taken < _REFILL_BYTES:
            spooled = self._spool.take()
            if spooled is None:
                break
            size = len(spooled.out.value)
            taken, self.memory_bytes = taken + size, self.memory_bytes + size
            self._queue.append(_Sending(spooled.out, spooled.segment))
        return taken > 0

    def _send(self, item: _Sending) -> None:
        out, number = item.out, self._number
        self._number += 1
        partition = out.partition
        if partition is None:
            partition = partition_of(out.key, self._partitions[out.topic])
        if not self._unacknowledged:
            self._heard = time.monotonic()
        self._unacknowledged[number] = item
        self._letters += out.topic != _LOGS
        try:
            with advising(self._settings, f"append to {out.topic}"):
                future = self._producer.send(
                    self._settings.topic(out.topic),
                    value=out.value,
                    key=out.key.encode(),
                    partition=partition,
                    headers=kafka_headers(out.value, self._clock.now() if self._clock else None),
                )
        except ValueError as error:  # kafka-python's word for a partition that is not there
            raise BrokerError(
                f"{self._settings.topic(out.topic)!r} has no partition {partition} any more: it was made anew with "
                "fewer. Start again."
            ) from error
        future.add_callback(self._acknowledge, number)
        future.add_errback(self._fail)

    def _acknowledge(self, number: int, stored: Any) -> None:
        """Called by the producer's thread."""
        with self._news:
            self._done.append(number)
            if stored.topic == self._settings.topic(_LOGS):
                self.ends[stored.partition] = max(stored.offset + 1, self.ends.get(stored.partition, 0))
            self._news.notify()

    def _fail(self, error: BaseException) -> None:
        """Called by the producer's thread, before it can send anything that follows in the partition: what follows must
        not be appended, or the log would seem to have what was refused.
        """
        self._producer._sender.force_close()
        with self._news:
            self._failure = self._failure or error
            self._news.notify()

    def _collect(self) -> None:
        if self._done:
            self._heard = time.monotonic()
        while self._done:
            item = self._unacknowledged.pop(self._done.popleft())
            size = len(item.out.value)
            self.memory_bytes -= size
            self.acknowledged += 1
            self.acknowledged_bytes += size
            self._letters -= item.out.topic != _LOGS
            if item.segment is not None:
                self._spool.release(item.segment)
        if self._failure is not None:
            with advising(self._settings, "append lines"):
                raise self._failure
