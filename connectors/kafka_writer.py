"""The agents' way out: one idempotent asyncio producer for emissions, ticks and answers.

In: messages. Out: futures that are done once all in-sync replicas have the message. Messages of one partition are
appended in the order of the calls, each once: a retry neither doubles nor reorders them.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from connectors.kafka_clients import MAX_MESSAGE_BYTES, aiokafka_options
from connectors.kafka_compression import compress_fast
from connectors.kafka_errors import broker_error
from connectors.kafka_headers import kafka_headers
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Clock, Outbound
from models.topics import partition_of

__all__ = ["KafkaWriter"]

_REQUEST_MS: Final = 30_000
_LINGER_MS: Final = 5
_BATCH_BYTES: Final = 256 * 1024


class KafkaWriter:
    """Sends; what cannot be delivered at all is told to `on_failure`, before anything after it can be sent.

    `partitions` is the number every topic has. `clock`, where time is virtual: its time goes with every message.
    """

    def __init__(self, settings: KafkaSettings, client: str, partitions: int, clock: Clock | None = None) -> None:
        self._settings, self._partitions, self._clock = settings, partitions, clock
        self._options = {
            **aiokafka_options(settings, client),
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": "lz4",
            "linger_ms": _LINGER_MS,
            "max_batch_size": _BATCH_BYTES,
            "max_request_size": MAX_MESSAGE_BYTES,
            "request_timeout_ms": _REQUEST_MS,
        }
        self._producer: AIOKafkaProducer | None = None
        self.on_failure: Callable[[BaseException], None] = _raise

    async def start(self) -> None:
        """Connect; to be called in the loop that sends. Raises BrokerError."""
        compress_fast()
        producer = AIOKafkaProducer(**self._options)
        try:
            await producer.start()
        except KafkaError as error:
            await producer.stop()
            raise broker_error(self._settings, "connect", error) from error
        self._producer = producer

    async def stop(self) -> None:
        """Wait until everything is delivered, and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def send(self, out: Outbound) -> asyncio.Future[Any]:
        """Put a message on its topic; waits only while the producer's buffer is full. Raises BrokerError where it
        stays full, or the topic is not to be found: the message is then not on its way.
        """
        partition = partition_of(out.key, self._partitions) if out.partition is None else out.partition
        headers = kafka_headers(out.value, self._clock.now() if self._clock else None)
        return await self._send(self._settings.topic(out.topic), partition, out.key.encode(), out.value, headers)

    async def _send(
        self, topic: str, partition: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> asyncio.Future[Any]:
        assert self._producer is not None, "start() comes first"
        try:
            sent: asyncio.Future[Any] = await self._producer.send(topic, value, key, partition, headers=headers)
        except KafkaError as error:
            raise broker_error(self._settings, f"append to {topic}", error) from error
        sent.add_done_callback(functools.partial(self._look, topic))
        return sent

    def _look(self, topic: str, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            known = isinstance(error, KafkaError)
            self.on_failure(broker_error(self._settings, f"append to {topic}", error) if known else error)


def _raise(error: BaseException) -> None:
    raise error
