"""What every Kafka client is given: addresses, security, client id. In: the `kafka:` section. Out: its arguments."""

from __future__ import annotations

from typing import Any, Final

from connectors.kafka_settings import KafkaSettings

__all__ = ["MAX_MESSAGE_BYTES", "client_options", "producer_options"]

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The largest message any topic takes: a batch has up to 256 KB of lines, a changelog record a service's state."""


def client_options(settings: KafkaSettings, client: str) -> dict[str, Any]:
    """For any kafka-python client; `client` (a role or a command) is added to the client id."""
    return {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "client_id": f"{settings.client_id}-{client}",
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
