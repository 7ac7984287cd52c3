"""The composition root of the agents on Kafka: what each role is made of, and its life as a process.

In: a configuration and the names of roles. Out: a member of each role's consumer group until SIGTERM or Ctrl-C (a last
checkpoint, then exit 0), or an exit code that says why: 69 no broker, 70 a defect, 75 no progress (start it again).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from connectors.allocator import keep_freed_memory
from connectors.clock import PacedClock
from connectors.collector import collect_seldom
from connectors.heartbeat import Heartbeat
from connectors.history import recall_history
from connectors.kafka_log import KafkaLog
from connectors.kafka_readers import KafkaReaders
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_states import KafkaStates
from connectors.kafka_writer import KafkaWriter
from connectors.local_predictor import answer_locally
from connectors.settings import Configuration
from models.errors import ForeshockError
from streams.case import CaseStep
from streams.deployment import deployment_clock, deployment_keys
from streams.detect import Detect
from streams.effects import EffectPool, Performer
from streams.inspector import Inspector
from streams.liveness import WATCH_SECONDS
from streams.mine import Mine
from streams.step import AnyStep
from streams.step_host import Deployment, Doors, StepHost
from streams.topology import Topology
from streams.worker_watch import WorkerWatch

__all__ = ["AGENTS", "Plan", "run_agents", "serve_agents"]

AGENTS: Final = ("mine", "detect", "respond")
_DEFECT: Final = 70
_HEED_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class Plan(NamedTuple):
    """An agent to be: its role, its step, who carries out its effects (None: it has none), and where it beats.
    `inspects`: beside its step, it looks through the topics that no step reads.
    """

    role: str
    step: AnyStep
    performers: Callable[[KafkaReaders], Mapping[str, Performer]] | None = None
    heartbeat: Heartbeat | None = None
    inspects: bool = False


def run_agents(configuration: Configuration, roles: Sequence[str]) -> None:
    """Be a member of these roles (of AGENTS) until a signal comes."""
    settings = configuration.settings
    deployment = Deployment(settings.partitions, settings.kafka.run, settings.region, deployment_clock(configuration))
    collect_seldom()
    if "mine" in roles:  # batches of lines come and go: a seventh of its time was page faults
        keep_freed_memory()
    asyncio.run(serve_agents(settings.kafka, deployment, [_plan(configuration, role) for role in roles]))


async def serve_agents(kafka: KafkaSettings, deployment: Deployment, plans: Sequence[Plan]) -> None:
    """Be these agents until SIGTERM or SIGINT; then the last checkpoints. Raises BrokerError where Kafka cannot be
    reached to begin with; later errors end the process with the reason in its log.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(_agent(kafka, deployment, plan)) for plan in plans]
        try:
            await asyncio.gather(*(agent.run(stop) for agent in agents))
        except Exception as error:  # noqa: BLE001 - an edge: one agent that is gone takes the process with it
            _fail(error)


@dataclass(frozen=True, slots=True)
class _Agent:
    topology: Topology
    host: StepHost
    watch: WorkerWatch
    inspector: Inspector | None = None

    async def run(self, stop: asyncio.Event) -> None:
        work = (self.host.tend(), self.host.look_for_lost(), _heed(self.watch, self.host))
        helpers = [asyncio.create_task(each) for each in work]
        for helper in helpers:
            helper.add_done_callback(_look)
        self.watch.start()
        if self.inspector is not None:
            self.inspector.start()
        try:
            await self.topology.run(stop)
            if self.inspector is not None:
                await asyncio.to_thread(self.inspector.stop)
        finally:
            self.watch.stop()
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
        watch = WorkerWatch(
            KafkaLog(kafka, f"{role}-watch", connect_seconds=WATCH_SECONDS),
            step,
            host.positions,
            heartbeat=plan.heartbeat,
        )
        inspector = Inspector(kafka, deployment, _fail) if plan.inspects else None
        yield _Agent(Topology(host, kafka, role, virtual=virtual), host, watch, inspector)
    finally:
        await writer.stop()
        for door in (log, changelog, readers):
            if door is not None:
                door.close()


def _plan(configuration: Configuration, role: str) -> Plan:
    heartbeat = Heartbeat(configuration.settings.heartbeat, role)
    if role == "mine":
        return Plan(role, Mine(), heartbeat=heartbeat)
    if role == "detect":
        return Plan(role, Detect(), heartbeat=heartbeat)
    step = CaseStep(deployment_keys(configuration), configuration.settings.kafka.run)
    return Plan(role, step, _performers, heartbeat, inspects=True)


def _performers(readers: KafkaReaders) -> Mapping[str, Performer]:
    return {"recall_history": recall_history(readers), "ask_model": answer_locally}


async def _heed(watch: WorkerWatch, host: StepHost) -> None:
    """Raises what the watch has found: consumers can stop without an error. What was taken so far is saved first: of a
    topic that was deleted it cannot be read again.
    """
    while True:
        await asyncio.sleep(_HEED_SECONDS)
        try:
            watch.check()
        except ForeshockError:
            await host.give_up()
            raise


def _look(helper: asyncio.Task[None]) -> None:
    if not helper.cancelled() and (error := helper.exception()) is not None:
        _fail(error)


def _fail(error: BaseException) -> None:
    """Stop at once: what was not saved is read again by whoever comes next. Going on could lose or reorder messages."""
    reason = str(error) if isinstance(error, ForeshockError) else repr(error)
    _log.critical("this process stops", reason=reason)
    os._exit(error.exit_code if isinstance(error, ForeshockError) else _DEFECT)
