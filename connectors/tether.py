"""Processes that die with the one that started them, also when that is killed with SIGKILL.

In: a command, or a process that leads a session of its own. Out: a guard: a shell that holds one end of a pipe. When
the other end closes, because its holder let go or is gone, the guard kills the process and all of its group. A pipe
works everywhere; Linux's PR_SET_PDEATHSIG would watch the thread that started the process, not its process.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

__all__ = ["Tethered", "guard"]

_GATE = ("sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh")
_GUARD = ("sh", "-c", 'read -r _; kill -KILL "-$1"', "sh")


def guard(leader: int) -> subprocess.Popen[bytes]:
    """Kill the process group of `leader` as soon as this process ends. To let it go, kill the guard (and wait for it)
    before the leader is waited for.
    """
    watch = [*_GUARD, str(leader)]
    return subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True, stderr=subprocess.DEVNULL)


class Tethered:
    """A process in a session of its own (a terminal's Ctrl-C does not reach it) that dies with this one.

    The command waits until its guard stands: there is no moment at which it could be left behind. `output` is its
    standard output and error together, a pipe that must be read.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [*_GATE, *command],
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._guard = guard(self._process.pid)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as gate:
            gate.write(b"\n")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def output(self) -> IO[bytes]:
        """What it writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    def terminate(self) -> None:
        """SIGTERM to the process."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the process and all of its group."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code once it has ended, negative for a signal; its guard is gone then, too."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)  # its id is not free before the guard is gone
        self._guard.kill()
        self._guard.communicate()
        return self._process.wait()
