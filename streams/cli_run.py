"""The commands that run the pipeline or prepare it: run, check, init.

Data on stdout (anomalies of a finite input, alerts of an endless one, as JSON lines), everything else on stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog

from connectors.client_logging import log_clients_seldom
from connectors.codec import decode_record
from connectors.opening import matches_of
from connectors.ports import Record
from connectors.settings import CONFIG_FILE, Configuration, read_settings, starter_config
from models.anomaly import Anomaly, Status, Tier
from models.errors import ConfigError, DataFolderError
from models.series import FIRST_TEMPLATE
from models.service_state import ServiceState
from models.template import TemplateCounts
from streams.rendering import counted, harmless_json, note
from streams.wiring import Opening, Pipeline

__all__ = ["RunOptions", "check", "init", "log_to_stderr", "run", "stopping"]

_PROGRESS_SECONDS: Final = 5.0
_NO_FILE: Final = "no file now: it is waited for; with --once that is an error"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `foreshock run` was given; empty values leave the configuration as it is."""

    inputs: Sequence[str] = ()
    data: Path | None = None
    config: Path | None = None
    once: bool = False
    service: str = ""
    service_pattern: str = ""
    timezone: str = ""
    partitions: int = 0


def run(options: RunOptions) -> None:
    """Read, mine, detect, join, predict, decide, act and learn until the input ends or a signal comes."""
    configuration = read_settings(options.config, _overrides(options))
    if not configuration.settings.inputs:
        raise ConfigError("no input", key="inputs", advice="Give --input FILE, --input - or --input sim:7.")
    log_to_stderr()
    report = _Report(configuration, options.once)
    with stopping() as stop, Pipeline(configuration, Opening(once=options.once, tell=note)) as pipeline:
        pipeline.host.observe(report.see)
        note(f"foreshock: reading {_named(configuration)} into {configuration.data} ({pipeline.folder.run})")
        with report.progress(pipeline, stop):
            pipeline.run(stop)
        report.summarise(pipeline)


def check(config: Path | None) -> None:
    """Read the configuration and everything it names; ConfigError (exit 78) where something is wrong."""
    configuration = read_settings(config)
    catalog = configuration.catalog
    note(
        f"{configuration.file or 'no configuration file: defaults'}: ok. {len(catalog.applications)} applications, "
        f"{len(catalog.services)} services, {len(catalog.targets)} targets, {len(catalog.runbooks)} runbooks, "
        f"mode {catalog.policy.mode}"
    )
    for item in configuration.settings.inputs:
        found = matches_of(item.path)
        if found is not None:
            note(f"{item.path} matches {counted(len(found), 'file') + ' now' if found else _NO_FILE}")


def init(file: Path | None, *, force: bool = False) -> None:
    """Write a commented configuration. Raises ConfigError where there is one already and `force` is not given,
    DataFolderError where it cannot be written.
    """
    path = file or Path(CONFIG_FILE)
    if path.exists() and not force:
        raise ConfigError("exists already", file=str(path), advice="Give --force to write over it.")
    try:
        path.write_text(starter_config(), encoding="utf-8")
    except OSError as error:
        raise DataFolderError(f"{path} cannot be written ({error.strerror}). Name another file.") from error
    note(f"wrote {path}. Next: edit it, then `foreshock check` and `foreshock run`.")


class _Report:
    """Prints what was found as it is committed, and sums up."""

    def __init__(self, configuration: Configuration, once: bool) -> None:
        self._topic = "anomalies" if once else "alerts"
        self._counts = any(item.path.startswith("sim:") for item in configuration.settings.inputs)
        self._found: Counter[str] = Counter()
        self._alarming: set[str] = set()
        self._began = time.monotonic()

    def see(self, records: Sequence[Record]) -> None:
        """An observer of the host."""
        for record in records:
            if record.topic == self._topic:
                sys.stdout.buffer.write(harmless_json(record.value.decode()).encode() + b"\n")
            if record.topic in ("anomalies", "dead-letters") or (self._counts and record.topic == "counts"):
                self._note(record)
        sys.stdout.flush()

    @contextmanager
    def progress(self, pipeline: Pipeline, stop: threading.Event) -> Iterator[None]:
        """A line on stderr now and then, from a thread of its own, until the block ends."""
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(_PROGRESS_SECONDS) and not stop.is_set():
                note(self._line(pipeline))

        thread = threading.Thread(target=tell, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def summarise(self, pipeline: Pipeline) -> None:
        """The last words."""
        services = [
            state for unit in pipeline.host.units for _, state in unit.states() if isinstance(state, ServiceState)
        ]
        templates = sum(state.series.used - FIRST_TEMPLATE for state in services)
        note(f"{self._line(pipeline)}, {len(services)} services, {templates} templates")
        skipped = {**self._skipped(pipeline), **{f"{name} lines": n for name, n in _lost(services).items()}}
        if skipped:
            note("not taken as they were: " + ", ".join(f"{count} {reason}" for reason, count in skipped.items()))
        if "late lines" in skipped:
            note("late lines came after their time had been judged: give lines in order of time (sort the file)")
        if self._found["alarms"]:
            note(f"next: foreshock incidents --all --data {pipeline.folder.path}")

    def _note(self, record: Record) -> None:
        if record.topic == "dead-letters":
            self._found["dead letters"] += 1
            return
        data = decode_record(record).data
        if isinstance(data, TemplateCounts):
            self._found["lines"] += sum(section.lines for section in data.sections)
        elif isinstance(data, Anomaly):
            self._note_anomaly(data)

    def _note_anomaly(self, anomaly: Anomaly) -> None:
        """An alarm counts once, whether it began as one or was raised from a watch, which counted as that."""
        if anomaly.status is Status.CLEARED:
            self._alarming.discard(anomaly.anomaly_id)
        elif anomaly.tier is Tier.ALARM and anomaly.anomaly_id not in self._alarming:
            self._alarming.add(anomaly.anomaly_id)
            self._found["alarms"] += 1
        elif anomaly.tier is Tier.WATCH and anomaly.status is Status.OPENED:
            self._found["watches"] += 1

    def _line(self, pipeline: Pipeline) -> str:
        read: Mapping[str, int] = pipeline.line_source.counters if pipeline.line_source else {}
        lines = read.get("lines", self._found["lines"])
        records = read.get("records", lines)
        rate = lines / max(time.monotonic() - self._began, 1e-3)
        letters = f", {counted(self._found['dead letters'], 'dead letter')}" if self._found["dead letters"] else ""
        return (
            f"{counted(lines, 'line')} read ({rate:,.0f}/s), {records:,} taken, "
            f"{counted(self._found['watches'], 'watch')}, {counted(self._found['alarms'], 'alarm')}{letters}"
        )

    def _skipped(self, pipeline: Pipeline) -> dict[str, int]:
        read = pipeline.line_source.counters if pipeline.line_source else Counter[str]()
        return {
            name: count for name, count in sorted(read.items()) if name not in ("lines", "records", "json") and count
        }


def _lost(services: Sequence[ServiceState]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for state in services:
        total.update(state.lost)
    return dict(sorted(total.items()))


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set; a second signal ends the process at once (everything committed stays)."""
    stop = threading.Event()

    def heed(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        note("foreshock: finishing what is under way; a second signal stops at once")

    before = {number: signal.signal(number, heed) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _overrides(options: RunOptions) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if options.inputs:
        about = {"service": options.service, "service_pattern": options.service_pattern}
        if options.timezone:
            about["timezone"] = options.timezone
        given["inputs"] = [{"path": path, **about} for path in options.inputs]
    if options.data is not None:
        given["data"] = str(options.data)
    if options.partitions:
        given["partitions"] = options.partitions
    return given


def _named(configuration: Configuration) -> str:
    return ", ".join(item.path for item in configuration.settings.inputs)


def log_to_stderr() -> None:
    """Log lines go to stderr: stdout is for data. Those of Kafka's clients come seldom."""
    log_clients_seldom()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
