"""What `foreshock up` does and how it looks: a line a happening, and on a terminal a last line of how all are.

In: the command's options. Out: lines on stdout; exit 0 after a signal once all have ended, 78 (or 2) where a role
cannot work as it is configured, 69 without a broker, 1 where another `up` works in the data folder.
"""

from __future__ import annotations

import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from connectors.client_logging import log_clients_seldom
from connectors.data_folder import hold
from connectors.kafka_settings import kafka_options
from connectors.local_kafka_config import free_ports
from connectors.settings import Configuration, read_settings
from connectors.simulator_spec import parse_simulator_spec
from streams import up as deployment
from streams.broker_watch import BrokerWatch
from streams.rendering import clean
from streams.simulate import world_catalog
from streams.supervisor import Happening, Program, Status, Supervisor

__all__ = ["Options", "status_text", "up"]

_COLOURS: Final = {
    "ingest": "blue",
    "mine": "cyan",
    "detect": "yellow",
    "respond": "magenta",
    "act": "green",
    "simulate": "bright_black",
}
_LOGS: Final = "logs"
_STATUS_SECONDS: Final = 1.0
_SOONER: Final = "sim:7?faults=pool_leak@00:30"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was given; empty values leave the configuration as it is."""

    kafka: str = ""
    roles: str = ""
    workers: str = ""
    simulate: str = ""
    apply_topics: bool = False
    data: Path | None = None
    config: Path | None = None


def up(given: Options) -> None:
    """Run until a signal comes. Raises ConfigError, BrokerError, DataFolderError, RoleError."""
    overrides: dict[str, Any] = dict(kafka_options(given.kafka))
    if given.data is not None:
        overrides["data"] = str(given.data)
    configuration = read_settings(given.config, overrides)
    workers = deployment.parse_workers(given.workers)
    roles = deployment.choose_roles(given.roles, configuration)
    log_clients_seldom()
    console = Console(highlight=False, markup=False, emoji=False)
    with hold(configuration.data / _LOGS):
        changes = deployment.check_topics(configuration, apply=given.apply_topics)
        for change in changes:
            _line(console, "topics", clean(change))
        made = any(change.endswith(" made") for change in changes)
        meant = bool(given.simulate or given.roles)
        for remark in deployment.remarks(configuration, roles, workers, without_ingest=meant, made=made):
            _line(console, "note", clean(remark))
        programs = _programs(configuration, roles, workers, given.simulate)
        published = deployment.publish(configuration, _catalog(configuration, given.simulate))
        _line(console, "catalog", "published" if published else "stands there already")
        _line(console, "logs", f"{configuration.data / _LOGS}")
        if given.simulate:
            _line(console, "simulate", _first_fault(given.simulate))
        with BrokerWatch(configuration.settings.kafka, lambda text: _line(console, "broker", clean(text), "red")):
            _supervise(console, programs, configuration.data / _LOGS)


def _first_fault(simulate: str) -> str:
    faults = sorted(parse_simulator_spec(simulate).faults, key=lambda fault: fault.at)
    if not faults:
        return "a world without faults"
    after = _span(faults[0].at / 1_000)
    first = f"the first fault, {faults[0].kind}, comes {after} after the world began"
    return f"{first}; at another time: --simulate '{_SOONER}'"


def _catalog(configuration: Configuration, simulate: str) -> Any:
    """The simulated world's, where one is wanted and nothing else is configured."""
    if not simulate or configuration.catalog.applications:
        return None
    return world_catalog(configuration, parse_simulator_spec(simulate))


def _programs(
    configuration: Configuration, roles: Sequence[str], workers: dict[str, int], simulate: str
) -> list[Program]:
    env = deployment.child_environment(configuration)
    if not simulate:
        return deployment.programs(roles, workers, env)
    parse_simulator_spec(simulate)
    port = free_ports(1)[0]
    env["FORESHOCK_ACTUATOR__KIND"], env["FORESHOCK_ACTUATOR__URL"] = "simulator", f"http://127.0.0.1:{port}"
    if not configuration.settings.actuator_token.get_secret_value():
        env["FORESHOCK_ACTUATOR_TOKEN"] = secrets.token_urlsafe(24)
    command = deployment.command("simulate", simulate, "--port", str(port), "--no-catalog")
    simulator = Program(deployment.SIMULATOR, deployment.SIMULATOR, command, env)
    return [simulator, *deployment.programs(roles, workers, env)]


def _supervise(console: Console, programs: Sequence[Program], logs: Path) -> None:
    def told(happening: Happening) -> None:
        words = "restarting" if happening.what == "waiting" else happening.what
        _line(console, happening.name, f"{words}: {clean(happening.text)}", _COLOURS.get(happening.role, ""))

    supervisor = Supervisor(programs, logs, told, order=deployment.DRAIN_ORDER)
    with _stopped_by_signals(supervisor), _shown(console, supervisor):
        supervisor.run()


@contextmanager
def _stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: supervisor.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shown(console: Console, supervisor: Supervisor) -> Any:
    """On a terminal, the last line says how all are."""
    return _live_status(console, supervisor) if console.is_terminal else nullcontext()


@contextmanager
def _live_status(console: Console, supervisor: Supervisor) -> Iterator[None]:
    over = threading.Event()
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show() -> None:
            while not over.wait(_STATUS_SECONDS):
                live.update(status_text(supervisor.status()), refresh=True)

        thread = threading.Thread(target=show, name="status", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def status_text(statuses: Sequence[Status]) -> Text:
    """Role, process, time up and restarts of each, in one line."""
    text = Text()
    for status in statuses:
        state = f"pid {status.pid} up {_span(status.uptime)}" if status.pid else "down"
        text.append(f"{status.name} ", style=_COLOURS.get(status.role, ""))
        text.append(f"{state} restarts {status.restarts}   ", style="dim" if status.pid else "red")
    return text


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _line(console: Console, who: str, text: str, colour: str = "") -> None:
    stamp = time.strftime("%H:%M:%S")
    console.print(Text.assemble(f"{stamp} ", (f"{who:<10}", colour), f" {text}"), soft_wrap=True)
    sys.stdout.flush()
