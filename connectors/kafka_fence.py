"""One writer at a time, whatever is still on its way from the last one. In: a producer, a name. Out: the same producer
under an identity that shuts its predecessors out.

A process that is killed may leave requests in a network's or a broker's buffers, which are appended later: lines that
its successor did not see in the log, and gives again. Kafka refuses a producer's older epoch in every partition that a
newer one has written to. So an epoch is claimed under a transactional id (no transaction is ever begun: its markers
would make holes in the offsets), and an empty batch is put on every partition: what is behind it is all there will be.

kafka-python has no public way to give a producer without transactions the identity of a transactional id.
https://cwiki.apache.org/confluence/display/KAFKA/KIP-98+-+Exactly+Once+Delivery+and+Transactional+Messaging
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import InvalidProducerEpochError, ProducerFencedError

from connectors.codec import encode
from connectors.kafka_clients import producer_options
from connectors.kafka_errors import advising
from connectors.kafka_headers import kafka_headers
from connectors.kafka_settings import KafkaSettings
from models.errors import BrokerError, TakenOverError
from models.event import Event, digest
from models.log import LogBatch

__all__ = ["heeding_successor", "take_over", "transactional_id"]

_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.005


def transactional_id(settings: KafkaSettings, name: str) -> str:
    """What the connector of this name is known by to the cluster: an ACL allows the prefix up to `-ingest-`."""
    return f"{settings.group('ingest')}-{name}"


@contextmanager
def heeding_successor(name: str) -> Iterator[None]:
    """Raises TakenOverError where Kafka refused what was written because another of this name writes now."""
    try:
        yield
    except BrokerError as error:
        if isinstance(error.__cause__, (InvalidProducerEpochError, ProducerFencedError)):
            raise TakenOverError(name) from error
        raise


def take_over(settings: KafkaSettings, producer: KafkaProducer, name: str, partitions: int) -> bool:
    """Shut out whoever wrote under this name before, from all partitions of `logs`, before `producer` sends anything.
    True where nobody did: the cluster forgets a name that was not used for a week, but a log of lines sooner.

    Raises BrokerError; TakenOverError where somebody does the same to this one meanwhile.
    """
    with heeding_successor(name):
        return _take_over(settings, producer, name, partitions)


def _take_over(settings: KafkaSettings, producer: KafkaProducer, name: str, partitions: int) -> bool:
    identity = transactional_id(settings, name)
    with advising(settings, f"become the only writer {identity!r}"):
        claimed = _claim(settings, identity)
        manager = producer._transaction_manager
        deadline = time.monotonic() + _SECONDS
        while not manager.has_producer_id():
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"no producer id came within {_SECONDS:.0f} s. `foreshock doctor` looks at the broker."
                )
            time.sleep(_POLL_SECONDS)
        manager.set_producer_id_and_epoch(claimed)
        sent = [
            producer.send(
                settings.topic("logs"),
                value=value,
                key=str(partition).encode(),
                partition=partition,
                headers=kafka_headers(value, 0 if settings.clock else None),
            )
            for partition in range(partitions)
            for value in (_empty_batch(settings, partition, str(claimed)),)
        ]
        for future in sent:
            future.get(_SECONDS)
        return bool(claimed.epoch == 0)


def _claim(settings: KafkaSettings, identity: str) -> Any:
    claimant = KafkaProducer(
        **producer_options(settings, "ingest"),
        transactional_id=identity,
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )
    try:
        claimant.init_transactions()
        return claimant._transaction_manager.producer_id_and_epoch
    finally:
        claimant.close(timeout=_SECONDS)


def _empty_batch(settings: KafkaSettings, partition: int, claimed: str) -> bytes:
    """Of no source, and at no time: nobody's clock is moved."""
    key = str(partition)
    return encode(Event(id=digest("fence", claimed, key), at=0, key=key, data=LogBatch(sources=()), run=settings.run))
