"""Watches a worker from a thread of its own, through a client of its own: a consumer can stop silently.

In: the positions of its units, and a log to look the ends up in. Out: the error with which it must stop, for its
supervisor to start it again; and, while there is no reason for one, a beat at every look.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from connectors.heartbeat import Heartbeat
from connectors.kafka_log import KafkaLog
from models.errors import BrokerError, ForeshockError, MissingTopicError, StalledError
from streams.liveness import STALL_SECONDS, WATCH_SECONDS, ProgressWatch
from streams.step import AnyStep

__all__ = ["WorkerWatch"]

_log = structlog.get_logger(__name__)


class WorkerWatch:
    """`positions` gives the next offset of every partition the worker is responsible for (-1: not at work on it yet).
    While that is none, `committed` is asked how far the whole group is: a group that shares nothing out stands still,
    too. Both are called from the watch's thread. `hang_seconds` after the error the process is ended, unless `stop` was
    called: a thread that waits for ever hears nothing. `heartbeat` beats after every look that reached the broker and
    found no fault.
    """

    def __init__(
        self,
        log: KafkaLog,
        step: AnyStep,
        positions: Callable[[], Mapping[int, int]],
        *,
        committed: Callable[[], Mapping[int, int]] | None = None,
        stall_seconds: float = STALL_SECONDS,
        look_seconds: float = WATCH_SECONDS,
        hang_seconds: float = 10.0,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._log, self._step, self._positions, self._committed = log, step, positions, committed
        self._hang = hang_seconds
        self._heartbeat = heartbeat
        self._stall, self._look = stall_seconds, look_seconds
        self._progress: ProgressWatch[int] = ProgressWatch(stall_seconds)
        self._log_id = ""
        self._error: ForeshockError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def check(self) -> None:
        """To be called by the worker in every turn. Raises StalledError or BrokerError once there is a reason."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """The worker has heard, or has ended."""
        self._ended.set()

    def _work(self) -> None:
        while self._error is None and not self._ended.wait(self._look):
            try:
                self._error = self._find(time.monotonic())
                if self._error is None and self._heartbeat is not None:
                    self._heartbeat.beat()
            except MissingTopicError as error:
                self._error = error
            except BrokerError as error:  # nobody can read now, and it is no fault of the worker's
                self._progress = ProgressWatch(self._stall)
                _log.warning("cannot look how far the inbox goes", topic=self._step.inbox, error=str(error))
        self._log.close()
        if self._error is not None and not self._ended.wait(self._hang):
            _log.critical("the worker hangs and is ended", reason=str(self._error))
            os._exit(self._error.exit_code)

    def _find(self, now: float) -> ForeshockError | None:
        inbox = self._step.inbox
        log_id = self._log.log_id(inbox)
        if self._log_id not in ("", log_id):
            return BrokerError(f"the topic {inbox!r} was deleted and made anew. Start again: it is then read from 0")
        self._log_id = log_id
        ends = self._log.ends(inbox)
        positions = dict(self._positions())
        if not positions and self._committed is not None:
            positions = {**dict.fromkeys(ends, 0), **self._committed()}
        stalled = self._progress.look(now, positions, ends)
        stuck = [partition for partition in stalled if self._waits(partition, positions[partition])]
        return StalledError(self._step.name, stuck) if stuck else None

    def _waits(self, partition: int, at: int) -> bool:
        """Whether there really is a record: up to the end there may be nothing but the markers of transactions."""
        return bool(self._log.read(self._step.inbox, partition, max(at, 0), 1))
