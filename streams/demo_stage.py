"""The stage of `foreshock demo --kafka`: a broker, topics of the demo's own, the simulated cloud and all roles as
supervised processes on a clock that the demo moves.

In: the address of a broker, or "" for one that is started here. Out: a deployment; everything it started is stopped and
removed at the end, only the logs stay where something went wrong.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from connectors import kafka_topics
from connectors.cloud_client import CloudActuator
from connectors.kafka_errors import advising
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings, kafka_options
from connectors.local_kafka import LocalBroker
from connectors.local_kafka_config import free_ports
from connectors.settings import process_environment
from connectors.shared_log import INSPECT
from connectors.simulator_spec import SimulatorSpec
from connectors.world_shop import REGION
from models.catalog import Catalog
from models.errors import ForeshockError
from streams import up
from streams.catalog import publish_catalog
from streams.pacing import Pacer
from streams.supervisor import Happening, Program, Supervisor

__all__ = ["Stage", "open_stage"]

PARTITIONS = 1
_ROLES = ("mine", "detect", "respond", "act")
_CLOCK = "clock"
_LOGS = "logs"


@dataclass(slots=True)
class Stage:
    """A running deployment. `happenings`: what its processes went through lately."""

    settings: KafkaSettings
    pacer: Pacer
    cloud: CloudActuator
    supervisor: Supervisor
    happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=100))
    _failed: list[BaseException] = field(default_factory=list)

    def check(self) -> None:
        """Raises what ended the deployment, if anything has."""
        if self._failed:
            raise ForeshockError(f"the demo's processes ended: {self._failed[0]}") from self._failed[0]

    def publish(self, catalog: Catalog) -> None:
        """Let this catalog hold from now on."""
        log = KafkaLog(self.settings, "demo", virtual=True)
        try:
            publish_catalog(log, catalog, self.pacer.now, at_once=False, run=self.settings.run)
        finally:
            log.close()

    def run(self) -> None:
        """In a thread of its own: the supervisor."""
        try:
            self.supervisor.run()
        except Exception as error:  # noqa: BLE001 - an edge: told in the thread that plays the demo
            self._failed.append(error)


@contextlib.contextmanager
def open_stage(address: str, world: str, spec: SimulatorSpec, told: Callable[[str], None]) -> Iterator[Stage]:
    """Everything that the demo needs, running. `told` hears what is being done.

    Raises BrokerError, LocalKafkaError, ConfigError.
    """
    kafka_options(address)
    folder = Path(tempfile.mkdtemp(prefix="foreshock-demo-"))
    well = False
    try:
        with contextlib.ExitStack() as stack:
            if not address:
                told("starting a Kafka broker of its own")
                address = stack.enter_context(LocalBroker(folder / "kafka")).bootstrap
            pacer = Pacer(folder / _CLOCK, spec.start)
            settings = KafkaSettings(
                bootstrap_servers=tuple(address.split(",")),
                prefix=f"demo-{secrets.token_hex(3)}-",
                clock=f"@{folder / _CLOCK}",
            )
            told(f"making topics {settings.prefix}... at {address}")
            stack.enter_context(_topics(settings))
            told("starting the simulated cloud and the roles " + ", ".join(_ROLES))
            yield stack.enter_context(_deployment(folder, settings, world, pacer))
        well = True
    finally:
        shutil.rmtree(folder / "kafka", ignore_errors=True)
        if well:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            told(f"the processes' logs are in {folder / _LOGS}")


@contextlib.contextmanager
def _topics(settings: KafkaSettings) -> Iterator[None]:
    """The topics of a deployment, gone afterwards with its groups."""
    plans = kafka_topics.plan(settings, PARTITIONS)
    admin = kafka_topics.open_admin(settings, "demo")
    try:
        kafka_topics.apply(admin, settings, plans)
        try:
            yield
        finally:
            with advising(settings, "delete the demo's topics"):
                admin.delete_topics([plan.name for plan in plans])
                admin.delete_groups([settings.group(name) for name in (*_ROLES, INSPECT)])
    finally:
        admin.close()


@contextlib.contextmanager
def _deployment(folder: Path, settings: KafkaSettings, world: str, pacer: Pacer) -> Iterator[Stage]:
    port, token = free_ports(1)[0], secrets.token_urlsafe(24)
    url = f"http://127.0.0.1:{port}"
    config = folder / "foreshock.yaml"
    written = {
        "data": "data",
        "region": REGION,
        "partitions": PARTITIONS,
        "kafka": {
            "bootstrap_servers": list(settings.bootstrap_servers),
            "prefix": settings.prefix,
            "clock": settings.clock,
        },
        "actuator": {"kind": "simulator", "url": url},
    }
    config.write_text(yaml.safe_dump(written), encoding="utf-8")
    # What the user has configured for another deployment must not reach this one.
    given = {"FORESHOCK_CONFIG": str(config), "FORESHOCK_ACTUATOR_TOKEN": token}
    env = process_environment(given, inherit=False)
    command = up.command("simulate", world, "--port", str(port), "--no-catalog")
    programs = [Program(up.SIMULATOR, up.SIMULATOR, command, env), *up.programs(_ROLES, {}, env)]
    happenings: deque[Happening] = deque(maxlen=100)
    supervisor = Supervisor(programs, folder / _LOGS, happenings.append, order=up.DRAIN_ORDER)
    stage = Stage(settings, pacer, CloudActuator(url, token), supervisor, happenings)
    thread = threading.Thread(target=stage.run, name="supervisor", daemon=True)
    thread.start()
    try:
        yield stage
    finally:
        supervisor.stop()
        thread.join()
