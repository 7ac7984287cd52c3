"""The configuration: what is wrong is named by file, line and key, with what to write instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from connectors.settings import read_settings, starter_config
from models.errors import ConfigError
from models.policy import Mode, Policy

RUNBOOK = """\
id: scale-database
title: Scale the database
recommendation: Raise max_connections
failure_modes: [connection_pool_exhausted]
target_kind: rds
reversibility: reversible
steps:
  - name: scale
    call: {action: rds.scale, params: {max_connections: 200}}
    inverse: {action: rds.scale, params: {max_connections: $snapshot.max_connections}}
"""
GOOD = """\
partitions: 2
inputs:
  - path: /var/log/*.log
    service_pattern: /log/([a-z]+)
    timezone: Europe/Berlin
applications:
  - name: shop
    services: [checkout, orders]
    targets: ["arn:db"]
    runbooks: [scale-database]
targets:
  - {arn: "arn:db", kind: rds}
runbooks: [books]
policy:
  mode: suggest
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("FORESHOCK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "scale.yaml").write_text(RUNBOOK)
    (tmp_path / "foreshock.yaml").write_text(GOOD)
    return tmp_path


def broken(folder: Path, text: str) -> ConfigError:
    (folder / "foreshock.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_settings()
    return caught.value


def test_a_file_gives_settings_and_a_checked_catalog(folder: Path) -> None:
    found = read_settings()
    assert found.settings.partitions == 2
    assert found.settings.inputs[0].timezone == "Europe/Berlin"
    assert found.catalog.policy.mode is Mode.SUGGEST
    assert found.catalog.runbook("scale-database") is not None
    assert [service.name for service in found.catalog.services] == ["checkout", "orders"]
    assert found.data == Path("foreshock-data")
    assert found.catalog.version == read_settings().catalog.version != ""


def test_the_catalog_version_changes_with_its_content(folder: Path) -> None:
    before = read_settings().catalog.version
    (folder / "foreshock.yaml").write_text(GOOD.replace("suggest", "act"))
    assert read_settings().catalog.version != before


def test_the_file_that_init_writes_is_valid_and_changes_no_default(folder: Path) -> None:
    (folder / "foreshock.yaml").write_text(starter_config())
    written = read_settings()
    (folder / "foreshock.yaml").unlink()
    assert written.settings == read_settings().settings
    assert written.catalog.policy == Policy()


def test_what_the_starter_file_shows_commented_out_can_be_used(folder: Path) -> None:
    (folder / "runbooks").mkdir()
    (folder / "runbooks" / "scale.yaml").write_text(RUNBOOK)
    lines = starter_config().splitlines()
    kept = [line for line in lines if line not in ("inputs: []", "applications: []", "targets: []", "runbooks: []")]
    live = [line[2:] if line[:2] == "# " and _is_yaml(line[2:]) else line for line in kept]
    live = ["  " + line.strip()[2:] if line.startswith("  # ") and ":" in line.split("#")[1] else line for line in live]
    (folder / "foreshock.yaml").write_text("\n".join(live))
    found = read_settings()
    assert found.settings.inputs[1].service_pattern == r"/services/([a-z-]+)\.log"
    assert found.catalog.applications[0].name == "shop"
    assert found.catalog.policy == Policy()


def _is_yaml(line: str) -> bool:
    return line.split(":")[0].strip(" -") in {
        "data", "region", "partitions", "retention", "logs_bytes", "topic_bytes", "inputs", "path", "service",
        "service_pattern", "timezone", "applications", "name", "services", "targets", "runbooks", "arn", "kind",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("partitions: 2\npartition: 3\n", 2, "partition", "Did you mean partitions?"),
        ("policy:\n  mode: suggest\n  alert_probabilty: 1\n", 3, "policy.alert_probabilty", "alert_probability?"),
        ("inputs:\n  - path: a\n    servise: b\n", 3, "inputs[0].servise", "Did you mean service?"),
        ("partitions: many\n", 1, "partitions", "'many' does not fit. Write a whole number"),
        ("partitions: 0\n", 1, "partitions", "It must be greater than or equal to 1"),
        ("policy:\n  mode: auto\n", 2, "policy.mode", "Write one of 'observe', 'suggest' or 'act'"),
        ("policy:\n\n  action_confidence: 1.5\n", 3, "policy.action_confidence", "less than or equal to 1"),
        ("policy:\n  cooldown_seconds: .inf\n", 2, "policy.cooldown_seconds", "finite"),
        ("inputs: /var/log\n", 1, "inputs", "Write a list"),
        ("inputs:\n  - service: a\n", 2, "inputs[0].path", "is missing. Write `path: ...` here"),
        ("inputs:\n  - path: a\n    service_pattern: '(['\n", 3, "inputs[0].service_pattern", "regular expression"),
        ("inputs:\n  - path: a\n    service_pattern: abc\n", 3, "inputs[0].service_pattern", "{service}"),
        ("inputs:\n  - path: a\n    timezone: Moon/Base\n", 3, "inputs[0].timezone", "time zone"),
        ("inputs:\n  - {path: a, service: b, service_pattern: (c)}\n", 2, "inputs[0]", "not both"),
        ("applications:\n  - name: no\n", 2, "applications[0].name", "in quotes"),
        ("applications: [{name: a}, {name: a}]\n", 1, "applications[1].name", "a second a"),
        ("applications:\n- name: a\n  targets:\n  - x\n", 4, "applications[0].targets[0]", "unknown target x"),
        ("applications:\n- {name: a, services: [s]}\n- {name: b, services: [s]}\n", 3, "applications[1].services[0]",
         "service s belongs to application a already"),
        (GOOD.replace("[scale-database]", "[scale-databse]"), 10, "applications[0].runbooks[0]",
         "Did you mean scale-database?"),
        (GOOD.replace("kind: rds", "kind: ecs"), 10, "applications[0].runbooks[0]", "kinds there: ecs"),
        ("policy:\n  allow: [nothing]\n", 2, "policy.allow[0]", "unknown runbook nothing"),
        ("runbooks: [nowhere]\n", 1, "runbooks[0]", "there is no nowhere"),
        ("signing_keys: {a: b}\n", 1, "signing_keys", "Set FORESHOCK_SIGNING_KEYS"),
        ("partitions: 1\npolicy:\n  mode: [\n", 4, "", "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "", "not valid YAML"),
        ("partitions: 1\npartitions: 2\n", 2, "partitions", "written a second time (first in line 1)"),
        ("- a\n- b\n", 1, "", "keys and values"),
        ("a: 1\n---\nb: 2\n", 3, "", "a second document"),
        ("data: !!python/object:os.system x\n", 1, "", "not valid YAML"),
        ("data: !!int x\n", 1, "", "not valid YAML"),
        ("b: " + "[" * 5_000 + "]" * 5_000, 1, "", "nested too deeply"),
    ],
)  # fmt: skip
def test_a_broken_file_names_line_key_and_what_to_write(
    folder: Path, text: str, line: int, key: str, words: str
) -> None:
    error = broken(folder, text)
    assert (error.file, error.line, error.key) == ("foreshock.yaml", line, key)
    assert words in str(error)
    assert str(error).startswith(f"foreshock.yaml:{line}:")
    assert error.exit_code == 78
    assert error.advice


def test_a_file_that_is_not_text_is_named(folder: Path) -> None:
    (folder / "foreshock.yaml").write_bytes(b"a: 1\nb: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"foreshock.yaml:2: not UTF-8"):
        read_settings()


def test_a_broken_runbook_is_named_by_its_own_file(folder: Path) -> None:
    (folder / "books" / "scale.yaml").write_text(RUNBOOK.replace("target_kind: rds\n", ""))
    error = broken(folder, GOOD)
    assert (error.file, error.key) == ("books/scale.yaml", "target_kind")


def test_a_named_file_that_is_absent_is_an_error_and_an_unnamed_one_is_not(folder: Path) -> None:
    (folder / "foreshock.yaml").unlink()
    assert read_settings().file == ""
    with pytest.raises(ConfigError, match="foreshock init"):
        read_settings(Path("other.yaml"))


def test_paths_in_a_file_are_relative_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    monkeypatch.setenv("FORESHOCK_CONFIG", "../foreshock.yaml")
    found = read_settings()
    assert found.catalog.runbooks
    assert found.data == Path("../foreshock-data")
    monkeypatch.setenv("FORESHOCK_DATA", "here")
    assert read_settings().data == Path("here")
    assert read_settings(options={"data": "there"}).data == Path("there")


def test_the_environment_wins_over_the_file_and_options_over_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_PARTITIONS", "4")
    monkeypatch.setenv("FORESHOCK_POLICY__COOLDOWN_SECONDS", "60")
    found = read_settings(options={"policy": {"mode": "act"}})
    assert found.settings.partitions == 4
    assert (found.catalog.policy.mode, found.catalog.policy.cooldown_seconds) == (Mode.ACT, 60)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FORESHOCK_PARTITIONS", "x", "Write a whole number"),
        ("FORESHOCK_POLICY__MODE", "auto", "Write one of 'observe'"),
        ("FORESHOCK_POLICY__MODUS", "act", "Did you mean mode?"),
        ("FORESHOCK_PARTITION", "1", "Did you mean FORESHOCK_PARTITIONS?"),
        ("FORESHOCK_INPUTS", "[not json", "Write it as JSON"),
        ("FORESHOCK_RUNBOOKS", '["nowhere"]', "there is no nowhere"),
        ("FORESHOCK_SECRETS_DIR", "/nowhere", "Name a folder"),
        ("FORESHOCK_SIGNING_KEY", "k1", "not one of the signing keys"),
    ],
)
def test_a_wrong_variable_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        read_settings()
    assert (caught.value.file, caught.value.key) == ("environment", name)
    assert words in str(caught.value)


def test_test_variables_are_not_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_TEST_DATA", "/x")
    assert read_settings().settings.partitions == 2


def test_signing_keys_come_from_a_secret_file_or_a_variable_and_are_never_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "foreshock_signing_keys").write_text('{"a": "hidden-in-a-file-0123456789"}')
    monkeypatch.setenv("FORESHOCK_SECRETS_DIR", str(folder / "secrets"))
    assert read_settings().signing_keys == {"a": "hidden-in-a-file-0123456789"}
    monkeypatch.setenv("FORESHOCK_SIGNING_KEYS", '{"b": "hidden-in-a-variable"}')
    found: Any = read_settings()
    assert found.signing_keys["b"] == "hidden-in-a-variable"
    assert "hidden" not in repr(found)
    for wrong in ('["7777"]', '{"a": 7777}', '{"a": 7777'):
        monkeypatch.setenv("FORESHOCK_SIGNING_KEYS", wrong)
        with pytest.raises(ConfigError) as caught:
            read_settings()
        assert "7777" not in str(caught.value)
        assert caught.value.key == "FORESHOCK_SIGNING_KEYS"
