"""The simulated shop's state and its physics: who is up, how full the connection pool is, who fails because of whom.

`step` moves the state by one second and returns the signals of that second (0 to 1): the causes of lines of trouble.
Figures are chosen so that an unhealed leak takes about a quarter of an hour until the first errors and 20-40 minutes
more until checkout stops serving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from connectors.world_lines import Line
from connectors.world_shop import DATABASE, SHOP, first_instances

__all__ = [
    "BAD_RELEASE_FAILS",
    "DatabaseState",
    "Due",
    "Failure",
    "InstanceState",
    "ServiceState",
    "Shop",
    "Signals",
    "step",
]

Signals = dict[str, float]
"""`pool`, `slots`, `db_lost`, `deploy.S`, `lost.S`: causes; `fail.S`: share of S's requests that fail; `calls.S`: share
of its usual requests that still reach S; `up.S`. What is absent is as always (0; for `calls` and `up`: 1).
"""

MAX_CONNECTIONS = 100
RESERVED_CONNECTIONS = 3
LEAK_PER_MINUTE = 5.5
LEAK_LIFE_MINUTES = 20.0  # the server drops idle transactions after that: leaked connections level off at 110
STORM_LIFE_SECONDS = 480.0
BAD_RELEASE_FAILS = 0.6
STRAIN_FROM = 0.08
STRAIN_HEALS_SECONDS = 120.0


class Failure(NamedTuple):
    """Something that really failed in the world: `instance_lost` or `service_down`, of what, when (ms), through which
    failure mode.
    """

    kind: str
    resource: str
    service: str
    at: int
    cause: str


class Due(NamedTuple):
    """Something that will happen at `at` (ms)."""

    at: int
    what: str
    subject: Any


@dataclass
class ServiceState:
    """`strain`: minutes of full failure not yet recovered from. `sound_release`: the last that was not bad."""

    release: int
    sound_release: int
    desired: int
    up: bool = True
    strain: float = 0.0
    restarting_until: int = 0
    restarts: int = 0
    bad_release: int = 0

    @property
    def bad(self) -> bool:
        """The release that is live fails most requests."""
        return self.release == self.bad_release

    @property
    def previous(self) -> int:
        """The release a rollback leads to."""
        return self.sound_release if self.bad else self.release - 1

    @property
    def newest(self) -> int:
        """The newest release that was ever live."""
        return max(self.release, self.bad_release)


@dataclass
class DatabaseState:
    """Connections: allowed, leaked by checkout, asked for again after a failover (`storm`)."""

    max_connections: int = MAX_CONNECTIONS
    status: str = "available"
    leaked: float = 0.0
    storm: float = 0.0
    lost_until: int = 0

    @property
    def usable(self) -> int:
        """Connections that applications may take."""
        return self.max_connections - RESERVED_CONNECTIONS


@dataclass
class InstanceState:
    """An EC2 instance; `replaced_by` is the id of its replacement."""

    service: str
    status: str = "running"
    replaced_by: str = ""


@dataclass
class Shop:
    """Everything that can change, and what is under way. `one_off` holds lines to come: (ms, service, line)."""

    seed: int
    services: dict[str, ServiceState] = field(init=False)
    instances: dict[str, InstanceState] = field(init=False)
    database: DatabaseState = field(default_factory=DatabaseState)
    leaking: bool = False
    stalled: dict[str, int] = field(default_factory=dict)
    throttled_until: int = 0
    agenda: list[Due] = field(default_factory=list)
    envelopes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    one_off: list[tuple[int, str, Line]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.services = {name: ServiceState(h.release, h.release, h.count) for name, h in SHOP.items()}
        self.instances = {
            instance: InstanceState(name)
            for name, hosting in SHOP.items()
            if hosting.kind == "ec2"
            for instance in first_instances(self.seed, name)
        }

    def plan(self, at: int, what: str, subject: Any) -> None:
        """Let something happen at `at`. The order of one moment does not depend on when each was planned."""
        self.agenda.append(Due(at, what, subject))
        self.agenda.sort(key=lambda due: (due.at, due.what, str(due.subject)))

    def running(self, service: str) -> int:
        """How many of an EC2 service's instances run."""
        return sum(one.service == service and one.status == "running" for one in self.instances.values())

    def calm(self, now: int) -> bool:
        """Nothing is wrong or under repair: the physics may stand still."""
        base = self.database
        return (
            not (self.leaking or base.leaked or base.storm)
            and base.lost_until <= now
            and base.max_connections >= MAX_CONNECTIONS
            and all(
                s.up and not s.strain and not s.bad and s.restarting_until <= now and s.desired <= SHOP[name].count
                for name, s in self.services.items()
            )
            and all(self.running(name) >= h.count for name, h in SHOP.items() if h.kind == "ec2")
        )


def step(shop: Shop, now: int, load: float) -> Signals:
    """One second of physics, ending at `now` (ms), under that load (1 = average). Strains, breaks and heals services;
    the caller learns of both by comparing `up`.
    """
    signals: Signals = {}
    _pool(shop, now, load, signals)
    _capacity(shop, load, signals)
    for name, hosting in SHOP.items():
        state = shop.services[name]
        own = _own_failure(name, state, now, signals)
        well = 1 - own
        for needed, share in hosting.needs.items():
            well *= 1 - share * signals.get(f"fail.{needed}", 0.0)
        failing = 1 - well
        _strain(state, failing, hosting.stamina)
        if not state.up:
            signals[f"up.{name}"] = 0.0
        signals[f"fail.{name}"] = failing if state.up else 1.0
    _calls(signals)
    return signals


def _pool(shop: Shop, now: int, load: float, signals: Signals) -> None:
    base = shop.database
    if shop.services["checkout"].up:  # a process that hangs keeps what it holds
        base.leaked += LEAK_PER_MINUTE / 60 if shop.leaking else 0.0
        base.leaked -= base.leaked / (LEAK_LIFE_MINUTES * 60)
        base.leaked = base.leaked if shop.leaking or base.leaked > 0.5 else 0.0
    base.storm = base.storm * (1 - 1 / STORM_LIFE_SECONDS) if base.storm > 0.5 else 0.0
    wanted = 20 + 26 * load + 6 * max(0, shop.services["checkout"].desired - SHOP["checkout"].count)
    full = (wanted + base.leaked + base.storm) / max(1, base.usable)
    signals["pool"] = 1 / (1 + math.exp(min(50.0, (1.03 - full) / 0.03)))
    signals["slots"] = min(1.0, max(0.0, (full - 1) / 0.3))
    if now < base.lost_until:
        signals["db_lost"] = 1.0
        signals["pool"] = 1.0
        signals[f"up.{DATABASE}"] = 0.0


def _capacity(shop: Shop, load: float, signals: Signals) -> None:
    """Instances share the load; above 85% of what they can do, requests are shed."""
    for name, hosting in SHOP.items():
        if hosting.kind == "ec2":
            running = shop.running(name)
            busy = 0.66 * load * hosting.count / running if running else math.inf
            signals[f"short.{name}"] = max(0.0, 1 - 0.85 / busy)
            signals[f"lost.{name}"] = float(running < hosting.count)


def _own_failure(name: str, state: ServiceState, now: int, signals: Signals) -> float:
    signals[f"deploy.{name}"] = float(state.bad)
    well = 1 - (BAD_RELEASE_FAILS if state.bad else 0.0)
    well *= 1 - (0.3 if now < state.restarting_until else 0.0)
    well *= 1 - signals.get(f"short.{name}", 0.0)
    if name == "checkout":
        well *= 1 - signals["pool"]
    if name == "orders":
        well *= 1 - 0.9 * signals.get("db_lost", 0.0)
    return 1 - well


def _strain(state: ServiceState, failing: float, stamina: float) -> None:
    if failing > STRAIN_FROM:
        state.strain = min(stamina, state.strain + (failing - STRAIN_FROM) / 60)
    else:
        state.strain *= 1 - 1 / STRAIN_HEALS_SECONDS
        state.strain = state.strain if state.strain > 0.01 else 0.0
    if state.strain >= stamina:
        state.up = False
    elif state.strain < stamina / 3:
        state.up = True


def _calls(signals: Signals) -> None:
    """Who fails calls less: payments, orders and notify hear from checkout only what it still gets done."""
    through = (1 - signals["pool"]) if signals.get("up.checkout", 1.0) else 0.0
    signals["calls.payments"] = through
    signals["calls.orders"] = 0.4 + 0.6 * through
    signals["calls.notify"] = 0.3 + 0.7 * through * (1 - signals["fail.orders"])
