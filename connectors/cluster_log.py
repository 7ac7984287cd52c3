"""A cluster as the log that a command talks to, beside the roles that read it.

In: a configuration with a `kafka:` section. Out: the port SharedLog over Kafka.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from connectors.clock import PacedClock, WallClock
from connectors.kafka_groups import read_groups
from connectors.kafka_log import KafkaLog
from connectors.keys import KEYS_FILE, load_keys
from connectors.settings import Configuration
from connectors.shared_log import Group
from models.errors import ConfigError
from models.signing import KeyRing

__all__ = ["CLIENT", "ClusterLog"]

CLIENT: Final = "command"
"""What people's commands are called in client ids."""
_DAY_MS: Final = 86_400_000
_CONNECT_SECONDS: Final = 10.0


class ClusterLog(KafkaLog):
    """The port SharedLog. Connects at first use; every method raises BrokerError."""

    usual_span_ms: int | None = 7 * _DAY_MS

    def __init__(self, configuration: Configuration) -> None:
        kafka = configuration.settings.kafka
        super().__init__(kafka, CLIENT, virtual=bool(kafka.clock), connect_seconds=_CONNECT_SECONDS)
        self.configuration = configuration
        self._clock = PacedClock(kafka.clock) if kafka.clock else WallClock()

    @property
    def place(self) -> str:
        """The brokers' addresses, and the prefix where there is one."""
        kafka = self.configuration.settings.kafka
        named = f" (topics {kafka.prefix}*)" if kafka.prefix else ""
        return f"Kafka at {', '.join(kafka.bootstrap_servers)}{named}"

    @property
    def run(self) -> str:
        """The deployment's name."""
        return self.configuration.settings.kafka.run

    def now(self) -> int:
        """This machine's time, or the plan's where the deployment runs a simulated world."""
        return self._clock.now()

    def groups(self) -> Sequence[Group]:
        """The consumer groups of the roles and of the inspectors."""
        return read_groups(self.configuration.settings.kafka, CLIENT)

    def key_ring(self) -> KeyRing:
        """The configured keys, or those of the configured data folder where the roles' own were made.

        Raises ConfigError where there are none: what a key of our own signs, nobody would believe.
        """
        configuration = self.configuration
        if not configuration.signing_keys and not (configuration.data / KEYS_FILE).exists():
            raise ConfigError(
                "no signing key is known here, and a new one would be believed by nobody",
                key="signing_keys",
                advice="Set FORESHOCK_SIGNING_KEYS as it is set for the roles respond and act, or configure the data "
                f"folder that holds their {KEYS_FILE}.",
            )
        return load_keys(configuration.data, configuration.signing_keys, configuration.settings.signing_key)

    def alone(self) -> AbstractContextManager[None]:
        """Kafka cannot keep others out."""
        return nullcontext()
