"""The doors by which act reads and changes a target, and the performers of its effects.

In: effects `call_action`, `read_state` and `probe_health`. Out: EffectAnswered, whose `result` is

- of `call_action`: {"reply": what the provider said}; when it failed {"applied": false, "transient": bool} if nothing
  was done, {} if nobody can tell (`error` then begins with "unknown outcome");
- of `read_state`: {"state": the target's state};
- of `probe_health`: {"health": the newest ServiceHealth, or null where there is none yet}.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Protocol

from pydantic import JsonValue

from connectors.asked import Asked
from models.anomaly import ServiceHealth
from models.errors import ActionError, UnknownOutcomeError
from models.signal import EffectAnswered

__all__ = ["Actuator", "HealthReader", "act_performers", "perform_call", "perform_health", "perform_state"]

Perform = Callable[[Asked], EffectAnswered]


class Actuator(Protocol):
    """Whatever can change targets: a cloud's API, or the simulator."""

    @property
    def honours_keys(self) -> bool:
        """A call repeated under the same idempotency key takes effect once and gives the first answer."""
        ...

    def call(
        self, action: str, target: str, params: Mapping[str, JsonValue], idempotency_key: str
    ) -> Mapping[str, JsonValue]:
        """Carry out an action, or begin it; returns what the provider said. Raises UnknownOutcomeError where nobody
        can tell whether it took effect, any other ActionError where nothing was done.
        """
        ...

    def state(self, target: str) -> Mapping[str, JsonValue]:
        """The target's state as its provider describes it. Raises ActionError where it cannot be read."""
        ...


class HealthReader(Protocol):
    """Where the newest word of detect on a service is read: topic `health`."""

    def health(self, service: str) -> ServiceHealth | None:
        """The newest health of the service, or None where there is none yet."""
        ...


def act_performers(actuator: Actuator, reader: HealthReader, repeated: Container[str] = ()) -> dict[str, Perform]:
    """The performers of act's effects, by kind. `repeated`: see `perform_call`."""
    return {
        "call_action": perform_call(actuator, repeated),
        "read_state": perform_state(actuator),
        "probe_health": perform_health(reader),
    }


def perform_call(actuator: Actuator, repeated: Container[str] = ()) -> Perform:
    """Performer of `call_action`. `repeated` holds the ids of effects that were under way when the process stopped: an
    actuator that does not honour idempotency keys is not called for them a second time; the workflow probes instead.
    """

    def perform(asked: Asked) -> EffectAnswered:
        if asked.id in repeated and not actuator.honours_keys:
            return _unknown(asked, "the process stopped after the call may have been sent")
        args: Any = asked.args
        try:
            reply = actuator.call(args["action"], args["target"], args["params"], args["idempotency_key"])
        except UnknownOutcomeError as error:
            return _unknown(asked, str(error))
        except ActionError as error:
            result = {"applied": False, "transient": error.transient}
            return EffectAnswered(effect_id=asked.id, kind="call_action", ok=False, result=result, error=str(error))
        except OSError as error:  # time-outs and broken connections: the request may have arrived
            return _unknown(asked, f"{type(error).__name__}: {error}")
        return EffectAnswered(effect_id=asked.id, kind="call_action", ok=True, result={"reply": dict(reply)})

    return perform


def perform_state(actuator: Actuator) -> Perform:
    """Performer of `read_state`."""

    def perform(asked: Asked) -> EffectAnswered:
        try:
            state = actuator.state(str(asked.args["target"]))
        except (ActionError, OSError) as error:
            return EffectAnswered(effect_id=asked.id, kind="read_state", ok=False, error=str(error))
        return EffectAnswered(effect_id=asked.id, kind="read_state", ok=True, result={"state": dict(state)})

    return perform


def perform_health(reader: HealthReader) -> Perform:
    """Performer of `probe_health`."""

    def perform(asked: Asked) -> EffectAnswered:
        health = reader.health(str(asked.args["service"]))
        result = {"health": health.model_dump(mode="json") if health else None}
        return EffectAnswered(effect_id=asked.id, kind="probe_health", ok=True, result=result)

    return perform


def _unknown(asked: Asked, why: str) -> EffectAnswered:
    return EffectAnswered(effect_id=asked.id, kind="call_action", ok=False, error=f"unknown outcome: {why}")
