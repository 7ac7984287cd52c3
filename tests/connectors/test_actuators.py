"""The performers of act's effects: what an actuator says, or fails to say, as an answer the workflow can trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from connectors.actuators import act_performers
from models.anomaly import SeriesHealth, ServiceHealth
from models.errors import ActionError, UnknownOutcomeError
from streams.step import Effect

CALL = Effect("e1", "call_action", {"action": "a", "target": "t", "params": {"n": 1}, "idempotency_key": "k"})


class Door:
    def __init__(self, error: Exception | None = None, honours_keys: bool = True) -> None:
        self.error, self.honours_keys = error, honours_keys
        self.calls: list[tuple[Any, ...]] = []

    def call(self, *args: Any) -> Mapping[str, Any]:
        self.calls.append(args)
        if self.error:
            raise self.error
        return {"status": "begun"}

    def state(self, target: str) -> Mapping[str, Any]:
        if self.error:
            raise self.error
        return {"status": "available", "of": target}

    def health(self, service: str) -> ServiceHealth | None:
        quiet = SeriesHealth(template_id="", kinds=(), observed=(1.0,), expected=1, upper=5)
        known = ServiceHealth(service=service, application="a", alive=True, watermark=9, total=quiet, errors=quiet)
        return known if service == "known" else None


def test_a_call_carries_its_idempotency_key_and_its_reply_comes_back() -> None:
    door = Door()
    answer = act_performers(door, door)["call_action"](CALL)
    assert door.calls == [("a", "t", {"n": 1}, "k")]
    assert (answer.effect_id, answer.ok, answer.result) == ("e1", True, {"reply": {"status": "begun"}})


@pytest.mark.parametrize(
    ("error", "result", "text"),
    [
        (ActionError("throttled", transient=True), {"applied": False, "transient": True}, "throttled"),
        (ActionError("no such action"), {"applied": False, "transient": False}, "no such action"),
        (UnknownOutcomeError("cut off"), {}, "unknown outcome: cut off"),
        (TimeoutError("read"), {}, "unknown outcome: TimeoutError: read"),
        (ConnectionResetError("peer"), {}, "unknown outcome: ConnectionResetError: peer"),
    ],
)
def test_only_a_refusal_says_that_nothing_was_done(error: Exception, result: Any, text: str) -> None:
    door = Door(error)
    answer = act_performers(door, door)["call_action"](CALL)
    assert (answer.ok, answer.result, answer.error) == (False, result, text)


def test_a_call_interrupted_by_a_crash_is_repeated_only_where_keys_are_honoured() -> None:
    for honours, calls in ((True, 1), (False, 0)):
        door = Door(honours_keys=honours)
        answer = act_performers(door, door, repeated={"e1"})["call_action"](CALL)
        assert (len(door.calls), answer.ok) == (calls, honours)
        assert honours or answer.error.startswith("unknown outcome")


def test_state_and_health_are_answers_too_when_there_is_none() -> None:
    good, bad = Door(), Door(ActionError("denied"))
    read = Effect("e2", "read_state", {"target": "t"})
    assert act_performers(good, good)["read_state"](read).result == {"state": {"status": "available", "of": "t"}}
    assert act_performers(bad, bad)["read_state"](read).error == "denied"
    probe = act_performers(good, good)["probe_health"]
    assert probe(Effect("e3", "probe_health", {"service": "other"})).result == {"health": None}
    known = probe(Effect("e4", "probe_health", {"service": "known"})).result["health"]
    assert ServiceHealth.model_validate(known) == good.health("known")
