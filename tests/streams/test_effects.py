"""Every effect is answered, whatever the world gives back."""

from __future__ import annotations

from typing import Any

import pytest
from toy_pipeline import Total

from connectors.clock import VirtualClock, WallClock
from connectors.codec import decode
from models.signal import EffectAnswered
from streams.effects import EffectPool, answer
from streams.runtime import Started, Unit
from streams.step import Effect


def unreadable(effect: Effect) -> Any:
    raise OSError("caf\udcff: no such file")


def unwritable(effect: Effect) -> Any:
    return EffectAnswered(effect_id=effect.id, kind=effect.kind, ok=True, result={"reply": object()})


def nothing(effect: Effect) -> Any:
    return None


@pytest.mark.parametrize("performer", [unreadable, unwritable, nothing])
def test_an_answer_that_cannot_be_written_down_is_a_failure_that_is_told(performer):
    unit, started = Unit(Total(), 0), Started("app1", Effect("e1", "call", {}))
    told = decode(answer({"call": performer}, unit, started, VirtualClock(5)).value)
    assert (told.data.effect_id, told.data.ok, told.key) == ("e1", False, "app1")
    assert told.data.error
    pool = EffectPool({"call": performer}, WallClock())
    pool.start(unit, [started])
    pool._pool.shutdown(wait=True)
    assert [decode(out.value).data.ok for out in pool.drain()] == [False]
    assert pool.idle
