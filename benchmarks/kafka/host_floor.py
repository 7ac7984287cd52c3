"""The Faust host with a step that does nothing: consume and decode, as safe as any role. `python -m
benchmarks.kafka.host_floor BROKER PREFIX WARM TOTAL` reads `{prefix}logs` once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.kafka.lines import PARTITIONS
from benchmarks.kafka.loops import Marks
from connectors.clock import WallClock
from connectors.kafka_settings import KafkaSettings
from models.event import Event
from streams.roles import Plan, serve_agents
from streams.step import NothingKeeper, Part, Turn
from streams.step_host import Deployment

STEP = "decode"


class Decode:
    """Takes batches and does nothing with them."""

    name, inbox, urgent = STEP, "logs", False
    shared, state = NothingKeeper(), NothingKeeper()

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def admit(self, shared: None, event: Event[Any]) -> tuple[None, Sequence[Part]]:
        """No part: nothing to do for anybody."""
        if self._marks.add(event.data.lines):
            self._marks.done()
            os.kill(os.getpid(), signal.SIGTERM)
        return shared, ()

    def advance(self, shared: None, state: None, part: Part) -> Turn[None]:  # noqa: ARG002 - the protocol's name
        """Never asked for."""
        return Turn(state)


def main(words: list[str]) -> None:
    broker, prefix, warm, total = words
    settings = KafkaSettings(bootstrap_servers=(broker,), prefix=prefix)
    deployment = Deployment(PARTITIONS, settings.run, "", WallClock())
    plan = Plan(STEP, Decode(Marks(int(warm), int(total))))
    asyncio.run(serve_agents(settings, deployment, [plan]))


if __name__ == "__main__":
    main(sys.argv[1:])
