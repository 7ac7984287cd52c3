"""The reading commands as real processes, beside a live process that holds the folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import case_folder
import pytest
from case_folder import HOSTILE, build

FORESHOCK = str(Path(sys.executable).with_name("foreshock"))
WAIT = 60


def foreshock(*args, **options):
    return subprocess.run(
        [FORESHOCK, *map(str, args)], capture_output=True, text=True, timeout=WAIT, check=False, **options
    )


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A folder with a case, and a process that runs it."""
    folder = tmp_path_factory.mktemp("live")
    story = build(folder)
    support = Path(case_folder.__file__)
    with subprocess.Popen(
        [sys.executable, str(support), str(folder)], stdout=subprocess.PIPE, text=True, cwd=support.parents[2]
    ) as holder:
        assert holder.stdout.readline() == "live\n"
        yield folder, story
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(WAIT) == 0


@pytest.mark.parametrize(
    "command",
    [
        ("incidents",),
        ("tap", "logs", "--from-start"),
        ("tap", "alerts", "--json"),
        ("explain", "a1"),
        ("explain", "logs/0@0:1", "--json"),
        ("tap", HOSTILE),
        ("review", "show", HOSTILE),
        ("recompute", "--json"),
    ],
)
def test_beside_a_live_run_nothing_hostile_reaches_the_terminal(live, command):
    folder, _ = live
    said = foreshock(*command, "--data", folder)
    assert said.returncode == {True: 1, False: 0}[HOSTILE in command] or command[0] == "tap", said.stderr
    for text in (said.stdout, said.stderr):
        assert not [char for char in text if unicodedata.category(char) in {"Cc", "Cf"} and char != "\n"]
        assert "hunter2" not in text
    if "--json" in command:
        assert [json.loads(line) for line in said.stdout.splitlines()]


def test_an_approval_beside_a_live_run_orders_the_command(live):
    folder, story = live
    with subprocess.Popen(
        [FORESHOCK, "tap", "commands", "--follow", "--type", "command", "--json", "--data", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job inherits it as ignored
    ) as following:
        said = foreshock("review", "approve", story.cid, "--data", folder, "--reason", "seen it before")
        assert said.returncode == 0, said.stderr
        order = json.loads(following.stdout.readline())  # as soon as the live process has ordered it
        following.send_signal(signal.SIGINT)
        assert following.wait(WAIT) == 130
        assert following.stderr.read() == ""
    assert order["data"]["correlation_id"] == story.cid
    again = foreshock("review", "approve", story.cid, "--data", folder)
    assert (again.returncode, again.stdout) == (1, "")
    assert "answered already" in again.stderr
    whole = foreshock("explain", order["data"]["command_id"], "--data", folder)
    assert whole.returncode == 0, whole.stderr
    assert f"command {order['data']['command_id']}" in whole.stdout
    assert "seen it before" in whole.stdout


def test_a_reader_that_closes_early_is_no_error_message(live):
    folder, _ = live
    line = f"{FORESHOCK} tap signals --from-start --json --data {folder} | head -1"
    said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=WAIT, check=False)
    assert json.loads(said.stdout)["topic"] == "signals"
    assert said.stderr == ""
    # The same with a pipe nobody reads at all, so that the first write fails.
    with subprocess.Popen(
        [FORESHOCK, "tap", "signals", "--from-start", "--data", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as unread:
        unread.stdout.close()
        assert unread.stderr.read() == ""
        assert unread.wait(WAIT) in (0, 1)


def test_a_terminal_is_not_needed_and_colour_can_be_refused(live):
    folder, story = live
    said = foreshock("incidents", "--data", folder, env={"NO_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "20"})
    assert story.cid in said.stdout
    assert "\x1b" not in said.stdout


def test_usage_errors_exit_2_and_missing_data_exits_73(tmp_path):
    assert foreshock("tap").returncode == 2
    assert foreshock("nothing").returncode == 2
    assert foreshock("tap", "logs", "--last", "-1").returncode == 2
    nothing = foreshock("explain", "x", "--data", tmp_path)
    assert (nothing.returncode, nothing.stdout) == (73, "")
    assert "--data" in nothing.stderr


def test_a_folder_that_is_not_named_is_the_configured_one(live, tmp_path):
    folder, story = live
    (tmp_path / "foreshock.yaml").write_text(f"data: {folder}\n")
    assert story.cid in foreshock("incidents", "--all", cwd=tmp_path).stdout
    (tmp_path / "foreshock.yaml").write_text("date: x\n")
    broken = foreshock("incidents", cwd=tmp_path)
    assert (broken.returncode, broken.stdout) == (78, "")
    assert "foreshock.yaml:1" in broken.stderr


def test_version_and_help_import_nothing_heavy():
    assert foreshock("--version").stdout == foreshock("version").stdout != ""
    heavy = "{'numpy', 'pydantic', 'rich.console', 'yaml', 'orjson', 'sqlite3', 'structlog'}"
    code = f"import sys, streams.cli; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT, check=False)
    assert said.returncode == 0, said.stderr
