"""recompute: equal where the log is what the steps said, and every kind of tampering or loss is told."""

from __future__ import annotations

import shutil
import sqlite3

import pytest
import toy_pipeline
from case_folder import build
from cli_rig import run_cli
from toy_pipeline import PARTITIONS, Split, Total

from connectors.clock import VirtualClock
from connectors.data_folder import DataFolder, open_reader
from connectors.ports import Checkpoint, UnitName
from models.errors import PoisonError
from models.history import PatternStats
from streams.embedded import EmbeddedHost
from streams.recompute import compare_unit
from streams.step import Emit, ModelKeeper


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    toy_pipeline.run_lockstep(folder, 60)
    return folder


@pytest.fixture
def copy(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "copy")


def compare(folder, step=Total, partition=0, run=""):
    return compare_unit(open_reader(folder), step(), partition, run=run)


def change(folder, statement, *values):
    database = sqlite3.connect(folder / "foreshock.db")
    with database:
        changed = database.execute(statement, values).rowcount
    database.close()
    return changed


def lived(folder):
    """One life of a host given one batch in all; whether it reached its end."""
    with DataFolder(folder, partitions=PARTITIONS) as data:
        clock = VirtualClock(int(data.store.meta("clock") or 0))
        host = EmbeddedHost(data.store, [Split(), Total()], {"ask": toy_pipeline.ask}, clock=clock)
        try:
            host.settle()
            if data.store.bounds("logs", 0) == (0, 0):
                host.take([toy_pipeline.batch(0)])
        except PoisonError:
            return False
        host.finish()
        return True


def in_topic(topic):
    return f"topic = (SELECT topic FROM topics WHERE name = '{topic}')"


def of(topic):
    return f"{in_topic(topic)} AND partition = 0"


@pytest.mark.parametrize("step", [Split, Total])
@pytest.mark.parametrize("partition", range(PARTITIONS))
def test_what_the_steps_said_is_what_they_say_again(recorded, step, partition):
    result = compare(recorded, step, partition)
    assert result.holds
    assert result.records >= 30
    assert result.equal == result.emissions > 50


def test_one_changed_byte_is_a_difference_and_named(copy):
    middle = compare(copy).emissions // 2
    done = change(
        copy,
        "UPDATE records SET value = CAST(replace(value, 'DETECTED', 'DETECTEd') AS BLOB) "
        f"WHERE {of('audit')} AND offset = ?",
        middle,
    )
    assert done == 1
    results = [compare(copy, Total, partition) for partition in range(PARTITIONS)]
    assert sorted(result.different for result in results) == [0, 1]
    assert any(f"audit/0@{middle}" in result.first_difference for result in results)


def test_a_lost_record_is_a_difference(copy):
    assert change(copy, f"DELETE FROM records WHERE {of('audit')} AND offset = 40") == 1
    results = [compare(copy, Total, partition) for partition in range(PARTITIONS)]
    assert sorted(result.different for result in results) == [0, 1]
    assert any("not recorded on audit" in result.first_difference for result in results)


@pytest.mark.parametrize("says_nothing", [lambda total: total % 50 == 0, lambda total: total > 900, lambda total: True])
def test_records_that_nobody_emits_now_are_differences(copy, says_nothing):
    class Quiet(Total):
        def advance(self, shared, state, part):
            turn = super().advance(shared, state, part)
            return turn._replace(emits=()) if says_nothing(state.total) else turn

    recorded, result = compare(copy).equal, compare(copy, Quiet)
    assert result.different == recorded - result.emissions > 0
    assert "is recorded, but not emitted now" in result.first_difference


def test_a_step_that_fails_now_is_a_difference(copy):
    class Failing(Total):
        fails_at = "77"

    (result,) = [found for part in range(PARTITIONS) if not (found := compare(copy, Failing, part)).holds]
    assert "fails where it did not before" in result.first_difference


def test_only_what_the_live_step_has_taken_is_compared(copy):
    with DataFolder(copy) as data:
        data.store.append([toy_pipeline.batch(500)], 9_000_000)
    assert all(compare(copy, Split, partition).holds for partition in range(PARTITIONS))


def test_what_the_log_has_gained_since_the_comparison_began_is_left_alone(copy):
    assert change(copy, "UPDATE units SET emitted = 30 WHERE step = 'total' AND partition = 0") == 1
    result = compare(copy)
    assert (result.records, result.holds) == (30, True)


def test_on_a_compacted_topic_the_newest_value_of_each_key_must_be_the_recorded_one(tmp_path):
    class Keeping(Total):
        def advance(self, shared, state, part):
            turn = super().advance(shared, state, part)
            stats = PatternStats(application=part.key, pattern_id="p", acted_n=state.total)
            return turn._replace(emits=[*turn.emits, Emit("history", part.key, part.event.at, stats)])

    with DataFolder(tmp_path, partitions=PARTITIONS) as data:
        host = EmbeddedHost(data.store, [Split(), Keeping()], {"ask": toy_pipeline.ask}, clock=VirtualClock(0))
        for number in range(20):
            host.take([toy_pipeline.batch(number)])
        host.finish()
    results = [compare(tmp_path, Keeping, part) for part in range(PARTITIONS)]
    assert all(result.holds and result.not_kept for result in results)
    done = change(
        tmp_path,
        "UPDATE records SET value = CAST(replace(value, '\"acted_n\":', '\"acted_n\":1') AS BLOB) "
        f"WHERE {in_topic('history')} AND key = 'app0'",
    )
    assert done == 1
    assert sum(compare(tmp_path, Keeping, part).different for part in range(PARTITIONS)) == 1
    assert change(tmp_path, f"DELETE FROM records WHERE {in_topic('history')} AND key = 'app0'") == 1
    results = [compare(tmp_path, Keeping, part) for part in range(PARTITIONS)]
    assert any("the newest value of 'app0' on history" in result.first_difference for result in results)


def test_a_stateful_step_whose_inbox_was_cut_says_that_it_cannot(copy):
    with DataFolder(copy) as data, data.store.transaction():
        assert data.store.retain("signals", 0, keep_bytes=5_000, before=1_000)
    result = compare(copy, Total)
    assert not result.holds
    assert "retention" in result.error


def test_a_stateless_step_is_recomputed_from_what_is_kept(tmp_path):
    class Stateless(Split):
        state = toy_pipeline.NothingKeeper()

        def advance(self, shared, state, part):
            return super().advance(shared, toy_pipeline.Count(), part)._replace(state=None)

    toy_pipeline.run_lockstep(tmp_path, 40)
    with DataFolder(tmp_path) as data, data.store.transaction():
        gone = data.store.retain("logs", 0, keep_bytes=4_000, before=1_000)
    result = compare(tmp_path, Stateless)
    assert not result.error
    assert (result.records, gone > 0) == (20 - gone, True)


def test_outputs_that_retention_took_away_are_counted_as_not_kept(copy):
    before = compare(copy)
    with DataFolder(copy) as data, data.store.transaction():
        gone = sum(data.store.retain("audit", part, keep_bytes=9_000, before=10_000) for part in range(PARTITIONS))
    after = [compare(copy, Total, partition) for partition in range(PARTITIONS)]
    assert all(result.holds for result in after)
    assert sum(result.not_kept for result in after) == gone > 0
    assert after[0].equal + after[0].not_kept == before.equal


def test_a_quarantined_record_is_passed_over_as_it_was_live(tmp_path, monkeypatch):
    monkeypatch.setattr(Total, "fails_at", "2")
    assert [lived(tmp_path) for _ in range(4)] == [False, False, False, True]
    letters = [
        record for part in range(PARTITIONS) for record in open_reader(tmp_path).read("dead-letters", part, 0, 9)
    ]
    assert any(b"quarantined" in letter.value for letter in letters)
    results = [compare(tmp_path, Total, partition) for partition in range(PARTITIONS)]
    assert all(result.holds for result in results), results
    assert all(open_reader(tmp_path).crashes(UnitName("total", part)) == {} for part in range(PARTITIONS))


def test_a_unit_that_never_ran_has_nothing_to_compare(tmp_path):
    with DataFolder(tmp_path, partitions=1) as data:
        data.store.save(UnitName("total", 0), Checkpoint((), None, 0, 0))
    result = compare(tmp_path)
    assert (result.records, result.holds) == (0, True)
    assert isinstance(Total.state, ModelKeeper)


def test_the_command_recomputes_a_real_case_and_exits_1_where_it_differs(tmp_path):
    build(tmp_path)
    said = run_cli("recompute", "--data", tmp_path, "--step", "case", "--json")
    assert said.code == 0, said.err
    assert sum(row["equal"] for row in said.rows) >= 10
    assert all(row["holds"] for row in said.rows)
    verdicts = run_cli("recompute", "--data", tmp_path).out
    assert "as recorded, byte for byte" in verdicts
    assert "nothing was read yet" in verdicts
    change(
        tmp_path,
        f"UPDATE records SET value = CAST(replace(value, '\"review\"', '\"act\"') AS BLOB) WHERE {of('predictions')}",
    )
    said = run_cli("recompute", "--data", tmp_path)
    assert said.code == 1
    assert "NOT as recorded: " in said.out
    assert "predictions/0@1" in said.out
    assert run_cli("recompute", "--data", tmp_path, "--step", "nothing").code == 2
    assert run_cli("recompute", "--data", tmp_path, "--partition", "9").code == 2
