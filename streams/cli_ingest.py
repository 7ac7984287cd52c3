"""What `foreshock ingest` does: opens the role, says how it goes on stderr, ends with a code for a supervisor.

Ends with 0 when its input has ended or a signal came; 69 without a broker; 75 where another of its name has taken over;
78 for a wrong configuration.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.client_logging import log_clients_seldom
from connectors.file_limit import open_as_many_as_allowed
from connectors.kafka_settings import kafka_options
from connectors.settings import Configuration, read_settings
from models.errors import ConfigError
from streams.cli_run import stopping
from streams.ingest import Ingest, IngestOptions
from streams.rendering import counted, note

__all__ = ["IngestCommand", "ingest", "run_ingest"]

_PROGRESS_SECONDS: Final = 5.0
_MEGABYTE: Final = 1024 * 1024
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class IngestCommand:
    """What `foreshock ingest` was given; empty values leave the configuration as it is."""

    inputs: Sequence[str] = ()
    kafka: str = ""
    data: Path | None = None
    config: Path | None = None
    once: bool = False
    name: str = ""
    service: str = ""
    service_pattern: str = ""
    timezone: str = ""
    spool_mb: int = 1024
    lookback: float = 24.0


def ingest(command: IngestCommand) -> None:
    """The command: read lines into `logs` until the input ends or a signal comes."""
    options = IngestOptions(
        name=command.name or socket.gethostname(),
        once=command.once,
        spool_bytes=command.spool_mb * _MEGABYTE,
        lookback_ms=int(command.lookback * _HOUR_MS),
    )
    run_ingest(read_settings(command.config, _overrides(command)), options)


def run_ingest(configuration: Configuration, options: IngestOptions | None = None) -> None:
    """The role. Raises ConfigError for inputs, DataFolderError for the folder, BrokerError for the broker."""
    options = options or IngestOptions(name=socket.gethostname())
    inputs = configuration.settings.inputs
    if not inputs:
        raise ConfigError("no input", key="inputs", advice="Give --input FILE or --input -.")
    if any(item.path.startswith("sim:") for item in inputs):
        raise ConfigError(
            "a simulated world is no input of ingest", key="inputs", advice="Use foreshock demo --kafka, or give files."
        )
    log_clients_seldom()
    open_as_many_as_allowed()
    with stopping() as stop, Ingest(configuration, options, note) as role:
        servers = ", ".join(configuration.settings.kafka.bootstrap_servers)
        note(f"foreshock: reading {', '.join(item.path for item in inputs)} into {servers} as {options.name}")
        with _progress(role, stop):
            role.run(stop)


@contextmanager
def _progress(role: Ingest, stop: threading.Event) -> Iterator[None]:
    """A line on stderr now and then, from a thread of its own, and one at the end."""
    begun = time.monotonic()
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_PROGRESS_SECONDS) and not stop.is_set():
            note(_line(role, begun))

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        note(_line(role, begun))


def _line(role: Ingest, begun: float) -> str:
    read, sender = role.source.counters, role.sender
    lines = read["lines"]
    rate = lines / max(time.monotonic() - begun, 1e-3)
    away = f", no answer for {sender.silent_seconds:.0f} s" if sender.stalled else ""
    refused = f", the disk had no room {role.spool.refused} times" if role.spool.refused else ""
    odd = {name: n for name, n in sorted(read.items()) if n and name not in ("lines", "records", "json")}
    skipped = "".join(f", {count} {reason}" for reason, count in odd.items())
    return (
        f"{counted(lines, 'line')} read ({rate:,.0f}/s), {counted(sender.acknowledged, 'record')} acknowledged, "
        f"{sender.memory_bytes / _MEGABYTE:.1f} MB in memory, {role.spool.bytes / _MEGABYTE:.1f} MB in the spool"
        f"{away}{refused}{skipped}"
    )


def _overrides(command: IngestCommand) -> dict[str, Any]:
    given: dict[str, Any] = kafka_options(command.kafka)
    if command.inputs:
        about = {"service": command.service, "service_pattern": command.service_pattern}
        if command.timezone:
            about["timezone"] = command.timezone
        given["inputs"] = [{"path": path, **about} for path in command.inputs]
    if command.data is not None:
        given["data"] = str(command.data)
    return given
