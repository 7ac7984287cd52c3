"""Faust agents that drive steps on Kafka: one application (consumer group) a role. The only file that imports Faust.

In: roles' steps, hosts (streams/step_host.py) and how to reach Kafka. Out: partitions and records, handed to the hosts.

Faust assigns partitions and delivers; it is not trusted with more, because it loses records at a rebalance (its stream
queues are cleared after it has seeked, and its commit rule tolerates the hole). So its acknowledgements are off
(`acks=False`: it tracks and commits nothing), offsets are committed by the host, state lives in changelogs that the
host reads and fences itself (faust tables would hold every state twice and recover it before it can be fenced).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from connectors.kafka_clients import MAX_MESSAGE_BYTES, faust_options
from connectors.kafka_errors import broker_error
from connectors.kafka_headers import logged_at_of
from connectors.kafka_security import Security
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_tokens import async_provider
from connectors.ports import Record
from models.errors import ForeshockError
from streams.step_host import StepHost

__all__ = ["Topology"]

_PAUSE_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 1.0
_QUEUED: Final = 32
"""Records that wait for the agent. One of `counts` may have half a megabyte: 256 were most of detect's memory."""
_FETCH_BYTES: Final = 512 * 1024
"""Of a partition at once, compressed; a message that is larger comes all the same."""


class Topology:
    """One role's agent: a member of the role's consumer group from `start` to `stop`.

    `virtual`: records carry their `logged_at` in a header.
    """

    def __init__(self, host: StepHost, settings: KafkaSettings, role: str, *, virtual: bool = False) -> None:
        self.host = host
        self._settings, self._virtual = settings, virtual
        self._inbox = settings.topic(host.step.inbox)
        self.app = _build_app(settings, role)
        topic = self.app.topic(
            self._inbox,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            acks=False,
            internal=False,
        )
        self.app.agent(topic, name=host.step.name)(self._consume)
        # Signals hold their receivers weakly: bound methods of this object live as long as it does.
        self.app.on_partitions_revoked.connect(self._on_revoked)
        self.app.on_rebalance_complete.connect(self._on_assigned)
        self.app.on_before_shutdown.connect(self._on_shutdown)
        self.app.finalize()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the last checkpoint, and the group is left. Raises what the application died of: it
        is then not stopped, for that would wait for what it died of.
        """
        try:
            await self.app.start()
            ended = await self.app.wait(stop.wait())
        except KafkaError as error:
            raise broker_error(self._settings, f"be a member of {self.app.conf.id}", error) from error
        if ended.stopped and not stop.is_set():
            raise self._reason()
        await self.app.stop()

    def _reason(self) -> BaseException:
        reason = self.app.crash_reason
        if isinstance(reason, ForeshockError):
            return reason
        if isinstance(reason, KafkaError):
            return broker_error(self._settings, f"be a member of {self.app.conf.id}", reason)
        return reason or RuntimeError("Faust ended the application by itself")

    # -- the port `Consumer` -------------------------------------------------------------------------------------------

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        """Commit in this member's generation: refused by the broker where the partition has gone."""
        consumer: Any = self.app.consumer
        await consumer._commit({TP(self._settings.topic(topic), partition): offset})

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Pause, let what is on its way pass, seek, resume: a seek alone is undone by records already fetched."""
        consumer, place = self.app.consumer, TP(self._settings.topic(topic), partition)
        consumer.pause_partitions({place})
        try:
            await asyncio.sleep(_PAUSE_SECONDS)
            await consumer.seek(place, offset)
        finally:  # also where this is cancelled: Faust keeps a pause when the partition comes back
            consumer.resume_partitions({place})

    async def delivered(self, topic: str, partition: int) -> int:
        """What Faust has taken from its client; it may be in the agent's queue still, or dropped."""
        with contextlib.suppress(KafkaError, asyncio.TimeoutError):  # the group is sharing out: it will be asked again
            place = TP(self._settings.topic(topic), partition)
            return await asyncio.wait_for(self.app.consumer.position(place), _ASK_SECONDS) or 0
        return 0

    # -- Faust's side --------------------------------------------------------------------------------------------------

    async def _consume(self, stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            if message.generation_id == self.app.consumer_generation_id:
                await self.host.apply(self._record(message))

    def _record(self, message: Any) -> Record:
        key = (message.key or b"").decode("utf-8", "backslashreplace")
        logged_at = logged_at_of(message.headers, round(message.timestamp * 1_000), self._virtual)
        return Record(self.host.step.inbox, message.partition, message.offset, key, message.value or b"", logged_at)

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        places = self.app.consumer.assignment()
        await self.host.take({place.partition for place in places if place.topic == self._inbox}, self)

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        await self.host.give_up()

    async def _on_shutdown(self, *_: Any, **__: Any) -> None:
        await self.host.give_up()


class _App(faust.App):
    """Faust without folders: nothing of it is kept in files, and it would make them where the process was started."""

    def _create_directories(self) -> None:
        return


def _build_app(settings: KafkaSettings, role: str) -> faust.App:
    options = faust_options(settings, role)
    session = settings.session_seconds
    extra: dict[str, Any] = {}
    if (credentials := _credentials(options.security)) is not None:
        extra["broker_credentials"] = credentials
    logging.getLogger("faust").setLevel(logging.WARNING)
    return _App(
        settings.group(role),
        broker=options.broker,
        broker_client_id=options.client_id,
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=_QUEUED,
        stream_recovery_delay=0.0,
        broker_max_poll_records=_QUEUED // 2,
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 4,
        broker_rebalance_timeout=max(10.0, session),
        broker_request_timeout=max(30.0, 2 * session),
        consumer_max_fetch_size=_FETCH_BYTES,
        producer_max_request_size=MAX_MESSAGE_BYTES,
        worker_redirect_stdouts=False,
        **extra,
    )


def _credentials(security: Security) -> Any:
    """Faust's form of it, None for neither encryption nor login."""
    if security.tokens is not None:
        return faust.auth.OAuthCredentials(oauth_cb=async_provider(security.tokens), ssl_context=security.context)
    if security.mechanism:
        return faust.SASLCredentials(
            username=security.username,
            password=security.password,
            ssl_context=security.context,
            mechanism=security.mechanism,
        )
    return faust.SSLCredentials(security.context) if security.context is not None else None
