"""One exit code for each kind of end, over all commands: the table of docs/OPERATIONS.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_rig import run_cli

from connectors.data_folder import DataFolder
from models import errors
from models.errors import ForeshockError
from streams.cli import app

TABLE = Path(__file__).parents[2] / "docs" / "OPERATIONS.md"
USAGE, FOLDER, CONFIGURATION = 2, 73, 78
NEEDED = {
    "tap": ["logs"],
    "explain": ["x"],
    "review show": ["x"],
    "review approve": ["x"],
    "review reject": ["x"],
    "dead-letters show": ["logs/0@0"],
    "dead-letters replay": ["logs/0@0"],
    "pause": ["--reason", "x"],
    "run": ["--role", "mine"],
    "replay": ["--from", "1d"],
    "simulate": ["sim:7"],
}
"""What a command must be given before anything else can be wrong."""
KEEPING = ("run", "ingest", "simulate", "up", "replay")
"""Their folder is for what they keep, also on Kafka; what is not there is made."""
OF_ITS_OWN = ("demo", "doctor")
"""The demo's folder and broker are its own; for the doctor what is wrong is a finding (exit 1), unless it is usage."""


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The commands without subcommands, by the words they are called with."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, child in command.commands.items():
        yield from leaves(child, f"{name} {word}".strip())


COMMANDS = dict(leaves(typer.main.get_command(app)))


def taking(option: str, *but: str) -> list[str]:
    return [
        name
        for name, command in COMMANDS.items()
        if name not in but
        and any(option in given.opts and not getattr(given, "is_flag", False) for given in command.params)
    ]


def ended(name: str, *more: object) -> int:
    return run_cli(*name.split(), *NEEDED.get(name, []), *more).code


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORESHOCK_CONFIG", raising=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_a_command_does_not_have_is_usage(name: str) -> None:
    assert run_cli(*name.split(), "--no-such-option").code == USAGE


@pytest.mark.parametrize("name", taking("--kafka"))
def test_an_address_that_is_none_is_usage(name: str) -> None:
    assert ended(name, "--kafka", "nonsense") == USAGE


@pytest.mark.parametrize("name", sorted({*taking("--kafka", *KEEPING)} & {*taking("--data")}))
def test_a_folder_and_a_cluster_at_once_are_usage(name: str, tmp_path: Path) -> None:
    assert ended(name, "--data", tmp_path, "--kafka", "127.0.0.1:1") == USAGE


@pytest.mark.parametrize("name", taking("--config", *OF_ITS_OWN))
def test_a_configuration_that_is_not_there_is_configuration(name: str, tmp_path: Path) -> None:
    assert ended(name, "--config", tmp_path / "none.yaml") == CONFIGURATION


@pytest.mark.parametrize("name", taking("--data", *OF_ITS_OWN, *KEEPING))
def test_a_folder_without_data_is_the_folders(name: str, tmp_path: Path) -> None:
    assert ended(name, "--data", tmp_path) == FOLDER


def test_a_folder_that_another_process_holds_is_the_folders(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("2026-05-04T10:00:01Z INFO fine\n")
    with DataFolder(tmp_path / "data"):
        assert run_cli("run", "--once", "--input", "app.log", "--data", "data").code == FOLDER


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("run --role nobody --kafka 127.0.0.1:1", USAGE),
        ("run --role act --role mine --kafka 127.0.0.1:1", USAGE),
        ("run --kafka 127.0.0.1:1", USAGE),
        ("up --roles nobody --kafka 127.0.0.1:1", USAGE),
        ("up --workers mine=x --kafka 127.0.0.1:1", USAGE),
        ("tap nonsense", USAGE),
        ("tap logs --type nonsense", USAGE),
        ("dead-letters show nonsense", USAGE),
        ("dead-letters replay nonsense", USAGE),
        ("dead-letters replay", USAGE),
        ("dead-letters list --topic nonsense", USAGE),
        ("topics acls --role nobody", USAGE),
        ("demo localhost:9092", USAGE),
        ("init /dev/null/x", FOLDER),
        ("run", CONFIGURATION),
        ("ingest", CONFIGURATION),
        ("topics diff", CONFIGURATION),
        ("run --once --input none.log", CONFIGURATION),
        ("simulate nonsense", CONFIGURATION),
        ("topics diff --kafka 127.0.0.1:1", errors.BrokerError.exit_code),
        ("incidents --kafka 127.0.0.1:1", errors.BrokerError.exit_code),
        ("schema export --out /dev/null/x", FOLDER),
    ],
)
def test_the_same_kind_of_trouble_ends_with_the_same_code(words: str, code: int) -> None:
    assert run_cli(*words.split()).code == code


def test_every_code_of_an_error_stands_in_the_table_once() -> None:
    told = re.findall(r"^\| (\d+) \|", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(told) == len(set(told))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ForeshockError)]
    assert {str(kind.exit_code) for kind in kinds} <= set(told)
