"""What all roles of a deployment on Kafka share: its time and its keys. In: the configuration."""

from __future__ import annotations

from connectors.clock import PacedClock, WallClock
from connectors.keys import load_keys
from connectors.settings import Configuration
from models.signing import KeyRing

__all__ = ["deployment_clock", "deployment_keys"]


def deployment_clock(configuration: Configuration) -> WallClock | PacedClock:
    """The wall's, or the plan's where the deployment runs a simulated world."""
    plan = configuration.settings.kafka.clock
    return PacedClock(plan) if plan else WallClock()


def deployment_keys(configuration: Configuration) -> KeyRing:
    """The given keys, or those of the data folder (made there where there are none): respond signs with them, act
    verifies. On several machines they must be given. Raises ConfigError, DataFolderError.
    """
    configuration.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return load_keys(configuration.data, configuration.signing_keys, configuration.settings.signing_key)
