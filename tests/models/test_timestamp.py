"""Event times: every notation, years that are not written, and columns against one line at a time."""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.line import LineMemory, LineRules, decode_lines
from models.timestamp import epoch_ms, parse_timestamp, read_timestamp, to_ms
from models.timestamp_columns import PAD, Shape

REFERENCE = int(datetime(2024, 6, 1, 12, tzinfo=UTC).timestamp() * 1000)


def ms(*parts: int, milli: int = 0, east: float = 0) -> int:
    moment = datetime(*parts, tzinfo=timezone(timedelta(hours=east)))  # type: ignore[misc]
    return int(moment.timestamp()) * 1000 + milli


NOTATIONS = [
    (b"2015-10-18 18:01:47,978 INFO [main] x", ms(2015, 10, 18, 18, 1, 47, milli=978), b"INFO [main] x"),
    (b"2015-10-18T18:01:47.978Z x", ms(2015, 10, 18, 18, 1, 47, milli=978), b"x"),
    (b"2015-10-18T18:01:47.978123456+02:00 x", ms(2015, 10, 18, 18, 1, 47, milli=978, east=2), b"x"),
    (b"2015-10-18 18:01:47 -0730 x", ms(2015, 10, 18, 18, 1, 47, east=-7.5), b"x"),
    (b"2015-10-18 18:01:47+02 x", ms(2015, 10, 18, 18, 1, 47, east=2), b"x"),
    (b"2015-10-18 18:01:47 UTC x", ms(2015, 10, 18, 18, 1, 47), b"x"),
    (b"2015-07-29 17:41:44,747 - INFO  [a] - b", ms(2015, 7, 29, 17, 41, 44, milli=747), b"- INFO  [a] - b"),
    (b"2015-10-18 18:01:47 Zookeeper started", ms(2015, 10, 18, 18, 1, 47), b"Zookeeper started"),
    (b"2016-09-28 04:30:30, Info  CBS", ms(2016, 9, 28, 4, 30, 30), b", Info  CBS"),
    (b"[2015-10-18 18:01:47.5] x", ms(2015, 10, 18, 18, 1, 47, milli=500), b"x"),
    (b"2009/01/23 01:23:23 main.go:1: x", ms(2009, 1, 23, 1, 23, 23), b"main.go:1: x"),
    (b"2005-06-03-15.42.50.675872 x", ms(2005, 6, 3, 15, 42, 50, milli=675), b"x"),
    (b"20151018T180147Z x", ms(2015, 10, 18, 18, 1, 47), b"x"),
    (b"20171223-22:15:29:606|Step|x", ms(2017, 12, 23, 22, 15, 29, milli=606), b"|Step|x"),
    (b"20171224-0:7:20:4|x", ms(2017, 12, 24, 0, 7, 20, milli=4), b"|x"),
    (b"17/06/09 20:10:40 INFO x", ms(2017, 6, 9, 20, 10, 40), b"INFO x"),
    (b"081109 203615 148 INFO x", ms(2008, 11, 9, 20, 36, 15), b"148 INFO x"),
    (b"03-17 16:13:38.811  1702 D x", ms(2024, 3, 17, 16, 13, 38, milli=811), b"1702 D x"),
    (b"[10.30 16:49:06] chrome.exe - x", ms(2023, 10, 30, 16, 49, 6), b"chrome.exe - x"),
    (b"[10/Oct/2000:13:55:36 -0700] x", ms(2000, 10, 10, 13, 55, 36, east=-7), b"x"),
    (b"10 Oct 2000 13:55:36 +0100 x", ms(2000, 10, 10, 13, 55, 36, east=1), b"x"),
    (b"Tue, 10 Oct 2000 13:55:36 GMT x", ms(2000, 10, 10, 13, 55, 36), b"x"),
    (b"Jun  1 15:16:01 combo sshd: x", ms(2023, 6, 1, 15, 16, 1) + 366 * 86_400_000, b"combo sshd: x"),
    (b"<34>Oct 11 22:14:15 mymachine su: x", ms(2023, 10, 11, 22, 14, 15), b"mymachine su: x"),
    (b"<165>1 2003-10-11T22:14:15.003Z host app", ms(2003, 10, 11, 22, 14, 15, milli=3), b"host app"),
    (b"Dec 10 2005 06:55:46 x", ms(2005, 12, 10, 6, 55, 46), b"x"),
    (b"[Sun Dec 04 04:47:44 2005] [notice] x", ms(2005, 12, 4, 4, 47, 44), b"[notice] x"),
    (b"[Sun Dec 04 04:47:44.123456 2005] x", ms(2005, 12, 4, 4, 47, 44, milli=123), b"x"),
    (b"1117838570 x", 1117838570_000, b"x"),
    (b"1117838570.25 x", 1117838570_250, b"x"),
    (b"1117838570123 x", 1117838570_123, b"x"),
    (b"1117838570123456: x", 1117838570_123, b": x"),
    (b"[1117838570123456789] x", 1117838570_123, b"x"),
]
WITHIN = [
    (b'127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2', ms(2000, 10, 10, 13, 55, 36, east=-7)),
    (b"nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25746 INFO x", ms(2017, 5, 16, milli=8)),
    (b"web_1  | 2017-05-16 00:00:00.008 x", ms(2017, 5, 16, milli=8)),
    (b"WARN 2017-05-16 00:00:00,008 x", ms(2017, 5, 16, milli=8)),
    (b"- 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.675872 x", 1117838570_000),
    (b"134681 node-246 unix.hw state_change.unavailable 1077804742 1 x", 1077804742_000),
]
NONE = [
    b"",
    b"no time here",
    b"\tat java.lang.Thread.run(Thread.java:745)",
    b"2015-13-18 18:01:47 x",
    b"2015-02-29 18:01:47 x",
    b"2015-10-18 24:01:47 x",
    b"1969-10-18 18:01:47 x",
    b"Jun 31 15:16:01 x",
    b"1234567 x",
    b"12345678901 x",
    b"job scheduled for 2030-01-01 00:00:00",
    b"\xff\xfe2015",
]


@pytest.mark.parametrize(("line", "expected", "message"), NOTATIONS)
def test_a_time_at_the_start_is_read_and_cut_off(line: bytes, expected: int, message: bytes) -> None:
    stamp = read_timestamp(line, REFERENCE)
    assert stamp is not None
    assert (stamp.ms, line[stamp.cut :]) == (expected, message)


@pytest.mark.parametrize(("line", "expected"), WITHIN)
def test_a_time_within_the_line_is_read_and_left_there(line: bytes, expected: int) -> None:
    stamp = read_timestamp(line, REFERENCE)
    assert stamp is not None
    assert (stamp.ms, stamp.cut) == (expected, 0)


@pytest.mark.parametrize("line", NONE)
def test_what_is_no_time_is_not_taken_for_one(line: bytes) -> None:
    assert read_timestamp(line, REFERENCE) is None


@pytest.mark.parametrize(
    ("line", "reference", "year"),
    [
        (b"Dec 31 23:59:59 x", (2024, 1, 1, 0, 0, 5), 2023),
        (b"Jan  1 00:00:01 x", (2024, 1, 1, 0, 0, 5), 2024),
        (b"Jan  1 00:00:01 x", (2023, 12, 31, 23, 59, 59), 2024),  # the other clock is a little ahead
        (b"Jan  2 00:00:00 x", (2023, 12, 31, 23, 59, 59), 2023),
        (b"Feb 29 10:00:00 x", (2023, 6, 1), 2020),
        (b"Feb 29 10:00:00 x", (2024, 2, 29, 9), 2024),
    ],
)
def test_a_date_without_a_year_is_the_nearest_past_one(line: bytes, reference: tuple[int, ...], year: int) -> None:
    stamp = read_timestamp(line, ms(*reference))
    assert stamp is not None
    assert datetime.fromtimestamp(stamp.ms / 1000, UTC).year == year
    columns = decode_lines(line + b"\n" + line + b"\n", LineRules(ms(*reference)), LineMemory())
    assert columns.times.tolist() == [stamp.ms, stamp.ms]


@given(st.dates(min_value=datetime(1600, 1, 1).date(), max_value=datetime(2400, 1, 1).date()))
def test_days_are_counted_as_the_calendar_does(date: object) -> None:
    day = datetime.combine(date, datetime.min.time(), UTC)  # type: ignore[arg-type]
    assert to_ms(day.year, day.month, day.day) == (day - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def test_a_naive_time_is_of_the_given_zone_and_one_with_an_offset_is_not() -> None:
    def berlin(naive: int) -> int:
        return 2 * 3_600_000

    lines = [b"2024-05-01 10:00:00 x", b"2024-05-01T10:00:00Z x", b"1714557600 x"]
    stamps = [read_timestamp(line, REFERENCE, berlin) for line in lines]
    assert [stamp.ms for stamp in stamps if stamp] == [ms(2024, 5, 1, 8), ms(2024, 5, 1, 10), ms(2024, 5, 1, 10)]
    columns = decode_lines(b"\n".join(lines * 3) + b"\n", LineRules(REFERENCE, berlin), LineMemory())
    assert columns.times.tolist() == [stamp.ms for stamp in stamps if stamp] * 3


def test_fields_of_json_lines_hold_epochs_in_any_unit_or_any_notation() -> None:
    assert [epoch_ms(value) for value in (1.5e9, 1.5e12, 1.5e15, 1.5e18, 1500000000.25)] == [1_500_000_000_000] * 4 + [
        1_500_000_000_250
    ]
    assert parse_timestamp("1500000000", 0) == 1_500_000_000_000
    assert parse_timestamp("2017-07-14T02:40:00Z", 0) == 1_500_000_000_000
    for nothing in (None, True, -5, 0, 1e30, float("nan"), float("inf"), [], {}, "soon", "at 2017-07-14 02:40:00"):
        assert parse_timestamp(nothing, 0) is None


HEADS = [line for line, *_ in NOTATIONS] + [line for line, _ in WITHIN] + NONE


@st.composite
def hostile_lines(draw: st.DrawFn) -> bytes:
    """A known line with some bytes changed to others that matter, cut off somewhere, or as it is."""
    line = bytearray(draw(st.sampled_from(HEADS)))
    for _ in range(draw(st.integers(0, 3))):
        if line:
            line[draw(st.integers(0, min(len(line), 45) - 1))] = draw(st.sampled_from(b"0139 -+:.,ZTUJxu[]<>/|\t"))
    return bytes(line[: draw(st.integers(0, len(line)))] if draw(st.booleans()) else line)


@pytest.mark.parametrize("words", [b"web_1 0|", b"we\tb_1 |", b"web_1\x0c |", b"\tweb_1 |"])
def test_the_words_before_a_time_are_words_and_a_bar_is_a_bar(words: bytes) -> None:
    lines = [b"web_1 | 2017-05-16 00:00:00.008 x", words + b" 2018-05-16 00:00:00.008 x"]
    assert read_timestamp(lines[1], REFERENCE) is None
    columns = decode_lines(b"\n".join(lines * 5) + b"\n", LineRules(REFERENCE), LineMemory())
    assert len(set(columns.times.tolist())) == 1


@settings(max_examples=400, deadline=None)
@given(st.lists(hostile_lines(), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_columns_give_what_one_line_at_a_time_gives(lines: list[bytes], random: object) -> None:
    lines = lines * 3
    random.shuffle(lines)  # type: ignore[attr-defined]
    memory = LineMemory()
    found = decode_lines(b"\n".join(lines) + b"\n", LineRules(REFERENCE), memory)
    last = REFERENCE
    for i, line in enumerate(lines):
        stamp = read_timestamp(line, REFERENCE)
        if stamp is not None:
            last = stamp.ms if stamp.ms <= REFERENCE + 3_600_000 else REFERENCE
        assert found.times[i] == last, line
        assert found.messages[i] == (line if stamp is None else line[stamp.cut :]).decode("utf-8", "replace").encode()


def test_a_line_that_begins_with_a_time_is_not_read_by_a_time_further_in() -> None:
    within = b"nova.log 2017-05-16 00:00:00.008 x"
    front = b"20151018-1:2:3 2017-05-16 00:00:00.008 x"
    direct = b"2017-05-16 00:00:00.009 x"
    block = b"\n".join([within, front, direct, b"nova.log", b""])
    found = decode_lines(block, LineRules(REFERENCE), LineMemory())
    expected = [ms(2017, 5, 16, milli=8), ms(2015, 10, 18, 1, 2, 3), ms(2017, 5, 16, milli=9)]
    assert found.times.tolist() == [*expected, expected[-1]]
    assert found.messages == [within, b"2017-05-16 00:00:00.008 x", b"x", b"nova.log"]


def test_a_shape_reads_columns_without_falling_back() -> None:
    line = b"2015-10-18 18:01:47,978 INFO x\n"
    stamp = read_timestamp(line[:-1], REFERENCE)
    assert stamp is not None
    shape = Shape.of(line[:-1], stamp)
    assert shape is not None
    data = np.frombuffer(line * 50 + bytes(PAD), np.uint8)
    reading = shape.read(data, np.arange(50, dtype=np.int64) * len(line), REFERENCE)
    assert reading.fits.all()
    assert set(reading.ms.tolist()) == {stamp.ms}


# -- real logs -------------------------------------------------------------------------------------------------------

COLUMNS = {
    # file: columns of the structured table that make up the time, their format, hours from UTC, or None: an epoch
    "Android": ("{Date} {Time}", "%m-%d %H:%M:%S.%f"),
    "Apache": ("{Time}", "%a %b %d %H:%M:%S %Y"),
    "BGL": ("{Timestamp}", ""),
    "HDFS": ("{Date} {Time}", "%y%m%d %H%M%S"),
    "HPC": ("{Time}", ""),
    "Hadoop": ("{Date} {Time}", "%Y-%m-%d %H:%M:%S,%f"),
    "Linux": ("{Month} {Date} {Time}", "%b %d %H:%M:%S"),
    "Mac": ("{Month} {Date} {Time}", "%b %d %H:%M:%S"),
    "OpenSSH": ("{Date} {Day} {Time}", "%b %d %H:%M:%S"),
    "OpenStack": ("{Date} {Time}", "%Y-%m-%d %H:%M:%S.%f"),
    "Proxifier": ("{Time}", "%m.%d %H:%M:%S"),
    "Spark": ("{Date} {Time}", "%y/%m/%d %H:%M:%S"),
    "Thunderbird": ("{Timestamp}", ""),
    "Windows": ("{Date} {Time}", "%Y-%m-%d %H:%M:%S"),
    "Zookeeper": ("{Date} {Time}", "%Y-%m-%d %H:%M:%S,%f"),
}


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_the_times_of_real_logs_are_those_of_their_structured_tables(name: str) -> None:
    root = os.environ.get("FORESHOCK_TEST_DATA")
    if not root:
        pytest.skip("FORESHOCK_TEST_DATA names no folder with loghub/")
    folder = Path(root) / "loghub" / name
    block = (folder / f"{name}_2k.log").read_bytes()
    block = block if block.endswith(b"\n") else block + b"\n"
    pattern, notation = COLUMNS[name]
    with (folder / f"{name}_2k.log_structured.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = decode_lines(block, LineRules(REFERENCE), LineMemory())
    assert len(rows) == len(found.times) == 2000
    right = sum(
        _expected(pattern.format(**row), notation) == time for row, time in zip(rows, found.times.tolist(), strict=True)
    )
    assert right >= 1980


def _expected(text: str, notation: str) -> int:
    if not notation:
        return int(text) * 1000
    yearly = "%Y" in notation or "%y" in notation
    moment = datetime.strptime(text if yearly else f"2024 {text}", notation if yearly else f"%Y {notation}")
    moment = moment.replace(tzinfo=UTC)
    at = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return at if yearly or at <= REFERENCE + 86_400_000 else at - 366 * 86_400_000


FIELD = st.builds(
    lambda head, fraction, zone: head + fraction + zone,
    st.datetimes(min_value=datetime(1960, 1, 1)).map(
        lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    ),
    st.sampled_from(["", ".1", ".123", ".123456", ".123456789", ".9999"]),
    st.sampled_from(["Z", "+00:00", "-07:30", "+14:00", "", "+25:00", "+0200"]),
)


@given(FIELD)
def test_a_field_is_read_as_a_line_that_begins_with_it(text: str) -> None:
    stamp = read_timestamp(text.encode(), REFERENCE)
    assert parse_timestamp(text, REFERENCE) == (stamp.ms if stamp else None)
