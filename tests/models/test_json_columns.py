"""JSON lines read many at once: each says what it says alone, whatever stands around it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import json_columns
from models.json_columns import JsonColumns, ServiceTable
from models.json_line import JsonLine, read_json_line
from models.line import LineMemory, LineRules, Lines, decode_lines
from models.timestamp import Zone, parse_timestamp, utc
from models.timestamp_columns import parse_timestamps

NOW = 1_700_000_000_000
MARK = str(json_columns._MARK).encode()
HOUR = 3_600_000


def berlin(naive_ms: int) -> int:
    return HOUR if naive_ms < 1_680_000_000_000 else 2 * HOUR


def in_columns(lines: list[bytes], table: ServiceTable | None = None, zone: Zone = utc) -> list[JsonLine | None]:
    table = table or ServiceTable()
    found = JsonColumns(lines, table, NOW, zone)
    rows = zip(found.messages, found.ms.tolist(), found.severity.tolist(), found.service.tolist(), strict=True)
    return [
        None if message is None else JsonLine(message, None if ms < 0 else ms, severity, table.names[service])
        for message, ms, severity, service in rows
    ]


def one_by_one(lines: list[bytes], zone: Zone = utc) -> list[JsonLine | None]:
    return [read_json_line(line, NOW, zone) for line in lines]


TIMES: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        lambda second, fraction, zone: f"2023-03-26T01:59:{second:02d}{fraction}{zone}",
        st.integers(0, 61),
        st.sampled_from(["", ".1", ".12", ".123", ".123456", ".123456789", ",999"]),
        st.sampled_from(["Z", "z", "", "+02:00", "-0730", " UTC", "+24:00", " x", "Z ", "+05:99"]),
    ),
    st.builds(lambda day: f"2023-02-{day:02d} 10:00:00", st.integers(0, 31)),
    st.builds(lambda day: f"{day:2d}/Nov/2023:10:00:00 +0000", st.integers(0, 31)),
    st.builds(lambda second: f"Nov 14 10:00:{second:02d}", st.integers(0, 61)),
    st.sampled_from(["1969-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "", " ", "x\ny"]),
    st.sampled_from(
        [" 2023-11-14T10:00:00Z", "2023-11-14T10:00:00Z\n", "<34>Nov 14 10:00:00", "[2023-11-14 10:00:00]"]
    ),
    st.integers(-5, 2 * 10**20),
    st.integers(1_600_000_000, 1_700_000_000),
    st.integers(10**10, 10**15),
    st.integers(1_600_000_000, 1_700_000_000).map(str),
    st.floats(),
    st.floats(0, 1e12),
    st.sampled_from([0, 99_999_999_999, 10**11, 10**14, 10**17, 2**63, 2**64, 10**20, 1.5e9, 0.0005, 1e11, 1e14]),
    st.booleans(),
    st.none(),
    st.just({"a": [1]}),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet='{}[]",:\\\x00\n\r \u20289JN', max_size=12),
    st.sampled_from(
        ["pool empty", "2023-11-14 10:00:00 x", "Nov 14 10:00:00 y\n", "[2023-11-14T10:00:60Z]  z\r\n", "9 lives"]
    ),
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    TEXTS, TIMES, st.sampled_from(["error", " WARN", "info", "odd", 3, 30, 60, 3.5, True]), st.lists(TEXTS, max_size=2)
)
NAMES = st.sampled_from(
    ["message", "msg", "log", "time", "ts", "timestamp", "level", "lvl", "severity", "service", "app", "logger", "x"]
)


def spelt(record: dict[str, Any], ascii_only: bool, blanks: bool) -> bytes:
    text = json.dumps(record, ensure_ascii=ascii_only, separators=None if blanks else (",", ":"))
    return text.encode("utf-8", "replace")


RECORDS = st.builds(
    spelt,
    st.one_of(
        st.fixed_dictionaries({"time": TIMES, "service": TEXTS, "message": TEXTS}),
        st.fixed_dictionaries({"msg": TEXTS, "level": VALUES}),
        st.dictionaries(NAMES, VALUES, max_size=5),
        st.fixed_dictionaries({"message": VALUES, "service": st.fixed_dictionaries({"name": VALUES})}),
    ),
    st.booleans(),
    st.booleans(),
)
FRAGMENTS = [
    b'{"message":"a"}',
    b'{"message":"a"},{"message":"b"}',
    b'{"message":["a"',
    b'{"message":"a',
    b'{"message":"a"}]',
    b'{"message":"a"}],[{"message":"b"}',
    b'{"message":"a"},' + MARK + b',{"message":"b"}',
    b'{"message":' + MARK + b"}",
    b'{"message":[1,' + MARK + b"]}",
    b'{"message":"a","message":"b","time":1,"time":null}',
    b'{"message":NaN,"time":Infinity}',
    b'{"message":1e999}',
    b'{"message":' + b"9" * 5_000 + b"}",
    b'{"message":"\\ud800"}',
    b'{"message":"tab\there"}',
    b'{"message":"a"} ',
    b'{"message":"a"}\t\r',
    b'{"message":"a"}//',
    b'{"message":"a",}',
    b'{"message":' + b"[" * 198 + b"]" * 198 + b"}",
    b'{"message":' + b"[" * 199 + b"]" * 199 + b"}",
    b'{"message":' + b"[" * 200 + b"]" * 200 + b"}",
    b"{",
    b"{}",
    b"{{}}",
    b"{'message':'a'}",
    b'{"":{"":{}}}',
]
LINES = st.lists(st.one_of(RECORDS, RECORDS, RECORDS, st.sampled_from(FRAGMENTS)), max_size=60)


@settings(max_examples=300, deadline=None)
@given(LINES, st.sampled_from([(512, 32), (16, 4), (3, 2)]), st.sampled_from([1, 8]), st.sampled_from([utc, berlin]))
@example(lines=[b'{"message":"m %d"}' % n for n in range(40)] + [b"{"], sizes=(16, 4), fewest=8, zone=utc)
@example(lines=[b'{"message":"m","level":1}', b'{"message":"m","level":true}'] * 8, sizes=(16, 4), fewest=8, zone=utc)
def test_many_json_lines_are_read_as_each_is_alone(
    lines: list[bytes], sizes: tuple[int, int], fewest: int, zone: Zone
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_columns, "_TOGETHER", sizes)
        patch.setattr(json_columns, "_FEWEST", fewest)
        assert in_columns(lines, zone=zone) == one_by_one(lines, zone)


@settings(max_examples=200, deadline=None)
@given(st.lists(TIMES, min_size=1, max_size=30), st.sampled_from([utc, berlin]))
@example(values=["2023-11-14T10:00:00Z", "2023-11-14T10:00:60Z"], zone=utc)
@example(values=["2023-11-14 10:00:00", "2023-11-14 10:00:60"], zone=berlin)
@example(values=[1.5, float("nan")], zone=utc)
@example(values=[1, 2**63], zone=utc)
@example(values=[1, 2**64], zone=utc)
def test_a_column_of_times_is_what_each_of_them_is_alone(values: list[Any], zone: Zone) -> None:
    for kind in (str, int, float, object):
        some = [value for value in values if isinstance(value, kind)]
        alone = [parse_timestamp(value, NOW, zone) for value in some]
        assert parse_timestamps(some, NOW, zone).tolist() == [-1 if ms is None else ms for ms in alone]


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"message":"a"},{"message":"b"}', b'{"message":["x"', b'{"c":1}]}', b'{"message":"d"}'],
        [b'{"message":"a"},%s,{"message":"b"}' % MARK, b'{"message":[1', b'{"c":1}]}'],
        [b'{"message":"a"},%s.0,{"message":"b"}' % MARK, b'{"message":[1', b'{"c":1}]}'],
        [b'{"message":"a"},7.02174917203551119e17,{"message":"b"}', b'{"message":[1', b'{"c":1}]}'],
        [b'{"message":"a"},{"message":"b"},{"message":"c"}', b'{"message":[1', b'{"c":1}]}'],
        [b'{"message":"a', b'b"}'],
        [b'{"message":"a"}]', b'[{"message":"b"}'],
        [b'{"message":"a"', b'"time":1}'],
    ],
)
def test_lines_that_only_together_look_like_json_are_plain_text_each(lines: list[bytes]) -> None:
    lines = [line if line.startswith(b"{") else b"{" + line for line in lines]
    assert in_columns(lines) == one_by_one(lines)


def test_one_line_that_is_no_json_leaves_the_others_to_be_parsed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[bytes] = []
    parse_one = json_columns._parse_one

    def noting(line: bytes) -> dict[str, Any]:
        alone.append(line)
        return parse_one(line)

    monkeypatch.setattr(json_columns, "_parse_one", noting)
    lines = [b'{"message":"m"}' for _ in range(2_000)]
    lines[777] = b'{"message":'
    found = in_columns(lines)
    assert [row for row, line in enumerate(found) if line is None] == [777]
    assert len(alone) <= 32


def test_a_table_of_services_is_replaced_before_it_grows_without_end() -> None:
    memory, most = LineMemory(), 0
    for block in range(12):
        data = b"".join(b'{"message":"m","app":"a%d"}\n' % (block * 2_000 + n) for n in range(2_000))
        found = decode_lines(data, LineRules(NOW), memory)
        assert found.services is not None
        names = [found.services.names[place] for place in found.services.places.tolist()]
        assert names == [f"a{block * 2_000 + n}" for n in range(2_000)]
        most = max(most, len(memory.services.names))
    assert 2_000 < most < 14_000


def test_of_a_service_name_without_end_only_what_is_kept_of_it_is_remembered() -> None:
    table = ServiceTable()
    texts = [f"{n} " + "x" * 10_000 for n in range(9)]
    names = [table.names[place] for place in table.places(texts).tolist()]
    assert names == [text[:200] for text in texts]
    assert sum(map(len, [*table.names, *table._spelt])) < 2_000
    assert table.places(texts).tolist() == list(range(1, 10))


MIXED = st.lists(
    st.one_of(
        RECORDS,
        st.sampled_from(FRAGMENTS),
        st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"?")),
        st.sampled_from(
            [b"plain", b"", b"2023-11-14 10:00:00 x", b'{"message":"caf\xe9"}', b'{"message":"a\xff","app":"\xfe"}\r']
        ),
    ),
    max_size=50,
)


@settings(max_examples=200, deadline=None)
@given(MIXED, st.lists(st.integers(0, 50), max_size=5))
def test_mixed_lines_are_read_the_same_however_they_are_divided_into_blocks(
    lines: list[bytes], cuts: list[int]
) -> None:
    lines = [line.removeprefix(b"\xef\xbb\xbf") for line in lines]
    whole = _read(lines, LineMemory())
    memory, parts = LineMemory(), []
    for start, stop in pairwise(sorted({0, len(lines), *(min(cut, len(lines)) for cut in cuts)})):
        parts += _read(lines[start:stop], memory)
    assert parts == whole
    single = LineMemory()
    assert [row for line in lines for row in _read([line], single)] == whole


def _read(lines: list[bytes], memory: LineMemory) -> list[tuple[object, ...]]:
    found = decode_lines(b"".join(line + b"\n" for line in lines), LineRules(NOW), memory)
    size = len(lines)
    severity = found.severity or [0] * size
    return [
        (
            found.messages[i],
            int(found.times[i]),
            severity[i],
            _service(found, i),
            found.dropped.get(i),
            i in found.future,
        )
        for i in range(size)
    ]


def _service(found: Lines, i: int) -> str:
    return "" if found.services is None else found.services.names[int(np.asarray(found.services.places)[i])]
