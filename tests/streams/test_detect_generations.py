"""Generations of baselines in detect: assembled whatever happens to the parts, swapped between two minutes, refused
with the reason, taken back exactly; detection goes on meanwhile.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from detect_driver import Driver

from models.anomaly import Status
from models.audit import AuditEntry, Stage
from models.baseline import TESTABLE, Baselines
from models.errors import ContractError
from models.retraining import table_of
from models.series import FIRST_TEMPLATE
from models.service_state import ServiceState
from models.snapshot import BaselineRollback, BaselineSnapshot, ReplayRange, Training, parts_of
from models.template import BUCKET_MS

SERVICE, START = "checkout", 170_000_004
"""A service that learns as soon as a minute ends."""
MEANS = (3.0, 12.0, 0.4)


class Shop:
    """A driver and the bucket its service has come to; the same seed and rates give the same lines."""

    def __init__(self, seed: int = 1, scale: float = 1.0, dump_every: int = 0) -> None:
        self.driver = Driver(dump_every)
        self.bucket = START
        self.scale = scale
        self._chance = np.random.default_rng(seed)

    @property
    def state(self) -> ServiceState:
        return self.driver.states[SERVICE]

    def go(self, minutes: float, **more: int) -> None:
        for _ in range(round(minutes * 6)):
            counts = self._chance.poisson([mean * self.scale for mean in MEANS])
            rows = [(self.bucket, f"t{k}", int(n)) for k, n in enumerate(counts) if n]
            rows += [(self.bucket, name, n) for name, n in more.items()]
            self.bucket += 1
            self.driver.counts({"s": self.bucket * BUCKET_MS}, {SERVICE: rows})

    def give(self, *messages: Any) -> list[AuditEntry]:
        before = len(self.driver.audits)
        for message in messages:
            self.driver.give(message, self.bucket * BUCKET_MS)
        return self.driver.audits[before:]


@pytest.fixture(scope="module")
def warm_shop():
    shop = Shop()
    shop.go(45)
    return shop


@pytest.fixture
def shop(warm_shop):
    return copy.deepcopy(warm_shop)


def generation(state: ServiceState, name: str = "g1", **changes: Any) -> list[BaselineSnapshot]:
    """What a replay up to this state writes, in several parts."""
    given = {
        "topic": "counts",
        "ranges": (ReplayRange(partition=0, begin=0, end=1),),
        "rules_version": 1,
        "minutes": int(state.base.n[0]),
        "minute": state.lessons_until,
    }
    (whole,) = parts_of(name, SERVICE, Training(**{**given, **changes}), table_of(state))
    rows = len(whole.series.ids)
    cuts = [(0, 2), (2, 3), (3, rows)]
    return [
        whole.model_copy(update={"part": n, "parts": len(cuts), "series": whole.series.rows(*cut)})
        for n, cut in enumerate(cuts)
    ]


def learnt(state: ServiceState) -> dict[str, list[float]]:
    return {name: getattr(state.base, name)[: state.series.used].tolist() for name in Baselines.LEARNT}


def predicted(state: ServiceState) -> dict[str, list[float]]:
    return {name: getattr(state.base, name)[: state.series.used].tolist() for name in Baselines.PREDICTED}


@pytest.fixture(scope="module")
def busier():
    """Another life of the same service: four times as many lines, and a template that the first has not seen."""
    shop = Shop(seed=2, scale=4.0)
    shop.go(40, t9=2)
    return shop.state


def test_what_live_learning_knows_already_changes_nothing(shop):
    control = copy.deepcopy(shop)
    assert shop.give(*generation(shop.state)) == []
    shop.go(25)
    control.go(25)
    assert learnt(shop.state) == learnt(control.state)
    assert predicted(shop.state) == predicted(control.state)
    (swapped,) = shop.driver.audits
    assert (swapped.stage, swapped.correlation_id, swapped.facts["number"]) == (Stage.BASELINES_SWAPPED, "g1", 1)


def test_a_generation_is_put_in_place_when_a_minute_closes_and_not_before(shop, busier):
    before = predicted(shop.state)
    shop.give(*generation(busier))
    shop.go(5 / 6)
    assert predicted(shop.state) == before
    assert shop.driver.audits == []
    shop.go(1 / 6)
    slot = shop.state.series.slot_of["t1"]
    assert shop.state.base.mean[slot] == pytest.approx(4 * 6 * MEANS[1], rel=0.2)
    (swapped,) = shop.driver.audits
    assert swapped.facts["minutes"] == int(busier.base.n[0])
    assert shop.driver.health[-1].total.expected == pytest.approx(4 * sum(MEANS) + 2, rel=0.2)


def test_counts_are_judged_by_the_new_baselines_and_anomalies_name_their_generation(shop, busier):
    control = copy.deepcopy(shop)
    shop.give(*generation(busier))
    for each in (shop, control):
        each.go(1)
        each.scale = 4.0
        each.go(3)
    assert [told.baseline.generation for told in shop.driver.told] == []
    assert {told.baseline.generation for told in control.driver.told} == {0}
    shop.go(2, t1=2_000)
    assert {told.baseline.generation for told in shop.driver.told} == {1}


def test_a_series_the_service_has_not_seen_gets_a_slot_with_what_waits_for_it(shop, busier):
    assert "t9" not in shop.state.series.slot_of
    shop.give(*generation(busier))
    shop.go(5 / 6)
    rows = [(shop.bucket + 2, "t9", 7)]  # an open bucket, while its template has no slot
    shop.driver.counts({"s": shop.bucket * BUCKET_MS}, {SERVICE: rows})
    shop.go(1 / 6)
    state = shop.state
    slot = state.series.slot_of["t9"]
    assert state.base.n[slot] > 30
    assert not state.series.new[slot]
    assert state.pending[shop.bucket + 1].counts[slot] == 7
    assert state.unborn == {}
    assert shop.driver.audits[0].facts["series_new_here"] == 1
    assert ServiceState.load(state.dump()).dump() == state.dump()


def test_series_beyond_the_template_limit_are_counted_not_taken(shop, busier):
    catalog = shop.driver.shared.catalog
    limit = shop.state.series.used - FIRST_TEMPLATE
    detection = catalog.detection.model_copy(update={"max_templates": limit})
    shop.driver.shared.catalog = catalog.model_copy(update={"detection": detection})
    shop.give(*generation(busier))
    shop.go(1)
    assert shop.driver.audits[0].facts["series_without_slot"] == 1
    assert "t9" not in shop.state.series.slot_of


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 2, 0, 2), (0, 1, 2, 2, 1, 0)])
def test_parts_in_any_order_and_doubled_make_one_generation(shop, busier, order):
    parts = generation(busier)
    shop.give(*(parts[n] for n in order))
    shop.go(2)
    shop.give(*(parts[n] for n in order))  # all over again, after the swap
    shop.go(2)
    assert [audit.stage for audit in shop.driver.audits] == [Stage.BASELINES_SWAPPED]
    assert shop.state.generations.parts == {}


def test_a_missing_part_changes_nothing_and_is_told_when_the_next_generation_comes(shop, busier):
    control = copy.deepcopy(shop)
    shop.give(*generation(busier)[:2])
    for each in (shop, control):
        each.go(5)
    assert predicted(shop.state) == predicted(control.state)
    (refused,) = shop.give(*generation(busier, "g2"))
    assert (refused.correlation_id, refused.facts["reason"]) == ("g1", "incomplete")
    assert "2 of 3" in str(refused.facts["detail"])
    shop.go(1)
    assert shop.state.generations.running.id == "g2"


REFUSALS = {
    "rules_version": {"rules_version": 2},
    "too_few_minutes": {"minutes": TESTABLE - 1},
    "ahead": {"minute": START // 6 + 45 + 61},
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_generation_that_does_not_fit_is_refused_with_the_reason(shop, busier, reason):
    before = shop.state.dump()
    (refused,) = shop.give(*generation(busier, **REFUSALS[reason]))
    assert refused.stage is Stage.BASELINES_REFUSED
    assert (refused.facts["service"], refused.facts["reason"]) == (SERVICE, reason)
    assert len(str(refused.facts["detail"])) > 20
    shop.state.generations.refused = ""
    assert shop.state.dump() == before


def test_parts_that_were_changed_on_their_way_are_refused(shop, busier):
    parts = generation(busier)
    column = [*parts[2].series.learnt.mean]
    column[0] += 1.0
    changed = parts[2].series.learnt.model_copy(update={"mean": column})
    forged = parts[2].model_copy(update={"series": parts[2].series.model_copy(update={"learnt": changed})})
    (refused,) = shop.give(*parts[:2], forged)
    assert refused.facts["reason"] == "checksum_differs"
    mixed = parts[2].model_copy(update={"checksum": "other"})
    (refused,) = shop.give(*parts[:2], mixed)
    assert refused.facts["reason"] == "checksum_differs"
    assert shop.give(*parts) == []  # the whole one is taken
    shop.go(1)
    assert shop.driver.audits[-1].stage is Stage.BASELINES_SWAPPED


def test_a_service_that_never_spoke_here_is_refused(shop, busier):
    strange = [part.model_copy(update={"service": "nobody"}) for part in generation(busier)]
    (refused,) = shop.give(*strange)
    assert refused.facts["reason"] == "unknown_service"


def test_an_older_generation_does_not_replace_a_newer_one(shop, busier):
    shop.give(*generation(shop.state, "newer"))
    shop.go(1)
    (refused,) = shop.give(*generation(busier, "old"))
    assert refused.facts["reason"] == "older"
    assert shop.state.generations.running.id == "newer"


def test_a_generation_that_waits_gives_way_to_the_next(shop, busier):
    shop.give(*generation(busier, "g1"))
    (refused,) = shop.give(*generation(busier, "g2"))
    assert (refused.correlation_id, refused.facts["reason"]) == ("g1", "superseded")
    shop.go(1)
    assert shop.state.generations.running.id == "g2"


def test_a_generation_waits_until_the_service_has_closed_its_minutes(shop, busier):
    ahead = shop.state.next_bucket // 6 + 3
    shop.give(*generation(busier, minute=ahead))
    shop.go(3)
    assert shop.driver.audits == []
    shop.go(1)
    assert shop.driver.audits[0].stage is Stage.BASELINES_SWAPPED


def test_a_rollback_restores_the_predictions_exactly(shop, busier):
    before = predicted(shop.state)
    shop.give(*generation(busier))
    shop.go(10)
    known = len(before["expected"])
    assert {name: values[:known] for name, values in predicted(shop.state).items()} != before
    shop.give(BaselineRollback(service=SERVICE, by="ada"))
    shop.go(1)
    assert {name: values[:known] for name, values in predicted(shop.state).items()} == before
    assert shop.driver.audits[-1].stage is Stage.BASELINES_RESTORED
    shop.go(5, t1=500)
    assert {told.baseline.generation for told in shop.driver.told} == {0}


def test_a_rollback_works_once_and_the_taken_back_stays_so(shop, busier):
    shop.give(*generation(busier))
    shop.go(1)
    shop.give(BaselineRollback(service=SERVICE, by="ada"))
    shop.go(1)
    (refused,) = shop.give(BaselineRollback(service=SERVICE, by="ada"))
    assert refused.facts["reason"] == "nothing_to_restore"
    (refused,) = shop.give(*generation(busier))
    assert refused.facts["reason"] == "taken_back"


def test_a_rollback_before_the_swap_withdraws_what_waits(shop, busier):
    control = copy.deepcopy(shop)
    shop.give(*generation(busier))
    (refused,) = shop.give(BaselineRollback(service=SERVICE, by="ada"))
    assert refused.facts["reason"] == "withdrawn"
    for each in (shop, control):
        each.go(3)
    assert predicted(shop.state) == predicted(control.state)


def test_all_of_it_survives_being_saved_and_read_back_at_every_batch(busier):
    plain, saved = Shop(), Shop(dump_every=1)
    for shop in (plain, saved):
        shop.go(41)
        parts = generation(busier)
        shop.give(parts[1])
        shop.go(1.5)
        shop.give(parts[0], parts[2])
        shop.go(3)
        shop.give(BaselineRollback(service=SERVICE, by="ada"))
        shop.go(2)
        shop.give(*generation(busier, "g3"))
        shop.go(2)
    assert saved.driver.audits == plain.driver.audits
    assert [a.stage.value.partition("_")[2] for a in plain.driver.audits] == ["SWAPPED", "RESTORED", "SWAPPED"]
    assert saved.state.dump() == plain.state.dump()


@pytest.mark.parametrize("what", ["part", "columns", "twice"])
def test_a_part_that_contradicts_itself_is_a_dead_letter_before_anything_changes(shop, busier, what):
    part = generation(busier)[2]
    if what == "part":
        part = part.model_copy(update={"part": 3})
    elif what == "columns":
        part = part.model_copy(update={"series": part.series.model_copy(update={"texts": []})})
    else:
        ids = [part.series.ids[0]] * len(part.series.ids)
        part = part.model_copy(update={"series": part.series.model_copy(update={"ids": ids})})
    before = shop.state.dump()
    with pytest.raises(ContractError, match="generation_invalid"):
        shop.give(part)
    assert shop.state.dump() == before


@pytest.mark.parametrize("later", [1, 2])
def test_no_pair_of_minutes_is_learnt_across_the_minutes_that_nobody_learnt(shop, busier, later):
    shop.go(later)
    shop.give(*generation(busier))
    shop.go(1)
    slot = shop.state.series.slot_of["t1"]
    assert shop.state.base.pairs[slot] == busier.base.pairs[busier.series.slot_of["t1"]]
    shop.go(2)
    assert shop.state.base.pairs[slot] == busier.base.pairs[busier.series.slot_of["t1"]] + 1


def test_after_a_rollback_a_series_that_came_with_the_generation_begins_anew(shop, busier):
    shop.give(*generation(busier))
    shop.go(2)
    slot = shop.state.series.slot_of["t9"]
    assert shop.state.base.n[slot] > 30
    shop.give(BaselineRollback(service=SERVICE, by="ada"))
    shop.go(1)
    assert shop.state.base.n[slot] == 0
    shop.go(5, t9=2)
    assert shop.state.base.n[slot] == 5


def test_a_doubled_part_of_what_was_refused_is_not_told_as_a_generation_of_its_own(shop, busier):
    parts = generation(busier, **REFUSALS["rules_version"])
    shop.give(*parts, parts[1])
    assert shop.give(*generation(busier, "g2")) == []
    shop.go(1)
    assert [audit.stage for audit in shop.driver.audits] == [Stage.BASELINES_REFUSED, Stage.BASELINES_SWAPPED]


def test_an_anomaly_on_a_series_whose_baseline_was_taken_back_is_cleared_with_what_was_expected_of_it(shop, busier):
    shop.give(*generation(busier))
    shop.go(2)
    shop.go(1 / 3, t9=500)
    shop.give(BaselineRollback(service=SERVICE, by="ada"))
    shop.go(1)
    assert shop.state.base.n[shop.state.series.slot_of["t9"]] == 0
    shop.go(3)
    told = [each for each in shop.driver.told if each.template_id == "t9"]
    assert [told[0].status, told[-1].status] == [Status.OPENED, Status.CLEARED]
    assert told[-1].expected == told[-2].expected > 0
