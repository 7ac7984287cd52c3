"""The demo, as `make demo` runs it: one failure does not happen, one loss is made good; the other world shows both."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from connectors.data_folder import open_reader
from models.command import Command, Outcome
from models.decision import Alert, Decision
from models.history import HistoryRecord
from models.incident import Incident
from models.prediction import Prediction
from streams.reading import events_of

CODE = "from streams.cli import main; main()"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "shop"
    said = subprocess.run(
        [sys.executable, "-c", CODE, "demo", "--data", str(folder)], capture_output=True, text=True, check=True
    )
    return folder, said.stdout


def acting(folder, kind, topic, application="shop"):
    log = open_reader(folder / "with-foreshock")
    return [event.data for event in events_of(log, topic, kind) if event.data.application == application]


def test_the_leak_is_predicted_acted_on_and_does_not_become_a_failure(demo):
    folder, said = demo
    (outcome,) = [o for o in acting(folder, Outcome, "signals") if o.runbook_id == "scale-database"]
    assert (outcome.result, outcome.applied) == ("recovered", True)
    assert outcome.times["detected"] <= outcome.times["commanded"] <= outcome.times["verified"]
    cid = outcome.correlation_id
    (prediction, *_) = [p for p in acting(folder, Prediction, "predictions") if p.correlation_id == cid]
    assert prediction.failure_mode == "connection_pool_exhausted"
    assert prediction.failure_probability > 0.70
    (decision, *_) = [d for d in acting(folder, Decision, "predictions") if d.correlation_id == cid]
    assert decision.verdict == "act"
    assert decision.confidence.by_declared_prior
    opened = [i for i in acting(folder, Incident, "incidents") if i.correlation_id == cid]
    assert any("connection pool exhausted" in signal.text for signal in opened[0].signals)
    assert any(i.similar and i.similar[0].record.failed for i in opened)
    alerts = [a for a in acting(folder, Alert, "alerts") if a.correlation_id == cid]
    assert "Scale the database" in alerts[-2].recommendation
    assert [a.revision for a in alerts] == list(range(1, len(alerts) + 1))
    (learnt,) = [h for h in acting(folder, HistoryRecord, "history") if h.correlation_id == cid]
    assert (learnt.acted, learnt.failed, learnt.result) == (True, False, "recovered")
    assert "checkout" not in "".join(line for line in said.split("\n") if "FAILED" in line and "with Foreshock" in line)


def test_the_other_world_fails_by_the_same_leak(demo):
    failed = [line for line in demo[1].split("\n") if "FAILED" in line and line[10:].startswith("alone")]
    assert any("checkout" in line for line in failed)


def test_the_lost_instance_is_replaced_and_verified_in_about_a_minute(demo):
    (outcome,) = [o for o in acting(demo[0], Outcome, "signals") if o.runbook_id == "replace-instance"]
    assert outcome.result == "recovered"
    assert outcome.times["verified"] - outcome.times["detected"] <= 120_000
    (command,) = [c for c in acting(demo[0], Command, "commands") if c.runbook_id == "replace-instance"]
    assert command.signature


def test_without_a_terminal_it_prints_plain_lines_and_what_to_try_next(demo):
    said = demo[1]
    assert "\x1b" not in said
    assert "explain fs-" in said
    cid = next(word for word in said.split() if word.startswith("fs-2026"))
    told = subprocess.run(
        [sys.executable, "-c", CODE, "explain", cid, "--data", str(demo[0] / "with-foreshock")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "connection pool exhausted" in told.stdout


def test_on_a_terminal_it_draws_both_worlds(tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", CODE, "demo", "--fast", "--data", str(tmp_path / "shop")], stdout=theirs, stderr=theirs
    ) as shown:
        os.close(theirs)
        drawn = b""
        while chunk := _read(ours):
            drawn += chunk
    assert shown.returncode == 0
    text = drawn.decode(errors="replace")
    assert "Traceback" not in text
    assert "simulated time" in text
    assert text.index("with Foreshock") < text.rindex("alone")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other side has been closed: how a terminal says so
        return b""


def test_a_second_demo_in_the_same_folder_waits_for_nobody_and_breaks_nothing(demo):
    folder, _ = demo
    log = (folder / "with-foreshock" / "foreshock.db").stat().st_mtime_ns
    code = (
        "import sys; from pathlib import Path; from connectors.data_folder import hold\n"
        "held = hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        said = subprocess.run(
            [sys.executable, "-c", CODE, "demo", "--data", str(folder)], capture_output=True, text=True, check=False
        )
        other.stdin.close()
    assert said.returncode == 73
    assert "is held by process" in said.stderr
    assert (folder / "with-foreshock" / "foreshock.db").stat().st_mtime_ns == log
