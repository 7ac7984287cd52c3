"""A followed file through rotation, truncation, copies and replacement: each byte once, in order."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from connectors.codec import decode
from connectors.cursor import Cursor
from connectors.files import FileTail, rotated_siblings
from connectors.inputs import InputOptions, LineSource
from connectors.opening import open_inputs
from connectors.tail import Found


class Following:
    """One file followed by a host that keeps what was polled, and may be killed and started again."""

    def __init__(self, path: Path, *more: Path, once: bool = False) -> None:
        self.names, self.once = [str(path), *map(str, more)], once
        self.cursors: dict[str, str] = {}
        self.messages: list[str] = []
        self.now = 2_000_000_000_000
        self.source = self.open()

    def open(self) -> LineSource:
        return open_inputs(self.names, InputOptions(once=self.once), resume=self.cursors)

    def kill(self) -> None:
        self.source.close()

    def restart(self) -> None:
        self.kill()
        self.source = self.open()

    def read(self) -> list[str]:
        for _ in range(4):
            self.now += 250
            for out in self.source.poll(self.now):
                if out.topic == "logs" and (batch := decode(out.value).data).lines:
                    self.messages += batch.messages.split("\n")
            self.cursors |= self.source.cursors
        return self.messages


def numbers(start: int, stop: int) -> str:
    return "".join(f"line {n} {'.' * 40}\n" for n in range(start, stop))


def read_numbers(messages: list[str]) -> list[int]:
    return [int(message.split()[1]) for message in messages]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.mark.parametrize("down", [False, True], ids=["while following", "while down"])
@pytest.mark.parametrize("rotations", [1, 3])
def test_a_rotated_file_is_read_to_its_end_and_its_successors_after_it(path: Path, down: bool, rotations: int) -> None:
    path.write_text(numbers(0, 20))
    following = Following(path)
    following.read()
    if down:
        following.kill()
    at = 20
    for _ in range(rotations):
        with path.open("a") as file:
            file.write(numbers(at, at + 10))
        for number in range(3, 0, -1):
            older = path.with_name(f"app.log.{number}")
            if older.exists():
                older.rename(path.with_name(f"app.log.{number + 1}"))
        path.rename(path.with_name("app.log.1"))
        path.write_text(numbers(at + 10, at + 20))
        at += 20
    if down:
        following.restart()
    assert read_numbers(following.read()) == list(range(at))


def test_a_rotated_file_is_still_read_while_its_successor_is_empty(path: Path) -> None:
    path.write_text(numbers(0, 5))
    following = Following(path)
    following.read()
    rotated = path.with_name("app.log-20240101")
    path.rename(rotated)
    path.write_text("")
    with rotated.open("a") as file:
        file.write(numbers(5, 8))
    assert read_numbers(following.read()) == list(range(8))
    path.write_text(numbers(8, 10))
    assert read_numbers(following.read()) == list(range(10))


@pytest.mark.parametrize("down", [False, True], ids=["while following", "while down"])
def test_a_truncated_file_is_read_from_its_start_again(path: Path, down: bool) -> None:
    path.write_text(numbers(0, 20))
    following = Following(path)
    following.read()
    path.write_text(numbers(20, 25))
    if down:
        following.restart()
    assert read_numbers(following.read()) == list(range(25))
    if not down:
        assert following.source.counters["restarted"] == 1


def test_a_file_truncated_and_grown_beyond_the_old_place_is_noticed(path: Path) -> None:
    path.write_text(numbers(0, 5))
    following = Following(path)
    following.read()
    path.write_text(numbers(5, 50))
    assert read_numbers(following.read()) == list(range(50))


@pytest.mark.parametrize("down", [False, True], ids=["while following", "while down"])
def test_what_was_not_read_before_copy_and_truncate_is_read_from_the_copy(path: Path, down: bool) -> None:
    path.write_text(numbers(0, 20))
    following = Following(path)
    following.read()
    if down:
        following.kill()
    with path.open("a") as file:
        file.write(numbers(20, 30))
    shutil.copyfile(path, path.with_name("app.log.1"))
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write(numbers(30, 33))
    if down:
        following.restart()
    assert read_numbers(following.read()) == list(range(33))
    with path.open("a") as file:
        file.write(numbers(33, 36))
    following.restart()
    assert read_numbers(following.read()) == list(range(36))


def test_a_file_written_back_under_a_new_inode_is_not_read_twice(path: Path) -> None:
    path.write_text(numbers(0, 20))
    following = Following(path)
    following.read()
    copy = path.with_name("copy")
    copy.write_text(numbers(0, 25))
    copy.replace(path)
    assert read_numbers(following.read()) == list(range(25))
    following.restart()
    assert read_numbers(following.read()) == list(range(25))


def test_another_file_in_its_place_is_read_from_its_start(path: Path) -> None:
    path.write_text(numbers(0, 20))
    following = Following(path)
    following.read()
    following.kill()
    path.unlink()
    path.write_text(numbers(100, 150))
    following.restart()
    assert read_numbers(following.read()) == [*range(20), *range(100, 150)]


def test_an_unfinished_last_line_of_a_rotated_file_is_a_line(path: Path) -> None:
    path.write_text("line 0\nline 1 torn")
    following = Following(path)
    assert following.read() == ["line 0"]
    path.rename(path.with_name("app.log.1"))
    path.write_text("line 2\n")
    assert following.read() == ["line 0", "line 1 torn", "line 2"]


def test_named_siblings_are_one_source_read_oldest_first(path: Path) -> None:
    path.with_name("app.log.10").write_text(numbers(0, 5))
    path.with_name("app.log.2").write_text(numbers(5, 10))
    path.with_name("app.log.1").write_text(numbers(10, 15))
    path.write_text(numbers(15, 20))
    following = Following(path, *(path.with_name(f"app.log.{n}") for n in (1, 2, 10)), once=True)
    assert read_numbers(following.read()) == list(range(20))
    assert following.source.ended
    assert list(following.cursors) == [f"file:{path}"]


def test_siblings_are_ordered_by_date_and_falling_number_and_others_are_none(path: Path) -> None:
    for name in (
        "app.log.2",
        "app.log.10",
        "app.log-20240102",
        "app.log-20231231",
        "app.log.gz",
        "app.log.old",
        "app.logs",
    ):
        path.with_name(name).write_text("x")
    found = [Path(name).name for name in rotated_siblings(str(path))]
    assert found == ["app.log-20231231", "app.log-20240102", "app.log.10", "app.log.2"]


def test_a_tail_says_why_it_has_no_more(path: Path) -> None:
    path.write_text("a\n")
    tail = FileTail(str(path))
    assert tail.read(100) == b"a\n"
    assert tail.look() is Found.NOTHING
    path.unlink()
    assert tail.look() is Found.VANISHED
    path.write_text("b\n")
    assert tail.look() is Found.SUCCESSOR
    tail.move_on()
    assert (tail.read(100), tail.generation) == (b"b\n", 1)
    os.truncate(path, 0)
    assert tail.look() is Found.TRUNCATED
    tail.close()


def test_a_cursor_survives_being_text() -> None:
    cursor = Cursor(3, 12345, 678, "abcdef", -1, 1_577_836_800_000, "f")
    assert Cursor.parse(str(cursor)) == cursor
    for text in ("", "1:2", "a:b:c:d:e:f:g", "sim/3"):
        with pytest.raises(ValueError):
            Cursor.parse(text)


def test_after_a_rotation_while_down_the_same_long_header_does_not_make_the_new_file_the_old_one(path: Path) -> None:
    header = f"line 0 {'.' * 300}\n"
    path.write_text(header + numbers(1, 20))
    following = Following(path)
    following.read()
    following.kill()
    with path.open("a") as file:
        file.write(numbers(20, 25))
    path.rename(path.with_name("app.log.1"))
    path.write_text(header + numbers(25, 60))
    following.restart()
    assert read_numbers(following.read()) == [*range(25), 0, *range(25, 60)]


@pytest.mark.timeout(20)
def test_a_named_pipe_among_the_rotated_files_is_not_waited_for(path: Path) -> None:
    path.write_text(numbers(0, 20))
    following = Following(path)
    following.read()
    following.kill()
    path.rename(path.with_name("app.log.2"))
    os.mkfifo(path.with_name("app.log.1"))
    path.write_text(numbers(20, 25))
    following.restart()
    assert read_numbers(following.read()) == list(range(25))
