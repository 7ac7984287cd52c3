"""`foreshock run` follows a file that others write: through kill -9, half-written lines, signals, a second process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from fork_server import fork_server
from run_rig import (
    FORESHOCK,
    WAIT,
    copy_folder,
    events,
    fingerprints,
    foreshock,
    line_counts,
    live_until_killed,
    new_folder,
    records,
)

from models.errors import DataFolderError

KILLS = 50
LINES = 40_000
"""At most: it ends when the kills are over."""
TEXTS = (
    "INFO request {n} served in {n} ms",
    "WARN retry {n} of payment gateway",
    "ERROR connection pool exhausted after {n} waits",
    "INFO cache warmed für {n} keys",
)


class Writer(threading.Thread):
    """Appends lines in pieces that end anywhere, also within a character, until told to make it whole."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.whole = path, threading.Event()
        self._chance = random.Random(3)

    def run(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            rest, written = b"", 0
            while written < LINES and not self.whole.is_set():
                count = self._chance.randrange(1, 40)
                rest += b"".join(self._line(written + number) for number in range(count))
                written += count
                cut = self._chance.randrange(len(rest))
                file.write(rest[:cut])
                rest = rest[cut:]
                self.whole.wait(self._chance.random() * 0.03)
            file.write(rest)

    def _line(self, number: int) -> bytes:
        text = TEXTS[self._chance.randrange(len(TEXTS))].format(n=number)
        return f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n".encode()


def messages(folder: Path) -> list[tuple[int, int, str]]:
    """Every line of the log: time, severity, text."""
    found = []
    for event in events(folder, "logs"):
        batch = event.data
        texts = batch.messages.split("\n") if batch.timestamps else []
        found += list(zip(batch.timestamps, batch.severity, texts, strict=True))
    return found


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def logged(folder: Path) -> int:
    try:
        return len(messages(folder))
    except DataFolderError:  # not made yet
        return 0


def started(*args: object, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """A real process that has opened its folder."""
    process = subprocess.Popen([FORESHOCK, *map(str, args)], stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert "reading" in process.stderr.readline()
    return process


def test_a_followed_file_is_counted_line_by_line_exactly_once_through_kills(tmp_path):
    path, data = tmp_path / "app.log", tmp_path / "data"
    path.touch()
    args = ["run", "--input", str(path), "--data", str(data)]
    writer, chance = Writer(path), random.Random(8)
    writer.start()
    stopped_at = []
    with fork_server() as server:
        for _ in range(KILLS):
            assert not live_until_killed(server, args, chance.random() * 0.5)
            stopped_at.append(logged(data))
    writer.whole.set()
    writer.join()
    written = path.read_bytes().count(b"\n")
    process = started(*args)
    wait_until(lambda: logged(data) >= written, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 0, said
    assert "finishing" in said
    assert len(set(stopped_at)) > KILLS / 3, stopped_at
    again = foreshock("run", "--once", "--input", path, "--data", tmp_path / "once")
    assert again.returncode == 0, again.stderr
    assert messages(data) == messages(tmp_path / "once")
    assert line_counts(data) == line_counts(tmp_path / "once")
    assert sum(line_counts(data).values()) == written
    assert [e.data.reason for e in events(data, "dead-letters")] == []


def test_a_second_process_on_the_folder_is_told_who_holds_it(tmp_path):
    path, data = tmp_path / "app.log", tmp_path / "data"
    path.touch()
    holder = started("run", "--input", path, "--data", data)
    second = foreshock("run", "--input", path, "--data", data)
    assert (second.returncode, second.stdout) == (73, "")
    assert f"held by process {holder.pid}" in second.stderr
    assert "another --data folder" in second.stderr
    holder.send_signal(signal.SIGTERM)
    assert holder.wait(WAIT) == 0


def test_a_file_that_vanishes_while_followed_is_no_end_and_no_loss(tmp_path):
    path, data = tmp_path / "app.log", tmp_path / "data"
    path.write_text("2026-05-04T10:00:00Z INFO one\n2026-05-04T10:00:01Z INFO two\n")
    process = started("run", "--input", path, "--data", data)
    wait_until(lambda: logged(data) == 2, process)
    path.unlink()
    path.with_name("new").write_text("2026-05-04T10:00:02Z INFO three\n")
    path.with_name("new").rename(path)
    wait_until(lambda: logged(data) == 3, process)
    path.unlink()
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT) == 0
    assert [text for *_, text in messages(data)] == ["INFO one", "INFO two", "INFO three"]


def test_signals_drain_then_stop_at_once_and_what_follows_is_as_if_nothing_had_been(tmp_path):
    world = "sim:7?hours=0.5&faults=instance_terminated@00:05&volume=0.3"
    calm = new_folder(tmp_path / "calm")
    data = copy_folder(calm, tmp_path / "data")
    assert foreshock("run", "--input", world, "--data", calm).returncode == 0
    drained = started("run", "--input", world, "--data", data)
    drained.send_signal(signal.SIGTERM)
    assert drained.wait(WAIT) == 0
    with unread_pipe() as full:
        process = started("run", "--input", world, "--data", data, stdout=full)
        wait_until(lambda: any(records(data, "alerts")), process)
        process.send_signal(signal.SIGTERM)
        assert "a second signal stops at once" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 128 + signal.SIGTERM
    ended = foreshock("run", "--input", world, "--data", data)
    assert ended.returncode == 0, ended.stderr
    assert fingerprints(data) == fingerprints(calm)


@contextmanager
def unread_pipe() -> Iterator[int]:
    """A pipe that is full: whoever writes to it waits for a reader that never reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)
