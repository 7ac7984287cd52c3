"""Counts that fit their contract and no world: dead letters or lines lost under a reason, and the stream goes on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from detect_driver import section_of

from connectors.codec import decode, encode
from connectors.ports import Record
from models.audit import DeadLetter
from models.event import Event
from models.template import BUCKET_MS, BatchPointer, CoveredSource, TemplateCounts
from streams.detect import Detect
from streams.runtime import Unit

BUCKET = 170_000_004
AT = BUCKET * BUCKET_MS


def counts(at: int = AT, **rows: Any) -> bytes:
    section = section_of("web", [(BUCKET, "a", 5), (BUCKET - 1, "b", 3)], {}, {}).model_dump() | rows
    data = TemplateCounts(
        rules_version=1,
        input=BatchPointer(topic="logs", partition=0, offset=7),
        sources=(CoveredSource(source_id="s", covered_until=AT, services=("web",)),),
    ).model_dump() | {"sections": [section]}
    envelope = orjson.loads(encode(Event("id", at, "0", TemplateCounts.model_validate(data))))
    return orjson.dumps(envelope)


def give(unit: Unit, value: bytes) -> list[Any]:
    record = Record("counts", 0, unit.next_offset, "0", value, AT + 1_000)
    told = [decode(out.value).data for out in unit.apply(record)]
    assert unit.cut(force=True) is not None
    return [data.reason for data in told if isinstance(data, DeadLetter)]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"n": [1 << 62, 1]}, "row_invalid"),
        ({"n": [1 << 31, 1]}, "row_invalid"),
        ({"n": [0, 1]}, "row_invalid"),
        ({"bucket": [1 << 62, BUCKET]}, "row_invalid"),
        ({"bucket": [-(1 << 62), BUCKET]}, "row_invalid"),
        ({"first_line": [1 << 40, 0]}, "row_invalid"),
        ({"severities": [300, 2]}, "row_invalid"),
        ({"severities": [2]}, "columns_differ"),
        ({"texts": ["a", "b", "c"]}, "columns_differ"),
        ({"at": 1 << 63}, "clock_wrong"),
        ({"at": -1}, "clock_wrong"),
    ],
)  # fmt: skip
def test_numbers_that_nothing_can_be_counted_with_are_a_dead_letter(rows, reason):
    unit = Unit(Detect(), 0)
    assert give(unit, counts(**rows)) == [reason]
    assert give(unit, counts()) == []


def test_a_line_before_1970_or_after_2650_is_lost_under_a_reason_and_takes_no_other_with_it():
    unit = Unit(Detect(), 0)
    assert give(unit, counts(bucket=[-1, BUCKET])) == []
    assert give(unit, counts(bucket=[1 << 32, BUCKET])) == []
    ((_, state),) = unit.states()
    assert state.lost == {"late": 5, "future": 5}
    assert sum(opened.fresh["b"][0] for opened in state.pending.values()) == 6


def test_a_batch_from_a_clock_years_ahead_hides_no_later_stall():
    unit = Unit(Detect(), 0)
    assert give(unit, counts(at=AT + 10 * 365 * 86_400_000)) == ["clock_wrong"]
    assert unit._shared.at == 0


def test_a_pointer_to_no_place_in_a_log_is_a_dead_letter():
    unit = Unit(Detect(), 0)
    raw = orjson.loads(counts())
    raw["data"]["input"]["offset"] = (1 << 64) - 1
    assert give(unit, orjson.dumps(raw)) == ["pointer_invalid"]
