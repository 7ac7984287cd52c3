"""Batches: limits, partitions, ranges, bytes that depend on nothing but the input."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batcher import Batcher
from connectors.codec import decode
from connectors.feed import Feed, steady_newest
from connectors.files import FileTail
from connectors.line_splitter import MAX_LINE_BYTES, LineSplitter
from connectors.ports import Outbound
from models import json_columns
from models.json_line import JsonLine, read_json_line
from models.line import cut_message
from models.log import MAX_BATCH_LINES
from models.timestamp import utc
from models.topics import partition_of

HOUR = 3_600_000


def feed_of(path: Path, text: str, service: str = "shop") -> Feed:
    path.write_text(text)
    os.utime(path, (2_000_000_000, 2_000_000_000))
    feed = Feed(FileTail(str(path), once=True), service, utc)
    while feed.fill(0, 1 << 16):
        pass
    return feed


def batch_up(feeds: list[Feed], partitions: int = 1) -> list[Outbound]:
    batcher = Batcher(partitions, live=False, run="r", region="eu")
    for feed in feeds:
        for piece in feed.take(1 << 62, 1 << 20):
            batcher.add(piece)
        feed.promise(1 << 62, None)
    return batcher.flush()


def test_full_batches_are_closed_and_only_the_last_one_moves_the_promise(tmp_path: Path) -> None:
    text = "".join(f"2020-01-01 00:00:{n % 60:02d} n {n}\n" for n in range(MAX_BATCH_LINES * 2 + 5))
    batches = [decode(out.value).data for out in batch_up([feed_of(tmp_path / "a.log", text)])]
    assert [batch.lines for batch in batches] == [MAX_BATCH_LINES, MAX_BATCH_LINES, 5]
    assert [batch.sources[0].covered_until for batch in batches] == [0, 0, 1_577_836_860_000]


def test_the_envelope_holds_clock_run_region_and_an_id_of_its_content(tmp_path: Path) -> None:
    text = "2020-01-01 00:00:07 a\n"
    first, again = (batch_up([feed_of(tmp_path / "a.log", text)])[0] for _ in range(2))
    event = decode(first.value)
    assert (event.at, event.run, event.region, event.key, first.at) == (1_577_836_807_000, "r", "eu", "0", event.at)
    assert first.value == again.value
    other = batch_up([feed_of(tmp_path / "b.log", text)])[0]
    assert decode(other.value).id != event.id


def test_one_batch_may_hold_several_sources_and_services(tmp_path: Path) -> None:
    feeds = [feed_of(tmp_path / f"{name}.log", f"2020-01-01 00:00:07 {name}\n", name) for name in "ab"]
    (batch,) = (decode(out.value).data for out in batch_up(feeds))
    assert [(Path(item.source_id).name, item.services) for item in batch.sources] == [
        ("a.log", ("a",)),
        ("b.log", ("b",)),
    ]
    assert (batch.services, batch.service_index, batch.messages) == (("a", "b"), [0, 1], "a\nb")


def test_an_empty_message_is_still_a_line(tmp_path: Path) -> None:
    (batch,) = (decode(out.value).data for out in batch_up([feed_of(tmp_path / "a.log", "2020-01-01 00:00:07\n")]))
    assert (batch.lines, batch.messages) == (1, "")


BATCHED = st.lists(
    st.one_of(
        st.builds(lambda n, m: b'{"message":"m %d","app":"a%d"}' % (m, n), st.integers(0, 9), st.integers(0, 99)),
        st.builds(lambda n: b'{"message":"n","level":%d}' % n, st.integers(0, 7)),
        st.sampled_from([b"plain", b"", b"\0\1\2\3" * 9, b'{"message":"x","app":"shop"}']),
        st.just(b'{"message":"' + b"long " * 2_000 + b'","app":"a1"}'),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(BATCHED, st.lists(st.integers(1, 12), max_size=6), st.integers(1, 4), st.booleans(), st.sampled_from([2, 99]))
def test_a_partition_gets_the_lines_of_its_services_in_order_and_their_names_as_they_come(
    lines: list[bytes], sizes: list[int], partitions: int, flushing: bool, most: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_columns, "_MAX_SPELLINGS", most)
        path = Path(folder) / "a.log"
        path.touch()
        feed, offset = Feed(FileTail(str(path), once=True), "shop", utc), 0
        for start in range(0, len(lines), 7):
            data = b"".join(line + b"\n" for line in lines[start : start + 7])
            feed.hold_lines(data, offset, 1)
            offset += len(data)
    batcher, given_out = Batcher(partitions, live=True), []
    for size in [*sizes, len(lines) + 1]:
        for piece in feed.take(1 << 62, size):
            batcher.add(piece)
        given_out += batcher.flush() if flushing else []
    given_out += batcher.flush()

    expected: list[list[tuple[str, int, str]]] = [[] for _ in range(partitions)]
    for line in lines:
        if line and b"\0" not in line:
            found = read_json_line(line, 0) or JsonLine(line, None, 0, "")
            service = found.service or "shop"
            text = cut_message(found.message).decode()
            expected[partition_of(service, partitions)].append((service, found.severity, text))
    rows: list[list[tuple[str, int, str]]] = [[] for _ in range(partitions)]
    for out in given_out:
        batch = decode(out.value).data
        texts = batch.messages.split("\n") if batch.lines else []
        names = [batch.services[place] for place in batch.service_index]
        rows[out.partition or 0] += zip(names, batch.severity, texts, strict=True)
        assert batch.services == batch.sources[0].services == tuple(dict.fromkeys(names))
        assert batch.truncated == sum(len(text) > 8_000 for text in texts)
    assert rows == expected
    dropped = Counter[str]()
    for out in given_out:
        dropped.update(decode(out.value).data.dropped)
    assert dropped == Counter(blank=lines.count(b""), binary=sum(b"\0" in line for line in lines))
    assert feed.services == {service for each in expected for service, _, _ in each}


@given(
    st.binary(max_size=60).map(lambda raw: raw.replace(b"\r", b"\n")), st.lists(st.integers(1, 20)), st.integers(0, 99)
)
def test_a_splitter_gives_the_same_lines_at_the_same_places_however_bytes_arrive(
    data: bytes, sizes: list[int], offset: int
) -> None:
    splitter, blocks, at = LineSplitter(offset), [], 0
    for size in [*sizes, len(data)]:
        blocks += splitter.feed(data[at : at + size])
        at += size
    blocks += splitter.finish()
    lines, place, expected = data.split(b"\n"), offset, []
    for i, line in enumerate(lines):
        place += len(line) + 1
        expected.append((line, place - (i == len(lines) - 1)))
    if not lines[-1]:
        expected.pop()
    found = []
    for block in blocks:
        ends = np.flatnonzero(np.frombuffer(block.data, np.uint8) == 10) + 1
        starts = [0, *ends.tolist()]
        found += [(block.data[s : e - 1], block.base + e) for s, e in zip(starts, ends.tolist(), strict=False)]
    assert found == expected


def test_a_splitter_keeps_only_the_head_of_a_line_without_end() -> None:
    splitter, piece = LineSplitter(0), b"z" * 100_000
    for _ in range(200):
        assert splitter.feed(piece) == []
        assert len(splitter._rest) <= MAX_LINE_BYTES
    long, rest = splitter.feed(b"end\nnext\n")
    assert long.base + len(long.data) == 200 * len(piece) + 4
    assert (rest.base, rest.data) == (200 * len(piece) + 4, b"next\n")


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(0, 29))
def test_a_single_stray_time_does_not_move_the_newest(steps: list[int], at: int) -> None:
    times = np.cumsum(np.array(steps, dtype=np.int64) * 1000) + 1_000_000
    clean = steady_newest(times, -1)
    assert clean.tolist() == np.maximum.accumulate(times).tolist()
    stray = np.insert(times, min(at, len(times) - 1), times[-1] + 5 * HOUR)
    assert int(steady_newest(stray, -1)[-1]) == int(times[-1])


def test_a_lasting_leap_in_time_is_followed_a_line_later() -> None:
    times = np.array([0, 1, 10 * HOUR, 10 * HOUR + 1, 10 * HOUR + 2], dtype=np.int64)
    assert steady_newest(times, -1).tolist() == times.tolist()
    assert steady_newest(times[:3], -1).tolist() == [0, 1, 1]
    assert steady_newest(times[3:], 1).tolist() == [10 * HOUR + 1, 10 * HOUR + 2]
