"""What went wrong with Kafka, in words that say what to do. In: exceptions of its clients. Out: BrokerError.

aiokafka has the same exceptions under the same names, but as classes of its own: they are told by their names, so that
nobody who does not use it imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kafka import errors

from connectors.kafka_settings import KafkaSettings
from models.errors import BrokerError, MissingTopicError

__all__ = ["advising", "broker_error", "missing_topic"]

_ADVICE: Final[tuple[tuple[tuple[type[errors.KafkaError], ...], str], ...]] = (
    (
        (errors.AuthorizationError,),
        "This client may not do that: compare the cluster's ACLs with `foreshock topics acls`.",
    ),
    (
        (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError, errors.IllegalSaslStateError),
        "The broker refuses the login: check kafka.sasl, and that its secret is the right one.",
    ),
    ((errors.UnknownTopicOrPartitionError,), "Create what is missing with `foreshock topics apply`."),
    (
        (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError),
        "The topic takes smaller messages than Foreshock writes: `foreshock topics diff` shows max.message.bytes.",
    ),
    (
        (errors.NotEnoughReplicasError, errors.NotEnoughReplicasAfterAppendError),
        "Too few brokers have the topic in sync: start those that are down, or see kafka.min_insync.",
    ),
    ((errors.KafkaStorageError,), "The broker cannot write: look whether its disk is full."),
)


@contextmanager
def advising(settings: KafkaSettings, doing: str) -> Iterator[None]:
    """Raises BrokerError for whatever Kafka raises while `doing`, as in "read logs"."""
    try:
        yield
    except errors.KafkaError as error:
        raise broker_error(settings, doing, error) from error


def broker_error(settings: KafkaSettings, doing: str, error: BaseException) -> BrokerError:
    """The BrokerError for an exception of kafka-python or aiokafka while `doing`, as in "read logs"."""
    twin = getattr(errors, type(error).__name__, None)
    kind = twin if isinstance(twin, type) and issubclass(twin, errors.KafkaError) else errors.KafkaError
    return BrokerError(f"cannot {doing}: {str(error) or repr(error)}. {_advice(settings, kind)}")


def missing_topic(settings: KafkaSettings, topic: str) -> MissingTopicError:
    """For a topic (as the cluster calls it) that is not there."""
    return MissingTopicError(
        f"the topic {topic!r} does not exist on {_servers(settings)}, or this client may not see it. "
        "Create it with `foreshock topics apply`, or check kafka.prefix."
    )


def _advice(settings: KafkaSettings, kind: type[errors.KafkaError]) -> str:
    found = next((advice for kinds, advice in _ADVICE if issubclass(kind, kinds)), "")
    return found or f"Check that a broker runs at {_servers(settings)} and can be reached (`foreshock doctor`)."


def _servers(settings: KafkaSettings) -> str:
    return ", ".join(settings.bootstrap_servers)
