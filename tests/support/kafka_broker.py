"""A real broker for tests: a pytest plugin (tests/conftest.py names it), and helpers.

`kafka` (session): a bootstrap address. That of FORESHOCK_TEST_KAFKA where it is set; where FORESHOCK_TEST_DOCKER is, a
broker in a container (tests/support/docker_broker.py; one for each worker of pytest-xdist); else a local broker where
Java 17 and Maven are; else the test is skipped with the reason, and fails where CI is set. All workers of pytest-xdist
share one local broker: whoever needs it first starts a keeper process (this file as a program), every user holds a
shared lock on a file, and the keeper stops the broker when it gets the exclusive one. The kernel gives up the locks of
a worker that dies, and a broker dies with its keeper.
`prefix`: unique for each test, so that one broker serves all. `kafka_settings`: both as a KafkaSettings.
`make_topics(settings, partitions)` creates what the product needs. `broker(folder)` is a private one, to kill;
`cluster(folder)` three; `proxied_broker(folder)` one behind a proxy that can be cut (tests/support/tcp_proxy.py).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from docker_broker import docker_broker
from kafka import KafkaAdminClient
from tcp_proxy import TcpProxy

from connectors.kafka_clients import MAX_MESSAGE_BYTES
from connectors.kafka_settings import KafkaSettings
from connectors.local_kafka import QUICK_START, LocalBroker
from connectors.local_kafka_cluster import LocalCluster
from connectors.local_kafka_config import HOST, free_ports
from connectors.local_kafka_jars import kafka_jars, require_java
from connectors.settings import cache_folder
from models.errors import LocalKafkaError
from models.topics import TOPICS

__all__ = [
    "broker",
    "changelogs",
    "cluster",
    "kafka",
    "kafka_settings",
    "make_topics",
    "prefix",
    "proxied_broker",
    "require_broker",
    "shared_broker",
]

_STATEFUL = ("mine", "detect", "case", "act")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker's bootstrap address, `host:port`."""
    if given := os.environ.get("FORESHOCK_TEST_KAFKA"):
        yield given
        return
    if os.environ.get("FORESHOCK_TEST_DOCKER"):
        with docker_broker() as address:
            yield address
        return
    require_broker()
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # that of all workers of this run
    with shared_broker(root / "kafka") as address:
        yield address


@pytest.fixture
def prefix() -> str:
    """Unique on the cluster: begin every topic, group and transactional id with it."""
    return f"t{secrets.token_hex(5)}-"


@pytest.fixture
def kafka_settings(kafka: str, prefix: str) -> KafkaSettings:
    """This test's own corner of the shared broker. Topics are not made: see make_topics."""
    return KafkaSettings(bootstrap_servers=tuple(kafka.split(",")), prefix=prefix)


def require_broker() -> None:
    """Skip the test with the reason, or fail it under CI, where a broker cannot be made on this machine."""
    try:
        require_java()
        kafka_jars(cache_folder())
    except LocalKafkaError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def broker(folder: Path, **options: Any) -> LocalBroker:
    """A broker of the test's own, not started: use it as a context manager. Options: those of LocalBroker."""
    require_broker()
    return LocalBroker(folder, java_options=QUICK_START, **options)


def cluster(folder: Path, *, nodes: int = 3, properties: Mapping[str, str] | None = None) -> LocalCluster:
    """Several brokers of the test's own, not started: use it as a context manager."""
    require_broker()
    return LocalCluster(folder, nodes=nodes, properties=properties, java_options=QUICK_START)


@contextmanager
def proxied_broker(folder: Path, **options: Any) -> Iterator[tuple[LocalBroker, TcpProxy]]:
    """A private broker whose clients all go through a proxy; `broker.bootstrap` is the proxy's address."""
    port = free_ports(1)[0]
    with TcpProxy(f"{HOST}:{port}") as proxy, broker(folder, port=port, advertised=proxy.port, **options) as own:
        yield own, proxy


def changelogs(settings: KafkaSettings) -> list[str]:
    """The topics that keep the steps' state."""
    return [settings.changelog(step) for step in _STATEFUL]


def make_topics(settings: KafkaSettings, partitions: int, names: Iterable[str] | None = None) -> None:
    """Create the topics of models.topics (`names`: only these) and the changelogs; returns when all have leaders."""
    wanted = [TOPICS[name] for name in (TOPICS if names is None else names)]
    kept = {settings.topic(topic.name): topic.retention_ms for topic in wanted}
    if names is None:
        kept |= dict.fromkeys(changelogs(settings))
    copies = {"num_partitions": partitions, "replication_factor": settings.replication}
    topics = {name: {**copies, "configs": _configs(ms)} for name, ms in kept.items()}
    admin = KafkaAdminClient(bootstrap_servers=list(settings.bootstrap_servers))
    try:
        admin.create_topics(topics, wait_for_metadata=True)
    finally:
        admin.close()


def _configs(retention_ms: int | None) -> Mapping[str, str]:
    kept = {"cleanup.policy": "compact"} if retention_ms is None else {"retention.ms": str(retention_ms)}
    return {**kept, "message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_MESSAGE_BYTES)}


@contextmanager
def shared_broker(folder: Path) -> Iterator[str]:
    """The address of the one broker that all who name this folder share."""
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "address"
    with (folder / "users.lock").open("a") as users:
        with (folder / "start.lock").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is just stopping
            if not address.exists():
                _start_keeper(folder)
        yield address.read_text()


def _start_keeper(folder: Path) -> None:
    source = Path(__file__).resolve()
    path = os.pathsep.join(str(part) for part in (source.parents[2], source.parent))
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(source), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
    assert keeper.stdout is not None
    with keeper.stdout as said:
        if not said.readline():
            keeper.wait()
            pytest.fail(f"the tests' broker did not start: {(folder / 'keeper.log').read_text()[-3000:]}")


def _keep(folder: Path) -> None:
    """The keeper: start the broker, say so, stop it when nobody holds the users' lock any more."""
    address = folder / "address"
    with (folder / "users.lock").open("a") as users, LocalBroker(folder / "broker") as own:
        part = address.with_suffix(".part")
        part.write_text(own.bootstrap)
        part.rename(address)
        sys.stdout.write("ready\n")
        with suppress(BrokenPipeError):
            sys.stdout.close()
        fcntl.flock(users, fcntl.LOCK_EX)
        address.unlink()
        own.stop()
        shutil.rmtree(folder / "broker" / "data", ignore_errors=True)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
