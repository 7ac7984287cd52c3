"""Supervised processes: started again, backed off, drained in order, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from streams.supervisor import Patience, Program, RoleError, Supervisor, meaning

QUICK = Patience(base=0.02, cap=0.1, lived=60.0, drain=5.0)
OBEYS = "import signal,sys,time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint('up', flush=True)\n"
SLEEPS = OBEYS + "time.sleep(600)"


def program(name, code, role="mine", *, finite=False):
    return Program(name, role, (sys.executable, "-c", code), dict(os.environ), finite)


class Running:
    """A supervisor in a thread, and what it told."""

    def __init__(self, programs, folder, **options):
        self.told = []
        self.error = None
        self._news = threading.Condition()
        self.supervisor = Supervisor(programs, folder, self._hear, **{"patience": QUICK, **options})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _hear(self, happening):
        with self._news:
            self.told.append(happening)
            self._news.notify_all()

    def _run(self):
        try:
            self.supervisor.run()
        except RoleError as error:
            self.error = error

    def wait_for(self, what, count=1, name=None):
        def there():
            return [h for h in self.told if h.what == what and name in (None, h.name)]

        with self._news:
            assert self._news.wait_for(lambda: len(there()) >= count, timeout=20), self.told
        return there()

    def end(self):
        self.supervisor.stop()
        self.join()

    def join(self):
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def pid(self, name):
        return next(status.pid for status in self.supervisor.status() if status.name == name)


def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_up(folder, name):
    return "up" in (folder / f"{name}.log").read_text()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_is_killed_is_started_again(tmp_path):
    running = Running([program("mine", SLEEPS)], tmp_path)
    running.wait_for("started")
    first = running.pid("mine")
    os.kill(first, signal.SIGKILL)
    running.wait_for("started", 2)
    (status,) = running.supervisor.status()
    assert status.pid not in (0, first)
    assert status.restarts == 1
    assert running.wait_for("exited")[0].text == "killed by SIGKILL"
    running.end()
    assert not alive(status.pid)


def test_at_the_end_all_are_asked_to_end_in_order_and_do(tmp_path):
    programs = [program(role, SLEEPS, role) for role in ("act", "detect", "mine")]
    running = Running(programs, tmp_path, order=("mine", "detect", "act"))
    until(lambda: all(is_up(tmp_path, role) for role in ("act", "detect", "mine")))
    running.end()
    ending = [(h.name, h.what) for h in running.told if h.what != "started"]
    assert ending == [(role, what) for role in ("mine", "detect", "act") for what in ("stopping", "exited")]
    assert {h.text for h in running.told if h.what == "exited"} == {"saved and ended"}


def test_one_that_does_not_end_is_killed_and_it_is_said(tmp_path):
    deaf = "import signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
    running = Running([program("act", deaf)], tmp_path, patience=Patience(drain=0.1))
    until(lambda: is_up(tmp_path, "act"))
    pid = running.pid("act")
    running.end()
    assert [h.what for h in running.told] == ["started", "stopping", "killed", "exited"]
    assert not alive(pid)


def test_one_that_always_fails_is_given_more_and_more_time(tmp_path):
    running = Running([program("detect", "raise SystemExit(70)")], tmp_path, patience=Patience(base=0.01, cap=0.64))
    waits = [float(h.text.split()[-2]) for h in running.wait_for("waiting", 9)]
    running.end()
    assert "a defect" in running.wait_for("exited")[0].text
    assert all(wait <= min(0.64, 0.01 * 2**number) + 0.05 for number, wait in enumerate(waits))
    assert max(waits) > 0.1
    assert running.supervisor.status()[0].restarts >= 8


def test_one_that_lived_long_begins_anew_at_the_shortest_wait(tmp_path):
    running = Running([program("detect", "raise SystemExit(1)")], tmp_path, patience=Patience(0.01, 30.0, lived=0.0))
    waits = [float(h.text.split()[-2]) for h in running.wait_for("waiting", 8)]
    running.end()
    assert max(waits) <= 0.05


def test_a_wrong_configuration_ends_all_with_its_reason(tmp_path):
    bad = "import sys\nprint('foreshock.yaml:3: policy.mode: write act', file=sys.stderr)\nsys.exit(78)"
    running = Running([program("mine", SLEEPS), program("act", bad, "act")], tmp_path)
    running.join()
    assert running.error.exit_code == 78
    assert "policy.mode: write act" in str(running.error)
    assert running.told[-1].name == "mine"


def test_what_was_to_end_is_not_started_again_and_the_supervisor_ends_with_the_last(tmp_path):
    running = Running([program("ingest", "print('read all')", finite=True)], tmp_path)
    running.join()
    assert [h.what for h in running.told] == ["started", "done"]
    assert (tmp_path / "ingest.log").read_text() == "read all\n"
    assert running.error is None


def test_no_process_outlives_a_supervisor_that_is_killed(tmp_path):
    code = f"""
import os, sys
from pathlib import Path
from streams.supervisor import Program, Supervisor
deaf = "import signal,time\\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(600)"
programs = [Program(n, n, (sys.executable, "-c", deaf), dict(os.environ)) for n in ("mine", "act")]
Supervisor(programs, Path({str(tmp_path)!r}), lambda h: print(h.text, flush=True)).run()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(parent.stdout.readline().split()[1]) for _ in range(2)]
        assert all(alive(pid) for pid in pids)
        parent.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def test_exit_codes_are_told_in_words():
    assert meaning(75) == "exit 75: it made no progress, or another has taken over"
    assert meaning(-15) == "killed by SIGTERM"
    assert "no code of ours" in meaning(3)


def test_a_log_is_cut_into_files_and_the_oldest_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("streams.supervisor._LOG_BYTES", 1_000)
    noisy = "for n in range(1000): print(f'line {n:04d}', flush=True)"
    Running([program("mine", noisy, finite=True)], tmp_path).join()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["mine.log", "mine.log.1", "mine.log.2", "mine.log.3"]
    assert (tmp_path / "mine.log").read_text().endswith("line 0999\n")
    assert all(path.stat().st_size <= 1_000 for path in tmp_path.iterdir())
