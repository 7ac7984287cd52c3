"""What is told early, of open windows, is told the same as if every window were summed with every batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detect_driver import Driver, Row, failing

from models.anomaly import Status
from models.template import BUCKET_MS
from streams.detect import Detect
from streams.detect_judge import Judge

START = 170_000_004
MINUTE = 6
TEXTS = {"fail": "write <*> failed", "fresh": "login failed on <*>", "late": "flush failed"}
MEANS = {"fail": 1.0, "login": 12.0, "query": 40.0}


class DoesNotWait(Judge):
    def _wait_for_more(self, bucket: int, over: Any, minute: Any) -> None:
        pass


class LooksEachTime(DoesNotWait):
    """Does not believe what is known of a bucket's room, and says where that is wrong."""

    def _may_tell(self, bucket: int) -> bool:
        opened = self.state.pending[bucket]
        known, opened.room = opened.room, None
        super()._may_tell(bucket)
        assert known is None or np.array_equal(known, opened.room)
        return True


def driver_of(judge: type[Judge]) -> Driver:
    driver = Driver()
    driver.step = Detect(failing, judge)
    return driver


def batches_of(seed: int) -> list[tuple[int, list[Row]]]:
    """Five minutes of batches after fifty quiet ones: many a bucket, each of lines of the newest bucket or of the one
    before, which is open, too; a slow surge of a known failure, and failures never seen.
    """
    chance = np.random.default_rng(seed)
    given: list[tuple[int, list[Row]]] = []
    for bucket in range(START, START + 50 * MINUTE):
        rows = [(bucket, name, int(n)) for name in MEANS if (n := chance.poisson(MEANS[name] / MINUTE))]
        given.append((bucket * BUCKET_MS, rows))
    surge = START + 50 * MINUTE + int(chance.integers(0, 4 * MINUTE))
    for bucket in range(START + 50 * MINUTE, START + 55 * MINUTE):
        for _ in range(12):
            at = bucket - int(chance.random() < 0.5)
            times = 8.0 if bucket >= surge else 1.0
            rows = [(at, name, int(n)) for name in MEANS if (n := chance.poisson(MEANS[name] / MINUTE / 12 * times))]
            if bucket >= surge and chance.random() < 0.2:
                rows.append((at, str(chance.choice(["fresh", "late"])), 1))
            given.append(((bucket - 1) * BUCKET_MS, rows))
    return given


def told_by(judge: type[Judge], seed: int) -> list[Any]:
    driver = driver_of(judge)
    for covered, rows in batches_of(seed):
        driver.counts({"s": covered}, {"web": rows}, texts=TEXTS)
    return driver.told


@pytest.mark.parametrize("seed", range(4))
def test_what_is_told_early_is_the_same_as_if_every_window_were_summed_with_every_batch(seed: int) -> None:
    told = told_by(DoesNotWait, seed)
    assert told == told_by(LooksEachTime, seed)
    assert any(each.status is Status.OPENED and not each.window.closed for each in told), "nothing was told early"


@pytest.mark.parametrize("seed", range(4))
def test_waiting_for_more_lines_delays_no_first_telling_and_changes_nothing_of_closed_windows(seed: int) -> None:
    told, patient = told_by(DoesNotWait, seed), told_by(Judge, seed)
    for which in (lambda each: each.status is Status.OPENED, lambda each: each.window.closed):
        answers = [
            [each.model_copy(update={"revision": 0}) for each in many if which(each)] for many in (told, patient)
        ]
        assert answers[0] == answers[1]
