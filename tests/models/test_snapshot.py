"""Generations as messages: of a bounded size, their order and division without meaning, no number too large."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.codec import decode, encode
from models.baseline import Baselines
from models.errors import ContractError
from models.event import Event
from models.retraining import table_of
from models.service_state import ServiceState, Unborn
from models.snapshot import ReplayRange, Training, checksum_of, parts_of

TRAINING = Training(
    topic="counts", ranges=(ReplayRange(partition=0, begin=0, end=9),), rules_version=1, minutes=40, minute=100
)


def service(templates: int, text: str = "text") -> ServiceState:
    state = ServiceState("web")
    state.grow(state.series.room_for(templates))
    for number in range(templates):
        slot = state.series.used
        state.place(slot, f"t{number}", Unborn(f"{text} {number}", False), 7, False)
        state.base.mean[slot] = number / 3
    return state


def wire(part) -> bytes:
    return encode(Event("id", 1, "web", part))


@pytest.mark.parametrize(("templates", "text"), [(5_000, "short"), (100, "\u2028" * 8_000)])
def test_no_part_is_larger_than_a_megabyte_and_together_they_are_the_whole(templates, text):
    table = table_of(service(templates, text))
    parts = parts_of("g", "web", TRAINING, table)
    assert len(parts) > 1
    assert max(len(wire(part)) for part in parts) < 1 << 20
    read = [decode(wire(part)).data for part in parts]
    assert read == parts
    assert [name for part in read for name in part.series.ids] == table.ids
    assert checksum_of([part.series for part in read]) == parts[0].checksum == checksum_of([table])


def test_every_learnt_number_has_a_part_in_the_checksum():
    table = table_of(service(3))
    whole = checksum_of([table])
    for name in Baselines.LEARNT:
        column = [*getattr(table.learnt, name)]
        column[2] += 1
        assert (
            checksum_of([table.model_copy(update={"learnt": table.learnt.model_copy(update={name: column})})]) != whole
        )


def test_a_service_without_templates_is_one_part():
    (part,) = parts_of("g", "web", TRAINING, table_of(service(0)))
    assert part.series.ids == ["", "errors", "overflow"]


@given(st.sampled_from(Baselines.LEARNT), st.sampled_from([1e300, -1e300, 1e25, "x", None]))
def test_a_number_that_no_counts_could_teach_is_refused(name, value):
    raw = json.loads(wire(parts_of("g", "web", TRAINING, table_of(service(1)))[0]))
    raw["data"]["series"]["learnt"][name][0] = value
    with pytest.raises(ContractError, match="bad_payload"):
        decode(json.dumps(raw).encode())


@pytest.mark.parametrize("value", [-1, 1 << 31, 0.5])
def test_minutes_are_whole_numbers_that_32_bits_hold(value):
    raw = json.loads(wire(parts_of("g", "web", TRAINING, table_of(service(1)))[0]))
    raw["data"]["series"]["learnt"]["n"][0] = value
    with pytest.raises(ContractError, match="bad_payload"):
        decode(json.dumps(raw).encode())
