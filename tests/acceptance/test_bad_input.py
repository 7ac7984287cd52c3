"""What is wrong with the input or the folder ends in a clear error or a dead letter with reason and place; every
physical line is accounted for.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import threading
from contextlib import contextmanager
from time import monotonic_ns
from types import SimpleNamespace

import pytest
from run_rig import acting_config, events, foreshock, line_counts, records

from connectors.settings import read_settings
from streams.wiring import Opening, Pipeline

NOISE = random.Random(1).randbytes(600)
LONG = b"2026-05-04T10:00:04Z INFO " + b"x" * 1_000_000
BAD = (
    b"2026-05-04T10:00:01Z INFO first",
    b"garbage without any time \x80\xff\xfe",
    b"2026-05-04T10:00:02Z INFO cut in a char \xc3\x28",
    b"2026-05-04T10:00:03Z INFO a nul \x00 within",
    LONG,
    b"",
    b"\x00\x01\x02\x03\x04\x05\x06\x07" * 20,
    b'{"time": "2026-05-04T10:00:05Z", "message": ',
    b"2099-01-01T00:00:00Z INFO from the future",
    b"2026-05-04T10:00:06Z ERROR last",
)


def accounted(folder) -> tuple[int, dict[str, int]]:
    """Lines that were counted, and those that were left out, by reason."""
    dropped: dict[str, int] = {}
    for event in events(folder, "logs"):
        for reason, lines in event.data.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + lines
    return sum(line_counts(folder).values()), dropped


@pytest.fixture(scope="module")
def swallowed(tmp_path_factory):
    """A data folder that has read bad lines, and what was said."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "app.log").write_bytes(b"\n".join(BAD) + b"\n")
    said = foreshock("run", "--once", "--input", folder / "app.log", "--data", folder / "data")
    assert said.returncode == 0, said.stderr
    return folder, said


def test_every_physical_line_is_counted_or_left_out_under_a_reason(swallowed):
    folder, said = swallowed
    counted, dropped = accounted(folder / "data")
    assert counted + sum(dropped.values()) == len(BAD)
    assert dropped == {"blank": 1, "binary": 1}
    assert f"{len(BAD)} lines" in said.stderr
    for words in ("1 binary", "1 blank", "1 future", "2 invalid_utf8", "1 truncated", "2 untimed"):
        assert words in said.stderr


def test_what_could_not_be_taken_as_it_was_is_a_dead_letter_that_says_where_it_stands(swallowed):
    folder, _ = swallowed
    letters = {event.data.reason: event.data for event in events(folder / "data", "dead-letters")}
    assert letters.keys() == {"binary_line", "future_timestamp"}
    whole = (folder / "app.log").read_bytes()
    for reason, wrong in (("binary_line", BAD[6]), ("future_timestamp", BAD[8])):
        letter = letters[reason]
        assert letter.source_id == f"file:{folder / 'app.log'}"
        place = int(letter.cursor.split(":")[2])
        assert whole[place:].startswith(wrong)
        assert base64.b64decode(letter.raw) in wrong


def test_a_long_line_is_cut_and_the_lines_after_it_are_whole(swallowed):
    folder, _ = swallowed
    texts = [text for event in events(folder / "data", "logs") for text in event.data.messages.split("\n")]
    assert max(len(text.encode()) for text in texts) <= 8_192
    assert sum(event.data.truncated for event in events(folder / "data", "logs")) == 1
    assert "ERROR last" in texts


def test_a_binary_file_is_refused_as_a_whole_and_the_others_are_read(tmp_path):
    (tmp_path / "photo").write_bytes(NOISE * 100)
    (tmp_path / "app.log").write_text("2026-05-04T10:00:01Z INFO fine\n")
    said = foreshock(
        "run", "--once", "--input", tmp_path / "photo", "--input", tmp_path / "app.log", "--data", tmp_path / "d"
    )
    assert said.returncode == 0, said.stderr
    [letter] = events(tmp_path / "d", "dead-letters")
    assert (letter.data.reason, letter.data.source_id) == ("binary_input", f"file:{tmp_path / 'photo'}")
    assert accounted(tmp_path / "d") == (1, {})


@pytest.mark.parametrize(("name", "words"), [("folder", "is a directory"), ("nothing.log", "does not exist")])
def test_an_input_that_is_no_file_is_a_configuration_error(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    said = foreshock("run", "--once", "--input", tmp_path / name, "--data", tmp_path / "d")
    assert (said.returncode, said.stdout) == (78, "")
    assert str(tmp_path / name) in said.stderr
    assert words in said.stderr


def test_a_broken_configuration_or_runbook_is_named_by_file_line_and_key(tmp_path):
    config = acting_config(tmp_path)
    book = tmp_path / "runbooks" / "scale-database.yaml"
    book.write_text(book.read_text().replace("target_kind: rds", "target_kinds: rds"))
    run = ("run", "--input", "sim:7?hours=0.1&faults=none", "--config", config, "--data", tmp_path / "d")
    said = foreshock(*run)
    line = book.read_text().splitlines().index("target_kinds: rds") + 1
    assert (said.returncode, said.stdout) == (78, "")
    assert f"{book}:{line}" in said.stderr
    assert "target_kind" in said.stderr
    config.write_text("policy:\n  mode: act\n  max_in_flight: many\n")
    said = foreshock(*run)
    assert said.returncode == 78
    assert f"{config}:3" in said.stderr
    assert "max_in_flight" in said.stderr
    assert not (tmp_path / "d").exists()


@contextmanager
def mounted(path, options: str):
    """A small file system of its own: a read-only or a full folder that stops root too."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_read_only_data_folder_is_a_clear_error(tmp_path):
    (tmp_path / "app.log").write_text("2026-05-04T10:00:01Z INFO fine\n")
    with mounted(tmp_path / "data", "ro,size=1m"):
        said = foreshock("run", "--once", "--input", tmp_path / "app.log", "--data", tmp_path / "data")
    assert (said.returncode, said.stdout) == (73, "")
    assert "cannot be written (Read-only file system)" in said.stderr
    assert "another --data folder" in said.stderr


def test_a_full_data_folder_is_a_clear_error_and_after_freeing_space_nothing_is_missing(tmp_path):
    log, calm = tmp_path / "app.log", tmp_path / "calm"
    with log.open("w") as file:
        for number in range(60_000):
            second = number // 20
            file.write(f"2026-05-04T10:{second // 60:02d}:{second % 60:02d}Z INFO line {number}\n")
    run = ("run", "--once", "--input", log, "--data")
    assert foreshock(*run, calm).returncode == 0
    with mounted(tmp_path / "data", "size=2m") as data:
        said = foreshock(*run, data)
        assert said.returncode == 73
        assert "the disk is full" in said.stderr
        assert "nothing committed is lost" in said.stderr
        again = foreshock(*run, data)  # still full: still a clear error, and no harm done
        assert again.returncode == 73
        assert "the disk is full" in again.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(data)], check=True)
        said = foreshock(*run, data)
        assert said.returncode == 0, said.stderr
        assert line_counts(data) == line_counts(calm)
        assert accounted(data) == (60_000, {})


def test_a_clock_that_goes_backwards_leaves_the_log_in_order_and_loses_nothing(tmp_path, monkeypatch):
    log = tmp_path / "app.log"
    log.write_text("".join(f"2026-05-04T10:00:{second:02d}Z INFO line {second}\n" for second in range(30)))
    first, hour = 1_777_900_000_000, 3_600_000
    readings = iter(range(1_000_000))

    def wall() -> int:  # three readings forward, then an hour back, and on from there
        number = next(readings)
        return (first + number * 100 - (hour if number >= 3 else 0)) * 1_000_000

    monkeypatch.setattr("connectors.clock.time", SimpleNamespace(time_ns=wall, monotonic_ns=monotonic_ns))
    configuration = read_settings(None, {"inputs": [{"path": str(log)}], "data": str(tmp_path / "data")})
    for lines in (30, 60):
        follow(configuration, tmp_path / "data", lines)
        with log.open("a") as file:
            file.writelines(f"2026-05-04T10:01:{second:02d}Z INFO line {second}\n" for second in range(30))
    assert accounted(tmp_path / "data") == (60, {})
    for topic in ("logs", "counts"):
        times = [record.logged_at for record in records(tmp_path / "data", topic)]
        assert times == sorted(times)
        assert times[0] >= first


def follow(configuration, folder, lines: int) -> None:
    """A live run until so many lines are counted."""
    stop = threading.Event()
    with Pipeline(configuration, Opening()) as pipeline:
        pipeline.host.observe(lambda _: stop.set() if accounted(folder)[0] >= lines else None)
        pipeline.run(stop)


def test_no_character_that_a_terminal_would_obey_gets_from_a_line_to_standard_output(tmp_path):
    service = "shop\u009b31m\u202e\x7f"
    with (tmp_path / "app.log").open("w") as file:
        for minute in range(60):
            for number in range(200 if minute == 59 else 5 + minute % 2):
                at = f"2026-05-04T10:{minute:02d}:{number % 60:02d}Z"
                line = {"time": at, "service": service, "level": "error", "message": "write failed\u009bJ\u2066"}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    said = foreshock("run", "--once", "--input", tmp_path / "app.log", "--data", tmp_path / "data")
    assert said.returncode == 0, said.stderr
    found = [json.loads(line) for line in said.stdout.splitlines()]
    assert {anomaly["key"] for anomaly in found} == {service}
    assert any("J\u2066" in anomaly["data"]["text"] for anomaly in found)
    assert [char for char in said.stdout + said.stderr if not char.isprintable() and char != "\n"] == []
