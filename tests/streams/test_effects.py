"""Every effect is answered, whatever the world gives back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_pipeline import Total

from connectors.clock import VirtualClock, WallClock
from connectors.codec import decode
from connectors.ports import Outbound
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
    assert [decode(out.value).data.ok for out in drained(pool)] == [False]
    assert pool.idle


def drained(pool: EffectPool) -> list[Outbound]:
    """The first answers that come."""
    found: list[Outbound] = []
    while not found:
        found = pool.drain()
    return found


def test_a_call_that_does_not_return_keeps_no_process_from_ending():
    program = """
import threading
from toy_pipeline import Total
from connectors.clock import WallClock
from streams.effects import EffectPool
from streams.runtime import Started, Unit
from streams.step import Effect
begun = threading.Event()
def hang(effect):
    begun.set()
    threading.Event().wait()
pool = EffectPool({"call": hang}, WallClock())
pool.start(Unit(Total(), 0), [Started("app1", Effect(name, "call", {})) for name in "abcdefghijkl"])
begun.wait()
pool.close()
"""
    support = Path(__file__).parent.parent / "support"
    path = os.pathsep.join((str(support), str(support.parent.parent)))
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, timeout=30, check=True
    )
    assert done.returncode == 0
