"""What `foreshock simulate` does: be the simulated cloud of a deployment on Kafka.

In: the command's options. Out: on stderr where the API listens; exit 0 after a signal, 69 without a broker, 78 for a
wrong configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.kafka_probe import check_brokers
from connectors.kafka_settings import kafka_options
from connectors.settings import read_settings
from connectors.simulator_spec import parse_simulator_spec
from models.errors import ConfigError
from streams.cli_run import log_to_stderr, stopping
from streams.rendering import note
from streams.simulate import Address, open_cloud

__all__ = ["Options", "simulate"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was given; empty values leave the configuration as it is."""

    kafka: str
    host: str
    port: int
    data: Path | None
    config: Path | None
    publish: bool = True


def simulate(world: str, given: Options) -> None:
    """Be the simulated cloud until a signal comes."""
    spec = parse_simulator_spec(world)
    overrides: dict[str, Any] = dict(kafka_options(given.kafka))
    if given.data is not None:
        overrides["data"] = str(given.data)
    configuration = read_settings(given.config, overrides)
    token = configuration.settings.actuator_token.get_secret_value()
    if not token:
        advice = "Set it to any secret text, the same for `foreshock simulate` and the role act."
        raise ConfigError("the API needs a token", file="environment", key="FORESHOCK_ACTUATOR_TOKEN", advice=advice)
    log_to_stderr()
    check_brokers(configuration.settings.kafka)
    address = Address(token, given.host, given.port)
    with stopping() as stop, open_cloud(configuration, spec, address, publish=given.publish) as cloud:
        note(f"foreshock: the simulated cloud {world} listens at {cloud.url}")
        cloud.run(stop)
