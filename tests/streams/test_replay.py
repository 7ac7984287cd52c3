"""Replays: what they learn is what detect has learnt, without incidents; through kills, retention and bad records."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_rig import run_cli
from run_rig import copy_folder, foreshock, records

from connectors.codec import decode_record
from connectors.data_folder import DataFolder
from connectors.ports import Outbound, Record, UnitName
from connectors.world import DEFAULT_START
from models.baseline import Baselines
from models.series import ERRORS, TOTAL
from models.service_state import ServiceState
from models.snapshot import BaselineSnapshot, Span
from streams import replay
from streams.cli import main
from streams.replay import Learned, Replay, progress_file
from streams.replay_places import FolderPlace
from streams.replay_plan import Request, make_plan

QUIET, LEAK = "sim:7?hours=0.75&faults=none", "sim:7?hours=1.75&faults=pool_leak@00:50,hotfix@01:15"


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """An hour and three quarters of the shop; after fifty minutes the pool of connections leaks for 25."""
    folder = tmp_path_factory.mktemp("leaky")
    live(folder, LEAK)
    return folder


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """Three quarters of an hour of the shop in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("quiet")
    live(folder, QUIET)
    return folder


@pytest.fixture
def copy(leaky, tmp_path):
    return copy_folder(leaky, tmp_path / "copy")


def live(folder: Path, world: str) -> None:
    """Let a world be watched to its end, or on from where it was."""
    ended = foreshock("run", "--once", world, "--data", folder, timeout=240)
    assert ended.returncode == 0, ended.stderr


def quiet_end(folder: Path) -> int:
    """The offset of the first counts after the first fifty minutes: nothing has been wrong before."""
    return next(record.offset for record in records(folder, "counts") if record.logged_at >= DEFAULT_START + 3_000_000)


def learn(folder: Path, **request) -> dict[str, Learned]:
    place = FolderPlace(folder)
    work = Replay(place.log, make_plan(place, Request(**{"topic": "counts", **request})), folder / "progress.json")
    found = {each.service: each for each in work.run(lambda progress: None)}
    work.forget()
    return found


def learnt(state: ServiceState) -> dict[str, list[float]]:
    return {name: getattr(state.base, name)[: state.series.used].tolist() for name in Baselines.LEARNT}


def detects(folder: Path) -> dict[str, ServiceState]:
    """What detect has saved."""
    return {entry.key: ServiceState.load(entry.state) for entry in FolderPlace(folder).entries(UnitName("detect", 0))}


def log_again(folder: Path) -> None:
    """The log grows: a redelivered record."""
    record = next(records(folder, "counts"))
    with DataFolder(folder) as data:
        data.store.append([Outbound("counts", record.key, record.value, record.partition)], 1_900_000_000_000)


def snapshots(folder: Path) -> list[Record]:
    return [record for record in records(folder, "counts") if b'"type":"baseline_snapshot"' in record.value]


@pytest.mark.parametrize("topic", ["counts", "logs"])
def test_of_quiet_hours_a_replay_learns_exactly_what_detect_has_learnt(quiet, topic):
    detected, found = detects(quiet), learn(quiet, topic=topic)
    assert detected.keys() == found.keys()
    assert len(detected) == 8
    for name, state in detected.items():
        assert state.series.ids == found[name].state.series.ids
        assert learnt(state) == learnt(found[name].state), name
        assert state.base.n[TOTAL] == (43 if state.delay else 44), name  # the last lesson of some is yet to come


def test_incidents_are_left_out_and_what_is_left_is_as_before_them(leaky):
    before = learn(leaky, until=f"@{quiet_end(leaky)}")
    without, with_them = learn(leaky), learn(leaky, with_incidents=True)
    assert without["checkout"].training.left_out
    assert not with_them["checkout"].training.left_out
    quiet, clean, spoilt = (each["checkout"].state.base for each in (before, without, with_them))
    assert spoilt.mean[ERRORS] > 10 * (quiet.mean[ERRORS] + 0.1)
    assert clean.mean[ERRORS] == pytest.approx(quiet.mean[ERRORS], abs=0.05)
    assert clean.mean[TOTAL] == pytest.approx(quiet.mean[TOTAL], rel=0.05)
    assert clean.n[TOTAL] < spoilt.n[TOTAL]
    assert without["checkout"].generation != with_them["checkout"].generation


def test_a_wider_margin_leaves_out_more(leaky):
    narrow, wide = (learn(leaky, service="checkout", margin_minutes=margin)["checkout"] for margin in (0, 20))
    assert narrow.training.minutes > wide.training.minutes


def test_a_service_alone_is_learnt_as_among_the_others(leaky):
    alone, among = learn(leaky, service="web"), learn(leaky)
    assert alone.keys() == {"web"}
    assert learnt(alone["web"].state) == learnt(among["web"].state)
    assert [m.value for m in alone["web"].messages] == [m.value for m in among["web"].messages]


def test_ranges_are_given_by_offset_by_time_and_by_span(leaky):
    place, begun = FolderPlace(leaky), DEFAULT_START
    first, end = place.log.bounds("counts", 0)
    at_hour = next(r.offset for r in records(leaky, "counts") if r.logged_at >= begun + 3_600_000)
    stamp = np.datetime64(begun + 3_600_000, "ms").item().isoformat()

    def span(**request):
        (found,) = make_plan(place, Request(topic="counts", **request)).ranges
        return found.begin, found.end

    assert span() == (first, end)
    assert span(since="@10", until="@99999999") == (10, end)
    assert span(until=f"{stamp}Z") == span(until=stamp) == span(until=str(begun + 3_600_000)) == (first, at_hour)
    newest = place.log.now() - 1_800_000
    assert span(since="30m")[0] == next(r.offset for r in records(leaky, "counts") if r.logged_at >= newest)


@pytest.mark.parametrize(
    ("options", "word", "code"),
    [
        (["--from", "yesterday"], "--from 'yesterday'", 2),
        (["--to", "@-4"], "as @1234", 2),
        (["--from", "@500", "--to", "@400"], "holds nothing", 1),
        (["--to", "@20"], "earlier time", 1),
        (["--topic", "alerts"], "counts or logs", 2),
        (["--rollback"], "nothing to take back", 1),
    ],
)
def test_what_cannot_be_replayed_is_said_with_what_to_do(leaky, tmp_path, options, word, code):
    said = run_cli("replay", "--data", leaky, "--state", tmp_path, *options)
    assert said.code == code
    assert word in " ".join(said.err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_what_would_change_and_leaves_nothing_and_then_exactly_that_is_written(copy):
    before, files = list(records(copy, "counts")), everything_in(copy)
    said = run_cli("replay", "--data", copy, "--dry-run", "--json")
    assert said.code == 0
    assert list(records(copy, "counts")) == before
    assert everything_in(copy) == files
    rows = {row["service"]: row for row in said.rows}
    assert rows["web"]["series_known"] == rows["web"]["series"] > 3
    assert rows["checkout"]["left_out_minutes"] > 20
    assert rows["checkout"]["shifts"][0]["sd"] != 0
    written = run_cli("replay", "--data", copy, "--json")
    assert "going on" not in written.err
    assert [row["generation"] for row in written.rows] == [row["generation"] for row in said.rows]
    assert {decode_record(r).data.generation for r in snapshots(copy)} == {row["generation"] for row in said.rows}


def test_a_dry_run_keeps_no_folder_for_progress_either(copy, tmp_path):
    assert run_cli("replay", "--data", copy, "--state", tmp_path / "state", "--dry-run").code == 0
    assert not (tmp_path / "state").exists()


def everything_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} - {"foreshock.db-shm", "foreshock.db-wal"}  # SQLite's own


def test_a_dry_run_shows_what_an_interrupted_replay_would_write_and_leaves_it_where_it_was(copy):
    file = begun(copy)
    before = file.read_bytes()
    log_again(copy)
    said = run_cli("replay", "--data", copy, "--dry-run", "--json")
    assert "going on" in said.err
    assert file.read_bytes() == before
    anew = run_cli("replay", "--data", copy, "--dry-run", "--restart", "--json")
    assert "going on" not in anew.err
    assert file.read_bytes() == before
    written = run_cli("replay", "--data", copy, "--json")
    assert "going on" in written.err
    assert [row["generation"] for row in written.rows] == [row["generation"] for row in said.rows]
    assert {row["generation"] for row in written.rows}.isdisjoint(row["generation"] for row in anew.rows)


def begun(folder: Path, state: Path | None = None) -> Path:
    """A replay that has only made its plan; returns the file of its progress."""
    place, request = FolderPlace(folder), Request(topic="counts")
    file = progress_file(state or folder, place, request)
    Replay(place.log, make_plan(place, request), file).save()
    return file


def test_two_data_folders_do_not_share_progress_even_where_one_is_a_copy(copy, leaky, tmp_path):
    file = begun(copy, tmp_path)
    other = copy_folder(leaky, tmp_path / "other")
    said = run_cli("replay", "--data", other, "--state", tmp_path, "--service", "web")
    assert said.code == 0
    whole = run_cli("replay", "--data", other, "--state", tmp_path)
    assert "going on" not in whole.err
    assert file.exists()
    assert "going on" in run_cli("replay", "--data", copy, "--state", tmp_path).err


def test_an_incident_without_an_end_is_left_out_as_far_as_was_replayed(quiet, tmp_path):
    place = FolderPlace(quiet)
    half = DEFAULT_START + 1_800_000
    for start, minutes in ((half, 15), (0, 45)):
        plan = make_plan(place, Request(topic="counts"))
        plan = plan.model_copy(update={"alarms": {"checkout": (Span(start=start, end=1 << 53),)}})
        found = {each.service: each.training for each in Replay(place.log, plan, None).run(lambda _: None)}
        (span,) = found["checkout"].left_out
        assert span.end == found["checkout"].minute * 60_000
        assert (span.end - span.start) / 60_000 == pytest.approx(minutes, abs=0.5)
        assert found["web"].left_out == ()


def _killed_within(arguments: list[str], after: int) -> None:
    """`foreshock ARGUMENTS` in a process that saves after every page and is killed after so many of them (0: when all
    is written, before the progress is forgotten).
    """
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    replay._SAVE_SECONDS, replay._PAGE = 0.0, 50
    pages = 0
    go_on = Replay._read_page

    def read(self, within):
        nonlocal pages
        if pages == after != 0:
            os.kill(os.getpid(), signal.SIGKILL)
        pages += 1
        go_on(self, within)

    Replay._read_page = read
    if after == 0:
        Replay.forget = lambda self: os.kill(os.getpid(), signal.SIGKILL)
    sys.argv = ["foreshock", *arguments]
    main()


def test_a_replay_killed_again_and_again_writes_the_same_generations(leaky, copy, tmp_path):
    whole = copy_folder(leaky, tmp_path / "whole")
    assert run_cli("replay", "--data", whole).code == 0
    expected = [(record.key, record.value) for record in snapshots(whole)]
    context = multiprocessing.get_context("fork")
    for after in (3, 1, 6, 0):
        process = context.Process(target=_killed_within, args=(["replay", "--data", str(copy)], after))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert len(list(copy.glob("replay-*.json"))) == 1
        log_again(copy)
    assert [(record.key, record.value) for record in snapshots(copy)] == expected  # written, not yet forgotten
    said = run_cli("replay", "--data", copy)
    assert "going on with the same replay" in said.err
    assert [(record.key, record.value) for record in snapshots(copy)] == expected * 2
    assert list(copy.glob("replay-*")) == []
    assert len(expected) == 8


def test_parts_written_twice_swap_once(copy):
    for _ in range(2):
        assert run_cli("replay", "--data", copy, "--to", "@500", "--service", "web").code == 0
    assert len(snapshots(copy)) == 2
    live(copy, LEAK.replace("1.75", "1.8"))
    stages = [decode_record(r).data.stage for r in records(copy, "audit") if b'"BASELINES_' in r.value]
    assert stages == ["BASELINES_SWAPPED"]


def test_restart_begins_anew_and_retention_that_was_faster_is_said(copy):
    begun(copy)
    with DataFolder(copy) as data, data.store.transaction():
        assert data.store.retain("counts", 0, keep_bytes=1_000_000, before=150) == 150
    said = run_cli("replay", "--data", copy)
    assert said.code == 1
    assert "retention" in said.err
    assert "--restart" in said.err
    assert run_cli("replay", "--data", copy, "--restart").code == 0
    assert decode_record(snapshots(copy)[0]).data.training.ranges[0].begin == 150


@pytest.mark.parametrize("content", [b"", b"{not json", b'{"format":99}'])
def test_a_progress_file_of_another_program_is_refused_with_what_to_do(copy, content):
    begun(copy).write_bytes(content)
    said = run_cli("replay", "--data", copy)
    assert said.code == 1
    assert "--restart" in said.err


def test_the_contract_of_what_is_written(copy):
    assert run_cli("replay", "--data", copy, "--service", "web").code == 0
    (record,) = snapshots(copy)
    event = decode_record(record)
    assert isinstance(event.data, BaselineSnapshot)
    assert (record.key, event.key, event.data.service, event.data.training.rules_version) == ("web", "web", "web", 1)
    assert event.run == f"replay-{event.data.generation[:8]}"
