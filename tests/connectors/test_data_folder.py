"""The data folder: one holder, and clear words for a folder that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from connectors.data_folder import DataFolder, open_reader
from connectors.ports import Outbound
from models.errors import DataFolderError


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path; from connectors.data_folder import DataFolder\n"
        "try: DataFolder(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    with DataFolder(tmp_path):
        told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert f"DataFolderError {tmp_path} is held by process {os.getpid()}" in told.stdout
    DataFolder(tmp_path).close()


def test_the_run_is_named_once(tmp_path):
    with DataFolder(tmp_path) as first:
        name = first.run
    with DataFolder(tmp_path) as second:
        assert second.run == name != ""


def test_readers_and_appenders_work_beside_the_holder(tmp_path):
    with DataFolder(tmp_path) as folder:
        reader = open_reader(tmp_path)
        appender = open_reader(tmp_path, append=True)
        appender.append([Outbound("signals", "shop", b"review")], 1)
        folder.store.append([Outbound("signals", "shop", b"alarm")], 2)
        assert [r.value for r in reader.read("signals", 0, 0, 10)] == [b"review", b"alarm"]
        with pytest.raises(DataFolderError, match="write access"):
            reader.append([Outbound("signals", "shop", b"x")], 3)


@pytest.mark.parametrize(("make", "words"), [("file", "not a folder"), ("garbage", "backup")])
def test_what_is_no_data_folder_is_refused_with_advice(tmp_path, make, words):
    path = tmp_path / "data"
    if make == "file":
        path.write_text("hello")
    else:
        path.mkdir()
        (path / "foreshock.db").write_bytes(b"not a database, but long enough to be looked at" * 40)
    with pytest.raises(DataFolderError, match=words):
        DataFolder(path)


def test_reading_where_nothing_is_says_what_to_give(tmp_path):
    with pytest.raises(DataFolderError, match="--data"):
        open_reader(tmp_path)


def test_a_file_of_a_newer_schema_is_refused(tmp_path):
    with DataFolder(tmp_path) as folder:
        folder.store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(DataFolderError, match="schema 99"):
        DataFolder(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB (a tmpfs; needs root)."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_said_and_what_was_committed_stays(small_disk):
    folder = DataFolder(small_disk)
    written = 0
    with pytest.raises(DataFolderError, match="disk is full"):
        for _ in range(100):
            folder.store.append([Outbound("logs", "k", bytes(100_000))], 1)
            written += 1
    folder.close()
    again = open_reader(small_disk)
    assert again.bounds("logs", 0) == (0, written)
    assert written > 0
