"""The command `replay` around its work: interrupted, waiting for a broker, waiting for detect's answers."""

from __future__ import annotations

import multiprocessing
import os
import pty
import re
import signal
import sys
import threading
from contextlib import suppress

import pytest
from cli_rig import run_cli
from counts_rig import fifty_minutes
from run_rig import records

from connectors.codec import encode
from connectors.data_folder import DataFolder
from connectors.folder_log import FolderLog
from connectors.ports import Outbound
from models.audit import AuditEntry, Stage
from models.errors import BrokerError
from models.event import Event
from streams import cli_replay, replay, replay_telling
from streams.cli import main
from streams.replay import Progress, Replay
from streams.replay_answers import Answer, running_generations, wait_for_answers


@pytest.fixture
def folder(tmp_path):
    """Fifty minutes of one service."""
    with DataFolder(tmp_path / "data") as data:
        data.store.append(fifty_minutes(), 1_800_000_000_000)
    return tmp_path / "data"


def interrupted(arguments: list[str], number: int, after: int, told: str) -> None:
    """`foreshock ARGUMENTS` in a process that reads pages of 50 records and gets a signal while it reads the page
    after so many; what it says goes to the file `told`.
    """
    with open(told, "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.stdout, sys.stderr = (open(descriptor, "w", closefd=False) for descriptor in (1, 2))  # noqa: SIM115
    replay._PAGE = 50
    pages, go_on = 0, Replay._read_page

    def read(self, within):
        nonlocal pages
        if pages == after:
            os.kill(os.getpid(), number)
        pages += 1
        go_on(self, within)

    Replay._read_page = read
    sys.argv = ["foreshock", *arguments]
    main()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_all_it_has_read_says_so_and_goes_on_there(folder, tmp_path, number):
    told = tmp_path / "told"
    process = multiprocessing.get_context("fork").Process(
        target=interrupted, args=(["replay", "--data", str(folder)], number, 2, str(told))
    )
    process.start()
    process.join()
    assert process.exitcode == 130
    assert "the same command goes on where it was" in " ".join(told.read_text().split())
    (file,) = folder.glob("replay-*")
    assert b'"next":150' in file.read_bytes()
    said = run_cli("replay", "--data", folder, "--json")
    assert "going on" in said.err
    assert said.rows[0]["minutes"] == 48


def on_a_terminal(arguments: list[str], terminal: int) -> None:
    """`foreshock ARGUMENTS` in a process whose stderr is this terminal, in pages of 50 records."""
    os.dup2(terminal, 2)
    sys.stdout, sys.stderr = open(os.devnull, "w"), open(2, "w", closefd=False)  # noqa: SIM115
    os.environ |= {"TERM": "xterm", "COLUMNS": "120"}
    replay._PAGE = 50
    sys.argv = ["foreshock", *arguments]
    main()


def test_on_a_terminal_a_bar_shows_how_much_is_done_and_how_long_it_will_take(folder):
    ours, theirs = pty.openpty()
    process = multiprocessing.get_context("fork").Process(
        target=on_a_terminal, args=(["replay", "--data", str(folder)], theirs)
    )
    process.start()
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how a terminal says that nobody writes there any more
        while piece := os.read(ours, 65_536):
            shown += piece
    process.join()
    os.close(ours)
    assert process.exitcode == 0, shown
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).split("replaying")[-1]
    assert re.search(r"━+ +100% +300/300 +0:00:00 +[0-9,]+ lines", last), last


def test_without_a_terminal_lines_tell_the_same(monkeypatch):
    said, now = [], iter((10.0, 12.0, 16.0, 17.0, 18.0))
    monkeypatch.setattr(replay_telling, "note", said.append)
    monkeypatch.setattr(replay_telling.time, "monotonic", lambda: next(now))
    tell = replay_telling._Lines()
    for done in (100, 200, 250, 400):  # at 12, 16, 17 and 18 s; a line each five seconds, and one at the end
        tell(Progress(done, 400, 10 * done))
    assert said == ["200 of 400 records, 2,000 lines, about 12 s left", "400 of 400 records, 4,000 lines"]


def test_an_interrupted_dry_run_leaves_nothing(folder, tmp_path):
    told = tmp_path / "told"
    process = multiprocessing.get_context("fork").Process(
        target=interrupted, args=(["replay", "--dry-run", "--data", str(folder)], signal.SIGINT, 2, str(told))
    )
    process.start()
    process.join()
    assert process.exitcode == 130
    assert list(folder.glob("replay-*")) == []
    assert "goes on" not in told.read_text()


def test_a_broker_that_goes_away_ends_it_with_what_is_kept(folder, monkeypatch):
    def gone(self, within):
        raise BrokerError("the broker is gone.")

    monkeypatch.setattr(Replay, "_read_page", gone)
    said = run_cli("replay", "--data", folder)
    assert said.code == 69
    assert "goes on where it was" in " ".join(said.err.split())
    assert len(list(folder.glob("replay-*"))) == 1


def test_a_silence_is_told_once_with_what_is_waited_for(monkeypatch):
    monkeypatch.setattr(replay_telling, "_TELL_SECONDS", 0.0)
    monkeypatch.setattr(replay_telling, "_LOOK_SECONDS", 0.001)
    said, told = [], threading.Semaphore(0)
    monkeypatch.setattr(replay_telling, "note", lambda text: (said.append(text), told.release()))
    monkeypatch.setattr(replay_telling._Lines, "__call__", lambda self, progress: None)
    with replay_telling.telling("Kafka at x:9") as tell:
        assert told.acquire(timeout=30)
        tell(Progress(1, 2, 3))
        assert told.acquire(timeout=30)
    assert said == ["nothing has come for 0 s: waiting for Kafka at x:9"] * 2


def audit(stage: Stage, service: str, generation: str, **facts: str) -> Outbound:
    data = AuditEntry(
        stage=stage, correlation_id=generation, application="", by="detect", facts={"service": service, **facts}
    )
    return Outbound("audit", generation, encode(Event(f"{stage}{service}", 5, generation, data)))


def test_answers_are_those_to_what_was_asked_and_the_others_are_waited_for_in_vain(folder):
    with DataFolder(folder) as data:
        data.store.append([audit(Stage.BASELINES_SWAPPED, "web", "g1"), audit(Stage.BASELINES_SWAPPED, "api", "g0")], 1)
        begin = {0: data.store.bounds("audit", 0)[1]}
        data.store.append(
            [
                audit(Stage.BASELINES_SWAPPED, "web", "another"),
                audit(Stage.BASELINES_REFUSED, "api", "g2", reason="older", detail="why"),
                audit(Stage.BASELINES_RESTORED, "shop", "g3"),
                Outbound("audit", "x", b'"BASELINES_SWAPPED" no json'),
            ],
            2,
        )
    log, told = FolderLog(folder), []
    silent = wait_for_answers(log, begin, {"web": "g1", "api": "g2", "shop": ""}, 0.0, told.append)
    assert silent == ["web"]
    assert told == [
        Answer("api", Stage.BASELINES_REFUSED, "g2", "older: why"),
        Answer("shop", Stage.BASELINES_RESTORED, "g3"),
    ]
    assert running_generations(log) == {"web": "another", "api": "g0"}


@pytest.fixture
def run_beside(monkeypatch):
    """As if a detect ran beside, that answers nothing before it is looked for."""
    monkeypatch.setattr(cli_replay, "detect_runs", lambda log: True)


@pytest.mark.usefixtures("run_beside")
def test_what_is_not_answered_in_time_is_said_with_what_it_waits_for(folder):
    said = run_cli("replay", "--data", folder, "--wait", 0)
    assert said.code == 0
    assert "not answered yet: web. A minute closes when" in " ".join(said.err.split())
    rolled = run_cli("replay", "--data", folder, "--rollback", "--service", "web", "--wait", 0)
    assert "not answered yet: web" in rolled.err


@pytest.mark.usefixtures("run_beside")
def test_a_refusal_is_told_with_its_reason_and_ends_in_an_error(folder, monkeypatch):
    write = cli_replay.write_generations

    def answered(log, learned, now):
        (each,) = learned
        log.append([audit(Stage.BASELINES_REFUSED, "web", each.generation, reason="ahead", detail="by an hour")], now)
        return write(log, learned, now)

    monkeypatch.setattr(cli_replay, "write_generations", answered)
    said = run_cli("replay", "--data", folder)
    assert said.code == 1
    assert "web: refused (ahead: by an hour)" in said.err
    assert "detect refused what was learnt of web" in " ".join(said.err.split())


@pytest.mark.usefixtures("run_beside")
def test_a_generation_that_runs_already_is_not_waited_for(folder):
    generation = run_cli("replay", "--data", folder, "--dry-run", "--json").rows[0]["generation"]
    with DataFolder(folder) as data:
        data.store.append([audit(Stage.BASELINES_SWAPPED, "web", generation)], 1)
    said = run_cli("replay", "--data", folder)
    assert said.code == 0
    assert "web runs this generation already" in said.err
    assert len([record for record in records(folder, "counts") if b"baseline_snapshot" in record.value]) == 1


@pytest.mark.usefixtures("run_beside")
@pytest.mark.parametrize(("reason", "code"), [("withdrawn", 0), ("nothing_to_restore", 1)])
def test_a_rollback_with_nothing_to_take_back_ends_in_an_error_one_in_time_does_not(folder, monkeypatch, reason, code):
    append = FolderLog.append

    def answered(self, batch, now):
        append(self, [audit(Stage.BASELINES_REFUSED, "web", "g1", reason=reason, detail="why")], now)
        return append(self, batch, now)

    monkeypatch.setattr(FolderLog, "append", answered)
    said = run_cli("replay", "--data", folder, "--rollback", "--service", "web")
    assert said.code == code
    assert f"web: refused ({reason}: why)" in said.err


def test_a_service_without_a_line_is_said_to_have_none(folder):
    said = run_cli("replay", "--data", folder, "--service", "wbe")
    assert said.code == 1
    assert "no line of 'wbe' is in what was read" in " ".join(said.err.split())
