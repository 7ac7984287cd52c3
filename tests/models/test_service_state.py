"""A service's state as bytes, and its slots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detect_driver import Driver

from models.anomaly import LinePointer
from models.baseline import Baselines
from models.errors import UpgradeError
from models.series import FIRST_TEMPLATE, Series
from models.service_state import ServiceState
from models.template import BUCKET_MS

START = 170_000_004
GOLDEN = Path(__file__).parent.parent / "data" / "golden"


def drive(driver: Driver, start: int, end: int) -> None:
    rng = np.random.default_rng(start)
    for bucket in range(start, end):
        rows = [(bucket, f"t{k}", n) for k, n in enumerate(rng.poisson([0.2, 1.0, 9.0, 3.0]).tolist()) if n]
        if bucket % 97 == 0:
            rows.append((bucket, f"failed {bucket}", 25))
        if bucket in (START + 594, START + 599):
            rows.append((bucket, "t1", 90))  # an anomaly is open, and one told early, when the state is written
        driver.counts({"s": (bucket - 1) * BUCKET_MS}, {"web": rows})


def test_a_state_read_back_is_the_same_bytes_and_lives_on_the_same() -> None:
    driver = Driver()
    drive(driver, START, START + 600)
    raw = driver.states["web"].dump()
    again = ServiceState.load(raw)
    assert again.dump() == raw
    assert again.tail.running == driver.states["web"].tail.running != {}
    assert again.open.keys() == driver.states["web"].open.keys() != set()
    other = Driver()
    other.states["web"], other.shared = again, driver.shared.model_copy(deep=True)
    other._offset = driver._offset
    told = len(driver.told)
    drive(driver, START + 600, START + 900)
    drive(other, START + 600, START + 900)
    assert driver.states["web"].dump() == other.states["web"].dump()
    assert driver.told[told:] == other.told
    assert driver.told


def test_bytes_of_another_version_are_refused_with_what_to_do() -> None:
    raw = bytearray(ServiceState("web").dump())
    raw[4] = 99
    with pytest.raises(UpgradeError, match="version 99"):
        ServiceState.load(bytes(raw))


def test_the_least_counted_leaves_for_a_greater_count_and_errors_stay() -> None:
    series = Series()
    series.grow(10)
    for k in range(5):
        series.place(FIRST_TEMPLATE + k, f"t{k}", "text", False, 0, False)
    severity = np.zeros(10, np.int8)
    severity[FIRST_TEMPLATE] = 4
    series.raise_severity(severity, 0)
    decayed = np.array([99.0, 0.0, 0.0, 0.0, 5.0, 1.0, 2.0, 1.0])
    kept = [FIRST_TEMPLATE + 2]
    assert series.leaving(decayed, kept, [3, 1, 4]) == [FIRST_TEMPLATE + 4, -1, FIRST_TEMPLATE + 3]


def test_pointers_are_of_the_asked_buckets_oldest_first() -> None:
    series = Series()
    series.grow(4)
    series.place(3, "t", "text", False, 0, False)
    for offset in range(7):
        series.point(np.array([3]), offset, np.array([7]), 100 + offset, offset * 10)
    assert series.pointers(0, 3, range(104, 107)) == tuple(
        LinePointer(partition=3, offset=offset, line=offset * 10) for offset in (4, 5, 6)
    )
    assert [each.line for each in series.pointers(3, 3, range(200))] == [7] * 5
    assert len(series.pointers(0, 3, range(200))) == 5


@pytest.mark.parametrize("version", [1, 2])
def test_a_state_written_by_a_former_version_is_read_and_lives_on_without_learning_a_minute_twice(version) -> None:
    raw = (GOLDEN / f"service_state.v{version}.bin").read_bytes()
    assert raw[4] == version
    old = ServiceState.load(raw)
    assert old.generations.running.number == 0
    driver = Driver()  # what had written it: the same lines by today's program
    drive(driver, START, START + 600)
    other = Driver()
    other.states["web"], other.shared = old, driver.shared.model_copy(deep=True)
    assert old.base.n[0] == driver.states["web"].base.n[0] + 1  # it learnt as soon as a minute ended
    for each in (driver, other):
        drive(each, START + 600, START + 606)
    for name in Baselines.LEARNT:
        columns = [getattr(each.states["web"].base, name)[: old.series.used].tolist() for each in (driver, other)]
        assert columns[0] == columns[1], name
    assert old.dump()[4] == 3
