"""`foreshock up` with real roles on a real broker: what it refuses, what it keeps running, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from connectors.kafka_log import KafkaLog
from connectors.settings import process_environment
from models.errors import ConfigError
from streams.up import parse_workers

WAIT = 120.0
FORESHOCK = (sys.executable, "-m", "streams")


class Up:
    """`foreshock up` as a process; its lines as they come."""

    def __init__(self, folder, settings, *words, **variables):
        given = {"FORESHOCK_KAFKA__PREFIX": settings.prefix, **variables}
        self.process = subprocess.Popen(
            [*FORESHOCK, "up", "--kafka", settings.bootstrap_servers[0], "--data", str(folder), *words],
            env=process_environment(given, inherit=False) | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()

    def wait_for(self, pattern, count=1):
        def found():
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._news:
            assert self._news.wait_for(lambda: len(found()) >= count, timeout=WAIT), self.lines
        return found()

    def ended(self):
        code = self.process.wait(WAIT)
        self._thread.join()
        return code


@contextmanager
def running(*args, **variables):
    up = Up(*args, **variables)
    try:
        yield up
    finally:
        up.process.kill()
        up.process.wait()


def until(holds):
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def taken_over(folder):
    return (folder / "logs" / "act.log").read_text().count("taken over")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(240)
def test_roles_are_kept_running_drained_by_sigterm_and_gone_after_a_kill(tmp_path, kafka_settings):
    with running(tmp_path, kafka_settings) as up:
        assert up.ended() == 78
        assert "--apply-topics" in "".join(up.lines)

    words = ("--apply-topics", "--roles", "mine,act", "--workers", "mine=2", "--simulate", "sim:7")
    with running(tmp_path, kafka_settings, *words) as up:
        names = ("mine-1", "mine-2", "act", "simulate")
        pids = {name: int(up.wait_for(rf"{name} +started: pid (\d+)")[0][1]) for name in names}
        log = KafkaLog(kafka_settings, "tests")
        until(lambda: log.ends("counts") != {0: 1})  # the catalog alone
        assert log.newest("catalog", "catalog") is not None
        log.close()
        until(lambda: taken_over(tmp_path) > 0)
        before = taken_over(tmp_path)
        os.kill(pids["act"], signal.SIGKILL)
        up.wait_for("act +exited: killed by SIGKILL")
        up.wait_for("act +restarting: starting again in")
        pids["act"] = int(up.wait_for(r"act +started: pid (\d+)", 2)[1][1])
        with running(tmp_path, kafka_settings) as second:
            assert second.ended() == 73
            assert "is held by process" in "".join(second.lines)
        until(lambda: taken_over(tmp_path) > before)
        up.process.terminate()
        assert up.ended() == 0
        ending = [match[1] for match in up.wait_for(r"(\S+) +stopping")]
        assert ending == ["mine-1", "mine-2", "act", "simulate"]
        assert len(up.wait_for("exited: saved and ended")) == 4
    assert not any(alive(pid) for pid in pids.values())

    with running(tmp_path, kafka_settings, "--roles", "mine,detect") as up:
        pids = [int(match[1]) for match in up.wait_for(r"started: pid (\d+)", 2)]
        up.process.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def test_a_role_that_cannot_be_configured_ends_all_with_its_reason(tmp_path, kafka_settings):
    variables = {"FORESHOCK_ACTUATOR": '{"kind": "simulator", "url": "http://127.0.0.1:9"}'}
    with running(tmp_path, kafka_settings, "--apply-topics", **variables) as up:
        assert up.ended() == 78
    said = "".join(up.lines)
    assert "FORESHOCK_ACTUATOR_TOKEN" in said
    assert "\\n" not in said
    assert "ingest is not started" in said
    assert re.search("mine +exited", said)


def test_workers_are_numbers_of_roles_that_can_be_shared():
    assert parse_workers("mine=2,detect=3") == {"mine": 2, "detect": 3}
    assert parse_workers("") == {}
    for wrong in ("mine", "act=2", "mine=0", "mine=x", "mine=65"):
        with pytest.raises(ConfigError, match="--workers"):
            parse_workers(wrong)
