"""How a connection to Kafka is kept private, and how a client says who it is; without any client library's types.

In: the `kafka:` section with its secrets. Out: a `Security`, of which connectors/kafka_clients.py makes kafka-python's
arguments and Faust's host its credentials.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from connectors.kafka_settings import KafkaSettings
from connectors.kafka_tokens import TokenSource, client_credentials, msk_iam
from models.errors import ConfigError

__all__ = ["Security", "find_security"]


@dataclass(frozen=True, slots=True)
class Security:
    """`protocol` as Kafka names it; `context` where it is encrypted; `mechanism` as it goes over the wire ("" without
    SASL: AWS_MSK_IAM is OAUTHBEARER there), with `username` and `password` or with `tokens`.
    """

    protocol: str
    context: ssl.SSLContext | None = None
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    tokens: TokenSource | None = None


def find_security(settings: KafkaSettings) -> Security:
    """What the settings ask for. Raises ConfigError for a secret that is not set and a file that cannot be used."""
    context = _context(settings) if settings.tls_on else None
    if not settings.sasl_on:
        return Security(settings.security_protocol, context)
    sasl = settings.sasl
    if sasl.mechanism == "AWS_MSK_IAM":
        tokens = TokenSource(msk_iam(sasl.region))
        return Security(settings.security_protocol, context, "OAUTHBEARER", tokens=tokens)
    if sasl.mechanism == "OAUTHBEARER":
        secret = _secret(settings.client_secret.get_secret_value(), "FORESHOCK_KAFKA_CLIENT_SECRET")
        tokens = TokenSource(client_credentials(sasl.token_url, sasl.client_id, secret, sasl.scope))
        return Security(settings.security_protocol, context, "OAUTHBEARER", tokens=tokens)
    password = _secret(settings.password.get_secret_value(), "FORESHOCK_KAFKA_PASSWORD")
    return Security(settings.security_protocol, context, sasl.mechanism, sasl.username, password)


def _secret(value: str, variable: str) -> str:
    if not value:
        advice = "Set it, or put it into a file in FORESHOCK_SECRETS_DIR."
        raise ConfigError("is not set, and the brokers ask for it", file="environment", key=variable, advice=advice)
    return value


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    tls = settings.tls
    for key, file in tls.files.items():
        if not Path(file).is_file():
            raise ConfigError(
                f"there is no file {file}", key=f"kafka.tls.{key}", advice="Write the path of a PEM file."
            )
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        advice = "Write the path of a PEM file with the authority's certificate."
        raise ConfigError(f"{tls.ca_file} cannot be used ({error})", key="kafka.tls.ca_file", advice=advice) from error
    context.check_hostname = tls.check_hostname
    if tls.cert_file:
        # Without a function for it OpenSSL would ask for the password on the terminal.
        password = settings.key_password.get_secret_value()
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file or None, lambda: password)
        except (OSError, ssl.SSLError) as error:
            advice = "Check that key_file belongs to it, and FORESHOCK_KAFKA_KEY_PASSWORD where the key is encrypted."
            message = f"{tls.cert_file} cannot be used ({error})"
            raise ConfigError(message, key="kafka.tls.cert_file", advice=advice) from error
    return context
