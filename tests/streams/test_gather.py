"""Gathering rows changes nothing: the same services, whatever waits for what, in any order and of any hand."""

from __future__ import annotations

import numpy as np
import pytest
from detect_driver import Driver, section_of

from models.event import Event
from models.service_state import ServiceState
from models.template import BUCKET_MS, Section, Template
from streams.detect import Share
from streams.detect_columns import columns_of
from streams.gather import Gathered, Names
from streams.step import Part

START = 170_000_004


def batches(seed: int, far: bool) -> list[tuple[int, list[tuple[int, str, int]]]]:
    """Covered until (ms) and rows; several to a bucket, some late, some early, some far away."""
    chance = np.random.default_rng(seed)
    found = []
    for number in range(900):
        now = START + number // 4
        rows = [
            (now + int(chance.integers(-2, 3)), f"t{chance.integers(0, 12)}", int(n)) for n in chance.integers(1, 9, 6)
        ]
        if far and number % 50 == 7:
            rows.append((now + int(chance.integers(100, 1 << 38)), "far", 3))
            rows.append((-5, "old", 2))
        found.append(((now - 1 - number % 3) * BUCKET_MS, rows))
    return found


def by_hand(driver: Driver, given: list[tuple[int, list[tuple[int, str, int]]]], gather: bool) -> ServiceState:
    """The driver's step on these batches, gathered or one by one."""
    step, shared, state = driver.step, driver.shared, driver.step.state.initial("web")
    gathered: Gathered | None = None
    waited, names = 0, Names()
    for covered, rows in given:
        data = driver.batch({"s": covered}, (section_of("web", rows, {}, {}),), {"s": ["web"]})
        shared, parts = step.admit(shared, Event("id", covered, "0", data))
        for part in parts:
            if gather and gathered is not None and gathered.takes(part):
                gathered.add(part)
                waited += 1
                continue
            if gathered is not None and (waiting := gathered.part()) is not None:
                state = step.advance(shared, state, waiting).state
            state = step.advance(shared, state, part).state
            gathered = Gathered(part, names) if gather else None
    if gathered is not None and (waiting := gathered.part()) is not None:
        state = step.advance(shared, state, waiting).state
    assert waited > 300 or not gather
    return state


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_waited_counts_as_what_did_not(seed, far):
    given = batches(seed, far)
    one_by_one, gathered = by_hand(Driver(), given, False), by_hand(Driver(), given, True)
    for state in (one_by_one, gathered):
        for name in ("offsets", "lines", "buckets"):  # pointers to lines are of no use to baselines
            getattr(state.series, name)[:] = 0
        for held in (*state.open.values(), *state.early.values()):
            held.evidence, held.anomaly_id, held.revision = (), "", 0
        state.early = {}  # what is told of open windows depends on how lines are delivered
    assert gathered.dump() == one_by_one.dump()


@pytest.mark.parametrize(("text", "severity"), [("two", 4), ("two", 2), ("one", 4)])
def test_what_shares_an_id_and_nothing_else_stays_two_templates_until_detect_decides(text, severity):
    first = Part("web", None, Share((), 5, True))  # type: ignore[arg-type]
    section = section_of("web", [(7, "t", 2)], {"t": "one"}, {})
    other = section.model_copy(update=Section.columns_of([Template(id="t", text=text, severity=severity)]))
    gathered = Gathered(first, Names())
    for each in (section, other, section):
        gathered.add(first._replace(share=Share(tuple(columns_of([each])), 5, True)))
    merged = gathered.part().share.sections[0].section
    assert [(t.text, t.severity) for t in merged.templates] == [("one", 2), (text, severity)]
    assert (merged.template, merged.n, merged.bucket) == ([0, 1], [4, 2], [7, 7])


def test_what_says_something_of_sources_or_closes_something_does_not_wait():
    last = Part("web", None, Share((), 5, True))  # type: ignore[arg-type]
    gathered = Gathered(last, Names())
    assert gathered.takes(last)
    for share in (
        Share((), 6, True),
        Share((), 5, False),
        Share((), 5, True, (("s", 1),)),
        Share((), 5, True, (), ("s",)),
    ):
        assert not gathered.takes(last._replace(share=share))
    assert gathered.part() is None
