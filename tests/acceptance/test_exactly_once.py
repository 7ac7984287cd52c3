"""`foreshock run` killed with -9 at 50 random moments: the log is, byte for byte, that of an undisturbed run."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from fork_server import fork_server
from run_rig import acting_config, copy_folder, events, fingerprints, foreshock, live_until_killed, new_folder

from models.anomaly import Tier

WORLD = "sim:7?hours=1.1&faults=instance_terminated@00:20,pool_leak@00:40&volume=0.3"
KILLS = 50
MOST = 200


@pytest.fixture(scope="module")
def beginning(tmp_path_factory):
    """A new data folder and a configuration that may act."""
    folder = tmp_path_factory.mktemp("beginning")
    return new_folder(folder / "data"), acting_config(folder)


@pytest.fixture(scope="module")
def undisturbed(beginning, tmp_path_factory):
    """The folder of a run that nothing disturbed, and the seconds it took."""
    data, config = beginning
    folder = copy_folder(data, tmp_path_factory.mktemp("undisturbed") / "data")
    begun = time.monotonic()
    said = foreshock("run", "--input", WORLD, "--config", config, "--data", folder)
    assert said.returncode == 0, said.stderr
    return folder, time.monotonic() - begun


def test_the_undisturbed_run_saw_anomalies_and_acted_with_success(undisturbed):
    folder, _ = undisturbed
    assert {event.data.tier for event in events(folder, "anomalies")} == {Tier.WATCH, Tier.ALARM}
    assert [event.data.verdict for event in events(folder, "predictions", "decision")].count("act") == 2
    runbooks = [event.data.runbook_id for event in events(folder, "commands", "command")]
    assert runbooks == ["replace-instance", "scale-database"]
    assert [event.data.result for event in events(folder, "signals", "outcome")] == ["recovered"] * 2


def test_a_simulated_run_killed_fifty_times_gives_the_same_bytes(beginning, undisturbed, tmp_path):
    data, config = beginning
    expected, taken = undisturbed
    chance = random.Random(5)
    stopped_at: list[int] = []
    rounds = 0
    while len(stopped_at) < KILLS:
        folder = copy_folder(data, tmp_path / f"data-{rounds}")
        args = ["run", "--input", WORLD, "--config", str(config), "--data", str(folder)]
        rounds += 1
        stopped_at += killed_until_done(folder, args, chance, 2 * taken / KILLS)
        assert fingerprints(folder) == fingerprints(expected)
    assert len(set(stopped_at)) >= KILLS / 5, stopped_at  # it was killed on its way, not before its first batch


def killed_until_done(folder: Path, args: list[str], chance: random.Random, least: float) -> list[int]:
    """How many batches the log held after each kill. A life that got nowhere makes the next one longer: a restart
    reads again what detect had not saved, however slow the machine is just now.
    """
    seconds, stopped_at = least, [0]
    with fork_server() as server:
        while not live_until_killed(server, args, chance.random() * seconds):
            stopped_at.append(len(events(folder, "logs")))
            seconds = seconds * 1.5 if stopped_at[-1] == stopped_at[-2] else max(least, seconds / 1.5)
            assert len(stopped_at) < MOST, stopped_at
    return stopped_at[1:]
