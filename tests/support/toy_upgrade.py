"""The toy pipeline's next version: its message `change` and the state of `total` have changed their fields.

Only a process that calls `be_upgraded_agents` knows it: beside it, processes of the former version run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import kafka_rig
from kafka_rig import be_agents
from pydantic import BaseModel
from toy_pipeline import Count, Split, Total, Totals, ask

from connectors.kafka_settings import KafkaSettings
from models.contracts import CONTRACTS
from models.event import Contract
from models.signal import Change
from streams.roles import Plan
from streams.step import Emit, ModelKeeper, Part, Turn

__all__ = ["NumberedChange", "be_upgraded_agents"]


class NumberedChange(Contract):
    """`change` v2: what was the text `after` is a `number` now, and some fields have gone."""

    TYPE: ClassVar[str] = "change"
    VERSION: ClassVar[int] = 2

    change_id: str
    source: str
    application: str
    number: int

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        if version != 1:
            raise KeyError(version)
        kept = {name: data[name] for name in ("change_id", "source", "application")}
        return kept | {"number": int(data["after"])}


class Sums(BaseModel):
    """What `total` keeps, v2: `total` is called `sum`, and how many lines made it is counted from now on."""

    sum: int = 0
    lines: int = 0
    answered: list[str] = []
    ticks: int = 0
    wish: int | None = None


def sums_of(former: dict[str, Any]) -> dict[str, Any]:
    return {"sum": former.pop("total"), **former}


class UpgradedSplit(Split):
    """Writes the new version of its message."""

    def advance(self, shared: None, state: Count, part: Part) -> Turn[Count]:
        turn = super().advance(shared, state, part)
        return turn._replace(emits=[emit._replace(data=_numbered(emit)) for emit in turn.emits])


class UpgradedTotal(Total):
    """Reads both versions of it, and goes on from what the former version has kept."""

    state = ModelKeeper(Sums, version=2, upcasts={1: sums_of})

    def advance(self, shared: None, state: Any, part: Part) -> Turn[Any]:
        data = part.event.data
        former = Totals(total=state.sum, **state.model_dump(include={"answered", "ticks", "wish"}))
        if isinstance(data, NumberedChange):
            fields = {"kind": "config", "resource": "r", "after": str(data.number)}
            read = Change(**data.model_dump(exclude={"number"}), **fields)
            part = part._replace(event=replace(part.event, data=read))
        turn = super().advance(shared, former, part)
        counted = state.lines + isinstance(data, NumberedChange)
        return turn._replace(state=Sums(**sums_of(former.model_dump()), lines=counted))


def be_upgraded_agents(settings: KafkaSettings, roles: Sequence[str], widened: bool, log_file: Path) -> None:
    """A process's life, as kafka_rig.be_agents, of the next version."""
    CONTRACTS["change"] = NumberedChange
    kafka_rig._PLANS["split"] = lambda: Plan("split", UpgradedSplit())
    kafka_rig._PLANS["total"] = lambda: Plan("total", UpgradedTotal(), lambda readers: {"ask": ask})
    be_agents(settings, roles, widened, log_file)


def _numbered(emit: Emit) -> NumberedChange:
    data = emit.data
    assert isinstance(data, Change)
    return NumberedChange(
        change_id=data.change_id, source=data.source, application=data.application, number=int(data.after)
    )
