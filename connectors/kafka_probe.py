"""Why a broker cannot be used. In: the `kafka:` section. Out: a BrokerError, unless one of its brokers answers.

kafka-python tries again until its time is up and then says that it is up; here one connection is made and the first
thing that fails is named, with what to change. Both clients' connections are configured the same, so it holds for both.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, Final

from connectors.kafka_clients import faust_options
from connectors.kafka_security import Security
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_tokens import async_provider
from models.errors import BrokerError

__all__ = ["any_listens", "check_brokers"]

_SECONDS: Final = 5.0


def any_listens(settings: KafkaSettings, seconds: float = _SECONDS) -> bool:
    """Whether anybody takes a connection at one of the brokers' addresses, each within `seconds`: no more than that."""
    for address in settings.bootstrap_servers:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), seconds).close()
        except OSError:
            continue
        return True
    return False


def check_brokers(settings: KafkaSettings, seconds: float = _SECONDS) -> None:
    """Return once one of the brokers answers and lets this client in, each within `seconds`. Not in an event loop.

    Raises BrokerError with the reason of the first, ConfigError where something is not configured.
    """
    first: BrokerError | None = None
    security = faust_options(settings, "check").security
    for address in settings.bootstrap_servers:
        try:
            return asyncio.run(_connect(address, settings, security, seconds))
        except BrokerError as error:
            first = first or error
    assert first is not None
    raise first


async def _connect(address: str, settings: KafkaSettings, security: Security, seconds: float) -> None:
    from aiokafka.conn import create_conn
    from aiokafka.errors import KafkaError
    from aiokafka.protocol.metadata import MetadataRequest

    host, _, port = address.rpartition(":")
    login: dict[str, Any] = {}
    if security.mechanism:
        login = {"sasl_mechanism": security.mechanism}
        if security.tokens is not None:
            login["sasl_oauth_token_provider"] = async_provider(security.tokens)
        else:
            login |= {"sasl_plain_username": security.username, "sasl_plain_password": security.password}
    try:
        async with asyncio.timeout(seconds):
            connection = await create_conn(
                host.strip("[]"),
                int(port),
                client_id=f"{settings.client_id}-check",
                request_timeout_ms=int(seconds * 1000),
                security_protocol=security.protocol,
                ssl_context=security.context,
                **login,
            )
            try:  # a listener that wants a login says so only to the second question
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except (OSError, ssl.SSLError, TimeoutError, KafkaError) as error:
        raise _explain(address, settings, error) from error


def _explain(address: str, settings: KafkaSettings, error: Exception) -> BrokerError:
    """In the order in which a connection is made: name, door, encryption, login."""
    from aiokafka.errors import IllegalSaslStateError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

    sasl = settings.sasl
    if isinstance(error, socket.gaierror):
        return BrokerError(f"{address}: no host of this name is known. Check kafka.bootstrap_servers.")
    if isinstance(error, ConnectionRefusedError):
        return BrokerError(f"{address}: nobody listens there. Start a broker (`make kafka`), or check the address.")
    if isinstance(error, TimeoutError):
        return BrokerError(f"{address}: no answer in time. Check the address, the network and its firewalls.")
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerError(
            f"{address}: its certificate is not trusted ({error.verify_message}). Write the authority that signed it "
            "to kafka.tls.ca_file; where only the name differs, use the name that the certificate has."
        )
    if isinstance(error, SaslAuthenticationFailed):
        who = f"{sasl.username!r} with FORESHOCK_KAFKA_PASSWORD" if sasl.username else "the token it was sent"
        return BrokerError(
            f"{address}: the broker refuses {who} ({sasl.mechanism}). Check both, and that the user exists."
        )
    if isinstance(error, (UnsupportedSaslMechanismError, IllegalSaslStateError)):
        return BrokerError(
            f"{address}: this listener does not take {sasl.mechanism}. Check kafka.sasl.mechanism, or the port: each "
            "listener has its own."
        )
    return BrokerError(
        f"{address}: the connection breaks ({_said(error)}) with security_protocol {settings.security_protocol}. Check "
        "kafka.security_protocol, and the port: each listener speaks one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL."
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
