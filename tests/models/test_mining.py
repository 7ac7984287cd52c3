"""Mining: equal canonical lines have equal templates, and the counts do not depend on anything but the batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.canonical import canonical_line
from models.errors import ContractError
from models.log import LogBatch, Severity, SourceRange
from models.mining import Miner, _count, template_of
from models.template import BatchPointer, CoveredSource, TemplateCounts

POSITION = BatchPointer(topic="logs", partition=3, offset=17)
WORDS = st.sampled_from(
    ["failed", "file", "12", "a1", "ERROR", "é", "٣", "", "\x00", "x" * 50, "10.0.0.1:80", "user=ann"]
)
LINE = st.lists(WORDS, max_size=8).map(" ".join)
ROW = st.tuples(LINE, st.integers(0, 2), st.integers(0, 5), st.integers(0, 50_000))
ROWS = st.lists(ROW, max_size=60)


def batch_of(rows, services=("web", "db", "idle")) -> LogBatch:
    return LogBatch(
        sources=(SourceRange(source_id="f", cursor_from="0", cursor_to="9", covered_until=77, services=("web",)),),
        services=services,
        service_index=[service for _, service, _, _ in rows],
        timestamps=[ms for _, _, _, ms in rows],
        severity=[severity for _, _, severity, _ in rows],
        messages="\n".join(line for line, _, _, _ in rows),
        dropped={"blank": 2},
    )


def counted(*many: TemplateCounts) -> Counter:
    """(service, template, bucket) -> lines."""
    return Counter(
        {
            key: sum(n for other in many for found, n in cells(other) if found == key)
            for key in {found for counts in many for found, _ in cells(counts)}
        }
    )


def cells(counts: TemplateCounts):
    for section in counts.sections:
        for template, bucket, n in zip(section.template, section.bucket, section.n, strict=True):
            yield (section.service, section.templates[template], bucket), n


def mined(line: str, severity: Severity):
    """The template that a miner of its own finds for the raw line."""
    (section,) = Miner().mine(batch_of([(line, 0, int(severity), 0)]), POSITION).sections
    return section.templates[0]


@given(LINE, LINE, st.sampled_from(list(Severity)))
@settings(max_examples=300, deadline=None)
@example("took 8 ms at 0x1f", "took 9 ms at 7", Severity.INFO)
@example("failed", "file", Severity.INFO)
@example("x" * 8_192, "x" * 8_191 + "y", Severity.INFO)
@example("x" * 8_000 + "1", "2", Severity.INFO)
def test_equal_canonical_lines_have_one_template_and_one_severity(left, right, severity):
    one, two = mined(left, severity), mined(right, severity)
    if canonical_line(left) == canonical_line(right):
        assert one == two
    if (one.text, one.severity) != (two.text, two.severity):
        assert one.id != two.id


@given(ROWS)
@settings(max_examples=150, deadline=None)
def test_every_line_is_counted_once_under_its_own_template_service_and_bucket(rows):
    batch = batch_of(rows)
    counts = Miner().mine(batch, POSITION)
    expected = Counter(
        (batch.services[service], template_of(canonical_line(line).encode(), severity), ms // 10_000)
        for line, service, severity, ms in rows
    )
    assert counted(counts) == expected
    assert TemplateCounts.model_validate_json(counts.model_dump_json()) == counts
    for section in counts.sections:
        assert section.lines == sum(section.n)
        assert section.overflow == 0
        assert section.first_line == sorted(section.first_line)
        for template, bucket, first in zip(section.template, section.bucket, section.first_line, strict=True):
            line, service, severity, ms = rows[first]
            assert (batch.services[service], ms // 10_000) == (section.service, bucket)
            assert template_of(canonical_line(line).encode(), severity) == section.templates[template]


NUMBERS = st.sampled_from([0, 1, 2, 255, 256, 65_536, 2**40])
CELLS = st.tuples(NUMBERS, NUMBERS, st.sampled_from([-(2**39), -1, 0, 1, 300, 2**39]))


@given(st.lists(CELLS, min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_lines_are_counted_as_a_dict_counts_them_however_large_their_numbers(rows):
    first_line, n = _count(*np.array(rows, np.int64).T)
    lines = Counter(rows)
    firsts = sorted((rows.index(cell) for cell in lines), key=lambda line: (rows[line][0], line))
    assert first_line.tolist() == firsts
    assert n.tolist() == [lines[rows[line]] for line in firsts]


@given(ROWS)
@settings(max_examples=50, deadline=None)
def test_counts_are_models_as_pydantic_makes_them(rows):
    made = Miner().mine(batch_of(rows), POSITION)
    checked = TemplateCounts.model_validate(made.model_dump())
    assert made == checked
    parts = zip((*made.sources, *made.sections), (*checked.sources, *checked.sections), strict=True)
    for one, other in ((made, checked), *parts):
        assert list(vars(one)) == list(vars(other)) == list(type(one).model_fields)
        assert one.model_fields_set == other.model_fields_set
        assert one.model_copy() == other.model_copy()
        assert repr(one) == repr(other)


@given(ROWS, ROWS, st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_cold_warm_and_forgetful_miners_say_the_same_in_bytes(before, rows, size):
    cold, warm, forgetful = Miner(), Miner(), Miner(max_bytes=0)
    for other in (warm, forgetful):
        other.mine(batch_of(before), POSITION)
        other.mine(batch_of(list(reversed(rows))), POSITION)
    batch = batch_of(rows)
    expected = cold.mine(batch, POSITION).model_dump_json()
    assert warm.mine(batch, POSITION).model_dump_json() == expected
    assert forgetful.mine(batch, POSITION).model_dump_json() == expected


@given(ROWS, st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_two_miners_in_any_batch_size_count_as_one_does(rows, size):
    miners = (Miner(), Miner())
    parts = [batch_of(rows[start : start + size]) for start in range(0, len(rows), size)]
    split = [miners[i % 2].mine(part, POSITION) for i, part in enumerate(parts)]
    assert counted(*split) == counted(Miner().mine(batch_of(rows), POSITION))


def test_a_lines_own_severity_makes_a_template_of_its_own():
    rows = [("disk 1 slow", 0, severity, 0) for severity in (0, 4, 2, 4)] + [("ERROR x", 0, 0, 0)]
    (section,) = Miner().mine(batch_of(rows), POSITION).sections
    assert [(template.text, template.severity) for template in section.templates] == [
        ("disk <*> slow", 0),
        ("disk <*> slow", 4),
        ("disk <*> slow", 2),
        ("ERROR x", 4),
    ]
    assert section.n == [1, 2, 1, 1]
    assert len({template.id for template in section.templates}) == 4


def test_a_secret_is_in_no_template():
    (section,) = Miner().mine(batch_of([("login password=hunter ok", 0, 0, 0)]), POSITION).sections
    assert section.templates[0].text == "login password=<redacted> ok"


def test_sources_drops_and_the_place_in_the_log_are_passed_on():
    counts = Miner().mine(batch_of([]), POSITION)
    assert counts.sections == ()
    assert counts.sources == (CoveredSource(source_id="f", covered_until=77, services=("web",)),)
    assert counts.dropped == {"blank": 2}
    assert counts.input == POSITION


def test_one_empty_line_is_a_line():
    (section,) = Miner().mine(batch_of([("", 0, 0, 0)]), POSITION).sections
    assert (section.lines, section.templates[0].text) == (1, "")


def test_times_far_apart_and_before_1970_have_buckets_of_their_own():
    rows = [("x", 0, 0, ms) for ms in (-1, 0, 9_999, 2**52, -(2**52))]
    (section,) = Miner().mine(batch_of(rows), POSITION).sections
    assert dict(zip(section.bucket, section.n, strict=True)) == {
        -1: 1,
        0: 2,
        2**52 // 10_000: 1,
        -(2**52) // 10_000: 1,
    }


def test_the_memory_is_bounded_and_starts_again():
    miner = Miner(max_bytes=20_000)
    for turn in range(50):
        miner.mine(
            batch_of([(f"word{'abcdefghij'[turn % 10] * (turn + 1)} {'z' * i}", 0, 0, 0) for i in range(10)]), POSITION
        )
        assert miner.held <= 20_000 + 10 * 1_100


@pytest.mark.parametrize(
    "wrong",
    [
        {"service_index": [0]},
        {"severity": [0]},
        {"messages": "a"},
        {"messages": "a\nb\nc"},
        {"service_index": [0, 3]},
        {"service_index": [0, -1]},
        {"severity": [0, 6]},
        {"severity": [0, -1]},
        {"timestamps": [0, 2**63]},
        {"timestamps": [0, 2**60]},
        {"services": ("web", "web", "db")},
    ],
)
def test_columns_that_do_not_fit_are_a_contract_error_and_the_miner_goes_on(wrong):
    miner, good = Miner(), batch_of([("a", 0, 0, 0), ("b", 1, 0, 0)])
    with pytest.raises(ContractError):
        miner.mine(good.model_copy(update=wrong), POSITION)
    assert miner.mine(good, POSITION) == Miner().mine(good, POSITION)
