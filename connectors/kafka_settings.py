"""The `kafka:` section of the configuration: which brokers, how to reach them, and what everything there is called.

In: the section, and secrets of the environment. Out: `KafkaSettings`. Nothing is opened here: whether files exist and a
secret is there is asked when a client is made (connectors/kafka_security.py), so that a command that needs no broker
runs without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from models.errors import ConfigError
from models.event import Model
from models.topics import TOPICS

__all__ = ["KAFKA_SECRETS", "KafkaSettings", "SaslSettings", "TlsSettings", "kafka_options"]

KAFKA_SECRETS: Final = {
    "kafka_password": "password",
    "kafka_client_secret": "client_secret",
    "kafka_key_password": "key_password",
}
"""Settings that only the environment and the secrets folder may give, and the field of KafkaSettings they become."""

_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")
_LOCAL_URLS: Final = tuple(("http", host) for host in ("localhost", "127.0.0.1", "::1"))


class TlsSettings(Model):
    """`ca_file` (PEM): who must have signed the brokers' certificates (default: the system's authorities). `cert_file`
    and `key_file`: this client's own, where brokers ask for one. Paths are relative to the configuration's file.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    check_hostname: bool = True

    @property
    def files(self) -> dict[str, str]:
        """Those that are named, by key."""
        named = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        return {key: path for key, path in named.items() if path}

    @model_validator(mode="after")
    def _has_certificate_and_key(self) -> TlsSettings:
        if self.key_file and not self.cert_file:
            raise ValueError("Write cert_file, too: a key alone proves nothing")
        return self


class SaslSettings(Model):
    """Who this client is. SCRAM-*: `username`, its password from the environment. OAUTHBEARER: client credentials from
    `token_url` for `client_id` (and `scope`), its secret from the environment. AWS_MSK_IAM: a token signed for `region`
    with the credentials that the AWS SDK finds.
    """

    mechanism: Literal["", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] = ""
    username: str = ""
    token_url: str = ""
    client_id: str = ""
    scope: str = ""
    region: str = Field(default="", pattern=r"^([a-z]{2}(-[a-z]+)+-[0-9]+)?$")

    @field_validator("token_url")
    @classmethod
    def _keeps_the_secret(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host = parts.hostname
        except ValueError as error:
            raise ValueError("Write a URL, as in https://login.example.org/token") from error
        safe = (parts.scheme == "https" and host) or (parts.scheme, host) in _LOCAL_URLS
        if value and not safe:
            raise ValueError("Write an https URL: the client's secret is sent there")
        return value

    @model_validator(mode="after")
    def _says_who(self) -> SaslSettings:
        needed = {
            "SCRAM-SHA-256": ("username",),
            "SCRAM-SHA-512": ("username",),
            "OAUTHBEARER": ("token_url", "client_id"),
            "AWS_MSK_IAM": ("region",),
        }.get(self.mechanism, ())
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"Write {' and '.join(missing)}, too: {self.mechanism} needs it")
        return self


class KafkaSettings(Model):
    """How to reach Kafka and what this deployment's topics and groups are called. `prefix` comes before every name, so
    that several deployments can share a cluster. `min_insync`: of `replication`, how many must have a record before it
    counts as written. `retention_days` replaces how long a topic of models.topics is kept. `clock`: the plan of a
    virtual time (connectors/clock.py), where the deployment runs a simulated world; else time is the brokers'.

    `password`, `client_secret` and `key_password` come from the environment (`KAFKA_SECRETS`), never from the file.
    """

    bootstrap_servers: Annotated[tuple[str, ...], NoDecode] = ()
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,40}$")
    client_id: str = Field(default="foreshock", pattern=r"^[A-Za-z0-9._-]{1,60}$")
    replication: int = Field(default=1, ge=1, le=9)
    min_insync: int = Field(default=1, ge=1, le=9)
    session_seconds: float = Field(default=6.0, ge=6.0, le=300.0)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    tls: TlsSettings = TlsSettings()
    sasl: SaslSettings = SaslSettings()
    principal: str = Field(default="User:foreshock-{role}", pattern=r"^[A-Za-z]+:.*\{role\}")
    retention_days: dict[str, Annotated[float, Field(gt=0, le=36_500)]] = {}
    clock: str = ""
    password: SecretStr = SecretStr("")
    client_secret: SecretStr = SecretStr("")
    key_password: SecretStr = SecretStr("")

    @property
    def run(self) -> str:
        """The name of this deployment in the envelope: act obeys no other's commands."""
        return f"kafka-{self.prefix.strip('.-_') or 'foreshock'}"

    def topic(self, name: str) -> str:
        """What a topic of models.topics is called on the cluster."""
        return f"{self.prefix}{name}"

    def group(self, role: str) -> str:
        """The consumer group of a role."""
        return f"{self.prefix}foreshock-{role}"

    def changelog(self, step: str) -> str:
        """The compacted topic that keeps a step's state."""
        return f"{self.prefix}foreshock-{step}-state"

    @property
    def tls_on(self) -> bool:
        """True where connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def sasl_on(self) -> bool:
        """True where a client says who it is by SASL."""
        return self.security_protocol.startswith("SASL_")

    def complete(self, secrets: Mapping[str, SecretStr], files: Mapping[str, str]) -> KafkaSettings:
        """With the secrets of the environment (by the names of KAFKA_SECRETS), and the files of `tls` as found from
        here.
        """
        given = {KAFKA_SECRETS[name]: secret for name, secret in secrets.items() if secret.get_secret_value()}
        return self.model_copy(update={**given, "tls": self.tls.model_copy(update=dict(files))})

    @field_validator("bootstrap_servers", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = next((item for item in value if not _is_address(item)), None)
        if wrong is not None:
            raise ValueError(f"Write host:port, as in kafka-1:9092; {wrong!r} is none")
        return value

    @field_validator("retention_days")
    @classmethod
    def _are_kept_by_time(cls, value: dict[str, float]) -> dict[str, float]:
        timed = [topic.name for topic in TOPICS.values() if not topic.compacted]
        wrong = next((name for name in value if name not in timed), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no topic kept by time; those are {', '.join(timed)}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> KafkaSettings:
        if self.min_insync > self.replication:
            raise ValueError("Write a min_insync of at most replication: no more copies can have a record")
        if not self.tls_on and self.tls != TlsSettings():
            raise ValueError("Write security_protocol: SSL or SASL_SSL, or take tls away: it would not be used")
        if not self.sasl_on and self.sasl.mechanism:
            raise ValueError("Write security_protocol: SASL_SSL, or take sasl away: it would not be used")
        if self.sasl_on and not self.sasl.mechanism:
            raise ValueError(f"Write sasl.mechanism, too: {self.security_protocol} needs it")
        if self.sasl.mechanism in ("AWS_MSK_IAM", "OAUTHBEARER") and not self.tls_on:
            raise ValueError("Write security_protocol: SASL_SSL: whoever reads along could use the token, too")
        return self


def kafka_options(address: str) -> dict[str, Any]:
    """What `--kafka ADDR` means to `read_settings(file, options)`: these bootstrap servers (`host:port`, several with
    commas) instead of the configured; "" changes nothing. Raises ConfigError.
    """
    servers = tuple(part.strip() for part in address.split(",") if part.strip())
    wrong = next((server for server in servers if not _is_address(server)), None)
    if wrong is not None:
        raise ConfigError(f"{wrong!r} is no address", key="--kafka", advice="Write host:port, as in localhost:9092.")
    return {"kafka": {"bootstrap_servers": servers}} if servers else {}


def _is_address(text: str) -> bool:
    found = _ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found[1]) < 65_536
