"""The role `ingest`: sources into `logs`, exactly once, whatever happens to this process or the broker.

In: a configuration with inputs. Out: batches and dead letters on Kafka. What is in the log is the checkpoint: a start
reads where each partition stands with each source, gives again what a partition lacks, and leaves out what it has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

from connectors.allocator import keep_freed_memory
from connectors.clock import PacedClock, WallClock
from connectors.collector import collect_seldom
from connectors.data_folder import hold
from connectors.heartbeat import Heartbeat
from connectors.inputs import InputOptions, LineSource
from connectors.kafka_fence import heeding_successor, take_over
from connectors.kafka_ingest import KafkaSender, SendLimits, check_topic, close_producer, open_producer
from connectors.kafka_log import KafkaLog
from connectors.kafka_progress import Hint, ranges_of, read_hint, read_progress, write_hint
from connectors.opening import NamedInput, open_all, source_ids
from connectors.ports import Clock, Outbound
from connectors.progress import Progress
from connectors.settings import Configuration
from connectors.spool import Spool
from models.errors import DataFolderError

__all__ = ["Ingest", "IngestOptions"]

_CLIENT: Final = "ingest"
_IDLE_SECONDS: Final = 0.02
_HINT_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 60.0
_MEGABYTE: Final = 1024 * 1024
_SPAN_MS: Final = 60_000
_TELL_SECONDS: Final = 5.0
_HINT: Final = "progress.json"
_BEAT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """`once`: read to the end, and end when all is acknowledged. `name` comes before the names of its sources, so
    that equal paths of two machines are two sources. `spool_bytes`: the most that may wait on disk. `lookback_ms`: how
    far back in the log a source is looked for where nothing is known of it on this machine.
    """

    name: str
    once: bool = False
    spool_bytes: int = 1024 * _MEGABYTE
    lookback_ms: int = 24 * 3_600_000
    drain_seconds: float = 10.0
    limits: SendLimits = field(default_factory=SendLimits)


class Ingest:
    """One connector; use as a context manager. Its folder (`ingest` in the data folder) is held by one process.

    Raises ConfigError for inputs, DataFolderError for the folder, BrokerError for the broker.
    """

    def __init__(self, configuration: Configuration, options: IngestOptions, tell: Callable[[str], None]) -> None:
        settings = configuration.settings
        self._options, self._tell = options, tell
        self._kafka = settings.kafka
        self.folder = configuration.data / "ingest"
        self._heartbeat = Heartbeat(settings.heartbeat, "ingest")
        virtual = bool(settings.kafka.clock)
        with ExitStack() as stack:
            stack.enter_context(hold(self.folder))
            producer = open_producer(settings.kafka, _CONNECT_SECONDS, tell)
            stack.callback(close_producer, producer)
            self._log = stack.enter_context(closing(KafkaLog(settings.kafka, _CLIENT, virtual=virtual)))
            self._log_id = self._log.log_id("logs")
            first = take_over(settings.kafka, producer, options.name, self._log.partitions("logs"))
            self._hint = self._known_hint()
            about = replace(_input_options(configuration, options), tell=tell)
            names = source_ids([] if first else [item.path for item in settings.inputs], about)
            logged = self._look_up(names)
            self.spool = stack.enter_context(closing(Spool(self.folder / "spool", options.spool_bytes)))
            given = self._take_spool(logged)
            about = replace(
                about, partitions=given.partitions, given=given, recall=partial(self._recall, given, set(names))
            )
            self._clock: Clock = PacedClock(settings.kafka.clock) if virtual else WallClock()
            self.source = stack.enter_context(closing(_open_source(configuration, about)))
            self.sender = KafkaSender(
                settings.kafka,
                producer,
                self.spool,
                {topic: self._log.partitions(topic) for topic in ("logs", "dead-letters")},
                limits=options.limits,
                clock=self._clock if virtual else None,
            )
            self._stack = stack.pop_all()

    def run(self, stop: threading.Event) -> None:
        """Until the input has ended and all of it is acknowledged, or `stop` is set: then what is under way has
        `drain_seconds`, and the rest stays in the spool. The heartbeat stops while the broker acknowledges nothing.

        Raises BrokerError where the broker refuses a message, TakenOverError where another of its name writes now.
        """
        with heeding_successor(self._options.name):
            self._work(stop)

    def _work(self, stop: threading.Event) -> None:
        keep_freed_memory()
        collect_seldom()
        noted = beaten = time.monotonic()
        checked = 0.0
        while not stop.is_set():
            self.sender.pump()
            if self.source.ended and self.sender.settled:
                break
            if not self._move():
                self.sender.wait(_IDLE_SECONDS)
            if time.monotonic() - noted > _HINT_SECONDS:
                noted = time.monotonic()
                self._note()
            if time.monotonic() - beaten > _BEAT_SECONDS and not self.sender.stalled:
                beaten = time.monotonic()
                self._heartbeat.beat()
            checked = checked if self.sender.stalled else 0.0
            if self.sender.silent_seconds > checked + _CHECK_SECONDS:
                checked = self.sender.silent_seconds
                check_topic(self._kafka)
        self._drain()
        self._note()

    def _move(self) -> bool:
        """Read on, where there is room; whether there was anything."""
        if self.source.ended or not self.sender.ready:
            return False
        batch = self.source.poll(self._clock.now())
        if batch:
            self.sender.accept(batch)
        return bool(batch)

    def _drain(self) -> None:
        self.sender.accept(self.source.finish(self._clock.now()))
        deadline = time.monotonic() + self._options.drain_seconds
        while not self.sender.settled and time.monotonic() < deadline:
            self.sender.pump()
            self.sender.wait(min(_IDLE_SECONDS, self._options.drain_seconds))
        self.sender.keep_rest()

    def close(self) -> None:
        """Let go of everything."""
        self._stack.close()

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- small pieces --------------------------------------------------------------------------------------------------

    def _known_hint(self) -> Hint | None:
        hint = read_hint(self.folder / _HINT)
        return hint if hint is not None and hint.log_id == self._log_id else None

    def _look_up(self, names: Sequence[str]) -> Progress:
        """Where the log says that the sources are."""
        begun = told = time.monotonic()

        def tell(partition: int, offset: int) -> None:
            nonlocal told
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                self._tell(
                    f"foreshock: looking where it left off: logs/{partition}@{offset} after {told - begun:.0f} s "
                    "(--lookback says how far back)"
                )

        return read_progress(self._log, names, self._hint, self._options.lookback_ms, tell)

    def _recall(self, given: Progress, looked_up: set[str], source_id: str) -> None:
        """A file that matches a pattern again, and was not there at the start: where the log says that it is."""
        if source_id in looked_up or self._hint is None or source_id not in self._hint.sources:
            return
        looked_up.add(source_id)
        near = Hint(log_id=self._log_id, ends=self._log.ends("logs"), sources=(source_id,))
        found = read_progress(self._log, [source_id], near, self._options.lookback_ms, lambda *_: None)
        given.adopt(found, source_id)

    def _take_spool(self, logged: Progress) -> Progress:
        """What the log will have once the spool is sent. What it has already is not sent again."""
        given = logged.copy()

        def needless(out: Outbound) -> bool:
            if out.topic != "logs" or out.partition is None:
                return False
            if out.partition >= given.partitions:
                raise _foreign_spool(self.folder / "spool", out.partition, given.partitions)
            ranges = ranges_of(out.value)
            if logged.has(out.partition, ranges):
                return True
            given.note(out.partition, ranges)
            return False

        left_out = self.spool.leave_out(needless)
        if self.spool.cut:
            self._tell(f"foreshock: {self.spool.cut:,} bytes at the end of the spool were torn and are read again")
        if not self.spool.empty:
            self._tell(f"foreshock: {self.spool.bytes:,} bytes in the spool go first ({left_out} messages were sent)")
        return given

    def _note(self) -> None:
        """Write the hint. A full disk is no reason to stop: the next start searches a little longer."""
        known = set() if self._hint is None else set(self._hint.sources)
        ends = {} if self._hint is None else self._hint.ends
        self._hint = Hint(
            log_id=self._log_id,
            ends={**ends, **self.sender.ends},
            sources=tuple(sorted(known | set(self.source.cursors))),
        )
        with suppress(OSError):
            write_hint(self.folder / _HINT, self._hint)


def _foreign_spool(folder: Path, partition: int, partitions: int) -> DataFolderError:
    return DataFolderError(
        f"{folder} holds lines for logs/{partition}, but `logs` has {partitions} partitions: it was filled for another "
        "log. Start once with that one's kafka.prefix, and they are sent; or move the folder away: files are then read "
        "again, what came by a pipe is lost."
    )


def _input_options(configuration: Configuration, options: IngestOptions) -> InputOptions:
    settings = configuration.settings
    return InputOptions(
        once=options.once,
        span_ms=min(_SPAN_MS, int(settings.detection.stall_seconds * 500)),
        run=settings.kafka.run,
        region=settings.region,
        origin=options.name,
        kafka=settings.kafka,
    )


def _open_source(configuration: Configuration, about: InputOptions) -> LineSource:
    inputs = configuration.settings.inputs
    named = [NamedInput(item.path, item.service, item.service_pattern, item.timezone) for item in inputs]
    return open_all(named, about)
