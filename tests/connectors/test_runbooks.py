"""Runbook files: what they hold is checked before anybody has to rely on it, and errors say where and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.runbooks import load_runbooks
from models.errors import ConfigError
from models.runbook import Reversibility

GOOD = """\
id: restart
title: Restart
recommendation: Restart the service
failure_modes: [hang]
target_kind: ecs
reversibility: restart_safe
prior: {ok: 7, bad: 1}
steps:
  - name: one
    call: {action: ecs.restart}
    group: g
  - name: two
    call: {action: ecs.scale, params: {desired: $params.desired, who: $$x}}
    group: g
"""


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_folders_files_and_documents_give_their_runbooks_in_order(tmp_path: Path) -> None:
    books = tmp_path / "books"
    books.mkdir()
    write(books, GOOD.replace("id: restart", "id: b"), "b.yml")
    write(books, GOOD + "---\n" + GOOD.replace("id: restart", "id: restart\nversion: 2") + "---\n")
    write(books, "not a runbook", "notes.txt")
    single = write(tmp_path, GOOD.replace("id: restart", "id: single"))
    found = load_runbooks([single, books])
    assert [(book.id, book.version) for book in found] == [("single", 1), ("restart", 1), ("restart", 2), ("b", 1)]
    assert found[0].reversibility is Reversibility.RESTART_SAFE
    assert [step.group for step in found[0].steps] == ["g", "g"]


REVERSIBLE = GOOD.replace("restart_safe", "reversible")


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        (GOOD.replace("ok: 7", "ok: 7.5"), 7, "prior", "its strength ok + bad is 8.5, at most 8"),
        (GOOD.replace("ok: 7", "ok: 9"), 7, "prior.ok", "less than or equal to 8"),
        (GOOD.replace("title", "titel"), 2, "titel", "Did you mean title?"),
        (GOOD.replace("ecs.restart}", "ecs.restart, parms: {}}"), 10, "steps[0].call.parms", "Did you mean params?"),
        (GOOD.replace("target_kind: ecs\n", ""), 1, "target_kind", "Write `target_kind: ...` here"),
        (GOOD.replace("restart_safe", "safe"), 6, "reversibility", "Write one of 'reversible'"),
        (GOOD.replace("$params.desired", "$param.desired"), 13, "steps[1].call", "$params.NAME"),
        (GOOD + "    inverse: {action: a, params: {x: [$snapshot]}}\n", 15, "steps[1].inverse", "$snapshot.NAME"),
        (GOOD + "    expect: {x: $this}\n", 15, "steps[1].expect", "$params.NAME"),
        (GOOD + "require_state: {x: $this}\n", 15, "require_state", "$params.NAME"),
        (GOOD + "verify: {target_state: {x: $this}}\n", 15, "verify", "$params.NAME"),
        (GOOD + "verify: {series: false}\n", 15, "verify", "nothing would show whether it helped"),
        (REVERSIBLE, 6, "reversibility", "no step has an inverse"),
        (GOOD.replace("name: two", "name: one"), 12, "steps[1].name", "a second step one"),
        (GOOD + "  - {name: x, call: {action: a}}\n  - {name: y, call: {action: a}, group: g}\n", 16, "steps[3].group",
         "group g began before"),
        (GOOD + "---\n" + GOOD, 16, "id", "runbook restart version 1 stands already in"),
        (GOOD.replace("steps:\n", "steps: []\nmore:\n"), 8, "steps", "Write at least one"),
        ("just text\n", 1, "", "a runbook is keys and values"),
        (GOOD.replace("title:", "title: ["), 3, "", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_broken_runbook_names_line_key_and_what_to_write(
    tmp_path: Path, text: str, line: int, key: str, words: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_runbooks([file])
    assert (caught.value.file, caught.value.line, caught.value.key) == (str(file), line, key)
    assert words in str(caught.value)
    assert caught.value.advice


def test_an_absent_file_and_an_empty_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_runbooks([tmp_path / "none.yaml"])
    with pytest.raises(ConfigError, match="no runbook in this folder"):
        load_runbooks([tmp_path])


def test_an_alias_that_doubles_itself_is_read_without_growing(tmp_path: Path) -> None:
    doubling = "x0: &a0 [1]\n" + "".join(f"x{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    with pytest.raises(ConfigError, match="unknown key"):
        load_runbooks([write(tmp_path, GOOD + doubling)])


def test_the_runbooks_of_this_repository_are_good() -> None:
    folder = Path(__file__).parents[2] / "infra" / "runbooks"
    books = load_runbooks([folder])
    assert books
    assert len({book.id for book in books}) == len(books)
