"""`foreshock topics` and `foreshock catalog` on a real broker: what a person and a program see, and exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_rig import run_cli
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from connectors.codec import decode_record
from connectors.kafka_acls import ROLES
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from models.catalog import Catalog
from models.topics import TOPICS
from streams.catalog import publish_catalog


@pytest.fixture
def folder(tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("FORESHOCK_") and not name.startswith("FORESHOCK_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    text = f"partitions: 2\nkafka:\n  prefix: {prefix}\napplications:\n  - {{name: shop, services: [checkout]}}\n"
    (tmp_path / "foreshock.yaml").write_text(text)
    return tmp_path


def told(out: str, prefix: str) -> int:
    """Lines about topics: a library may have put a word of its own between them."""
    return sum(line.startswith(prefix) for line in out.splitlines())


def test_topics_are_made_checked_and_shown(folder: Path, kafka: str, prefix: str) -> None:
    missing = run_cli("topics", "diff", "--kafka", kafka)
    assert (missing.code, told(missing.out, prefix)) == (1, 18)
    assert f"{prefix}logs is missing" in missing.out
    made = run_cli("topics", "apply", "--kafka", kafka)
    assert (made.code, told(made.out, prefix)) == (0, 18), made.err
    assert f"{prefix}foreshock-detect-state: created" in made.out
    again = run_cli("topics", "apply", "--kafka", kafka)
    assert (again.code, again.out) == (0, "")
    assert "nothing changed" in again.err
    same = run_cli("topics", "diff", "--kafka", kafka)
    assert (same.code, same.out) == (0, "")
    shown = run_cli("topics", "describe", "--kafka", kafka)
    assert shown.code == 0
    (logs,) = [line for line in shown.out.splitlines() if line.startswith(f"{prefix}logs ")]
    assert " ".join(logs.split()[1:]) == "partition of the service 2 3 d 0 0.0 MB ingest mine"
    rows = run_cli("topics", "describe", "--kafka", kafka, "--json").rows
    assert rows[0] | {"size": 0} == {
        "topic": f"{prefix}logs", "key": "partition of the service", "partitions": 2, "kept": "3 d", "records": 0,
        "size": 0, "written by": "ingest", "read by": "mine", "offsets": {"0": [0, 0], "1": [0, 0]},
        "replication": 1,
    }  # fmt: skip
    said = {word for row in rows for side in ("written by", "read by") for word in row[side].split(", ")}
    assert said <= {*ROLES, ""}


def test_a_difference_is_readable_and_mended(folder: Path, kafka: str, prefix: str) -> None:
    run_cli("topics", "apply", "--kafka", kafka)
    admin = KafkaAdminClient(bootstrap_servers=kafka.split(","))
    admin.alter_configs([ConfigResource("TOPIC", f"{prefix}alerts", {"message.timestamp.type": "CreateTime"})])
    admin.close()
    while not (seen := run_cli("topics", "diff", "--kafka", kafka)).out:
        pass  # the controller has it; this broker will
    assert seen.code == 1
    assert seen.out == f"{prefix}alerts: message.timestamp.type is CreateTime, must be LogAppendTime\n"
    mended = run_cli("topics", "apply", "--kafka", kafka)
    assert mended.out == f"{prefix}alerts: message.timestamp.type CreateTime -> LogAppendTime\n"
    assert run_cli("topics", "diff", "--kafka", kafka).code == 0


def test_what_would_break_keys_is_a_configuration_error(
    folder: Path, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cli("topics", "apply", "--kafka", kafka)
    monkeypatch.setenv("FORESHOCK_PARTITIONS", "4")
    refused = run_cli("topics", "apply", "--kafka", kafka)
    assert (refused.code, refused.out) == (78, "")
    differing = run_cli("topics", "diff", "--kafka", kafka)
    assert (differing.code, differing.out.count("must be 4")) == (1, 18)
    assert differing.out.count("Write `partitions: 2`") == 1
    assert "nothing was changed" in refused.err
    assert "Write `partitions: 2`" in refused.err


def test_a_broker_that_is_not_there_is_exit_69(folder: Path) -> None:
    said = run_cli("topics", "diff", "--kafka", "127.0.0.1:1")
    assert said.code == 69
    assert "nobody listens there" in said.err
    assert run_cli("topics", "diff").code == 78


def test_acls_are_lines_to_run_or_rows_to_read(folder: Path, prefix: str) -> None:
    lines = run_cli("topics", "acls", "--role", "act", "--kafka", "k:1").out.splitlines()
    start = "kafka-acls.sh --bootstrap-server k:1 --add --allow-principal User:foreshock-act"
    assert all(line.startswith(start) for line in lines)
    name = "--resource-pattern-type literal --operation Describe --operation"
    assert f"{start} --topic {prefix}commands {name} Read --operation Write" in lines
    assert f"{start} --topic {prefix}signals {name} Write" in lines
    assert f"{start} --group {prefix}foreshock-act {name} Read" in lines
    rows = run_cli("topics", "acls", "--json").rows
    assert {row["role"] for row in rows} == {"ingest", "mine", "detect", "respond", "act", "operator", "subscriber"}
    assert not [row for row in rows if row["role"] != "operator" and row["resource"] == "cluster"]
    assert run_cli("topics", "acls", "--role", "nobody").code == 2


def test_principals_may_be_named_otherwise(folder: Path, prefix: str) -> None:
    (folder / "foreshock.yaml").write_text("kafka: {principal: 'User:CN={role},O=Example Inc'}\n")
    lines = run_cli("topics", "acls", "--role", "mine").out.splitlines()
    assert all("--allow-principal 'User:CN=mine,O=Example Inc' " in line for line in lines)


def test_a_broker_without_an_authorizer_says_so(folder: Path, kafka: str) -> None:
    said = run_cli("topics", "acls", "--apply", "--kafka", kafka)
    assert said.code == 69
    assert "authorizer.class.name" in said.err


def test_the_catalog_is_published_into_every_inbox_that_takes_it_once(
    folder: Path, kafka: str, kafka_settings: KafkaSettings
) -> None:
    run_cli("topics", "apply", "--kafka", kafka)
    first = run_cli("catalog", "apply", "--kafka", kafka, "--json")
    assert first.rows == [{"published": True, "applications": 1, "services": 1, "targets": 0, "runbooks": 0}], first.err
    assert run_cli("catalog", "apply", "--kafka", kafka, "--json").rows[0]["published"] is False
    log = KafkaLog(kafka_settings, "test")
    try:
        newest = log.newest("catalog", "catalog")
        assert newest is not None
        catalog = decode_record(newest).data
        assert [application.name for application in catalog.applications] == ["shop"]
        takers = {name: [log.read(name, part, 0, 9) for part in range(2)] for name in ("counts", "signals", "commands")}
        assert {record.value for parts in takers.values() for part in parts for record in part} == {newest.value}
        assert {len(part) for parts in takers.values() for part in parts} == {1}
        assert {name for name, topic in TOPICS.items() if topic.inbox_of and "catalog" in topic.types} == set(takers)
    finally:
        log.close()
    (folder / "foreshock.yaml").write_text((folder / "foreshock.yaml").read_text() + "policy: {mode: suggest}\n")
    assert run_cli("catalog", "apply", "--kafka", kafka, "--json").rows[0]["published"] is True


class BreakingLog:
    """Remembers what it was given; its `fail_at`th append fails before anything of it is kept."""

    def __init__(self, fail_at: int) -> None:
        self.kept: list[Outbound] = []
        self._left = fail_at

    def newest(self, topic, key):
        return None if "catalog" not in {out.topic for out in self.kept} else pytest.fail("not to be asked again")

    def partitions(self, topic):
        return 2

    def append(self, batch, logged_at):
        self._left -= 1
        if not self._left:
            raise ConnectionError
        self.kept += batch
        return ()


def test_a_catalog_that_stands_on_its_topic_has_reached_every_inbox() -> None:
    for fail_at in (1, 2):
        log = BreakingLog(fail_at)
        with pytest.raises(ConnectionError):
            publish_catalog(log, Catalog(version=""), 0, at_once=False)
        assert "catalog" not in {out.topic for out in log.kept}
        publish_catalog(log, Catalog(version=""), 0, at_once=False)
        assert {out.topic for out in log.kept} == {"counts", "signals", "commands", "catalog"}
