"""review, pause, resume: signed words that the steps accept, and clear refusals of what cannot be answered."""

from __future__ import annotations

import json

import pytest
import typer
from case_folder import PARTITIONS, PERFORMERS, build, put, steps
from cli_rig import run_cli

from connectors.clock import WallClock
from connectors.data_folder import DataFolder, open_reader
from connectors.keys import load_keys
from models.audit import DeadLetter
from models.decision import Decision, Verdict
from models.incident import Incident, IncidentStatus
from models.signal import Control, Review
from models.signing import verify
from streams.cli_people import parse_until
from streams.embedded import EmbeddedHost
from streams.reading import events_of

T0 = 1_790_000_000_000
NOW = 1_800_000_000_000


@pytest.fixture
def case(tmp_path):
    return tmp_path, build(tmp_path)


def go_on(folder):
    """What a host does with what people have said since."""
    with DataFolder(folder) as data:
        clock = WallClock(int(data.store.meta("clock")))
        host = EmbeddedHost(data.store, steps(folder, data.run), PERFORMERS, clock=clock, run=data.run)
        host.settle()
        host.finish()


def test_an_approval_is_signed_binds_the_proposal_and_orders_the_command(case):
    folder, story = case
    (row,) = run_cli("review", "list", "--data", folder, "--json").rows
    assert (row["correlation_id"], row["state"], row["decision"]["verdict"]) == (story.cid, "open", "review")
    said = run_cli(
        "review", "approve", story.cid, "--data", folder, "--reviewer", "ada", "--reason", "seen it", "--json"
    )
    assert said.code == 0, said.err
    store = open_reader(folder)
    (event,) = events_of(store, "signals", Review)
    verify(event.data, load_keys(folder, {}))
    assert event.data.proposal_digest == row["decision"]["proposal_digest"]
    assert (event.key, event.cid, event.data.reviewer) == ("shop", story.cid, "ada")
    go_on(folder)
    (order,) = run_cli("tap", "commands", "--type", "command", "--data", folder, "--json").rows
    assert order["data"]["correlation_id"] == story.cid
    assert run_cli("tap", "dead-letters", "--data", folder).out == ""
    assert run_cli("review", "list", "--data", folder, "--json").rows == []
    (past,) = run_cli("review", "list", "--all", "--data", folder, "--json").rows
    assert (past["state"], past["review"]["reviewer"]) == ("answered", "ada")


def test_a_rejection_orders_nothing(case):
    folder, story = case
    assert run_cli("review", "reject", story.cid, "--data", folder, "--reason", "no").code == 0
    go_on(folder)
    assert run_cli("tap", "commands", "--type", "command", "--data", folder).out == ""
    assert "REJECTED" in run_cli("tap", "audit", "--data", folder, "--last", "20").out


def test_a_second_answer_is_refused_and_names_the_first(case):
    folder, story = case
    run_cli("review", "reject", story.cid, "--data", folder, "--reviewer", "ada")
    said = run_cli("review", "approve", story.cid, "--data", folder)
    assert (said.code, said.out) == (1, "")
    assert "reject by ada" in said.err
    assert len(list(events_of(open_reader(folder), "signals", Review))) == 1


def test_a_review_that_was_refused_as_a_dead_letter_does_not_close_the_proposal(case):
    folder, story = case
    store = open_reader(folder, append=True)
    (row,) = run_cli("review", "list", "--data", folder, "--json").rows
    digest = row["decision"]["proposal_digest"]
    forged = Review(
        correlation_id=story.cid,
        proposal_digest=digest,
        verdict="reject",
        reviewer="mallory",
        expires_at=NOW,
        key_id="x",
    )
    put(store, "signals", "shop", forged, int(store.meta("clock")))
    assert run_cli("review", "list", "--data", folder, "--json").rows == []
    go_on(folder)
    assert any(letter.data.reason == "unknown signing key" for letter in events_of(store, "dead-letters", DeadLetter))
    assert run_cli("review", "approve", story.cid, "--data", folder).code == 0


def test_an_expired_proposal_cannot_be_answered_but_is_listed_with_all(tmp_path):
    story = build(tmp_path, begin=T0)
    with DataFolder(tmp_path) as data, data.store.transaction():
        data.store.set_meta("time", "wall")  # as if it had been watched live, in September
    assert run_cli("review", "list", "--data", tmp_path).out == ""
    (row,) = run_cli("review", "list", "--all", "--data", tmp_path, "--json").rows
    assert row["state"] == "expired"
    said = run_cli("review", "approve", story.cid, "--data", tmp_path)
    assert (said.code, said.out) == (1, "")
    assert "expired at 2026-" in said.err
    assert list(events_of(open_reader(tmp_path), "signals", Review)) == []


def test_where_the_folders_time_is_virtual_a_proposal_is_open_as_long_as_it_says(tmp_path):
    story = build(tmp_path, begin=T0)
    assert run_cli("review", "approve", story.cid, "--data", tmp_path).code == 0
    (event,) = events_of(open_reader(tmp_path), "signals", Review)
    assert event.logged_at == int(open_reader(tmp_path).meta("clock"))
    go_on(tmp_path)
    assert len(run_cli("tap", "commands", "--type", "command", "--data", tmp_path, "--json").rows) == 1


def test_a_closed_incident_cannot_be_answered(case):
    folder, story = case
    store = open_reader(folder, append=True)
    newest = list(events_of(store, "incidents", Incident))[-1].data
    closed = newest.model_copy(update={"status": IncidentStatus.CLOSED})
    put(store, "incidents", "shop", closed, int(store.meta("clock")), story.cid)
    said = run_cli("review", "approve", story.cid, "--data", folder)
    assert said.code == 1
    assert "closed" in said.err


def test_what_a_newer_decision_no_longer_asks_cannot_be_answered(case):
    folder, story = case
    store = open_reader(folder, append=True)
    newest = list(events_of(store, "predictions", Decision))[-1].data
    held = newest.model_copy(update={"revision": 2, "verdict": Verdict.HOLD, "proposal_digest": ""})
    put(store, "predictions", "shop", held, int(store.meta("clock")), story.cid)
    assert run_cli("review", "list", "--data", folder).out == ""
    said = run_cli("review", "approve", story.cid, "--data", folder)
    assert said.code == 1
    assert "newer decision" in said.err


def test_an_unknown_incident_cannot_be_answered(case):
    folder, _ = case
    for command in ("show", "approve", "reject"):
        said = run_cli("review", command, "fs-nothing", "--data", folder)
        assert (said.code, said.out) == (1, "")
        assert "foreshock review list" in said.err


def test_show_gives_every_reason(case):
    folder, story = case
    (row,) = run_cli("review", "show", story.cid, "--data", folder, "--json").rows
    said = run_cli("review", "show", story.cid, "--data", folder)
    assert row["decision"]["reasons"]
    for reason in row["decision"]["reasons"]:
        assert f"{reason['rule']}: {reason['text']}" in said.out


@pytest.mark.parametrize("kind", ["pause", "resume"])
def test_a_control_reaches_every_partition_that_the_case_and_act_read(case, kind):
    folder, _ = case
    said = run_cli(kind, "--data", folder, "--reason", "holiday", "--by", "ada", "--json")
    assert said.code == 0, said.err
    store, ring = open_reader(folder), load_keys(folder, {})
    for topic in ("signals", "commands"):
        controls = list(events_of(store, topic, Control))
        assert sorted(event.position.partition for event in controls) == list(range(PARTITIONS))
        for event in controls:
            verify(event.data, ring)
            assert (event.data.kind, event.data.scope, event.data.by, event.key) == (kind, "*", "ada", "*")
    assert json.loads(said.out)["kind"] == kind


def test_a_pause_stops_an_approved_action(case):
    folder, story = case
    assert run_cli("pause", "--data", folder, "--reason", "freeze", "--until", "2h").code == 0
    go_on(folder)
    run_cli("review", "approve", story.cid, "--data", folder)
    go_on(folder)
    assert run_cli("tap", "commands", "--type", "command", "--data", folder).out == ""


def test_a_scope_nobody_knows_is_refused_with_those_there_are(case):
    folder, _ = case
    said = run_cli("pause", "--data", folder, "--reason", "x", "--scope", "shopp")
    assert said.code == 2
    assert "shop" in said.err
    assert list(events_of(open_reader(folder), "signals", Control)) == []
    assert run_cli("pause", "--data", folder, "--reason", "x", "--scope", "shop").code == 0


def test_until_is_a_span_or_a_time_in_the_future():
    assert parse_until("90s", NOW) == NOW + 90_000
    assert parse_until("2h", NOW) == NOW + 7_200_000
    assert parse_until("1d", NOW) == NOW + 86_400_000
    assert parse_until("2027-03-01T12:00", NOW) == parse_until("2027-03-01T12:00Z", NOW)
    assert parse_until("2027-03-01T13:00+01:00", NOW) == parse_until("2027-03-01T12:00Z", NOW)
    for wrong in ("2", "h", "soon", "-2h", "2020-01-01"):
        with pytest.raises(typer.BadParameter):
            parse_until(wrong, NOW)


def test_a_pause_without_reason_or_with_a_senseless_end_is_a_usage_error(case):
    folder, _ = case
    assert run_cli("pause", "--data", folder).code == 2
    assert run_cli("pause", "--data", folder, "--reason", "x", "--until", "later").code == 2


def test_words_that_are_no_utf8_are_taken_with_question_marks(case):
    folder, _ = case
    said = run_cli("pause", "--data", folder, "--reason", "caf\udce9", "--by", "\udcff", "--json")
    assert (said.code, said.rows[0]["reason"], said.rows[0]["by"]) == (0, "caf?", "?")
    assert run_cli("explain", "\udcff", "--data", folder).code == 1


def test_a_proposal_that_replaced_the_one_looked_at_is_answered_only_by_its_digest(case):
    folder, story = case
    store = open_reader(folder, append=True)
    (seen,) = [e.data for e in events_of(store, "predictions", Decision) if e.data.proposal_digest]
    other = seen.model_copy(
        update={"revision": seen.revision + 1, "proposal_digest": "beef" * 5, "runbook_id": "another-runbook"}
    )
    put(store, "predictions", "shop", other, int(store.meta("clock")) + 1, story.cid)
    blind = run_cli("review", "approve", story.cid, "--data", folder)
    assert (blind.code, blind.out) == (1, "")
    assert "another-runbook" in blind.err
    assert "--proposal beefbeefbeef" in blind.err
    late = run_cli("review", "approve", story.cid, "--data", folder, "--proposal", seen.proposal_digest)
    assert late.code == 1
    assert list(events_of(store, "signals", Review)) == []
    meant = run_cli("review", "approve", story.cid, "--data", folder, "--proposal", "beefbeef")
    assert meant.code == 0
    (event,) = events_of(open_reader(folder), "signals", Review)
    assert event.data.proposal_digest == "beef" * 5
