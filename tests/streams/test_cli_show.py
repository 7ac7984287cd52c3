"""tap and incidents: what is shown, in which order, and what never is."""

from __future__ import annotations

import base64
import unicodedata

import pytest
from case_folder import HOSTILE, batch, build, put
from cli_rig import run_cli

from connectors.data_folder import open_reader
from connectors.ports import Outbound
from models.audit import DeadLetter
from models.topics import TOPICS

T0 = 1_790_000_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("case")
    build(path)
    return path


def harmless(text: str) -> bool:
    return not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in text.replace("\n", ""))


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_no_topic_shows_control_characters_or_secrets(folder, topic):
    assert not harmless(HOSTILE)
    for said in (
        run_cli("tap", topic, "--data", folder, "--from-start"),
        run_cli("tap", topic, "--data", folder, "--from-start", "--json"),
    ):
        assert said.code == 0, said.err
        assert harmless(said.out)
        assert "hunter2" not in said.out
        assert "abc123secret" not in said.out


def test_json_keeps_the_text_apart_from_its_secrets(folder):
    (row,) = run_cli("tap", "logs", "--data", folder, "--json").rows
    assert (row["topic"], row["partition"], row["offset"], row["type"]) == ("logs", 0, 0, "log_batch")
    lines = row["data"]["messages"].split("\n")
    assert lines[1] == HOSTILE.replace("hunter2", "<redacted>")
    assert lines[0] == "GET /cart 200 in 12 ms"


def test_a_batch_of_lines_is_one_short_line_and_so_is_a_heartbeat(tmp_path):
    build(tmp_path)
    store = open_reader(tmp_path, append=True)
    services = tuple(f"s{number}" for number in range(5))
    at = [T0] * 5
    many = batch(T0, ["a"] * 5).model_copy(
        update={"services": services, "service_index": [0, 1, 2, 3, 4], "dropped": {"blank": 2}, "timestamps": at}
    )
    put(store, "logs", "0", many, T0, partition=0)
    put(store, "logs", "0", batch(T0, ["one"]), T0, partition=0)
    put(store, "logs", "0", batch(T0, []), T0, partition=0)
    told = run_cli("tap", "logs", "--data", tmp_path).out.splitlines()[1:]
    assert [line.partition("Z logs/0@")[2] for line in told] == [
        '1 5 lines of s0, s1, s2 and 2 more, 2 blank: "a"',
        '2 1 line of checkout: "one"',
        "3 no lines of app.log, complete to 2026-09-21 14:13:20.000Z",
    ]


def test_a_dead_letter_shows_its_reason_and_place_but_no_secret(tmp_path):
    build(tmp_path)
    store = open_reader(tmp_path, append=True)
    raw = base64.b64encode(b'{"password": "hunter2", "text": "\x1b[2Jboo"}').decode()
    letter = DeadLetter(reason="not_json", detail="line 1", source_id="/var/log/x", cursor="77", raw=raw)
    put(store, "dead-letters", "/var/log/x", letter, T0)
    said = run_cli("tap", "dead-letters", "--data", tmp_path)
    assert "not_json at /var/log/x@77" in said.out
    assert "boo" in said.out
    assert "hunter2" not in said.out
    (row,) = run_cli("tap", "dead-letters", "--data", tmp_path, "--json").rows
    shown = base64.b64decode(row["data"]["raw"])
    assert b"hunter2" not in shown
    assert b"boo" in shown


def test_a_record_that_cannot_be_decoded_is_shown_with_the_reason(tmp_path):
    build(tmp_path)
    open_reader(tmp_path, append=True).append([Outbound("alerts", "k", b'{"token": "hunter2"} \x1b[2J \xff')], T0)
    said = run_cli("tap", "alerts", "--data", tmp_path, "--from-start")
    assert "not_json" in said.out
    assert harmless(said.out)
    assert "hunter2" not in said.out
    rows = run_cli("tap", "alerts", "--data", tmp_path, "--from-start", "--json").rows
    (row,) = [row for row in rows if "error" in row]
    assert row["error"].startswith("not_json")
    assert "hunter2" not in row["text"]


def test_partitions_are_shown_in_the_order_in_which_they_were_logged(tmp_path):
    build(tmp_path, begin=T0)
    store = open_reader(tmp_path, append=True)
    for number in range(7):
        put(store, "logs", "x", batch(T0 + number, (f"line {number}",)), T0 + 1_000 * number, partition=number % 2)
    rows = run_cli("tap", "logs", "--data", tmp_path, "--last", "4", "--json").rows
    assert [row["data"]["messages"] for row in rows] == ["line 3", "line 4", "line 5", "line 6"]
    rows = run_cli("tap", "logs", "--data", tmp_path, "--from-start", "--json").rows
    assert [row["data"]["messages"] for row in rows[1:]] == [f"line {number}" for number in range(7)]
    rows = run_cli("tap", "logs", "--data", tmp_path, "--last", "2", "--key", "0", "--json").rows
    assert [row["key"] for row in rows] == ["0"]


def test_last_counts_only_what_is_wanted(folder):
    rows = run_cli("tap", "signals", "--data", folder, "--last", "1", "--type", "anomaly", "--json").rows
    assert [row["type"] for row in rows] == ["anomaly"]
    assert len(run_cli("tap", "signals", "--data", folder, "--last", "0").out) == 0


def test_an_unknown_topic_or_type_is_a_usage_error_that_lists_what_there_is(folder):
    said = run_cli("tap", "anomaly", "--data", folder)
    assert said.code == 2
    assert "anomalies" in said.err
    assert "dead-letters" in said.err.replace("│\n│ ", "")
    said = run_cli("tap", "anomalies", "--type", "alert", "--data", folder)
    assert (said.code, said.out) == (2, "")


def test_a_folder_without_data_says_what_to_do(tmp_path):
    said = run_cli("incidents", "--data", tmp_path)
    assert (said.code, said.out) == (73, "")
    assert "--data" in said.err


def test_incidents_tell_status_probability_verdict_and_outcome(folder):
    (row,) = run_cli("incidents", "--data", folder, "--json").rows
    assert (row["application"], row["status"], row["verdict"], row["outcome"]) == ("shop", "open", "review", None)
    assert 0.7 <= row["failure_probability"] <= 1
    said = run_cli("incidents", "--data", folder)
    assert row["correlation_id"] in said.out
    assert f"{row['failure_probability']:.2f}" in said.out
    assert run_cli("incidents", "--data", folder, "--application", "other", "--json").rows == []
