"""The composition root of the role act on Kafka: the one process that holds credentials for changing anything.

In: a configuration. Out: a worker (streams/worker.py) with the configured actuator, until SIGTERM or Ctrl-C. It imports
no framework.
"""

from __future__ import annotations

from collections.abc import Mapping

from connectors.actuators import act_performers, perform_health
from connectors.clock import PacedClock
from connectors.cloud_client import open_actuator
from connectors.heartbeat import Heartbeat
from connectors.kafka_readers import KafkaReaders
from connectors.settings import Configuration
from streams.act import ActStep
from streams.cli_run import stopping
from streams.deployment import deployment_clock, deployment_keys
from streams.effects import Performer
from streams.worker import Worker, WorkerOptions

__all__ = ["run_act"]


def run_act(configuration: Configuration) -> None:
    """Be a member of the role until a signal comes. Without an actuator actions are answered "not configured"."""
    settings, clock = configuration.settings, deployment_clock(configuration)
    kafka, virtual = settings.kafka, isinstance(clock, PacedClock)
    actuator = open_actuator(settings)
    readers = KafkaReaders(kafka, "act", virtual=virtual)
    repeated: set[str] = set()
    performers: Mapping[str, Performer] = (
        {"probe_health": perform_health(readers)} if actuator is None else act_performers(actuator, readers, repeated)
    )
    step = ActStep(deployment_keys(configuration), kafka.run)
    options = WorkerOptions(
        kafka.run, settings.region, virtual, repeated, heartbeat=Heartbeat(settings.heartbeat, "act")
    )
    with stopping() as stop:
        Worker(kafka, step, performers, clock, options).run(stop)
    readers.close()
