"""The canonical line: the fast form is the definition, whatever the line holds."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import canonical
from models.canonical import DELIMITERS, canonical_line, canonical_lines

PIECES = st.sampled_from(
    [
        *DELIMITERS.replace("\n", ""),
        "failed",
        "file",
        "a",
        "z9",
        "9",
        "09",
        "1a",
        "\x00",
        "\u2028",
        "٣",
        "é",
        "ÿ",
        "😀",
        "0",
        "",
    ]
)
LINES = st.lists(st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60)), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        ("took 35 ms", "took 0 ms"),
        ("blk_38865 at /10.0.0.1:50010", "0 at 0:0"),
        ("a=1, b=(2) [c3] {4d} <5> 'x6' \"7\"|8;9", "a=0, b=(0) [0] {0} <0> '0' \"0\"|0;0"),
        ("failed 1", "failed 0"),
        ("file 1", "file 0"),
        ("٣ stays, 3 goes", "٣ stays, 0 goes"),
        ("٣3", "0"),
        (",,;;  ", ",,;;  "),
        ("nul\x00 x\x001", "nul\x00 0"),
        ("first\u20281 second", "first\r0 second"),
        ("x" * 8_192, "x" * 8_192),
        ("x" * 8_192 + "1", "0"),
        ("1" + "x" * 100_000 + " end", "0 end"),
    ],
)
def test_a_token_with_a_digit_becomes_a_zero_and_nothing_else_changes(line, expected):
    assert canonical_line(line) == expected
    assert canonical_lines(line.encode()) == [expected.encode()]


@given(LINES)
@example(["a" * 7, "b1" * 4, "1", ""])
@example([""])
@example(["1"])
@settings(max_examples=400, deadline=None)
def test_many_lines_at_once_give_each_line_as_the_definition_does(lines):
    joined = "\n".join(lines)
    lines = joined.split("\n")  # text may hold newlines of its own
    joined_bytes = joined.encode("utf-8", "surrogatepass")
    expected = [canonical_line(line).encode("utf-8", "surrogatepass") for line in lines]
    assert canonical_lines(joined_bytes) == expected


@given(LINES, st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_where_a_block_ends_changes_nothing(lines, block):
    joined = "\n".join(lines).encode("utf-8", "surrogatepass")
    whole = canonical_lines(joined)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "_BLOCK_BYTES", block)
        assert canonical_lines(joined) == whole


def test_lines_of_more_than_one_block_are_all_there():
    lines = [f"line {number} of {'x' * (number % 90)}" for number in range(5_000)]
    assert canonical_lines("\n".join(lines).encode()) == [canonical_line(line).encode() for line in lines]
