"""A file that grows by hours of its own time while `foreshock run` on it is killed with -9 again and again: what is
said of it is what one undisturbed reading of the finished file says.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from fork_server import fork_server
from run_rig import FORESHOCK, WAIT, acting_config, events, foreshock, line_counts, live_until_killed

from models.anomaly import Tier

START = 1_777_852_800_000
MINUTE = 60_000
KILLS = 50
PIECES = 500


def history() -> bytes:
    """Two and a half hours of one service; for five minutes it fails sixty times a minute."""
    chance, lines = random.Random(4), []
    for minute in range(150):
        failures = 60 if 120 <= minute < 125 else chance.random() < 0.3
        texts = ["INFO request served in {n} ms"] * chance.randrange(30, 50)
        texts += ["ERROR connection pool exhausted after {n} waits"] * failures
        chance.shuffle(texts)
        for place, text in enumerate(texts):
            at = datetime.fromtimestamp((START + minute * MINUTE + place * MINUTE // len(texts)) / 1_000, UTC)
            lines.append(f"{at.isoformat(timespec='milliseconds')} {text.format(n=chance.randrange(999))}\n")
    return "".join(lines).encode()


def grow(path: Path, whole: bytes, pace: threading.Event) -> None:
    """In pieces that end anywhere, at leisure until `pace` is set."""
    chance, size = random.Random(5), len(whole) // PIECES + 1
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(whole), size):
            file.write(whole[start : start + size])
            pace.wait(chance.random() * 0.06)


def closed_anomalies(folder: Path) -> list[str]:
    views = [event.data.digest_view() for event in events(folder, "anomalies") if event.data.window.closed]
    return sorted(json.dumps(view, sort_keys=True) for view in views)


def opened(folder: Path) -> set[tuple[int, str]]:
    """The incidents and what first was decided of each."""
    first: dict[str, str] = {}
    for event in events(folder, "predictions", "decision"):
        first.setdefault(event.data.correlation_id, event.data.verdict)
    return {(event.data.opened_at, first[event.data.correlation_id]) for event in events(folder, "incidents")}


def test_what_is_said_of_a_growing_file_is_the_same_through_fifty_kills(tmp_path):
    path, whole, config = tmp_path / "app.log", history(), acting_config(tmp_path)
    path.touch()
    args = ["run", "--input", str(path), "--config", str(config), "--data", str(tmp_path / "data")]
    hurry, chance, stopped_at = threading.Event(), random.Random(8), []
    writer = threading.Thread(target=grow, args=(path, whole, hurry))
    writer.start()
    with fork_server() as server:
        for _ in range(KILLS):
            assert not live_until_killed(server, args, chance.random() * 0.5)
            stopped_at.append(sum(line_counts(tmp_path / "data").values()))
    hurry.set()
    writer.join()
    assert len(set(stopped_at)) > KILLS / 3, stopped_at  # it was killed on its way
    once = foreshock("run", "--once", "--input", path, "--config", config, "--data", tmp_path / "once")
    assert once.returncode == 0, once.stderr
    expected = closed_anomalies(tmp_path / "once")
    alarms = [e.data for e in events(tmp_path / "once", "anomalies") if e.data.tier == Tier.ALARM]
    assert any("connection pool exhausted" in alarm.text for alarm in alarms)
    with subprocess.Popen([FORESHOCK, *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert "reading" in process.stderr.readline()
        deadline = time.monotonic() + WAIT
        while sum(line_counts(tmp_path / "data").values()) < whole.count(b"\n"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        while closed_anomalies(tmp_path / "data") != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
    assert line_counts(tmp_path / "data") == line_counts(tmp_path / "once")
    assert closed_anomalies(tmp_path / "data") == expected != []
    assert opened(tmp_path / "data") == opened(tmp_path / "once") != set()
