"""Keeps processes running: starts them, restarts what ends, ends all in order; none outlives it.

In: what to run. Out: happenings for whoever watches, one rotating log file a process; and an error where a process says
that it cannot work as it is configured. A process that ends is started again after exponential backoff with full jitter
(models/jitter.py); one that lived long enough begins anew at the shortest wait.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Final, NamedTuple

from connectors.tether import Tethered
from models.errors import ForeshockError
from models.jitter import full_jitter_ms
from models.runbook import Retry

__all__ = ["Happening", "Patience", "Program", "RoleError", "Status", "Supervisor", "meaning"]

_LOG_BYTES: Final = 10_000_000
_LOG_FILES: Final = 3
_LAST_LINES: Final = 15
_LOOK_SECONDS: Final = 1.0
_FOR_GOOD: Final = frozenset((2, 78))
"""Wrong usage or configuration: started again, it would end the same way."""
_MEANINGS: Final = {
    0: "ended by itself",
    1: "it gave up with an error",
    2: "wrong usage",
    69: "no broker answers, or it is refused there",
    70: "a defect, or a record at which its step fails",
    73: "its folder cannot be used: held by another process, not writable, or full",
    75: "it made no progress, or another has taken over",
    78: "its configuration cannot be used, or it must be upgraded",
}


class RoleError(ForeshockError):
    """A supervised process cannot work as it is configured; `exit_code` is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Program(NamedTuple):
    """What to run. `name` is unique; `role` says when it is its turn to end; `finite`: ending with 0 is being done."""

    name: str
    role: str
    command: Sequence[str]
    env: Mapping[str, str]
    finite: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits in seconds: before restarts, until a life counts as a success, and at the end for each role to finish."""

    base: float = 0.5
    cap: float = 30.0
    lived: float = 60.0
    drain: float = 20.0


class Happening(NamedTuple):
    """Something that happened to a process: started, exited, waiting, stopping, killed, done."""

    name: str
    role: str
    what: str
    text: str


class Status(NamedTuple):
    """A process now: its id (0: it does not run), how long it has been up (s), how often it was started again."""

    name: str
    role: str
    pid: int
    uptime: float
    restarts: int


class _Exit(NamedTuple):
    name: str
    life: Tethered
    code: int


@dataclass(slots=True, eq=False)
class _Keeper:
    """One program and its present life."""

    program: Program
    log: RotatingFileHandler
    life: Tethered | None = None
    since: float = 0.0
    due: float | None = 0.0
    failures: int = 0
    starts: int = 0
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))


class Supervisor:
    """Runs programs until told to stop. `order`: roles in the order in which they are to end; `told` hears what
    happens, in the thread of `run`.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        folder: Path,
        told: Callable[[Happening], None],
        *,
        order: Sequence[str] = (),
        patience: Patience | None = None,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._told, self._order = folder, told, list(order)
        self._patience = patience or Patience()
        self._exits: queue.SimpleQueue[_Exit | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._keepers = {program.name: _Keeper(program, self._open_log(program.name)) for program in programs}

    def stop(self) -> None:
        """Let `run` end; may be called by a signal's handler."""
        self._stopping.set()
        self._exits.put(None)

    def run(self) -> None:
        """Until `stop`, or until every program is done. Raises RoleError where one cannot work as it is configured.
        All have ended when this returns or raises.
        """
        try:
            while not self._stopping.is_set() and any(self._is_kept(keeper) for keeper in self._keepers.values()):
                self._start_due()
                ended = self._next_exit()
                if ended is not None:
                    self._take_exit(ended)
        finally:
            self._drain()
            for keeper in self._keepers.values():
                keeper.log.close()

    def status(self) -> list[Status]:
        """Every process as it is now."""
        now = time.monotonic()
        return [
            Status(
                name,
                keeper.program.role,
                life.pid if (life := keeper.life) else 0,
                now - keeper.since if keeper.life else 0.0,
                max(0, keeper.starts - 1),
            )
            for name, keeper in self._keepers.items()
        ]

    # -- lives ---------------------------------------------------------------------------------------------------------

    def _is_kept(self, keeper: _Keeper) -> bool:
        return keeper.life is not None or keeper.due is not None

    def _start_due(self) -> None:
        now = time.monotonic()
        for name, keeper in self._keepers.items():
            if keeper.life is None and keeper.due is not None and keeper.due <= now:
                self._start(name, keeper)

    def _start(self, name: str, keeper: _Keeper) -> None:
        life = Tethered(keeper.program.command, keeper.program.env)
        keeper.life, keeper.since, keeper.due = life, time.monotonic(), None
        keeper.starts += 1
        keeper.last.clear()
        pump = threading.Thread(target=_pump, args=(life.output, keeper), name=f"log-{name}", daemon=True)
        pump.start()
        threading.Thread(target=self._await, args=(name, life, pump), name=f"wait-{name}", daemon=True).start()
        self._tell(keeper, "started", f"pid {life.pid}")

    def _await(self, name: str, life: Tethered, pump: threading.Thread) -> None:
        """In a thread of its own: the exit, once its last words are in its log."""
        code = life.wait()
        pump.join(_LOOK_SECONDS)  # a child of its own may hold the pipe
        self._exits.put(_Exit(name, life, code))

    def _next_exit(self, seconds: float = _LOOK_SECONDS) -> _Exit | None:
        dues = [keeper.due for keeper in self._keepers.values() if keeper.life is None and keeper.due is not None]
        wait = max(0.0, min([seconds, *(due - time.monotonic() for due in dues)]))
        try:
            return self._exits.get(timeout=wait)
        except queue.Empty:
            return None

    def _take_exit(self, ended: _Exit) -> None:
        keeper = self._keepers[ended.name]
        lived = time.monotonic() - keeper.since
        keeper.life = None
        if ended.code == 0 and keeper.program.finite:
            self._tell(keeper, "done", "its input has ended")
            return
        self._tell(keeper, "exited", meaning(ended.code))
        if ended.code in _FOR_GOOD:
            said = "\n".join(keeper.last) or "(it said nothing)"
            raise RoleError(f"{ended.name} cannot run: {meaning(ended.code)}. It said:\n{said}", ended.code)
        keeper.failures = 1 if lived >= self._patience.lived else keeper.failures + 1
        wait = self._wait(keeper)
        keeper.due = time.monotonic() + wait
        self._tell(keeper, "waiting", f"starting again in {wait:.1f} s")

    def _wait(self, keeper: _Keeper) -> float:
        retry = Retry(base_seconds=self._patience.base, cap_seconds=self._patience.cap)
        identity = (keeper.program.name, str(os.getpid()), str(time.monotonic_ns()))
        return full_jitter_ms(retry, min(keeper.failures, 60), *identity) / 1_000

    # -- the end -------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """SIGTERM, role after role, so that each still takes what those before it wrote; SIGKILL after a while."""
        for keeper in self._keepers.values():
            keeper.due = None
        roles = list(dict.fromkeys([*self._order, *(keeper.program.role for keeper in self._keepers.values())]))
        for role in roles:
            going = [keeper for keeper in self._keepers.values() if keeper.program.role == role and keeper.life]
            for keeper in going:
                self._tell(keeper, "stopping", "SIGTERM")
                assert keeper.life is not None
                keeper.life.terminate()
            self._await_all(going, time.monotonic() + self._patience.drain)
            for keeper in going:
                if keeper.life is not None:
                    self._tell(keeper, "killed", f"it did not end within {self._patience.drain:g} s: SIGKILL")
                    keeper.life.kill()
            self._await_all(going, None)

    def _await_all(self, going: Sequence[_Keeper], deadline: float | None) -> None:
        while any(keeper.life is not None for keeper in going):
            left = _LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            ended = self._next_exit(left)
            if ended is not None:
                keeper = self._keepers[ended.name]
                keeper.life = None
                self._tell(keeper, "exited", meaning(ended.code) if ended.code else "saved and ended")

    # -- small pieces --------------------------------------------------------------------------------------------------

    def _tell(self, keeper: _Keeper, what: str, text: str) -> None:
        self._told(Happening(keeper.program.name, keeper.program.role, what, text))

    def _open_log(self, name: str) -> RotatingFileHandler:
        path = self._folder / f"{name}.log"
        return RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8")


def meaning(code: int) -> str:
    """What an exit code says: `exit 69: no broker ...`, `killed by SIGKILL`."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    said = _MEANINGS.get(code, "no code of ours")
    return f"exit {code}: {said}"


def _pump(output: IO[bytes], keeper: _Keeper) -> None:
    """A process's lines into its log, until its end."""
    with output:
        for raw in output:
            line = raw.decode("utf-8", "backslashreplace").rstrip("\n")
            keeper.last.append(line)
            keeper.log.emit(logging.makeLogRecord({"msg": line}))
