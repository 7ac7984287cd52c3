"""`foreshock replay` beside a running `foreshock run`: swap, detection meanwhile, the way back, the same answers."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_rig import FORESHOCK, WAIT, events, foreshock, records

from connectors.data_folder import open_reader

HOUR = "sim:7?hours=0.6&faults=none"
ON = "sim:7?hours=200&faults=none&speed=240&chunk=10"  # a minute of the world in a quarter of a second


@pytest.fixture(scope="module")
def hour(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hour")
    assert foreshock("run", "--once", HOUR, "--data", folder, timeout=4 * WAIT).returncode == 0
    return folder


def stages(folder: Path) -> list[tuple[str, str]]:
    """What was told of generations: service and stage."""
    told = [e.data for e in events(folder, "audit", "audit_entry") if e.data.stage.startswith("BASELINES_")]
    return [(str(entry.facts["service"]), entry.stage.value.removeprefix("BASELINES_")) for entry in told]


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 4 * WAIT
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def newest_health(folder: Path) -> dict[str, Any]:
    return {event.data.service: event.data for event in events(folder, "health")}


def test_a_replay_swaps_while_detection_goes_on_and_one_command_takes_it_back(hour):
    with subprocess.Popen(
        [FORESHOCK, "run", ON, "--data", str(hour)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            log = open_reader(hour)
            begun = log.bounds("counts", 0)[1]
            wait_until(lambda: log.bounds("counts", 0)[1] > begun, process)
            said = foreshock("replay", "--data", hour, "--to", f"@{begun}", "--json", timeout=2 * WAIT)
            assert said.returncode == 0, said.stderr
            services = {row["service"]: row["generation"] for row in map(json.loads, said.stdout.splitlines())}
            assert len(services) == 8
            wait_until(lambda: len(stages(hour)) >= 8, process)
            assert sorted(stages(hour)) == sorted((name, "SWAPPED") for name in services)
            swapped = newest_health(hour)["web"].watermark
            wait_until(lambda: newest_health(hour)["web"].watermark > swapped + 120_000, process)
            assert foreshock("replay", "--rollback", "--data", hour).returncode == 0
            wait_until(lambda: len(stages(hour)) >= 16, process)
            assert sorted(stages(hour)[8:]) == sorted((name, "RESTORED") for name in services)
            assert foreshock("replay", "--rollback", "--data", hour).returncode == 1
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=WAIT)
    assert process.returncode == 0
    assert not list(records(hour, "dead-letters"))
    again = foreshock("recompute", "--data", hour, "--step", "detect", "--json")
    (row,) = map(json.loads, again.stdout.splitlines())
    assert row["holds"], row
    assert row["equal"] > 16
