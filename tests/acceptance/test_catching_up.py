"""A log that already has hours in it is followed without losing a line, and a finished one is read again in peace."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from connectors.inputs import InputOptions
from connectors.opening import open_inputs
from connectors.ports import Record
from streams.detect import Detect
from streams.mine import Mine
from streams.runtime import Unit

START = 1_777_852_800_000
LINES = 24_000  # eight hours, fifty a minute


@pytest.fixture
def quiet_log(tmp_path):
    path = tmp_path / "app.log"
    with path.open("w") as file:
        for number in range(LINES):
            at = datetime.fromtimestamp(START / 1_000 + number * 1.2, UTC).isoformat(timespec="milliseconds")
            file.write(f"{at} INFO request {number} served in {number % 90} ms\n")
    return path


def feed(unit, values, now):
    """What the unit emits on its way from these values, as values."""
    out = []
    for value in values:
        record = Record(unit.step.inbox, 0, unit.next_offset, "0", value, now)
        out += unit.apply(record)
    return out


def test_hours_of_a_quiet_log_are_caught_up_without_losing_a_line(quiet_log):
    now = START + 9 * 3_600_000
    source = open_inputs([str(quiet_log)], InputOptions())
    mine, detect = Unit(Mine(), 0), Unit(Detect(), 0)
    calm = 0
    while calm < 3:
        now += 250
        batches = [out.value for out in source.poll(now) if out.topic == "logs"]
        caught_up = source.counters["lines"] == LINES and not any(feed.holds for feed in source.feeds)
        calm = calm + 1 if caught_up else 0
        emitted = feed(mine, batches, now)
        feed(detect, [out.value for out in emitted if out.topic == "counts"], now)
    (state,) = [state for _, state in detect.states()]
    assert state.lost == {}
    assert int(state.base.n[0]) >= 8 * 60 - 3  # minutes learnt


def run_once(*args: str, stdin=None):
    command = [sys.executable, "-c", "from streams.cli import main; main()", "run", "--once", *args]
    return subprocess.run(command, capture_output=True, text=True, stdin=stdin, check=False)


def test_standard_input_is_judged_as_the_same_file_is(quiet_log, tmp_path):
    with quiet_log.open() as file:
        piped = run_once("--input", "-", "--service", "app", "--data", str(tmp_path / "piped"), stdin=file)
    assert piped.returncode == 0
    assert "future" not in piped.stderr
    assert f"{LINES:,} lines" in piped.stderr


def test_reading_a_finished_file_again_changes_nothing(quiet_log, tmp_path):
    data = str(tmp_path / "data")
    first, second = (run_once("--input", str(quiet_log), "--data", data) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert "dead letter" not in second.stderr
    assert "0 lines" in second.stderr
