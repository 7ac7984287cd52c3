"""The wire format: every contract survives it, and what does not keep its contract is refused with its reason."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.codec import decode, encode
from models.contracts import CONTRACTS
from models.errors import ContractError
from models.event import Cause, Event, Position
from models.log import LogBatch, SourceRange
from models.signal import Tick
from models.template import BatchPointer, CoveredSource, Section, TemplateCounts

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
GOLDEN = Path(__file__).parent.parent / "data" / "golden"


def wire(**changes):
    plain = json.loads(encode(Event(id="i", at=5, key="k", data=Tick(step="case", due_at=9))))
    return json.dumps({**plain, **changes}).encode()


def test_an_event_comes_back_as_it_went():
    event = Event(id="i", at=5, key="k", data=Tick(step="case", due_at=9), cause="c", cid="f", region="r", run="u")
    assert decode(encode(event)) == event
    assert encode(decode(encode(event))) == encode(event)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\x00garbage", "not_json"),
        (b"[]", "bad_envelope"),
        (b"{}", "bad_envelope"),
        (wire(extra=1), "bad_envelope"),
        (wire(at="5"), "bad_envelope"),
        (wire(at=None), "bad_envelope"),
        (wire(key=7), "bad_envelope"),
        (wire(type="surprise"), "unknown_type"),
        (wire(type=["tick"]), "unknown_type"),
        (wire(v=2), "unknown_version"),
        (wire(v="1"), "unknown_version"),
        (wire(v=[]), "unknown_version"),
        (wire(data=[]), "bad_payload"),
        (wire(data={"step": "case"}), "bad_payload"),
        (wire(data={"step": "case", "due_at": 9, "more": 1}), "bad_payload"),
        (wire(data={"step": "case", "due_at": "soon"}), "bad_payload"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_its_reason(value, reason):
    with pytest.raises(ContractError) as refused:
        decode(value)
    assert refused.value.reason == reason


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_decoder(value):
    with pytest.raises(ContractError):
        decode(value)


@given(JSON)
def test_no_json_under_an_envelope_crashes_the_decoder(data):
    for contract in CONTRACTS:
        try:
            decode(wire(type=contract, data=data))
        except ContractError:
            continue


def test_golden_bytes_of_each_version_of_every_contract_are_read_and_the_newest_written_the_same():
    for name, contract in CONTRACTS.items():
        for version in range(1, contract.VERSION + 1):
            value = (GOLDEN / f"{name}.v{version}.json").read_bytes().rstrip(b"\n")
            assert json.loads(value)["v"] == version
            event = decode(value)
            assert event.type == name
            if version == contract.VERSION:
                assert encode(event) == value, name


FORMER = json.loads((GOLDEN / "template_counts.v1.json").read_bytes())
OF_TEMPLATES = st.dictionaries(st.sampled_from(["id", "text", "severity", "a"]), SCALARS)


@given(
    st.sampled_from([(), (0,), (0, "templates"), (0, "templates", 0), (0, "templates", 0, "text")]),
    JSON | st.just([]) | st.lists(OF_TEMPLATES, max_size=2),
)
def test_what_is_no_section_of_the_former_version_is_refused_with_a_reason(place, odd):
    raw = json.loads(json.dumps(FORMER))
    target, last = raw["data"], "sections"
    for step in place:
        target, last = target[last], step
    target[last] = odd
    with contextlib.suppress(ContractError):  # whatever else it raised would end the process
        decode(json.dumps(raw).encode())


TEXT = st.text(max_size=20) | st.sampled_from(['"\\/', "\x00\x1f\x7f\x80", "\b\f\n\r\t", "\u2028\ufeff\uffff", "😀é٣"])
INTEGER = st.integers() | st.sampled_from([-(2**63), 2**63 - 1, 2**64 - 1, 2**64])
COLUMN = st.lists(INTEGER, max_size=5)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
BULK = st.one_of(
    st.builds(
        LogBatch,
        sources=st.tuples(
            st.builds(
                SourceRange, source_id=TEXT, cursor_from=TEXT, cursor_to=TEXT, covered_until=INTEGER, services=TEXTS
            )
        ),
        services=TEXTS,
        service_index=COLUMN,
        timestamps=COLUMN,
        severity=COLUMN,
        messages=TEXT,
        event_ids=st.none() | st.lists(TEXT, max_size=3),
        dropped=st.dictionaries(TEXT, INTEGER, max_size=3),
    ),
    st.builds(
        TemplateCounts,
        rules_version=INTEGER,
        input=st.builds(BatchPointer, topic=TEXT, partition=INTEGER, offset=INTEGER),
        sources=st.tuples(st.builds(CoveredSource, source_id=TEXT, covered_until=INTEGER, services=TEXTS)),
        sections=st.tuples(
            st.builds(
                Section,
                service=TEXT,
                ids=TEXTS.map(list),
                texts=TEXTS.map(list),
                severities=COLUMN,
                template=COLUMN,
                bucket=COLUMN,
                n=COLUMN,
                first_line=COLUMN,
                lines=INTEGER,
            )
        ),
        dropped=st.dictionaries(TEXT, INTEGER, max_size=3),
    ),
)


@given(BULK, TEXT)
@settings(max_examples=300, deadline=None)
def test_the_payloads_bytes_are_pydantics_whoever_writes_them(data, key):
    value = encode(Event(id="i", at=5, key=key, data=data))
    assert value.endswith(b',"data":' + data.model_dump_json().encode() + b"}")
    assert json.loads(value)["key"] == key


def test_a_cause_is_read_back():
    cause = Cause("detect", Position("counts", 3, 17), 1, 2)
    assert str(cause) == "detect:counts/3@17#1.2"
    assert Cause.parse(str(cause)) == cause
    assert Cause.parse("files:/var/log/x") is None
