"""The stack of docker-compose.yml under a name of its own: start it, look at it, break it, take it down.

Needs a Docker engine that answers `docker info`, and `docker compose` or docker-compose; else the test is skipped with
the reason.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.local_kafka_config import free_ports
from connectors.ports import Record

__all__ = ["Stack", "compose_command", "require_docker", "until"]

ROOT = Path(__file__).resolve().parents[2]
_OUTPUT = 4_000


def require_docker() -> None:
    """Skip the test where no engine answers."""
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no Docker here: {error}")
    if done.returncode:
        pytest.skip(f"no Docker engine answers: {done.stderr.strip().splitlines()[-1:]}")


def compose_command() -> list[str]:
    """`docker compose` where the plugin is, else docker-compose."""
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            if subprocess.run([*command, "version"], capture_output=True, timeout=30, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            continue
    pytest.skip("neither `docker compose` nor docker-compose is here")


def until(what: str, look: Callable[[], bool], seconds: float) -> float:
    """Look twice a second until it is so, at most `seconds`; how long it took."""
    begun = time.monotonic()
    while not look():
        if time.monotonic() - begun > seconds:
            pytest.fail(f"after {seconds:.0f} s still not: {what}")
        time.sleep(0.5)
    return time.monotonic() - begun


class Stack:
    """A project of its own. `environment`: the variables of docker-compose.yml; `options` come after the command."""

    def __init__(self, environment: Mapping[str, str], options: Sequence[str] = ()) -> None:
        require_docker()
        self.project = f"foreshock-test-{secrets.token_hex(4)}"
        self.port = free_ports(1)[0]
        self._command = [*compose_command(), "-p", self.project, *options]
        patient = {"COMPOSE_HTTP_TIMEOUT": "900"}  # of docker-compose 1: a slow disk makes containers slowly
        self._environment = {**os.environ, **patient, **environment, "KAFKA_PORT": str(self.port)}

    def compose(self, *arguments: str, seconds: float = 600) -> str:
        """Run a compose command on the project; what it said on stdout. Fails the test where it fails."""
        return self._run([*self._command, *arguments], seconds)

    def build(self) -> None:
        """The image, where something changed."""
        self.compose("build", "setup", seconds=1_800)

    def up(self, **variables: str) -> None:
        """Start what has been built; `variables` are further ones of docker-compose.yml."""
        self._environment.update(variables)
        self.compose("up", "-d", seconds=1_500)

    def down(self) -> None:
        """Stop and remove everything, the volumes, too."""
        self.compose("down", "-v")

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "-q", service).strip()

    def inspect(self, service: str) -> dict[str, object]:
        """What the engine knows of a service's container."""
        return json.loads(self._run(["docker", "inspect", self.container(service)], 60))[0]

    def health(self, service: str) -> str:
        """`healthy`, `starting`, `unhealthy`, or the state of a container without a check."""
        state = self.inspect(service)["State"]
        assert isinstance(state, dict)
        return str(state["Health"]["Status"] if "Health" in state else state["Status"])

    def wait_for(self, service: str, health: str, seconds: float, *, restarts: int = 0) -> float:
        """Wait until it is that well, having been started again so often; how long it took (s)."""

        def look() -> bool:
            return self.restarts(service) >= restarts and self.health(service) == health

        return until(f"{service} is {health}, restarted {restarts} times", look, seconds)

    def signal(self, service: str, name: str) -> None:
        """A signal for all processes of a container but its init. (`docker kill` would tell the engine not to start it
        again.)
        """
        command = ["docker", "exec", self.container(service), "sh", "-c", f"kill -{name} -1"]
        subprocess.run(command, timeout=60, check=False)  # the shell is no exception, so the code says nothing

    def restarts(self, service: str) -> int:
        """How often the engine has started it again."""
        return int(str(self.inspect(service)["RestartCount"]))

    def foreshock(self, service: str, *arguments: str) -> str:
        """A command of Foreshock in a running container."""
        return self.compose("exec", "-T", service, "foreshock", *arguments)

    def read(self, topic: str) -> list[Record]:
        """All records of a topic, as a program on this machine reads them through the published port."""
        log = KafkaLog(KafkaSettings(bootstrap_servers=(f"localhost:{self.port}",)), "tests")
        try:
            found: list[Record] = []
            for partition in range(log.partitions(topic)):
                at, end = log.bounds(topic, partition)
                while at < end and (page := log.read(topic, partition, at, 2_000)):
                    found += page
                    at = page[-1].offset + 1
            return found
        finally:
            log.close()

    def left(self) -> list[str]:
        """Containers, volumes and networks of the project that are still there."""
        label = f"label=com.docker.compose.project={self.project}"
        found: list[str] = []
        for kind in (["ps", "-a"], ["volume", "ls"], ["network", "ls"]):
            found += self._run(["docker", *kind, "-q", "--filter", label], 60).split()
        return found

    def logs(self) -> str:
        """The last lines of every service."""
        return self.compose("logs", "--no-color", "--tail", "8")

    def _run(self, command: Sequence[str], seconds: float) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            pytest.fail(
                f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-_OUTPUT:]}{done.stderr[-_OUTPUT:]}"
            )
        return done.stdout
