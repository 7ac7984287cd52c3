"""Counts read without models: only what the codec and detect take, and as they take it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.codec import decode_record, encode
from connectors.ports import Record
from models.errors import ContractError
from models.event import Event
from models.template import BatchPointer, CoveredSource, Section, Template, TemplateCounts
from streams.detect_columns import columns_of
from streams.plain_counts import read_plain


def record(value: bytes) -> Record:
    return Record("counts", 0, 3, "0", value, 7)


def counts(*sections: tuple[str, int]) -> bytes:
    """Sections by service, with so many templates each."""
    made = []
    for service, size in sections:
        templates = [Template(id=f"t{k}", text=f"text {k}", severity=k % 4) for k in range(size)]
        columns = {"template": list(range(size)), "n": [k + 1 for k in range(size)], "first_line": [0] * size}
        given = Section.columns_of(templates)
        made.append(Section(service=service, **given, bucket=[170_000_004] * size, lines=size, **columns))
    source = CoveredSource(source_id="s", covered_until=9, services=("web",))
    pointer = BatchPointer(topic="logs", partition=0, offset=3)
    data = TemplateCounts(rules_version=1, input=pointer, sources=(source,), sections=tuple(made), dropped={"late": 1})
    return encode(Event("e", 9, "0", data, "mine:logs/0@3#0.0"))


def check(value: bytes) -> bool:
    """Whether it is read as plain: then the codec and detect take it, and find the same in it."""
    plain = read_plain(record(value))
    if plain is None:
        return False
    event = decode_record(record(value))
    models = tuple(section.model() for section in plain.sections)
    assert repr(event.data) == repr(plain.event.data.model_copy(update={"sections": models}))  # 1, 1.0, True are equal
    assert [getattr(event, name) for name in ("id", "at", "key", "cause", "cid", "region", "run", "logged_at")] == [
        getattr(plain.event, name) for name in ("id", "at", "key", "cause", "cid", "region", "run", "logged_at")
    ]
    assert event.position == plain.event.position
    for section, columns in zip(plain.sections, columns_of(event.data.sections), strict=True):
        assert section.straight == (columns.template.tolist() == list(range(len(columns.template))))
    return True


@pytest.mark.parametrize("sizes", [(), (1,), (7,), (1, 1, 1), (7, 1, 7)])
def test_what_mine_writes_is_read_as_plain(sizes):
    assert check(counts(*((f"s{k}", size) for k, size in enumerate(sizes))))


TWO = counts(("web", 7), ("api", 2))
WRONG = [
    (b'"v":2', b'"v":1'), (b'"v":2', b'"v":3'), (b'"rules_version":1', b'"rules_version":2'),
    (b'"at":9', b'"at":"9"'), (b'"cause":"', b'"cause":7,"run":"'), (b'"data":{', b'"data":{"more":1,'),
    (b'"dropped":{"late":1', b'"dropped":{"late":1.5'), (b'"sources":[{', b'"sources":[{"more":1,'),
    (b'"offset":3', b'"offset":"x"'), (b'"service":"web"', b'"service":4'),
    (b'"service":"web"', b'"more":1,"service":"x"'),
    (b'"ids":["t0"', b'"ids":[0'), (b'"ids":["t0"', b'"ids":["t9","t0"'), (b'"ids":["t0"', b'"ids":{},"idz":["t0"'),
    (b'"texts":["text 0"', b'"texts":[null'), (b'"severities":[0', b'"severities":[9'),
    (b'"severities":[0', b'"severities":[0.5'), (b'"severities":[0', b'"severities":["0"'),
    (b'"severities":[0', b'"severities":[[0]'), (b'"template":[0', b'"template":[-1'),
    (b'"template":[0', b'"template":[7'),
    (b'"template":[0', b'"template":[0,0'), (b'"bucket":[170000004', b'"bucket":[-1'),
    (b'"bucket":[170000004', b'"bucket":[2147483648'), (b'"bucket":[170000004', b'"bucket":[1.5'),
    (b'"n":[1', b'"n":[0'), (b'"n":[1', b'"n":[1.5'), (b'"n":[1', b'"n":["1"'), (b'"n":[1', b'"n":[null'),
    (b'"n":[1', b'"n":[18446744073709551616'), (b'"n":[1', b'"n":[1048577'), (b'"first_line":[0', b'"first_line":[-1'),
    (b'"first_line":[0', b'"first_line":[1048577'), (b'"lines":7', b'"lines":"7"'), (b'"lines":7', b'"lines":true'),
    (b'"overflow":0', b'"overflow":0.5'), (b"text 0", b"\xff"), (b"}", b""),
]  # fmt: skip


def test_numbers_and_texts_are_lists_and_what_is_the_same_in_all_rows_is_looked_at_too():
    assert not check(TWO.replace(b"170000004", b"-1"))
    texts = b'["text 0","text 1","text 2","text 3","text 4","text 5","text 6"]'
    assert texts in TWO
    assert not check(TWO.replace(texts, b'{"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0}'))


@pytest.mark.parametrize(("old", "new"), WRONG)
def test_what_is_not_as_mine_writes_it_is_left_to_the_codec(old, new):
    assert old in TWO
    assert not check(TWO.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n":[1', b'"n":[true'),
        (b'"template":[0,1', b'"template":[0,true'),
        (b'"template":[0,1', b'"template":[1,0'),
        (b'"severities":[0,1', b'"severities":[0.0,true'),
        (b'"bucket":[170000004,170000004', b'"bucket":[170000004,170000004.0'),
        (b'"bucket":[170000004,170000004', b'"bucket":[170000004,170000005'),
        (b'"rules_version":1', b'"rules_version":1.0'),
    ],
)
def test_what_equals_what_mine_writes_becomes_the_same(old, new):
    assert old in TWO
    assert check(TWO.replace(old, new, 1))


RAW = json.loads(counts(("web", 2)))
COLUMNS = ("ids", "texts", "severities", "template", "bucket", "n", "first_line")
PLACES = [
    ("v",), ("at",), ("cause",), ("key",), ("data",), ("data", "rules_version"), ("data", "input"), ("data", "sources"),
    ("data", "sections"), ("data", "dropped"), ("data", "sections", 0), ("data", "sections", 0, "service"),
    ("data", "sections", 0, "lines"), ("data", "sources", 0, "covered_until"),
    *(("data", "sections", 0, name) for name in COLUMNS), *(("data", "sections", 0, name, 0) for name in COLUMNS),
]  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(0, 9) | st.text(max_size=2) | st.just([])
ODD = VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.sampled_from(["id", "n", "a"]), VALUES, max_size=2)


@given(st.sampled_from(PLACES), ODD)
def test_nothing_is_read_as_plain_that_would_be_refused_or_read_otherwise(place, odd):
    raw: Any = json.loads(json.dumps(RAW))
    target = raw
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = odd
    try:
        check(json.dumps(raw).encode())
    except ContractError as error:
        pytest.fail(f"read as plain, and refused: {error}")
