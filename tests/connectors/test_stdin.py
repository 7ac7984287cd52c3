"""Standard input: lines as they come, ended by the other end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from connectors.codec import decode
from connectors.cursor import Cursor
from connectors.feed import Feed
from connectors.inputs import InputOptions, LineSource
from connectors.stdin import PipeTail
from models.log import MAX_BATCH_MS
from models.timestamp import utc

NOW = 2_000_000_000_000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def messages(source: LineSource, now: int) -> list[str]:
    batches = [decode(out.value).data for out in source.poll(now)]
    return [text for batch in batches if batch.lines for text in batch.messages.split("\n")]


def test_a_pipe_gives_lines_without_waiting_and_ends_with_its_writer(pipe: tuple[int, int]) -> None:
    out, into = pipe
    source = LineSource([Feed(PipeTail(out), "stdin", utc)], InputOptions())
    assert messages(source, NOW) == []
    os.write(into, b"a\nb\nhalf")
    assert messages(source, NOW + 10) == []
    assert messages(source, NOW + 10 + MAX_BATCH_MS) == ["a", "b"]
    os.write(into, b" whole\nlast")
    os.close(into)
    assert messages(source, NOW + 10 + 2 * MAX_BATCH_MS) == ["half whole", "last"]
    assert source.ended
    assert source.cursors == {"stdin": str(Cursor.parse(source.cursors["stdin"]))}
    assert Cursor.parse(source.cursors["stdin"]).offset == len("a\nb\nhalf whole\nlast")


def test_a_restarted_pipe_is_another_stream(pipe: tuple[int, int]) -> None:
    out, into = pipe
    os.write(into, b"a\n")
    os.close(into)
    before = Cursor(generation=2, offset=500, newest=NOW)
    source = LineSource([Feed(PipeTail(out, resume=before), "stdin", utc)], InputOptions(once=True))
    assert messages(source, 0) == ["a"]
    after = Cursor.parse(source.cursors["stdin"])
    assert (after.generation, after.offset) == (3, 2)


def test_standard_input_of_a_real_process_may_be_a_file_or_a_pipe(tmp_path: object) -> None:
    program = (
        "from connectors.opening import open_inputs\n"
        "from connectors.inputs import InputOptions\n"
        "source = open_inputs(['-'], InputOptions(once=True), service='shop')\n"
        "while not source.ended: source.poll(0)\n"
        "print(source.counters['lines'], source.feeds[0].service)\n"
    )
    for given in (b"a\nb\nc", b""):
        done = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, check=True, timeout=60)
        assert done.stdout.split() == [b"%d" % len(given.split()), b"shop"]
