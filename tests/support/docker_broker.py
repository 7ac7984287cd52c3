"""A broker in a container of its own, for tests that ask for one by FORESHOCK_TEST_DOCKER.

In: nothing but an engine that answers `docker info`; else the test is skipped with the reason. Out: an address on this
machine. No package is needed for it, and no second container that cleans up: the container removes itself when stopped.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from compose_rig import require_docker

from connectors.local_kafka_config import HOST, free_ports

__all__ = ["IMAGE", "docker_broker"]

IMAGE = "apache/kafka:4.1.1"
_READY = "Kafka Server started"
_START_SECONDS = 120


@contextmanager
def docker_broker() -> Iterator[str]:
    """The address of a broker that lives as long as the block."""
    require_docker()
    name, port = f"foreshock-test-{secrets.token_hex(4)}", free_ports(1)[0]
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": f"HOST://:{port},CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"HOST://{HOST}:{port}",
        "LISTENER_SECURITY_PROTOCOL_MAP": "HOST:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "INTER_BROKER_LISTENER_NAME": "HOST",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    variables = [part for key, value in settings.items() for part in ("-e", f"KAFKA_{key}={value}")]
    _docker("run", "-d", "--rm", "--name", name, "-p", f"{HOST}:{port}:{port}", *variables, IMAGE)
    try:
        _wait(name)
        yield f"{HOST}:{port}"
    finally:
        _docker("rm", "-f", name)


def _wait(name: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while _READY not in (said := _docker("logs", name)):
        if time.monotonic() > deadline:
            pytest.fail(f"the broker in {name} did not start: {said[-3_000:]}")
        time.sleep(0.2)


def _docker(*arguments: str) -> str:
    done = subprocess.run(
        ["docker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    if done.returncode:
        pytest.fail(f"docker {arguments[0]}: {done.stdout[-3_000:]}")
    return done.stdout
