"""A simulated world: the shop's services under traffic, noise, faults and actions, in steps of one second.

In: a seed, a schedule of faults, actions. Out: what the services log, the envelopes AWS sends, what really failed.
The same seed, faults and actions give the same bytes, however the time is cut. It is a world, not a script: it knows
nothing of who watches it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.world_actions import Deed, carry_out, come_due, observe
from connectors.world_events import EventWriter
from connectors.world_faults import Fault, begin_fault
from connectors.world_fields import render
from connectors.world_lines import SYMPTOMS
from connectors.world_random import stream
from connectors.world_shop import SHOP
from connectors.world_state import BAD_RELEASE_FAILS, Failure, Shop, Signals, step
from connectors.world_symptoms import SymptomLines
from connectors.world_traffic import BLOCK_MINUTES, Traffic
from models.errors import ConfigError

__all__ = ["DEFAULT_START", "STEP_MS", "Action", "Lines", "World", "WorldTick"]

DEFAULT_START = 1_767_571_200_000
"""Monday 2026-01-05, 00:00 UTC."""
STEP_MS = 1_000
_BLOCK_MS = BLOCK_MINUTES * 60_000


class Lines(NamedTuple):
    """One service's lines in order of time (ms)."""

    times: list[int]
    severity: list[int]
    texts: list[str]


class WorldTick(NamedTuple):
    """What happened in [begin, end) ms. `lines` by service, services without lines left out; `envelopes` with the time
    they were sent.
    """

    begin: int
    end: int
    lines: dict[str, Lines]
    envelopes: list[tuple[int, dict[str, Any]]]
    failures: list[Failure]


class Action(NamedTuple):
    """One action that was taken: when (ms), under which idempotency key, and what the provider answered."""

    at: int
    key: str
    action: str
    target: str
    params: Mapping[str, Any]
    result: Mapping[str, Any]


class World:
    """The world of one seed from `start` (ms, a whole second). `now` is as far as it has come."""

    def __init__(
        self,
        seed: int,
        faults: Sequence[Fault] = (),
        *,
        start: int = DEFAULT_START,
        volume: float = 1.0,
        jobs: float = 1.0,
    ) -> None:
        if start % STEP_MS:
            raise ConfigError(f"the world must start at a whole second, not at {start} ms", key="start")
        self.seed, self.start, self.now = seed, start, start
        self.actions: list[Action] = []
        self._shop = Shop(seed)
        self._writer = EventWriter(seed)
        self._traffic = Traffic(seed, start, volume, jobs)
        self._symptoms = SymptomLines(seed)
        self._plan = lru_cache(maxsize=2 * len(SHOP))(self._traffic.plan)
        self._level = lru_cache(maxsize=64)(self._traffic.level)
        self._recorded: list[Action] = []
        self._told = 0
        self._lock = threading.RLock()
        for fault in sorted(faults, key=lambda fault: fault.at):
            self._shop.plan(start + fault.at // STEP_MS * STEP_MS, "fault", fault)

    @property
    def failures(self) -> Sequence[Failure]:
        """What has really failed so far: the ground truth."""
        return tuple(self._shop.failures)

    def advance(self, to: int, *, texts: bool = True) -> WorldTick:
        """Let the world go on to `to` (ms, a whole second). Without `texts` the lines are not made (fast-forward)."""
        if to < self.now or to % STEP_MS:
            raise ConfigError(f"the world at {self.now} cannot go to {to}: whole seconds, forwards", key="chunk")
        with self._lock:
            begin, lines = self.now, {name: Lines([], [], []) for name in sorted(SHOP)}
            while self.now < to:
                # Pieces end where plans end and where a recorded action was taken: each has one state to start from.
                upto = min(to, (self.now // _BLOCK_MS + 1) * _BLOCK_MS)
                if self._recorded:
                    upto = min(upto, self._recorded[0].at)
                piece, signals = self.now, self._live(upto)
                if texts:
                    for name, column in lines.items():
                        self._log(name, column, piece, signals)
                self._repeat_recorded()
            sent = sorted(self._shop.envelopes, key=lambda envelope: envelope[0])
            envelopes = [envelope for envelope in sent if envelope[0] < to]
            self._shop.envelopes = sent[len(envelopes) :]
            self._shop.one_off = [line for line in self._shop.one_off if line[0] >= to]
            failures, self._told = self._shop.failures[self._told :], len(self._shop.failures)
            lines = {name: column for name, column in lines.items() if column.times}
            return WorldTick(begin, to, lines, envelopes, failures)

    def act(self, action: str, target: str, params: Mapping[str, Any], key: str) -> Action:
        """Take an action now. The same `key` again does nothing and gives what the first call gave. Raises
        ActionError as connectors.world_actions.carry_out; a refused action leaves no trace.
        """
        with self._lock:
            done = next((taken for taken in self.actions if taken.key == key), None)
            if done is not None:
                return done
            result = carry_out(action, Deed(self._shop, self._writer, self.now, target, params))
            taken = Action(self.now, key, action, target, dict(params), result)
            self.actions.append(taken)
            return taken

    def state(self, target: str) -> dict[str, Any]:
        """The target's state now. Raises ActionError for an unknown target."""
        with self._lock:
            return observe(self._shop, target)

    def stalled(self, service: str) -> bool:
        """Is the log shipper of that service dead at the moment."""
        return service in self._shop.stalled

    def restore(self, actions: Sequence[Action], until: int) -> None:
        """Come to where a world was: go on to `until` without making texts, taking the recorded actions at their
        times. Actions after `until` are taken when the world gets there. Raises ConfigError where an action now has
        another answer than then (another seed, schedule or version).
        """
        self._recorded = sorted((*self._recorded, *actions), key=lambda action: action.at)
        with self._lock:
            self._repeat_recorded()
        self.advance(max(self.now, until), texts=False)

    def _repeat_recorded(self) -> None:
        while self._recorded and self._recorded[0].at <= self.now:
            then = self._recorded.pop(0)
            taken = self.act(then.action, then.target, then.params, then.key)
            if taken.result != then.result:
                raise ConfigError(
                    f"{then.action} on {then.target} answered {dict(then.result)}, and now {dict(taken.result)}",
                    key="sim",
                    advice="The recorded actions belong to another seed, schedule or version: use another data folder.",
                )

    def _live(self, to: int) -> list[Signals]:
        """Move the state to `to`; the signals of each second, empty where all is calm."""
        signals: list[Signals] = []
        shop = self._shop
        self._everyday_deploys(self.now, to)
        while self.now < to:
            while shop.agenda and shop.agenda[0].at <= self.now:
                due = shop.agenda.pop(0)
                if due.what == "fault":
                    begin_fault(shop, self._writer, due.subject, self.now)
                elif due.what == "deploy":
                    self._deploy(due.subject)
                else:
                    come_due(shop, self._writer, due.what, due.subject, self.now)
            signals.append({} if shop.calm(self.now) else self._second())
            self.now += STEP_MS
        return signals

    def _second(self) -> Signals:
        shop, before = self._shop, [name for name, state in self._shop.services.items() if state.up]
        signals = step(shop, self.now, self._level(self.now // 60_000))
        for name, state in shop.services.items():
            if state.up == (name in before):
                continue
            if state.up:
                shop.envelopes.append((self.now, self._writer.back(self.now, name)))
            else:
                shop.envelopes.append((self.now, self._writer.down(self.now, name)))
                shop.failures.append(Failure("service_down", name, name, self.now, _cause(name, signals)))
        return signals

    def _everyday_deploys(self, begin: int, end: int) -> None:
        for deploy in self._traffic.deploys(begin, end):
            self._shop.plan(deploy.at, "deploy", deploy.service)

    def _deploy(self, service: str) -> None:
        state = self._shop.services[service]
        if not state.bad:
            state.release = state.sound_release = state.newest + 1
            self._shop.envelopes.append((self.now, self._writer.deploy(self.now, service, state.release)))

    def _log(self, service: str, lines: Lines, begin: int, signals: list[Signals]) -> None:
        """Add what the service logs in the seconds from `begin` on."""
        end = begin + len(signals) * STEP_MS
        plan = self._plan(service, begin // _BLOCK_MS)
        low, high = np.searchsorted(plan.times, (begin, end)).tolist()
        kept = plan.part(slice(low, high))
        extra = self._one_off_lines(service, begin, end)
        if any(signals):
            second = (kept.times - begin) // STEP_MS
            up = _column(signals, f"up.{service}", 1.0)
            served = up * (1 - _column(signals, f"fail.{service}", 0.0)) * _column(signals, f"calls.{service}", 1.0)
            kept = kept.part(kept.marks < np.where(kept.requests, served[second], up[second]))
            extra = self._symptom_lines(service, begin, signals) + extra
        if extra:
            rows = list(zip(kept.times.tolist(), kept.severity.tolist(), kept.texts.tolist(), strict=True))
            rows = sorted(rows + extra, key=lambda row: row[0])
            lines.times.extend(row[0] for row in rows)
            lines.severity.extend(row[1] for row in rows)
            lines.texts.extend(row[2] for row in rows)
        else:
            lines.times.extend(kept.times.tolist())
            lines.severity.extend(kept.severity.tolist())
            lines.texts.extend(kept.texts.tolist())

    def _symptom_lines(self, service: str, begin: int, signals: list[Signals]) -> list[tuple[int, int, str]]:
        end = begin + len(signals) * STEP_MS
        up = _column(signals, f"up.{service}", 1.0)
        load = np.array([self._level(at // 60_000) for at in range(begin, end, STEP_MS)])
        found: list[tuple[int, int, str]] = []
        for index, symptom in enumerate(SYMPTOMS):
            if symptom.service != service:
                continue
            strength = _column(signals, symptom.signal, 0.0) * up
            if not strength.any():
                continue
            drawn = self._symptoms.candidates(index, begin, end)
            keep = drawn.marks < (strength * load / 1.4)[(drawn.times - begin) // STEP_MS]
            severity = int(symptom.severity)
            found += [
                (at, severity, text)
                for at, text in zip(drawn.times[keep].tolist(), drawn.texts[keep].tolist(), strict=True)
            ]
        return found

    def _one_off_lines(self, service: str, begin: int, end: int) -> list[tuple[int, int, str]]:
        mine = [line for line in self._shop.one_off if line[1] == service and begin <= line[0] < end]
        return [
            (at, int(line.severity), render(line.text, 1, stream(self.seed, "one-off", service, at))[0])
            for at, _, line in mine
        ]


def _column(signals: list[Signals], name: str, default: float) -> NDArray[np.float64]:
    return np.array([second.get(name, default) for second in signals])


def _cause(service: str, signals: Signals) -> str:
    """The failure mode behind the largest of a service's causes."""
    pool = signals.get("pool", 0.0) if service == "checkout" else 0.0
    causes = {"connection_pool_exhausted": pool, "bad_deploy": 0.0, "instance_lost": 0.0}
    for name, value in signals.items():
        if name.startswith("deploy."):
            causes["bad_deploy"] = max(causes["bad_deploy"], BAD_RELEASE_FAILS * value)
        elif name.startswith("short."):
            causes["instance_lost"] = max(causes["instance_lost"], value)
    cause, weight = max(causes.items(), key=lambda item: item[1])
    return cause if weight > 0.05 else "service_down"
