"""The soak itself: what it calls growth, what it writes, and a short run of it through all roles."""

from __future__ import annotations

import os
from datetime import datetime

import pytest

from benchmarks.kafka.soak import ROLES, Soak, run
from benchmarks.kafka.soak_load import Load
from benchmarks.kafka.soak_samples import Sample, findings, table

START = 1_777_852_800_000
HOUR = 3_600_000


def hours(name, *figures):
    """Ten samples an hour."""
    return [Sample(round((n + i / 10) * HOUR), {name: f}) for n, f in enumerate(figures) for i in range(10)]


@pytest.mark.parametrize(
    ("name", "figures", "holds"),
    [
        ("detect rss MB", (50, 100, 104, 104), True),
        ("detect rss MB", (50, 100, 104, 106), False),
        ("detect rss MB", (50, 100, 100, 94), False),
        ("ingest files", (20, 30, 40, 30), True),
        ("ingest files", (30, 30, 30, 31), False),
        ("case keys", (1, 5, 5, 6), False),
        ("act changelog MB", (1, 8, 11, 10.5), True),
        ("act changelog MB", (1, 8, 9, 12), False),
        ("behind s", (1, 10, 10, 500), True),
    ],
)
def test_what_was_after_the_warm_up_is_compared_with_the_end(name, figures, holds):
    (found,) = findings(hours(name, *figures), 2 * HOUR)
    assert (found.name, found.holds) == (name, holds)
    assert ("FAIL" in table([found])) != holds


def test_the_load_is_lines_in_order_of_time_whose_files_rotate_and_look_as_old_as_their_lines(tmp_path):
    load = Load(tmp_path, START, 20, services=2, templates=10)
    load.write_to(START + HOUR)
    first = [load.path(name).read_text() for name in load.services]
    load.write_to(START + 2 * HOUR + 60_000)
    assert not [text for text in first if text in {path.read_text() for path in tmp_path.iterdir()}]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "load-00.log", "load-00.log.1", "load-01.log", "load-01.log.1"
    ]  # fmt: skip
    lines = load.path(load.services[0]).read_text().splitlines()
    times = [datetime.fromisoformat(line.split(" ")[0]).timestamp() * 1_000 for line in lines]
    assert times == sorted(times)
    assert os.stat(load.path(load.services[0])).st_mtime == pytest.approx(times[-1] / 1_000)
    assert 0.5 < load.lines / (20 * 7_260) < 1.5


@pytest.mark.chaos
def test_twenty_minutes_through_all_roles_are_judged_by_every_figure(tmp_path):
    said = []
    found = {each.name: each for each in run(Soak(hours=1 / 3, rate=300, speed=30, warm_hours=1 / 6), said.append)}
    for role in ROLES:
        assert found[f"{role} rss MB"].final > 10
        assert found[f"{role} files"].final > 3
    assert found["detect keys"].final >= 20
    assert found["spool MB"].holds
    happened = dict(line.split(": ", 1) for line in said if line.endswith(" messages"))
    assert happened["journal"] != "0 messages"
    assert happened["dead-letters"] == "0 messages"
