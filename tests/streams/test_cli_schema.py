"""The exported schemas: complete, the same every time, true of what is on the wire, and docs/ holds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from case_folder import build
from cli_rig import run_cli

from models.contracts import CONTRACTS
from models.topics import TOPICS
from streams.cli_schema import asyncapi, documents, envelope_schema

DOCS = Path(__file__).parents[2] / "docs"


def test_docs_hold_what_the_code_says():
    written = {f"schemas/{path.name}": path.read_text() for path in (DOCS / "schemas").glob("*")}
    written["asyncapi.yaml"] = (DOCS / "asyncapi.yaml").read_text()
    assert written == dict(documents()), "run `foreshock schema export --out docs`"


def test_export_writes_every_document_and_stdout_gives_the_same(tmp_path):
    assert run_cli("schema", "export", "--out", tmp_path).code == 0
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == dict(documents())
    (whole,) = run_cli("schema", "export").rows
    assert whole["schemas"] == {name: json.loads(found[f"schemas/{name}.json"]) for name in CONTRACTS}
    assert whole["asyncapi"] == yaml.safe_load(found["asyncapi.yaml"])


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    said = run_cli("schema", "export", "--out", tmp_path / "file")
    assert said.code == 73
    assert "--out" in said.err


def test_every_topic_names_its_key_and_messages():
    document = asyncapi()
    assert list(document["channels"]) == list(TOPICS)
    for name, channel in document["channels"].items():
        assert tuple(channel["messages"]) == TOPICS[name].types
        assert TOPICS[name].key in channel["description"]
    named = {ref["$ref"].rpartition("/")[2] for c in document["channels"].values() for ref in c["messages"].values()}
    assert named <= set(document["components"]["messages"]) == set(CONTRACTS)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    build(folder)
    return [row for topic in TOPICS for row in run_cli("tap", topic, "--data", folder, "--from-start", "--json").rows]


def test_what_is_on_the_wire_has_exactly_the_fields_of_its_schema(rows):
    assert {row["type"] for row in rows} >= {"log_batch", "template_counts", "incident", "decision", "alert"}
    for row in rows:
        schema = envelope_schema(CONTRACTS[row["type"]])
        envelope = {name: value for name, value in row.items() if name in schema["properties"]}
        assert set(envelope) == set(schema["required"])
        assert (envelope["type"], envelope["v"]) == (
            schema["properties"]["type"]["const"],
            schema["properties"]["v"]["const"],
        )
        assert set(row["data"]) == set(schema["properties"]["data"]["properties"])
