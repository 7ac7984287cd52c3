"""The laws of the runtime on a small pipeline: exactly once through kill -9, replay byte for byte, no loss in chaos."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest
from fork_server import fork_server
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_pipeline import PARTITIONS, Split, Total, ask, batch, contents, run_lockstep, run_lockstep_telling

from connectors.codec import decode, decode_record
from connectors.ports import Checkpoint, Entry, Outbound, Record, UnitName
from connectors.sqlite import SqliteStore
from models.errors import DataFolderError, GapError, PoisonError
from models.event import Cause
from models.topics import partition_of
from streams.effects import answer
from streams.runtime import QUARANTINE_AFTER, Started, Unit

BATCHES = 500
TOPICS = ("logs", "signals", "audit", "dead-letters")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run_lockstep(folder, BATCHES)
    return folder


def test_killed_fifty_times_gives_the_log_of_an_undisturbed_run(tmp_path, undisturbed):
    chance = random.Random(11)
    stopped_at = []
    with fork_server() as context:
        while len(stopped_at) < 50:
            here, there = context.Pipe()
            process = context.Process(target=run_lockstep_telling, args=(tmp_path, BATCHES, there))
            process.start()
            here.recv()
            goal = (stopped_at[-1] if stopped_at else 0) + chance.randrange(BATCHES // 25)
            while process.is_alive() and committed(tmp_path) < goal:
                process.join(0.001)
            process.join(chance.random() * 0.005)
            process.kill()
            process.join()
            stopped_at.append(committed(tmp_path))
    assert len({at for at in stopped_at if 0 < at < BATCHES}) >= 20, stopped_at  # it was killed on its way
    run_lockstep(tmp_path, BATCHES)
    assert contents(tmp_path, *TOPICS) == contents(undisturbed, *TOPICS)


def committed(folder: Path) -> int:
    try:
        return sum(len(rows) for rows in contents(folder, "logs").values())
    except DataFolderError:  # killed before the database was made
        return 0


def test_the_undisturbed_run_used_ticks_effects_and_failures(undisturbed):
    facts = [
        decode_record(Record("audit", 0, 0, key, value, logged)).data.facts
        for rows in contents(undisturbed, "audit").values()
        for key, value, logged in rows
    ]
    assert any("tick" in fact for fact in facts)
    assert {fact["ok"] for fact in facts if "answer" in fact} == {True, False}


@pytest.mark.parametrize("step", [Split, Total])
def test_replaying_an_inbox_gives_the_recorded_bytes(undisturbed, step):
    store = SqliteStore(undisturbed / "foreshock.db", read_only=True)
    for partition in range(PARTITIONS):
        unit = Unit(step(), partition)
        inbox = store.read(unit.step.inbox, partition, 0, 1_000_000)
        replayed = [out.value for record in inbox for out in unit.apply(record)]
        recorded = {
            record.value
            for topic in ("signals", "audit")
            for p in range(PARTITIONS)
            for record in store.read(topic, p, 0, 1_000_000)
            if f'"cause":"{unit.step.name}:{unit.step.inbox}/{partition}@'.encode() in record.value
        }
        assert len(replayed) == len(recorded) > 0
        assert set(replayed) == recorded


class CrashError(Exception):
    pass


class ChaoticHost:
    """Does each of the ordered actions on its own, as a host on Kafka must, and can crash between any two."""

    def __init__(self, choose):
        self.choose = choose
        self.log: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.entries: dict[UnitName, dict[str, Entry]] = defaultdict(dict)
        self.positions: dict[UnitName, Checkpoint] = {}
        self.performed: list[str] = []
        self.lives = 0

    def append(self, out: Outbound, now: int) -> None:
        partition = out.partition if out.partition is not None else partition_of(out.key, PARTITIONS)
        place = self.log[out.topic, partition]
        place.append(Record(out.topic, partition, len(place), out.key, out.value, now))

    def point(self) -> None:
        if self.choose():
            raise CrashError

    def live(self) -> None:
        self.lives += 1
        units = [self.restored(step, partition) for step in (Split(), Total()) for partition in range(PARTITIONS)]
        for unit in units:
            for started in unit.pending():
                self.perform(unit, started)
        moved = True
        while moved:
            moved = False
            for unit in units:
                moved |= self.feed(unit) or self.save(unit)

    def restored(self, step, partition) -> Unit:
        name = UnitName(step.name, partition)
        return Unit(step, partition, saved=self.positions.get(name), entries=list(self.entries[name].values()))

    def feed(self, unit: Unit) -> bool:
        inbox = self.log[unit.step.inbox, unit.partition]
        if unit.next_offset >= len(inbox):
            return False
        if self.choose():  # a gap: the broker's client lost some
            with pytest.raises(GapError) as gap:
                unit.apply(inbox[unit.next_offset]._replace(offset=unit.next_offset + 1))
            assert gap.value.want == unit.next_offset
        if self.choose() and unit.next_offset:  # a redelivery
            assert unit.apply(inbox[unit.next_offset - 1]) == ()
        record = inbox[unit.next_offset]
        out = unit.apply(record)
        for emitted in out:
            self.point()
            self.append(emitted, record.logged_at)
        if not self.choose():  # else no checkpoint after this one
            self.save(unit)
        return True

    def save(self, unit: Unit) -> bool:
        self.point()
        cut = unit.cut(force=True)
        if cut is None:
            return False
        for entry in cut.checkpoint.entries:
            self.entries[unit.name][entry.key] = entry
            self.point()
        # Emissions are not atomic with the position here: nothing may be discarded on a restart.
        self.positions[unit.name] = cut.checkpoint._replace(emitted=0)
        self.point()
        for started in cut.effects:
            self.perform(unit, started)
        return True

    def perform(self, unit: Unit, started: Started) -> None:
        class Clock:
            def now(self) -> int:
                return 5

        self.performed.append(started.effect.id)
        out = answer({"ask": ask}, unit, started, Clock())
        self.point()
        self.append(out, 5)

    def read_deduplicated(self, topic: str) -> dict[str, list[bytes]]:
        """As a consumer must: drop, by origin, what is not above the highest rank seen."""
        seen: dict[tuple[str, int], tuple[int, int, int]] = {}
        kept: dict[str, list[bytes]] = defaultdict(list)
        for (name, partition), records in sorted(self.log.items()):
            for record in records if name == topic else ():
                cause = Cause.parse(decode_record(record).cause)
                assert cause is not None
                if cause.rank > seen.get((cause.origin, partition), (-1, -1, -1)):
                    seen[cause.origin, partition] = cause.rank
                    kept[record.key].append(record.value)
        return kept


def totals_of(host: ChaoticHost) -> dict[str, list[int]]:
    found = {}
    for key, values in host.read_deduplicated("audit").items():
        facts = [decode_record(Record("audit", 0, 0, key, value, 0)).data.facts for value in values]
        found[key] = [fact["total"] for fact in facts if "total" in fact]
        found[f"{key} answers"] = sorted(fact["answer"] for fact in facts if "answer" in fact)
    return found


def drive(choose, batches: int) -> ChaoticHost:
    host = ChaoticHost(choose)
    for number in range(batches):
        host.append(batch(number, lines=4), 1_000 + number)
    while True:
        try:
            host.live()
        except CrashError:
            continue
        return host


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.floats(0.01, 0.25))
def test_crashes_between_any_two_actions_lose_nothing_and_double_nothing(seed, rate):
    calm = totals_of(drive(lambda: False, 6))
    chance = random.Random(seed)
    budget = [200]

    def choose() -> bool:
        budget[0] -= 1
        return budget[0] > 0 and chance.random() < rate

    assert totals_of(drive(choose, 6)) == calm
    assert any(key.endswith("answers") and value for key, value in calm.items())


def test_a_poison_record_stops_at_the_same_place_until_it_is_quarantined_and_no_input_is_read_twice(tmp_path):
    for _ in range(QUARANTINE_AFTER):
        with pytest.raises(PoisonError) as poison:
            run_lockstep(tmp_path, 12, fails_at="20")
        assert poison.value.unit[0] == "total"
    run_lockstep(tmp_path, 12, fails_at="20")
    kept = contents(tmp_path, "logs", "dead-letters")
    numbers = sorted(decode(value).id for partition in range(PARTITIONS) for _, value, _ in kept[f"logs/{partition}"])
    assert numbers == sorted(f"toy-{number}" for number in range(12))
    letters = [
        decode(value).data for partition in range(PARTITIONS) for _, value, _ in kept[f"dead-letters/{partition}"]
    ]
    assert [letter.reason for letter in letters] == ["quarantined"]
