"""Lines into columns: what is cut, kept, replaced, dropped and counted, however the input is divided."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.line import LineMemory, LineRules, Lines, cut_message, decode_lines
from models.log import MAX_MESSAGE_BYTES, Severity

NOW = 1_700_000_000_000
RULES = LineRules(NOW)


def decode(*lines: bytes, memory: LineMemory | None = None) -> Lines:
    return decode_lines(b"".join(line + b"\n" for line in lines), RULES, memory or LineMemory())


def one_json(record: Any) -> Lines:
    return decode(json.dumps(record).encode())


def services(lines: Lines) -> list[str]:
    assert lines.services is not None
    return [lines.services.names[place] for place in lines.services.places.tolist()]


def test_a_line_without_a_time_has_that_of_the_line_before() -> None:
    found = decode(b"first", b"2020-01-01 00:00:05 a", b"\tat frame 1", b"\tat frame 2", b"2020-01-01 00:00:04 b")
    assert found.times.tolist() == [NOW, 1577836805000, 1577836805000, 1577836805000, 1577836804000]
    assert found.counts["untimed"] == 3
    assert found.messages[2] == b"\tat frame 1"


def test_the_last_time_is_remembered_for_the_next_block() -> None:
    memory = LineMemory(last=123_000)
    assert decode(b"no time", memory=memory).times.tolist() == [123_000]
    decode(b"2020-01-01 00:00:05 a", memory=memory)
    assert decode(b"no time", memory=memory).times.tolist() == [1577836805000]


def test_a_time_far_in_the_future_is_not_believed_and_the_line_is_kept() -> None:
    found = decode(b"2020-01-01 00:00:05 a", b"2033-01-01 00:00:00 b", b"and more")
    assert found.times.tolist() == [1577836805000, NOW, NOW]
    assert found.messages == [b"a", b"b", b"and more"]
    assert (found.future, found.counts["future"]) == ([1], 1)


def test_blank_lines_are_dropped_with_their_reason_and_keep_their_place() -> None:
    found = decode(b"a", b"", b" \t ", b"\r", b"b")
    assert found.dropped == {1: "blank", 2: "blank", 3: "blank"}
    assert found.ends.tolist() == [2, 3, 7, 9, 11]


def test_a_line_of_bytes_that_are_no_text_is_dropped_and_one_with_a_stray_nul_is_kept() -> None:
    found = decode(b"fine\0 line of text", bytes(range(32)).replace(b"\n", b"") * 4, b"fine")
    assert found.dropped == {1: "binary"}
    assert found.messages[0] == b"fine\0 line of text"


def test_line_ends_of_windows_are_no_part_of_the_message() -> None:
    found = decode(b"2020-01-01 00:00:05 a b\r", b"c\rd\r")
    assert found.messages == [b"a b", b"c\rd"]


def test_invalid_utf8_is_replaced_and_counted_by_line() -> None:
    found = decode(b"2020-01-01 00:00:05 caf\xe9", "gr\u00fcn".encode(), b"\xff\xfe\xfd x")
    assert [message.decode() for message in found.messages] == ["caf\ufffd", "gr\u00fcn", "\ufffd\ufffd\ufffd x"]
    assert found.counts["invalid_utf8"] == 2


def test_a_message_over_8_kb_is_cut_between_characters() -> None:
    found = decode(b"2020-01-01 00:00:05 " + "\u20ac".encode() * 5000, b"x" * MAX_MESSAGE_BYTES, b"y" * 10_000)
    assert [len(message) for message in found.messages] == [8190, 8192, 8192]
    assert found.truncated == [0, 2]
    assert found.messages[0].decode() == "\u20ac" * 2730


@given(st.text(alphabet="a\u00e9\u20ac\U0001f600", min_size=2000, max_size=9000))
def test_a_cut_message_is_the_longest_whole_prefix_that_fits(text: str) -> None:
    cut = cut_message(text.encode())
    assert text.startswith(cut.decode())
    assert len(cut) <= MAX_MESSAGE_BYTES
    assert cut == text.encode() or len(cut) > MAX_MESSAGE_BYTES - 4


def test_the_byte_order_mark_is_not_read_as_text() -> None:
    found = decode(b"\xef\xbb\xbf2020-01-01 00:00:05 a")
    assert (found.messages, found.times.tolist()) == ([b"a"], [1577836805000])


@pytest.mark.parametrize(
    ("priority", "severity"),
    [(0, 5), (2, 5), (3, 4), (4, 3), (5, 2), (6, 2), (7, 1), (34, 5), (165, 2), (191, 1)],
)
def test_a_syslog_priority_gives_the_severity(priority: int, severity: int) -> None:
    line = b"<%d>Oct 11 22:14:15 host su: x" % priority
    assert decode(line).severity == [severity]
    assert decode(line, line, b"plain").severity == [severity, severity, 0]


def test_plain_text_has_no_severity_of_its_own() -> None:
    assert decode(b"2020-01-01 00:00:05 ERROR boom").severity is None


def test_a_json_line_gives_its_message_time_severity_and_service() -> None:
    found = one_json({"message": "pool empty", "timestamp": "2020-01-01T00:00:05Z", "service": "db", "level": "error"})
    assert found.messages == [b"pool empty"]
    assert found.times.tolist() == [1577836805000]
    assert found.severity == [Severity.ERROR]
    assert services(found) == ["db"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"msg": "a"}, b"a"),
        ({"log": "a\n", "stream": "stdout"}, b"a"),
        ({"body": "a"}, b"a"),
        ({"log": {"level": "info"}, "message": "a"}, b"a"),
        ({"message": {"code": 5}}, b'{"code":5}'),
        ({"message": 5}, b"5"),
        ({"message": "one\ntwo\r\nthree\n"}, "one\u2028two\u2028three".encode()),
        ({"message": "2020-01-01 00:00:05 a"}, b"a"),
        ({"message": "nul \x00 and \x85"}, "nul \x00 and \x85".encode()),
    ],
)
def test_the_message_of_a_json_line_is_found_and_holds_no_newline(record: dict[str, Any], message: bytes) -> None:
    assert one_json(record).messages == [message]


@pytest.mark.parametrize(
    "line",
    [b"{not json", b'{"a": 1}', b'{"message": null}', b"[1, 2]", b'{"message": "\\ud800"}', b"{" * 500, b"{}"],
)
def test_a_line_that_is_no_json_object_with_a_message_is_plain_text(line: bytes) -> None:
    found = decode(line)
    assert found.messages == [line]
    assert found.counts["json"] == 0


@pytest.mark.parametrize(
    ("level", "severity"),
    [("WARN", 3), ("Critical", 5), ("debug", 1), (50, 4), (60, 5), (30, 2), (3, 4), ("odd", 0), (None, 0), (True, 0)],
)
def test_levels_as_words_and_numbers(level: object, severity: int) -> None:
    found = one_json({"message": "a", "level": level})
    assert (found.severity or [0]) == [severity]


@pytest.mark.parametrize(
    ("fields", "service"),
    [
        ({"app": "a"}, "a"),
        ({"service": {"name": "b"}}, "b"),
        ({"logger": "c"}, "c"),
        ({"service": 5, "app": " d\n"}, "d"),
    ],
)
def test_the_service_of_a_json_line(fields: dict[str, Any], service: str) -> None:
    assert services(one_json({"message": "m", **fields})) == [service]


LINES = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"?")),
        st.builds(
            lambda second, text: b"2020-01-01 00:00:%02d %s" % (second, text), st.integers(0, 59), st.just(b"x y")
        ),
        st.builds(lambda second: b"Jun %2d 10:00:%02d host x" % (second % 28 + 1, second), st.integers(0, 59)),
        st.builds(lambda n: b'{"msg":"n %d","ts":%d}' % (n, 1_600_000_000 + n), st.integers(0, 99)),
        st.sampled_from([b"", b"\tat frame", b"2033-01-01 00:00:00 x", b"\xef\xbb\xbfx"]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(LINES, st.lists(st.integers(0, 40), max_size=5))
def test_lines_are_read_the_same_however_they_are_divided_into_blocks(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.removeprefix(b"\xef\xbb\xbf") for line in lines]
    whole = decode(*lines)
    memory = LineMemory()
    borders = sorted({0, len(lines), *(min(cut, len(lines)) for cut in cuts)})
    parts = [decode(*lines[start:stop], memory=memory) for start, stop in pairwise(borders)]
    assert [message for part in parts for message in part.messages] == whole.messages
    assert [time for part in parts for time in part.times.tolist()] == whole.times.tolist()
    assert sum(len(part.dropped) for part in parts) == len(whole.dropped)
    assert not any(b"\n" in message for message in whole.messages)
    assert all(message.decode() is not None for message in whole.messages)
