"""Real lines give the same templates, counts and closed windows however they are batched, split and remembered; what
was recorded can be computed again, and a changed record is found.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest
from real_lines import MINUTE, START, System, cycled, surge, systems, usual_event, write
from run_rig import acting_config, events, foreshock, line_counts

from connectors.clock import VirtualClock
from connectors.data_folder import DataFolder
from connectors.inputs import InputOptions
from connectors.opening import open_inputs
from models.catalog import Catalog
from models.mining import Miner
from models.template import BatchPointer
from streams.catalog import publish_catalog
from streams.detect import Detect
from streams.embedded import EmbeddedHost
from streams.mine import Mine

NAMES = ("OpenSSH", "HDFS", "Zookeeper")
MINUTES = 150
A_MINUTE = 80.0
SURGE_AT = START + 130 * MINUTE


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file for each of three systems; in the first, a surge of one template."""
    known, folder = systems(), tmp_path_factory.mktemp("lines")
    return [write(folder / f"{name}.log", service_lines(known[name], surging=name == NAMES[0])) for name in NAMES]


def service_lines(system: System, surging: bool):
    yield from cycled(system, MINUTES, A_MINUTE)
    if surging:
        yield from surge(system, usual_event(system, A_MINUTE, 4), SURGE_AT)


def mined_and_detected(files: list[Path], data: Path, *, span_ms: int, partitions: int, memory: int = 1 << 25) -> Path:
    """Files to anomalies by the real steps over SQLite, in polls of at most `span_ms` of event time."""
    options = InputOptions(once=True, span_ms=span_ms, partitions=partitions)
    with DataFolder(data, partitions=partitions, durable=False) as folder:
        publish_catalog(folder.store, Catalog(version="1"), 0)
        host = EmbeddedHost(folder.store, [Mine(memory), Detect()], {}, clock=VirtualClock())
        host.run_lockstep([open_inputs([str(file) for file in files], options)], threading.Event())
    return data


def closed_anomalies(folder: Path) -> list[str]:
    views = [event.data.digest_view() for event in events(folder, "anomalies") if event.data.window.closed]
    return sorted(json.dumps(view, sort_keys=True) for view in views)


@pytest.fixture(scope="module")
def usual(files, tmp_path_factory):
    return mined_and_detected(files, tmp_path_factory.mktemp("usual") / "data", span_ms=MINUTE, partitions=1)


@pytest.mark.parametrize(
    ("span_ms", "partitions", "memory"),
    [(7_000, 1, 1 << 25), (25_000, 1, 1 << 25), (MINUTE, 4, 1 << 25), (MINUTE, 1, 0)],
    ids=["small batches", "batches of another rhythm", "four partitions", "a miner that remembers nothing"],
)
def test_other_batches_partitions_and_memories_give_the_same_counts_and_anomalies(
    files, usual, tmp_path, span_ms, partitions, memory
):
    other = mined_and_detected(files, tmp_path / "data", span_ms=span_ms, partitions=partitions, memory=memory)
    assert [e.position for e in events(other, "logs")] != [e.position for e in events(usual, "logs")] or memory == 0
    assert line_counts(other) == line_counts(usual)
    assert sum(line_counts(usual).values()) == sum(file.read_bytes().count(b"\n") for file in files)
    assert closed_anomalies(other) == closed_anomalies(usual) != []


def test_two_miners_sharing_the_batches_name_the_templates_as_one_does(usual):
    def templates(miners: list[Miner]) -> list[list[tuple[str, str, int]]]:
        found = []
        for number, event in enumerate(events(usual, "logs")):
            pointer = BatchPointer(topic="logs", partition=0, offset=number)
            counts = miners[number % len(miners)].mine(event.data, pointer)
            found.append([(t.id, t.text, t.severity) for section in counts.sections for t in section.templates])
        return found

    one = templates([Miner()])
    assert templates([Miner(), Miner()]) == one
    assert len({template for batch in one for template in batch}) > 30


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A simulated run that has acted."""
    folder = tmp_path_factory.mktemp("finished")
    world = "sim:7?hours=0.6&faults=instance_terminated@00:20&volume=0.3"
    said = foreshock("run", "--input", world, "--config", acting_config(folder), "--data", folder / "data")
    assert said.returncode == 0, said.stderr
    return folder / "data"


def test_a_finished_run_can_be_computed_again_byte_for_byte_and_a_changed_record_is_found(finished):
    assert [event.data.result for event in events(finished, "signals", "outcome")] == ["recovered"]
    said = foreshock("recompute", "--json", "--data", finished)
    assert said.returncode == 0, said.stderr
    rows = {row["step"]: row for row in map(json.loads, said.stdout.splitlines())}
    assert rows.keys() == {"mine", "detect", "case", "act"}
    assert all(row["equal"] > 0 and row["different"] == 0 for row in rows.values())
    with sqlite3.connect(finished / "foreshock.db") as db:
        changed = db.execute(
            "UPDATE records SET value = CAST(replace(CAST(value AS TEXT), ?, ?) AS BLOB) WHERE offset = 1 "
            "AND topic = (SELECT topic FROM topics WHERE name = 'journal')",
            ('"seq":', '"seq": '),
        )
        assert changed.rowcount == 1
    again = foreshock("recompute", "--json", "--data", finished)
    assert again.returncode == 1
    rows = {row["step"]: row for row in map(json.loads, again.stdout.splitlines())}
    assert {step for step, row in rows.items() if row["different"]} == {"act"}
    assert "journal/0@1" in rows["act"]["first_difference"]
