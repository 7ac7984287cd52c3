"""The composition root for Kafka: what each role of a deployment is made of, and its life as a process.

In: a configuration and the names of roles. Out: a member of each role's consumer group until SIGTERM or Ctrl-C (a last
checkpoint, then exit 0), or an exit code that says why: 69 no broker, 70 a defect, 75 no progress (start it again).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from connectors.clock import PacedClock, WallClock
from connectors.history import recall_history
from connectors.kafka_log import KafkaLog
from connectors.kafka_readers import KafkaReaders
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_states import KafkaStates
from connectors.kafka_writer import KafkaWriter
from connectors.keys import load_keys
from connectors.local_predictor import answer_locally
from connectors.settings import Configuration
from models.errors import ForeshockError, StalledError
from streams.case import CaseStep
from streams.detect import Detect
from streams.effects import EffectPool, Performer
from streams.liveness import WATCH_SECONDS, ProgressWatch
from streams.mine import Mine
from streams.step import AnyStep
from streams.step_host import Deployment, Doors, StepHost
from streams.topology import Topology

__all__ = ["AGENTS", "Plan", "deployment_clock", "run_agents", "serve_agents"]

AGENTS: Final = ("mine", "detect", "respond")
_DEFECT: Final = 70
_log = structlog.get_logger(__name__)


def deployment_clock(configuration: Configuration) -> WallClock | PacedClock:
    """The wall's, or the plan's where the deployment runs a simulated world."""
    plan = configuration.settings.kafka.clock
    return PacedClock(plan) if plan else WallClock()


class Plan(NamedTuple):
    """An agent to be: its role, its step, and who carries out its effects (None: it has none)."""

    role: str
    step: AnyStep
    performers: Callable[[KafkaReaders], Mapping[str, Performer]] | None = None


def run_agents(configuration: Configuration, roles: Sequence[str]) -> None:
    """Be a member of these roles (of AGENTS) until a signal comes."""
    settings = configuration.settings
    deployment = Deployment(settings.partitions, settings.kafka.run, settings.region, deployment_clock(configuration))
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    asyncio.run(serve_agents(settings.kafka, deployment, [_plan(configuration, role) for role in roles]))


async def serve_agents(kafka: KafkaSettings, deployment: Deployment, plans: Sequence[Plan]) -> None:
    """Be these agents until SIGTERM or SIGINT; then the last checkpoints."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(_agent(kafka, deployment, plan)) for plan in plans]
        await asyncio.gather(*(agent.run(stop) for agent in agents))


@dataclass(frozen=True, slots=True)
class _Agent:
    topology: Topology
    host: StepHost

    async def run(self, stop: asyncio.Event) -> None:
        helpers = [asyncio.create_task(self.host.tend()), asyncio.create_task(_watch(self.host))]
        for helper in helpers:
            helper.add_done_callback(_look)
        try:
            await self.topology.run(stop)
        finally:
            for helper in helpers:
                helper.cancel()


@contextlib.asynccontextmanager
async def _agent(kafka: KafkaSettings, deployment: Deployment, plan: Plan) -> AsyncIterator[_Agent]:
    """One role, its doors open until the block ends."""
    role, step, clock = plan.role, plan.step, deployment.clock
    virtual = isinstance(clock, PacedClock)
    writer = KafkaWriter(kafka, role, deployment.partitions, clock if virtual else None)
    await writer.start()
    writer.on_failure = _fail
    log = KafkaLog(kafka, role, virtual=virtual)
    changelog = KafkaLog(kafka, role)
    states = KafkaStates(kafka, step.name, changelog)
    readers = KafkaReaders(kafka, role, virtual=virtual) if plan.performers else None
    pool = EffectPool(plan.performers(readers), clock) if plan.performers and readers else None
    host = StepHost(step, deployment, Doors(writer, log, states), pool, _fail)
    try:
        yield _Agent(Topology(host, kafka, role, virtual=virtual), host)
    finally:
        await writer.stop()
        for door in (log, changelog, readers):
            if door is not None:
                door.close()


def _plan(configuration: Configuration, role: str) -> Plan:
    if role == "mine":
        return Plan(role, Mine())
    if role == "detect":
        return Plan(role, Detect())
    settings = configuration.settings
    configuration.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = load_keys(configuration.data, configuration.signing_keys, settings.signing_key)
    return Plan(role, CaseStep(keys, settings.kafka.run), _performers)


def _performers(readers: KafkaReaders) -> Mapping[str, Performer]:
    return {"recall_history": recall_history(readers), "ask_model": answer_locally}


async def _watch(host: StepHost) -> None:
    """Consumers can stop without an error: no progress in spite of lag ends the process, for its supervisor."""
    watch = ProgressWatch()
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            ends = await host.ends()
        except ForeshockError as error:
            _log.warning("no broker answers", role=host.step.name, error=str(error))
            continue
        positions = {unit.partition: unit.next_offset for unit in host.units}
        stalled = watch.look(time.monotonic(), positions, ends)
        if stalled:
            _fail(StalledError(host.step.name, stalled))


def _look(helper: asyncio.Task[None]) -> None:
    if not helper.cancelled() and (error := helper.exception()) is not None:
        _fail(error)


def _fail(error: BaseException) -> None:
    """Stop at once: what was not saved is read again by whoever comes next. Going on could lose or reorder messages."""
    _log.critical("this process stops", reason=str(error) or repr(error))
    os._exit(error.exit_code if isinstance(error, ForeshockError) else _DEFECT)
