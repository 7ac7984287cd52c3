"""What every Kafka client is given: addresses, security, client id. In: the `kafka:` section. Out: its arguments.

kafka-python's clients take `client_options`, `consumer_options` or `producer_options` as keyword arguments, and
Faust's host takes `faust_options`. All raise ConfigError where something that a connection needs is not configured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from connectors.kafka_security import Security, find_security
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_tokens import TokenSource, async_provider, sync_provider
from models.errors import ConfigError

__all__ = [
    "MAX_MESSAGE_BYTES",
    "FaustOptions",
    "aiokafka_options",
    "client_options",
    "consumer_options",
    "faust_options",
    "producer_options",
]

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The largest message any topic takes: a batch has up to 512 KB of lines, a changelog record a service's state."""
_BACKOFF_MOST_MS: Final = 2_000
"""kafka-python's 30 s would add half a minute to every outage of a broker."""


@dataclass(frozen=True, slots=True)
class FaustOptions:
    """What Faust's host makes its own arguments of: `broker` as `kafka://host:port;host:port`."""

    broker: str
    client_id: str
    security: Security


def client_options(settings: KafkaSettings, client: str) -> dict[str, Any]:
    """For any kafka-python client; `client` (a role or a command) is added to the client id."""
    return {
        "bootstrap_servers": _addresses(settings),
        "client_id": f"{settings.client_id}-{client}",
        "reconnect_backoff_max_ms": _BACKOFF_MOST_MS,
        **_security_options(find_security(settings), sync_provider),
    }


def consumer_options(settings: KafkaSettings, client: str) -> dict[str, Any]:
    """For a KafkaConsumer without a group, which commits nothing and begins at what is kept first."""
    return {
        **client_options(settings, client),
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "max_partition_fetch_bytes": MAX_MESSAGE_BYTES,
    }


def producer_options(settings: KafkaSettings, client: str) -> dict[str, Any]:
    """For a KafkaProducer whose messages are neither lost nor doubled nor reordered by its own retries."""
    return {
        **client_options(settings, client),
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": "lz4",
        "linger_ms": 5,
        "batch_size": 256 * 1024,
        "max_request_size": MAX_MESSAGE_BYTES,
    }


def aiokafka_options(settings: KafkaSettings, client: str) -> dict[str, Any]:
    """For an aiokafka client, to be made in the loop that uses it."""
    return {
        "bootstrap_servers": _addresses(settings),
        "client_id": f"{settings.client_id}-{client}",
        **_security_options(find_security(settings), async_provider),
    }


def faust_options(settings: KafkaSettings, role: str) -> FaustOptions:
    """For the agents of a role."""
    broker = "kafka://" + ";".join(_addresses(settings))
    return FaustOptions(broker, f"{settings.client_id}-{role}", find_security(settings))


def _addresses(settings: KafkaSettings) -> list[str]:
    if not settings.bootstrap_servers:
        advice = "Write host:port of one or more brokers there, or give --kafka host:port."
        raise ConfigError("no broker is named", key="kafka.bootstrap_servers", advice=advice)
    return list(settings.bootstrap_servers)


def _security_options(security: Security, provide: Callable[[TokenSource], Any]) -> dict[str, Any]:
    """The names are the same in kafka-python and aiokafka; only what gives a token (`provide`) is each one's own."""
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.context is not None:
        options["ssl_context"] = security.context
    if security.tokens is not None:
        provider = provide(security.tokens)
        return {**options, "sasl_mechanism": security.mechanism, "sasl_oauth_token_provider": provider}
    if security.mechanism:
        login = {"sasl_plain_username": security.username, "sasl_plain_password": security.password}
        return {**options, "sasl_mechanism": security.mechanism, **login}
    return options
