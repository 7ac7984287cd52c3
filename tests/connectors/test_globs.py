"""Inputs that are patterns: what matches is read, each file once and by itself, also what comes while reading."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from connectors import opening
from connectors.codec import decode
from connectors.files import check_file
from connectors.globs import matching
from connectors.inputs import InputOptions, LineSource
from connectors.opening import NamedInput, matches_of, open_all, source_ids
from models.errors import ConfigError


class Following:
    """Patterns followed by a host that keeps what was polled, and may be killed and started again."""

    def __init__(self, *inputs: Path | str | NamedInput, once: bool = False) -> None:
        self.inputs = [item if isinstance(item, NamedInput) else NamedInput(str(item)) for item in inputs]
        self.told: list[str] = []
        self.options = InputOptions(once=once, look_seconds=0.0, tell=self.told.append)
        self.cursors: dict[str, str] = {}
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.now = 2_000_000_000_000
        self.source = self.open()

    def open(self) -> LineSource:
        return open_all(self.inputs, self.options, self.cursors)

    def restart(self) -> None:
        self.source.close()
        self.source = self.open()

    def read(self) -> dict[str, list[str]]:
        """All lines so far, by service."""
        for _ in range(4):
            self.now += 250
            for out in self.source.poll(self.now):
                if out.topic == "logs" and (batch := decode(out.value).data).lines:
                    for index, text in zip(batch.service_index, batch.messages.split("\n"), strict=True):
                        self.lines[batch.services[index]].append(text)
            self.cursors |= self.source.cursors
        return dict(self.lines)


def test_every_file_that_matches_is_a_source_of_its_own_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.log", "a.log", "c.txt", ".hidden.log"):
        (tmp_path / name).write_text(f"of {name}\n")
    (tmp_path / "folder.log").mkdir()
    following = Following(tmp_path / "*.log", once=True)
    assert following.read() == {"a": ["of a.log"], "b": ["of b.log"]}
    names = [f"file:{tmp_path}/a.log", f"file:{tmp_path}/b.log"]
    assert sorted(following.cursors) == names == source_ids([f"{tmp_path}/*.log"], InputOptions())
    assert following.source.ended


def test_two_stars_are_any_folders_and_brackets_are_one_of_these(tmp_path: Path) -> None:
    for name in ("x1.log", "deep/er/x2.log", "deep/x3.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert matches_of(f"{tmp_path}/**/x[12].log") == [f"{tmp_path}/deep/er/x2.log", f"{tmp_path}/x1.log"]
    (tmp_path / "x[12].log").touch()
    assert matches_of(f"{tmp_path}/x[12].log") is None, "there is a file of just that name"
    assert matches_of("sim:7?speed=60") is None
    assert matches_of("-") is None


def test_a_file_that_comes_later_joins_and_is_read_from_its_beginning_also_by_a_pattern_that_matched_nothing(
    tmp_path: Path,
) -> None:
    following = Following(tmp_path / "new" / "*.log")
    assert following.read() == {}
    assert following.told == [f"foreshock: {tmp_path}/new/*.log matches no file yet; it is looked at again every 0 s"]
    assert not following.source.ended
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.log").write_text("one\n")
    assert following.read() == {"a": ["one"]}
    assert following.told[1:] == [f"foreshock: 1 new file: file:{tmp_path}/new/a.log"]
    (tmp_path / "new" / "b.log").write_text("two\n")
    with (tmp_path / "new" / "a.log").open("a") as file:
        file.write("three\n")
    assert following.read() == {"a": ["one", "three"], "b": ["two"]}
    following.restart()
    assert following.read() == {"a": ["one", "three"], "b": ["two"]}, "each goes on where it was"


def test_with_once_a_pattern_that_matches_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\*\.log: no file matches this pattern"):
        Following(tmp_path / "*.log", once=True)


def test_what_is_named_twice_is_read_once_as_it_was_named_first_and_a_name_before_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("one\n")
    (tmp_path / "b.log").write_text("two\n")
    (tmp_path / "link.log").symlink_to(tmp_path / "a.log")
    os.link(tmp_path / "b.log", tmp_path / "same.log")
    following = Following(
        NamedInput(f"{tmp_path}/*.log", service="all"),
        NamedInput(f"{tmp_path}/[ab].log", service="some"),
        NamedInput(f"{tmp_path}/b.log", service="mine"),
    )
    assert following.read() == {"all": ["one"], "mine": ["two"]}
    assert len(following.source.feeds) == 2
    (tmp_path / "later.log").symlink_to(tmp_path / "b.log")
    assert following.read() == {"all": ["one"], "mine": ["two"]}


def test_rotated_files_are_the_past_of_their_file_and_no_sources_of_their_own(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    (tmp_path / "app.log.1").write_text("one\n")
    log.write_text("two\n")
    following = Following(tmp_path / "app.log*")
    assert following.read() == {"app": ["one", "two"]}
    (tmp_path / "app.log.1").rename(tmp_path / "app.log.2")
    log.rename(tmp_path / "app.log.1")
    log.write_text("three\n")
    assert following.read() == {"app": ["one", "two", "three"]}
    following.restart()
    assert following.read() == {"app": ["one", "two", "three"]}
    assert [feed.source_id for feed in following.source.feeds] == [f"file:{log}"]


def test_a_file_renamed_within_the_pattern_is_not_read_again_but_on_from_where_it_was_left(tmp_path: Path) -> None:
    log, old = tmp_path / "app.log", tmp_path / "app-old.log"
    log.write_text("one\n")
    following = Following(tmp_path / "*.log")
    following.read()
    log.rename(old)
    following.read()
    log.write_text("two\n")
    assert following.read() == {"app": ["one", "two"]}
    with old.open("a") as file:
        file.write("late\n")
    assert following.read() == {"app": ["one", "two"], "app-old": ["late"]}
    following.restart()
    assert following.read() == {"app": ["one", "two"], "app-old": ["late"]}


def test_a_file_that_may_not_be_read_is_told_of_once_and_joins_when_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.log").write_text("one\n")
    (tmp_path / "b.log").write_text("two\n")
    shut = [f"{tmp_path}/b.log"]
    really = check_file

    def check(path: str, followed_before: bool) -> None:
        if path in shut:
            raise ConfigError("this input may not be read", file=path)
        really(path, followed_before)

    monkeypatch.setattr("connectors.opening.check_file", check)  # the tests may run as root, who may read everything
    following = Following(tmp_path / "*.log")
    following.read()
    assert following.read() == {"a": ["one"]}
    assert [text for text in following.told if "may not be read" in text] == [
        f"foreshock: {tmp_path}/b.log: this input may not be read"
    ]
    shut.clear()
    assert following.read() == {"a": ["one"], "b": ["two"]}


def test_a_file_gone_for_a_minute_is_let_go_and_goes_on_where_it_was_when_it_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.log"
    log.write_text("one\n")
    (tmp_path / "b.log").write_text("b\n")
    following = Following(tmp_path / "*.log")
    following.read()
    log.rename(tmp_path / "away")
    following.read()
    assert len(following.source.feeds) == 2
    lines = following.source.counters["lines"]
    monkeypatch.setattr(opening, "_GONE_SECONDS", 0.0)
    following.read()
    assert [feed.service for feed in following.source.feeds] == ["b"]
    assert following.source.counters["lines"] == lines
    (tmp_path / "away").rename(log)
    with log.open("a") as file:
        file.write("two\n")
    assert following.read() == {"a": ["one", "two"], "b": ["b"]}


def test_two_stars_go_into_no_folder_by_a_link_that_may_lead_back_to_where_it_stands(tmp_path: Path) -> None:
    for name in ("x.log", "deep/er/x.log", ".hidden/x.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("back", "deep/again"):
        (tmp_path / name).symlink_to(tmp_path)
    everywhere = [f"{tmp_path}/deep/er/x.log", f"{tmp_path}/x.log"]
    assert matching(f"{tmp_path}/**/x.log") == matching(f"{tmp_path}/**") == matching(f"{tmp_path}/**/**/x.log")
    assert matching(f"{tmp_path}/**/x.log") == everywhere
    assert matching(f"{tmp_path}/d*/**/e*/x.log") == everywhere[:1]
    assert matching(f"{tmp_path}/back/x.log") == [f"{tmp_path}/back/x.log"], "a link that is named is followed"


def test_a_name_that_is_no_text_is_read_and_its_source_is_named_by_its_bytes(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/b\xff.log", "wb") as file:
        file.write(b"one\n")
    following = Following(tmp_path / "*.log")
    assert following.read() == {"b\\xff": ["one"]}
    assert (
        list(following.cursors) == [f"file:{tmp_path}/b\\xff.log"] == source_ids([f"{tmp_path}/*.log"], InputOptions())
    )
    following.restart()
    assert following.read() == {"b\\xff": ["one"]}
