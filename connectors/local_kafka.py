"""A real Apache Kafka broker on this machine, from its Maven artifacts: KRaft, broker and controller in one; no Docker.

In: a folder (its data, its log, its certificates), perhaps a port. Out: a bootstrap address, and a process that can be
stopped, killed, paused and started again on the same port and folder. Needs Java 17, and Maven for the first start.
`python -m connectors.local_kafka --folder DIR --port 9092` runs one until SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from connectors.data_folder import hold
from connectors.local_kafka_certificates import Certificates, make_certificates
from connectors.local_kafka_config import (
    HOST,
    LOG_CONFIG,
    Ports,
    Seat,
    Security,
    free_ports,
    is_free,
    scram_arguments,
    server_properties,
)
from connectors.local_kafka_jars import kafka_jars, require_java
from connectors.settings import cache_folder
from connectors.tether import guard
from models.errors import DataFolderError, LocalKafkaError

__all__ = ["QUICK_START", "LocalBroker", "Security", "main", "new_cluster_id"]

QUICK_START: Final = ("-XX:TieredStopAtLevel=1",)
"""Java options of a broker that lives for seconds: 2.6 instead of 4.3 CPU-seconds to be ready, slower afterwards."""

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
# The serial collector has no threads that compete for two cores.
_HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
_BRIEF = ("-Xmx128m", "-XX:+UseSerialGC", *QUICK_START)
_BIND_FAILED = "Address already in use"
_LEAVE_SECONDS = 3.0
"""A broker whose owner was killed a moment ago still holds its folder until it is gone, too."""


class LocalBroker:
    """One node; use as a context manager, or start() and stop().

    `port` 0: a free one, kept through restarts. `advertised`: the port that clients of the plain listener are told to
    come to, where a proxy stands between. `properties` (server.properties' names) and `java_options` win over what the
    launcher sets.
    `seat`: its place in a cluster of several (LocalCluster); else it is alone. The broker dies with this process. Its
    folder is locked while it runs: two brokers in one would destroy what both have.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        advertised: int = 0,
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        security: Security | None = None,
        seat: Seat | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.log_file = self.folder / "broker.log"
        self._port, self._advertised, self._security, self._seat = port, advertised, security, seat
        self._properties, self._java_options = dict(properties or {}), tuple(java_options)
        self._ports: Ports | None = None
        self._certificates: Certificates | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def ports(self) -> Ports:
        """Its ports, chosen at first use."""
        if self._ports is None:
            free = free_ports(5)
            own = self._seat.voters[self._seat.node_id] if self._seat else free[2]
            self._ports = Ports(self._port or free[0], free[1], own, free[3], free[4])
        return self._ports

    @property
    def bootstrap(self) -> str:
        """The plain listener's address, as the broker advertises it."""
        return f"{HOST}:{self._advertised or self.ports.client}"

    @property
    def tls_bootstrap(self) -> str:
        """The TLS listener's address (with `security`)."""
        return f"localhost:{self.ports.tls}"

    @property
    def sasl_bootstrap(self) -> str:
        """The SASL_SSL listener's address (with `security`)."""
        return f"localhost:{self.ports.sasl}"

    @property
    def ca_file(self) -> Path:
        """PEM of the authority that signed the broker's certificate (with `security`)."""
        return self.folder / "certificates" / "ca.pem"

    @property
    def pid(self) -> int | None:
        """The process's id; None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it and wait until it answers. Raises LocalKafkaError with the end of its log when it does not."""
        for attempt in range(3):
            try:
                self.launch()
                return self.wait_ready()
            except LocalKafkaError as error:
                self.kill()
                if _BIND_FAILED not in str(error) or self._port or self._seat or attempt == 2:
                    raise
                self._ports = None  # somebody took one of them between our look and its bind
            except BaseException:
                self.kill()
                raise
        return None

    def launch(self) -> None:
        """Start it and do not wait; a new folder is formatted first. Nothing happens when it runs."""
        if self.pid is not None:
            return
        if self._port and not is_free(self._port):
            raise LocalKafkaError(f"port {self._port} is taken. Stop what listens there, or name another port")
        java, jars = require_java(), kafka_jars(cache_folder())
        if self._lock is None:
            self._lock = self._hold()
        self._write_configuration()
        base = [java, f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}", "-cp", f"{jars}/*"]
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(base)
        with self.log_file.open("ab") as log:
            main = ["kafka.Kafka", str(self.folder / "server.properties")]
            self._process = subprocess.Popen(
                [*base[:1], *_HEAP, *self._java_options, *base[1:], *main],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(
                    self._lock.fileno(),
                ),  # the lock is gone when the broker is, whatever becomes of this process
            )
        self._guard = guard(self._process.pid)

    def wait_ready(self, *, brokers: int = 1, seconds: float = _START_SECONDS) -> None:
        """Return when it answers and knows of `brokers` nodes. Raises LocalKafkaError when it dies or takes longer."""
        deadline = time.monotonic() + seconds
        while not self._answers(brokers):
            if self.pid is None:
                raise LocalKafkaError(f"Kafka did not start. The end of {self.log_file}:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise LocalKafkaError(f"Kafka does not answer after {seconds:g} s. Look at {self.log_file}")
            time.sleep(_POLL_SECONDS)

    def terminate(self) -> None:
        """SIGTERM, without waiting: it hands over what it leads and ends."""
        self.resume()
        self._signal(signal.SIGTERM)

    def stop(self, seconds: float = 20.0) -> None:
        """SIGTERM; after `seconds` SIGKILL. Returns when it is gone; what it had acknowledged is kept."""
        self.terminate()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine's process would be."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # closing is not enough where this process has forked meanwhile
            self._lock.close()
            self._lock = None

    def restart(self) -> None:
        """stop() where it runs, and start() on the same ports and folder."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:  # its threads stop one by one: until then it may answer
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def wait(self) -> int:
        """Block until the process ends; its exit code."""
        return self._process.wait() if self._process is not None else 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _hold(self) -> IO[str]:
        deadline = time.monotonic() + _LEAVE_SECONDS
        advice = "Use that one, or stop it first, or name another --folder (make kafka FOLDER=...)."
        while True:
            try:
                return hold(self.folder, advice, f", a broker at {self.bootstrap}")
            except DataFolderError as error:
                if time.monotonic() > deadline:
                    raise LocalKafkaError(str(error)) from error
            time.sleep(_POLL_SECONDS)

    def _write_configuration(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = self.ports
        if self._security is not None and self._certificates is None:
            self._certificates = make_certificates(self.folder / "certificates")
        written = server_properties(
            self.folder / "data",
            ports,
            self._seat or Seat("", 1, {1: ports.controller}),
            advertised=self._advertised,
            security=self._security,
            certificates=self._certificates,
        )
        lines = [f"{name}={value}\n" for name, value in (written | self._properties).items()]
        path = self.folder / "server.properties"
        path.touch(mode=0o600)
        path.write_text("".join(lines), encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(LOG_CONFIG, encoding="utf-8")

    def _format(self, base: list[str]) -> None:
        cluster = self._seat.cluster_id if self._seat else new_cluster_id()
        tool = [*base[:1], *_BRIEF, *base[1:], "kafka.tools.StorageTool", "format", "-t", cluster]
        command = [*tool, "-c", str(self.folder / "server.properties"), *scram_arguments(self._security)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise LocalKafkaError(f"Kafka cannot format {self.folder}. Empty the folder or name another:\n{said}")

    def _answers(self, brokers: int) -> bool:
        """Asked on the listener between brokers: it is never led through a proxy."""
        ports = self.ports
        for port in (ports.client, ports.internal):
            try:
                socket.create_connection((HOST, port), timeout=1).close()
            except OSError:
                return False
        try:
            admin = KafkaAdminClient(bootstrap_servers=f"{HOST}:{ports.internal}", bootstrap_timeout_ms=5000)
            try:
                return len(admin.describe_cluster()["brokers"]) >= brokers
            finally:
                admin.close()
        except KafkaError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            os.kill(pid, number)

    def _last_words(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")[-3000:].strip() or "(empty)"


def new_cluster_id() -> str:
    """16 random bytes as Kafka writes them; never with a leading dash, which its tool takes for an option."""
    return base64.urlsafe_b64encode(b"F" + secrets.token_bytes(15)).decode().rstrip("=")


def _tell(broker: LocalBroker) -> None:
    """The address on stdout, for programs; all of it on stderr, for a person."""
    sys.stdout.write(f"{broker.bootstrap}\n")
    sys.stdout.flush()
    sys.stderr.write(
        f"Kafka is ready at {broker.bootstrap}\n"
        f"  its data stays in {broker.folder}; Ctrl-C stops it\n"
        f"  next, in another terminal: foreshock up --kafka {broker.bootstrap} --apply-topics\n"
    )
    sys.stderr.flush()


def main() -> None:
    """Run a broker in the foreground; SIGTERM and Ctrl-C stop it."""
    parser = argparse.ArgumentParser(prog="python -m connectors.local_kafka", description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where its data and its log stay")
    parser.add_argument("--port", type=int, default=9092, help="0: a free one (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    broker = LocalBroker(options.folder, port=options.port)
    try:
        sys.stderr.write("starting Kafka (43 MB are downloaded the first time)\n")
        with broker:
            _tell(broker)
            code = broker.wait()
        raise LocalKafkaError(f"Kafka has ended by itself (exit {code}). Look at {broker.log_file}")
    except KeyboardInterrupt:
        pass
    except LocalKafkaError as error:
        sys.stderr.write(f"local kafka: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
