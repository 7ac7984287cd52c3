"""The simulated world's two doors: a source of messages, and an actuator. `open_simulation` makes both over one world.

Out of the source: LogBatch on `logs` (one or more a partition and poll, every service's shipper with its cursor, also
when it gave nothing: a heartbeat), InfraEvent and Change on `signals`, read from the envelopes by the same rules as
real ones. A cursor `WORLD@MS` says up to which world time a shipper has given everything, and of which world.

Restart: a world is not stored. It is made again from its seed and the recorded actions, up to where the log ends.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from connectors.codec import encode
from connectors.ports import Clock, Outbound
from connectors.simulator_spec import SimulatorSpec
from connectors.world import Action, Lines, World
from connectors.world_shop import APPLICATION, REGION, SHOP, source_of
from models.errors import ActionError, ConfigError
from models.event import Contract, Event, digest
from models.eventbridge import read_envelope
from models.log import MAX_BATCH_BYTES, MAX_BATCH_LINES, LogBatch, SourceRange
from models.topics import partition_of

__all__ = ["SimulatedActuator", "Simulation", "SimulatorSource", "Tail", "open_simulation", "recorded_actions"]


class Shipment(NamedTuple):
    """What one shipper gives in one batch: its lines and the cursor after them (ms)."""

    service: str
    lines: Lines
    cursor_from: int
    cursor_to: int


class Tail(NamedTuple):
    """Where the log ends: each source's last cursor, the recorded actions, and the log's last time (ms) where its clock
    is virtual (0 where it is the wall's). All empty: a new log.
    """

    cursors: Mapping[str, str] = {}
    actions: Sequence[Action] = ()
    reached: int = 0


class SimulatorSource:
    """Gives a world's messages, a chunk of world time a poll. The messages of one poll must be appended together."""

    def __init__(
        self,
        world: World,
        spec: SimulatorSpec,
        *,
        partitions: int = 1,
        run: str = "",
        tail: Tail,
        pace: Clock | None = None,
    ) -> None:
        """`pace`: the clock that `speed` is measured by (None: the `now` of each poll)."""
        self._pace = pace
        self._world, self._spec, self._run = world, spec, run
        self._homes: dict[int, list[str]] = {number: [] for number in range(partitions)}
        for service in sorted(SHOP):
            self._homes[partition_of(service, partitions)].append(service)
        known = {name: _cursor_time(tail.cursors.get(source_of(name), ""), spec) for name in SHOP}
        self._cursors = known
        self._backlog = {name: Lines([], [], []) for name in SHOP}
        self._envelopes: list[tuple[int, dict[str, Any]]] = []
        self._given = max(known.values())
        self._paced_from: tuple[int, int] | None = None
        world.restore(tail.actions, min(known.values()))
        # A chunk that was polled but not appended had moved the world already when the log's last ticks came due.
        self._collect(max(self._given, self._chunk_end(tail.reached - 1)))

    @property
    def ended(self) -> bool:
        """The world's time is over."""
        return self._given >= self._spec.end

    @property
    def given(self) -> int:
        """The world's time (ms) up to which everything was polled."""
        return self._given

    @property
    def next_end(self) -> int:
        """The world's time (ms) at the end of the next chunk."""
        return self._chunk_end(self._given)

    @property
    def cursors(self) -> Mapping[str, str]:
        """See sources.Source."""
        return {source_of(name): f"{self._spec.world}@{moment}" for name, moment in self._cursors.items()}

    def poll(self, now: int) -> Sequence[Outbound]:
        """The next chunk's messages; nothing where the world would run ahead of its pace."""
        if self.ended or self._too_early(now):
            return []
        if self._world.now == self._given:
            self._collect(self._chunk_end(self._given))
        self._given = self._world.now
        outbound = list(self._signals())
        for partition, services in self._homes.items():
            if services:
                outbound += self._batches(partition, services)
        return outbound

    def close(self) -> None:
        """Nothing to let go of."""

    def _chunk_end(self, moment: int) -> int:
        """The end of the chunk that holds `moment`; no later than the world's end, no earlier than its start."""
        spec = self._spec
        chunks = (moment - spec.start) // spec.chunk_ms + 1
        return min(spec.end, spec.start + max(0, chunks) * spec.chunk_ms)

    def _too_early(self, now: int) -> bool:
        if not self._spec.speed:
            return False
        if self._pace is not None:  # in lockstep `now` waits for the world
            now = self._pace.now()
        if self._paced_from is None:
            self._paced_from = (now, self._given)
        since, world_then = self._paced_from
        return self._chunk_end(self._given) > world_then + (now - since) * self._spec.speed

    def _collect(self, to: int) -> None:
        """Let the world go on to `to`, and keep what no log has yet."""
        tick = self._world.advance(max(to, self._world.now))
        for service, lines in tick.lines.items():
            first = bisect_left(lines.times, self._cursors[service])
            backlog = self._backlog[service]
            backlog.times.extend(lines.times[first:])
            backlog.severity.extend(lines.severity[first:])
            backlog.texts.extend(lines.texts[first:])
        self._envelopes += [sent for sent in tick.envelopes if sent[0] >= self._given]

    def _signals(self) -> Iterator[Outbound]:
        for _, envelope in self._envelopes:
            # The account's tags say which application a resource belongs to; here all is one application's.
            at, data = read_envelope(envelope, lambda _: APPLICATION)
            yield self._outbound("signals", APPLICATION, envelope["id"], at, data)
        self._envelopes = []

    def _batches(self, partition: int, services: Sequence[str]) -> Iterator[Outbound]:
        number, more = 0, True
        while more:
            shipments = [self._ship(service, len(services)) for service in services]
            event_id = digest("sim", str(self._spec.seed), str(partition), str(self._given), str(number))
            yield self._outbound(
                "logs", str(partition), event_id, self._given, _batch(shipments, self._spec.world), partition
            )
            more = any(self._backlog[name].times and not self._world.stalled(name) for name in services)
            number += 1

    def _ship(self, service: str, sharers: int) -> Shipment:
        """Take what fits into the service's share of a batch; a dead shipper gives nothing and stays where it is."""
        backlog, begin = self._backlog[service], self._cursors[service]
        if self._world.stalled(service):
            return Shipment(service, Lines([], [], []), begin, begin)
        count = _fitting(backlog, MAX_BATCH_LINES // sharers, MAX_BATCH_BYTES // sharers)
        end = backlog.times[count] if count < len(backlog.times) else self._given
        self._cursors[service] = end
        self._backlog[service] = Lines(backlog.times[count:], backlog.severity[count:], backlog.texts[count:])
        return Shipment(
            service, Lines(backlog.times[:count], backlog.severity[:count], backlog.texts[:count]), begin, end
        )

    def _outbound(
        self, topic: str, key: str, event_id: str, at: int, data: Contract, partition: int | None = None
    ) -> Outbound:
        event = Event(id=event_id, at=at, key=key, data=data, region=REGION, run=self._run)
        return Outbound(topic, key, encode(event), partition, at)


class SimulatedActuator:
    """Acts on the world as a cloud's API would. `throttled_calls`: that many first calls are refused, to be retried."""

    def __init__(self, world: World, throttled_calls: int = 0) -> None:
        self._world, self._throttled = world, throttled_calls

    @property
    def honours_keys(self) -> bool:
        """Yes: the world remembers every key."""
        return True

    def call(self, action: str, target: str, params: Mapping[str, Any], idempotency_key: str) -> dict[str, Any]:
        """Take the action; a second call with the same key does nothing and answers as the first. Returns {at, key,
        action, target, params, result}: what `recorded_actions` reads. Raises ActionError (`transient`: try again).
        """
        if self._throttled > 0:
            self._throttled -= 1
            raise ActionError(f"{action}: Rate exceeded (ThrottlingException). Try again later.", transient=True)
        taken = self._world.act(action, target, params, idempotency_key)
        return {
            "at": taken.at,
            "key": taken.key,
            "action": taken.action,
            "target": taken.target,
            "params": dict(taken.params),
            "result": dict(taken.result),
        }

    def state(self, target: str) -> dict[str, Any]:
        """The target's state, as a describe call tells it. Raises ActionError for an unknown target."""
        return self._world.state(target)


class Simulation(NamedTuple):
    """A world and its doors."""

    world: World
    source: SimulatorSource
    actuator: SimulatedActuator


def open_simulation(
    spec: SimulatorSpec, *, partitions: int = 1, run: str = "", tail: Tail | None = None, pace: Clock | None = None
) -> Simulation:
    """The world of that spec with its doors; with a `tail`, where that log ends. Raises ConfigError where the recorded
    actions are not this world's.
    """
    world = World(spec.seed, spec.faults, start=spec.start, volume=spec.volume, jobs=spec.jobs)
    source = SimulatorSource(world, spec, partitions=partitions, run=run, tail=tail or Tail(), pace=pace)
    return Simulation(world, source, SimulatedActuator(world))


def recorded_actions(answers: Iterable[Mapping[str, Any]]) -> list[Action]:
    """The actions in the answers of `SimulatedActuator.call` that a log holds, each key once, in their order."""
    found: dict[str, Action] = {}
    for answer in answers:
        found.setdefault(answer["key"], Action(*(answer[name] for name in Action._fields)))
    return list(found.values())


def _cursor_time(cursor: str, spec: SimulatorSpec) -> int:
    """Where to go on (ms). Raises ConfigError for a cursor of another world."""
    if not cursor:
        return spec.start
    world, _, moment = cursor.partition("@")
    if world != spec.world or not moment.isdecimal():
        raise ConfigError(
            f"the log holds the simulated world {world}, not {spec.world}",
            key="sim",
            advice="Give the seed, faults, start, volume and jobs it was begun with, or use another data folder.",
        )
    return int(moment)


def _fitting(lines: Lines, most_lines: int, most_bytes: int) -> int:
    """How many lines from the front fit. Lines of one millisecond stay together: a cursor cannot point between them."""
    count = size = 0
    for text in lines.texts[:most_lines]:
        size += len(text.encode()) + 1
        if size > most_bytes:
            break
        count += 1
    if count == len(lines.times):
        return count
    whole = bisect_left(lines.times, lines.times[count])
    return whole or bisect_right(lines.times, lines.times[0])


def _batch(shipments: Sequence[Shipment], world: str) -> LogBatch:
    giving = [shipment for shipment in shipments if shipment.lines.times]
    return LogBatch(
        sources=tuple(
            SourceRange(
                source_id=source_of(shipment.service),
                cursor_from=f"{world}@{shipment.cursor_from}",
                cursor_to=f"{world}@{shipment.cursor_to}",
                covered_until=shipment.cursor_to,
                services=(shipment.service,) if shipment.lines.times else (),
            )
            for shipment in shipments
        ),
        services=tuple(shipment.service for shipment in giving),
        service_index=[index for index, shipment in enumerate(giving) for _ in shipment.lines.times],
        timestamps=[time for shipment in giving for time in shipment.lines.times],
        severity=[severity for shipment in giving for severity in shipment.lines.severity],
        messages="\n".join(text for shipment in giving for text in shipment.lines.texts),
    )
