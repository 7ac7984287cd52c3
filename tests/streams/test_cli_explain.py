"""explain: from any name of a case to its whole chain, and back to the line."""

from __future__ import annotations

import json

import pytest
from case_folder import build, put
from case_rig import anomaly
from cli_rig import run_cli

from connectors.data_folder import DataFolder, open_reader
from models.anomaly import Kind
from models.command import Command, JournalEntry, Outcome
from models.history import HistoryRecord, SimilarIncident
from models.incident import Incident
from streams.reading import events_of


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A case with a command, its journal, its outcome and what was learnt."""
    folder = tmp_path_factory.mktemp("case")
    story = build(folder)
    store = open_reader(folder, append=True)
    at = int(store.meta("clock") or 0)
    cid, target = story.cid, "arn:sim:rds:orders"
    command = Command(
        command_id="cmd-1",
        correlation_id=cid,
        application="shop",
        pattern_id="p",
        target=target,
        runbook_id="scale-db",
        runbook_version=1,
        params={"db_password": "hunter2"},
        cooldown_seconds=300,
        lock_after_failures=3,
        lock_seconds=3_600,
        detected_at=at,
        issued_at=at,
        expires_at=at + 300_000,
    )
    put(store, "commands", target, command, at, cid)
    intent = {"command_id": "cmd-1", "correlation_id": cid, "target": target}
    put(
        store,
        "journal",
        target,
        JournalEntry(**intent, seq=1, state="executing", entry="intent", call="rds.scale"),
        at + 1,
    )
    put(
        store,
        "journal",
        target,
        JournalEntry(**intent, seq=2, state="executing", entry="answer", call="rds.scale", ok=True),
        at + 2,
    )
    outcome = Outcome(
        **intent,
        application="shop",
        pattern_id="p",
        runbook_id="scale-db",
        runbook_version=1,
        result="recovered",
        verified_by=("health",),
        times={"detected": at, "verified": at + 60_000},
    )
    put(store, "signals", "shop", outcome, at + 60_000, cid)
    learnt = HistoryRecord(
        correlation_id=cid,
        application="shop",
        pattern_id="p",
        primary="x",
        texts=(),
        opened_at=at,
        closed_at=at + 400_000,
        failed=False,
        acted=True,
        runbook_id="scale-db",
        result="recovered",
    )
    put(store, "history", cid, learnt, at + 400_000, cid)
    return folder, story


@pytest.mark.parametrize("name", ["cid", "anomaly_id", "pointer", "command", "alert"])
def test_every_name_of_a_case_leads_to_the_whole_chain(told, name):
    folder, story = told
    alert = run_cli("tap", "alerts", "--data", folder, "--json").rows[0]["data"]["alert_id"]
    asked = {"command": "cmd-1", "alert": alert}.get(name) or getattr(story, name)
    said = run_cli("explain", asked, "--data", folder)
    assert said.code == 0, said.err
    chain = [
        f"incident {story.cid}",
        "line logs/0@0:1",
        f"template {story.template_id}",
        "45 lines in 1 min, 4.2 expected",
        "5.1σ",
        "history:",
        "P(failure) ",
        "within 60 min",
        "review scale-db v1",
        "NOT passed mode to act",
        "command cmd-1",
        "executing intent",
        "executing answer",
        "recovered",
        "learnt",
    ]
    where = [said.out.find(part, said.out.find(chain[0])) for part in chain]
    assert -1 not in where, dict(zip(chain, where, strict=True))
    assert where == sorted(where)
    assert "hunter2" not in said.out
    assert "\x1b" not in said.out


def test_json_is_one_object_with_every_part_and_its_place(told):
    folder, story = told
    said = run_cli("explain", story.cid, "--data", folder, "--json")
    assert "hunter2" not in said.out
    whole = json.loads(said.out)
    (case,) = whole["cases"]
    assert case["incidents"][-1]["data"]["correlation_id"] == story.cid
    assert case["lines"][0]["template"]["id"] == story.template_id == case["anomalies"][0]["data"]["template_id"]
    assert [entry["data"]["seq"] for entry in case["journal"]] == [1, 2]
    assert case["outcomes"][0]["data"]["result"] == "recovered"
    assert case["decisions"][0]["position"].startswith("predictions/")


def test_a_line_nothing_happened_over_is_told_with_its_template(told):
    folder, _ = told
    said = run_cli("explain", "0@0:0", "--data", folder)
    assert said.code == 0
    assert '"GET <*> in <*>"' in said.out
    assert "no anomaly has a window over it" in said.out


@pytest.mark.parametrize("name", ["fs-20200101T0000-0123456789", "logs/0@0:3", "logs/0@99:0", "logs/9@0:0", "\x1b[2J"])
def test_an_unknown_name_says_what_to_try(told, name):
    folder, _ = told
    said = run_cli("explain", name, "--data", folder)
    assert (said.code, said.out) == (1, "")
    assert "foreshock tap" in said.err
    assert "\x1b" not in said.err


def test_without_its_anomalies_an_incident_tells_what_it_remembers_of_them(tmp_path):
    story = build(tmp_path)
    with DataFolder(tmp_path) as data, data.store.transaction():
        assert data.store.retain("anomalies", 0, keep_bytes=0, before=9) == 1
    said = run_cli("explain", story.cid, "--data", tmp_path)
    assert "anomaly a1, not kept any more" in said.out
    assert f"template {story.template_id}" in said.out
    assert "45 lines in 1 min, 4.2 expected, 5.1σ" in said.out


@pytest.mark.parametrize(("seconds", "said"), [(312.0, "312.0 s behind"), (-5.344, "5.3 s ahead of")])
def test_of_a_stalled_source_is_told_how_far_it_lagged(tmp_path, seconds, said):
    build(tmp_path)
    store = open_reader(tmp_path, append=True)
    stalled = anomaly("stalled", kind=Kind.SOURCE_STALLED, template_id="", text="source app.log", observed=seconds)
    put(store, "anomalies", "checkout", stalled, 1)
    out = run_cli("explain", "stalled", "--data", tmp_path).out
    assert f"the source was complete to {said} its connector's clock" in out
    assert "source app.log of checkout" in out
    assert "p = 10^" not in out


def test_how_alike_a_past_incident_is_stands_as_a_share(tmp_path):
    story = build(tmp_path)
    store = open_reader(tmp_path, append=True)
    newest = list(events_of(store, "incidents", Incident))[-1].data
    past = HistoryRecord(
        correlation_id="fs-past", application="shop", pattern_id="p", primary="x", texts=(), opened_at=0, closed_at=1,
        failed=True, acted=False,
    )  # fmt: skip
    recalled = {"similar": (SimilarIncident(record=past, similarity=0.09),), "history_recalled": True}
    put(store, "incidents", "shop", newest.model_copy(update=recalled), 1, story.cid)
    out = run_cli("explain", story.cid, "--data", tmp_path).out
    assert "9% alike: fs-past of 1970-01-01 00:00:00.000Z: failed, not acted on" in out


def test_a_line_that_retention_took_away_is_said_to_be_gone(tmp_path):
    story = build(tmp_path)
    with DataFolder(tmp_path) as data, data.store.transaction():
        data.store.retain("logs", 0, keep_bytes=0, before=1)
    said = run_cli("explain", story.cid, "--data", tmp_path)
    assert said.code == 0
    assert "line logs/0@0:1 is not kept any more" in said.out
