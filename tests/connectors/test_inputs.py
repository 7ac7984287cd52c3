"""Files into batches: nothing lost, doubled or torn; merged by event time; promises kept; what is odd is reported."""

from __future__ import annotations

import gzip
import json
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.codec import decode
from connectors.cursor import newest_cursors
from connectors.inputs import InputOptions, LineSource
from connectors.opening import open_inputs, service_of, zone_of
from connectors.ports import Outbound
from models.audit import DeadLetter
from models.errors import ConfigError
from models.log import MAX_BATCH_BYTES, MAX_BATCH_LINES, MAX_BATCH_MS, LogBatch, SourceRange
from models.topics import partition_of

T0 = 1_577_836_800_000  # 2020-01-01 00:00:00


def line(second: int, text: str = "x") -> str:
    return f"2020-01-01 {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d} {text}\n"


class Host:
    """Keeps what a host would: outbound in order, and the cursors that stood in the same transaction."""

    def __init__(self) -> None:
        self.outbound: list[Outbound] = []
        self.cursors: dict[str, str] = {}
        self.now = 0

    def open(self, *paths: Path | str, once: bool = True, partitions: int = 1, **more: str) -> LineSource:
        options = InputOptions(partitions=partitions, once=once)
        return open_inputs([str(path) for path in paths], options, resume=self.cursors, **more)

    def poll(self, source: LineSource, after: int = 0) -> Sequence[Outbound]:
        self.now += after
        out = source.poll(self.now)
        self.outbound += out
        self.cursors |= source.cursors
        return out

    def drain(self, source: LineSource) -> None:
        for _ in range(100_000):
            if source.ended:
                break
            self.poll(source)
        assert source.ended
        source.close()

    @property
    def batches(self) -> list[LogBatch]:
        return [decode(out.value).data for out in self.outbound if out.topic == "logs"]

    @property
    def letters(self) -> list[DeadLetter]:
        return [decode(out.value).data for out in self.outbound if out.topic == "dead-letters"]

    @property
    def messages(self) -> list[str]:
        return [text for batch in self.batches for text in messages_of(batch)]

    @property
    def times(self) -> list[int]:
        return [at for batch in self.batches for at in batch.timestamps]


def messages_of(batch: LogBatch) -> list[str]:
    texts = batch.messages.split("\n") if batch.lines else []
    assert len(texts) == batch.lines == len(batch.service_index) == len(batch.severity)
    return texts


def late_lines(host: Host) -> int:
    """Lines older than what their source had promised before, as detect would count them."""
    promised: dict[str, int] = {}
    owner: dict[str, str] = {}
    late = 0
    for batch in host.batches:
        for item in batch.sources:
            owner |= dict.fromkeys(item.services, item.source_id)
        for at, index in zip(batch.timestamps, batch.service_index, strict=True):
            late += at < promised.get(owner[batch.services[index]], 0)
        for item in batch.sources:
            assert item.covered_until >= promised.get(item.source_id, 0)
            promised[item.source_id] = item.covered_until
    return late


def test_a_file_is_read_to_its_end_in_full_batches(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("".join(line(n // 200, f"n {n}") for n in range(9_001)))
    host = Host()
    source = host.open(path)
    host.drain(source)
    assert host.messages == [f"n {n}" for n in range(9_001)]
    assert [batch.lines for batch in host.batches] == [MAX_BATCH_LINES, MAX_BATCH_LINES, 9_001 - 2 * MAX_BATCH_LINES]
    assert source.counters["lines"] == source.counters["records"] == 9_001
    assert host.batches[0].services == ("app",)
    assert host.times[-1] == T0 + 45_000
    assert host.batches[-1].sources[0].covered_until == T0 + 50_000  # the end of the last line's bucket
    assert [out.at for out in host.outbound] == sorted(out.at for out in host.outbound)
    assert host.outbound[-1].at == T0 + 45_000


def test_a_batch_holds_its_most_bytes_unless_one_line_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("".join(line(0, "y" * 2_000) for _ in range(500)) + "z" * 600_000 + "\n")
    host = Host()
    host.drain(host.open(path))
    assert all(len(batch.messages) <= MAX_BATCH_BYTES for batch in host.batches)
    assert len(host.batches) == 3
    assert len(host.messages) == 501
    assert host.batches[-1].truncated == 1


def test_the_last_line_needs_no_newline_at_the_end_of_input(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text(line(0, "a") + line(1, "b").rstrip("\n"))
    host = Host()
    host.drain(host.open(path))
    assert host.messages == ["a", "b"]
    host.drain(host.open(path))
    assert host.messages == ["a", "b"]


def test_a_half_written_line_waits_for_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text(line(0, "a") + "2020-01-01 00:0")
    host = Host()
    source = host.open(path, once=False)
    for _ in range(3):
        host.poll(source, 300)
    assert host.messages == ["a"]
    source.close()
    with path.open("a") as file:
        file.write("0:01 b\n")
    source = host.open(path, once=False)
    host.poll(source, 300)
    host.poll(source, 300)
    assert host.messages == ["a", "b"]
    source.close()


CHOPS = st.lists(st.tuples(st.sampled_from(["write", "poll", "kill"]), st.integers(1, 400)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(CHOPS, st.integers(0, 2**32), st.sampled_from([1, 3]))
def test_whatever_the_writes_and_restarts_every_line_arrives_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], seed: int, partitions: int
) -> None:
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("chop") / "app.log"
    lines = []
    for n in range(120):
        body = rng.choice(["x", "", "caf\u00e9 \u20ac", '{"a', "y" * rng.randrange(300)]) + f" {n}"
        head = rng.choice([f"2020-01-01 00:{n // 60:02d}:{n % 60:02d} ", "", "\t"])
        plain = head + body
        record = json.dumps({"msg": body, "ts": T0 / 1000 + n, "service": rng.choice("abc")})
        lines.append(rng.choice([plain, plain, record, "  "]))
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(b"")
    host, at = Host(), 0
    source = host.open(path, once=False, partitions=partitions)
    for step, size in [*steps, ("write", len(data)), ("kill", 1), *[("poll", MAX_BATCH_MS)] * 3]:
        if step == "write":
            with path.open("ab") as file:
                file.write(data[at : at + size])
            os.utime(path, (T0 / 1000, T0 / 1000))
            at += size
        elif step == "poll":
            host.poll(source, size)
        else:
            source.close()  # what was polled stays; what waits in memory is gone
            source = host.open(path, once=False, partitions=partitions)
    source.close()
    undisturbed = Host()
    undisturbed.drain(undisturbed.open(path, partitions=partitions))

    def by_partition(of: Host) -> list[list[tuple[int, str, str, int]]]:
        found: list[list[tuple[int, str, str, int]]] = [[] for _ in range(partitions)]
        for out in of.outbound:
            batch = decode(out.value).data
            rows = zip(batch.timestamps, messages_of(batch), batch.service_index, batch.severity, strict=True)
            found[out.partition or 0] += [(t, text, batch.services[s], level) for t, text, s, level in rows]
        return found

    assert by_partition(host) == by_partition(undisturbed)
    dropped = [sum(batch.dropped.get("blank", 0) for batch in each.batches) for each in (host, undisturbed)]
    assert dropped == [sum(not text.strip() for text in lines)] * 2
    ranges = [item for batch in host.batches for item in batch.sources]
    assert newest_cursors(random.Random(seed).sample(ranges, len(ranges))) == host.cursors


def test_cursor_ranges_of_a_source_join_up(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("".join(line(n // 500, f"n {n}") for n in range(5_000)))
    host = Host()
    host.drain(host.open(path))
    ranges = [item for batch in host.batches for item in batch.sources]
    assert all(before.cursor_to == after.cursor_from for before, after in pairwise(ranges))
    read = 0
    for batch in host.batches:
        read += sum(len(line(0, text)) for text in messages_of(batch))
        assert int(batch.sources[0].cursor_to.split(":")[2]) == read


def test_files_are_merged_by_event_time_and_no_line_is_late(tmp_path: Path) -> None:
    rng = random.Random(7)
    paths = []
    for name, start, step in (("a", 0, 1), ("b", 1_000, 7), ("c", 3_000, 2)):
        path = tmp_path / f"{name}.log"
        seconds = [max(start + n * step - rng.randrange(5), 0) for n in range(4_000)]
        path.write_text("".join(line(second, f"{name} {n}") for n, second in enumerate(seconds)))
        paths.append(path)
    host = Host()
    host.drain(host.open(*paths))
    assert late_lines(host) == 0
    for name in "abc":
        assert [text for text in host.messages if text[0] == name] == [f"{name} {n}" for n in range(4_000)]
    at = [out.at for out in host.outbound]
    assert at == sorted(at)
    # a poll spans a minute: no line is given away much before those of its time
    newest = 0
    for time in host.times:
        assert time > newest - 75_000
        newest = max(newest, time)


def test_two_files_of_one_service_do_not_make_each_other_late_or_hold_each_other_back(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("".join(line(n) for n in range(3_000)))
    (tmp_path / "y.log").write_text("".join(line(n) for n in range(1_000, 9_000)))
    host = Host()
    host.drain(host.open(tmp_path / "x.log", tmp_path / "y.log", service="shop"))
    watermark, covered = 0, dict[str, int]()
    for batch in host.batches:
        assert all(at >= watermark for at in batch.timestamps)
        covered |= {item.source_id: item.covered_until for item in batch.sources}
        watermark = max(watermark, min(covered.values()))
    assert watermark == T0 + 9_000_000


def test_a_backlog_of_two_files_of_one_service_is_merged_while_following_too(tmp_path: Path) -> None:
    for name in "xy":
        (tmp_path / f"{name}.log").write_text("".join(line(n // 3, "z" * 60) for n in range(15_000)))
    host = Host()
    host.now = T0 + 86_400_000
    source = host.open(tmp_path / "x.log", tmp_path / "y.log", once=False, service="shop")
    watermark, covered = 0, dict[str, int]()
    for _ in range(120):
        host.poll(source, 100)
    source.close()
    assert len(host.messages) == 30_000
    for batch in host.batches:
        assert all(at >= watermark for at in batch.timestamps)
        covered |= {item.source_id: item.covered_until for item in batch.sources}
        watermark = max(watermark, min(covered.values()))


def test_no_live_promise_is_ahead_of_the_clock_whatever_time_a_line_claims(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text(line(0) + line(1_800, "ahead") * 2 + line(1))
    os.utime(path, (T0 / 1000, T0 / 1000))
    host = Host()
    host.now = T0 + 1_000
    source = host.open(path, once=False)
    for _ in range(5):
        host.poll(source, 1_000)
    source.close()
    assert len(host.messages) == 4
    assert all(item.covered_until <= host.now - 5_000 for batch in host.batches for item in batch.sources)


def test_a_file_that_ended_does_not_claim_its_service_silent(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("".join(line(n) for n in range(100)))
    (tmp_path / "y.log").write_text("".join(line(n) for n in range(9_000)))
    host = Host()
    host.drain(host.open(tmp_path / "x.log", tmp_path / "y.log"))
    covered = {item.source_id: item.covered_until for batch in host.batches for item in batch.sources}
    assert sorted(covered.values()) == [T0 + 100_000, T0 + 9_000_000]


def test_one_line_with_a_wrong_date_does_not_make_the_rest_late(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    lines = [line(n) for n in range(300)]
    lines[100] = "2021-05-05 05:05:05 stray\n"
    path.write_text("".join(lines))
    host = Host()
    host.drain(host.open(path))
    assert late_lines(host) == 0
    assert max(out.at for out in host.outbound) == T0 + 299_000
    assert host.times[100] == 1_620_191_105_000


def test_lines_go_to_the_partition_of_their_service_and_every_partition_hears_every_source(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    services = [f"service-{n % 13}" for n in range(3_000)]
    path.write_text(
        "".join(
            json.dumps({"message": f"n {n}", "time": T0 + n * 10, "service": service}) + "\n"
            for n, service in enumerate(services)
        )
        + "plain text\n"
    )
    host = Host()
    host.drain(host.open(path, partitions=4))
    assert len(host.messages) == 3_001
    for out in host.outbound:
        batch = decode(out.value).data
        assert all(partition_of(service, 4) == out.partition for service in batch.services)
        assert set(batch.sources[0].services) == set(batch.services)
    assert {out.partition for out in host.outbound} == {0, 1, 2, 3}
    last = {out.partition: decode(out.value).data.sources[0] for out in host.outbound}
    assert {item.covered_until for item in last.values()} == {T0 + 30_000}
    assert {item.cursor_to for item in last.values()} == set(host.cursors.values())


def test_a_live_batch_waits_its_time_or_until_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("")
    host = Host()
    host.now = T0 + 1_000_000
    source = host.open(path, once=False)
    assert [batch.lines for batch in host.batches] == []
    host.poll(source)  # the first heartbeat
    with path.open("a") as file:
        file.write(line(1_000))
        file.flush()
        assert not host.poll(source, 10)
        assert source.cursors == host.cursors
        assert not host.poll(source, MAX_BATCH_MS - 10)
        assert len(host.poll(source, 10)) == 1
        assert host.batches[-1].lines == 1
        file.write(line(1_001) * MAX_BATCH_LINES)
        file.flush()
        assert len(host.poll(source, 1)) == 1
    assert host.batches[-1].lines == MAX_BATCH_LINES
    source.close()


def test_an_idle_live_source_covers_the_passing_time_each_second_and_never_ahead_of_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text(line(1_000))
    now = T0 + 1_000_500
    os.utime(path, ns=(now * 1_000_000, now * 1_000_000))
    host = Host()
    host.now = now
    source = host.open(path, once=False, partitions=2)
    covered = []
    for _ in range(30):
        for out in host.poll(source, 100):
            covered.append((out.partition, out.at, decode(out.value).data.sources[0].covered_until))
    source.close()
    assert [partition for partition, _, _ in covered] in ([0, 1] * 3, [0, 1, *[0, 1] * 3], [0, 1, 0, *[0, 1] * 2])
    assert all(until <= at - 5_000 for _, at, until in covered)
    assert covered[-1][2] >= covered[0][2] + 1_900


def test_a_followed_file_of_old_lines_goes_on_in_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text(line(0))
    now = T0 + 86_400_000 * 100
    os.utime(path, ns=(now * 1_000_000, now * 1_000_000))
    host = Host()
    host.now = now
    source = host.open(path, once=False)
    for _ in range(20):
        host.poll(source, 1_000)
    source.close()
    assert host.batches[-1].sources[0].covered_until == T0 + 20_000 - 5_000


def test_a_file_that_vanishes_is_a_stalled_source_until_it_comes_back(tmp_path: Path) -> None:
    path, aside = tmp_path / "app.log", tmp_path / "aside"
    path.write_text(line(0, "a"))
    host = Host()
    host.now = T0
    source = host.open(path, once=False)
    host.poll(source, 1_000)
    path.rename(aside)
    for _ in range(3):
        host.poll(source, 1_000)
    stopped = host.batches[-1].sources[0].covered_until
    heartbeats = len(host.batches)
    for _ in range(3):
        host.poll(source, 1_000)
    assert len(host.batches) == heartbeats + 3
    assert host.batches[-1].sources[0].covered_until == stopped
    source.close()
    source = host.open(path, once=False)  # also a restart waits for it
    host.poll(source, 1_000)
    with aside.open("a") as file:
        file.write(line(3, "b"))
    aside.rename(path)
    for _ in range(3):
        host.poll(source, 1_000)
    assert host.messages == ["a", "b"]
    assert host.batches[-1].sources[0].covered_until > stopped
    source.close()


def test_a_binary_file_is_refused_with_one_letter_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(random.Random(1).randbytes(100_000))
    (tmp_path / "old.log.gz").write_bytes(gzip.compress(b"x" * 10_000))
    (tmp_path / "wide.log").write_bytes("2020-01-01 00:00:00 a\n".encode("utf-16"))
    (tmp_path / "app.log").write_text(line(0, "a"))
    paths = [tmp_path / name for name in ("image", "old.log.gz", "wide.log", "app.log")]
    host = Host()
    source = host.open(*paths)
    host.drain(source)
    assert host.messages == ["a"]
    assert [letter.reason for letter in host.letters] == ["binary_input"] * 3
    assert [Path(letter.source_id).name for letter in host.letters] == ["image", "old.log.gz", "wide.log"]
    assert "zcat" in host.letters[1].detail
    assert source.counters["refused"] == 3
    host.drain(host.open(*paths))
    assert len(host.letters) == 3, "a restart must not report it again"


def test_binary_lines_and_times_in_the_future_are_reported_once_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    nul = b"\0" * 500
    path.write_bytes(line(0, "a").encode() + nul + b"\n" + line(1, "b").encode() + b"2099-01-01 00:00:00 c\n" * 3)
    host = Host()
    host.drain(host.open(path))
    assert host.messages == ["a", "b", "c", "c", "c"]
    assert sorted(letter.reason for letter in host.letters) == ["binary_line", "future_timestamp"]
    assert {letter.reason: int(letter.cursor.split(":")[2]) for letter in host.letters} == {
        "binary_line": len(line(0, "a")),
        "future_timestamp": len(line(0, "a")) * 2 + 501,
    }
    assert sum(batch.dropped.get("binary", 0) for batch in host.batches) == 1
    with path.open("ab") as file:
        file.write(b"2099-01-01 00:00:00 d\n")
    host.drain(host.open(path))
    assert len(host.letters) == 2


def test_a_line_of_many_megabytes_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(
        line(0, "a").encode() + b"2020-01-01 00:00:01 " + b"z" * 30_000_000 + b"\n" + line(2, "b").encode()
    )
    host = Host()
    host.drain(host.open(path))
    assert [text[:3] for text in host.messages] == ["a", "zzz", "b"]
    assert len(host.messages[1]) == 8 * 1024
    assert host.times == [T0, T0 + 1_000, T0 + 2_000]
    assert sum(batch.truncated for batch in host.batches) == 1
    assert host.cursors[f"file:{path}"].split(":")[2] == str(path.stat().st_size)


def test_an_empty_file_gives_no_lines_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("")
    host = Host()
    host.drain(host.open(path))
    assert host.messages == []
    path.write_text("\n\n")
    host.drain(host.open(path))
    assert host.messages == []
    assert sum(batch.dropped["blank"] for batch in host.batches if batch.dropped) == 2


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: be somebody else meanwhile."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("name", ["", "missing.log", "secret.log"])
def test_an_input_that_cannot_be_read_is_a_config_error_that_names_it(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "secret.log").write_text("x")
        (Path(folder) / "secret.log").chmod(0)
        with as_nobody(), pytest.raises(ConfigError, match=str(Path(folder) / name)) as caught:
            Host().open(Path(folder) / name)
    assert caught.value.exit_code == 78
    assert caught.value.advice
    assert ("may not be read" in str(caught.value)) == (name == "secret.log")


@pytest.mark.parametrize(
    ("path", "pattern", "service"),
    [
        ("/var/log/shop/error.log", "/var/log/{service}/*.log", "shop"),
        ("/var/log/shop/error.log", r"/(?P<service>[^/]+)/[^/]+$", "shop"),
        ("/var/log/shop/error.log", "/srv/{service}/*.log", "error"),
        ("/var/log/app.log", "", "app"),
        ("/var/log/app.log.1", "", "app"),
        ("/var/log/app-20240101", "", "app"),
        ("/var/log/syslog", "", "syslog"),
        ("/home/x/.log", "", "log"),
    ],
)
def test_a_service_is_named_by_pattern_or_stem(path: str, pattern: str, service: str) -> None:
    assert service_of(path, pattern) == service


def test_a_pattern_or_a_zone_that_is_none_is_a_config_error() -> None:
    for pattern in ("/var/log/*.log", "(["):
        with pytest.raises(ConfigError):
            service_of("/var/log/app.log", pattern)
    with pytest.raises(ConfigError):
        zone_of("Mars/Olympus")


def test_naive_times_are_of_the_zone_given(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("2020-01-01 01:00:00 winter\n2020-07-01 02:00:00 summer\n")
    host = Host()
    host.drain(host.open(path, timezone="Europe/Berlin"))
    assert host.times == [T0, T0 + 182 * 86_400_000]


def test_newest_cursors_pass_over_those_of_other_doors() -> None:
    def item(text: str) -> SourceRange:
        return SourceRange(source_id="s", cursor_from="", cursor_to=text, covered_until=0)

    found: Mapping[str, str] = newest_cursors([item("sim/5"), item("1:2:30::-1:-1:"), item("0:2:99::-1:-1:")])
    assert found == {"s": "1:2:30::-1:-1:"}
