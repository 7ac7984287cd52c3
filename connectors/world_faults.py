"""What goes wrong in the simulated shop by itself: faults, when they begin, and what they do to its state.

A fault changes state and sends the envelopes AWS would send; everything else follows from the physics
(connectors.world_state).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connectors.world_actions import restart
from connectors.world_events import EventWriter
from connectors.world_random import stream
from connectors.world_shop import SHOP
from connectors.world_state import Failure, Shop

__all__ = ["FAULTS", "Fault", "FaultKind", "begin_fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of that kind, beginning `at` ms after the world does. `service` "" is the kind's usual one."""

    kind: str
    at: int
    service: str = ""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """`services`: where it can strike, the usual one first. `begin(shop, writer, service, now)` lets it strike."""

    services: tuple[str, ...]
    begin: Callable[[Shop, EventWriter, str, int], None]
    about: str


def begin_fault(shop: Shop, writer: EventWriter, fault: Fault, now: int) -> None:
    """Let the fault begin."""
    kind = FAULTS[fault.kind]
    kind.begin(shop, writer, fault.service or kind.services[0], now)


def _leak(shop: Shop, writer: EventWriter, service: str, now: int) -> None:  # noqa: ARG001 - one shape for all
    shop.leaking = True


def _bad_deploy(shop: Shop, writer: EventWriter, service: str, now: int) -> None:
    state = shop.services[service]
    state.sound_release, state.release = state.release, state.newest + 1
    state.bad_release = state.release
    shop.envelopes.append((now, writer.deploy(now, service, state.release)))


def _terminated(shop: Shop, writer: EventWriter, service: str, now: int) -> None:
    running = [name for name, one in shop.instances.items() if one.service == service and one.status == "running"]
    if not running:
        return
    instance = running[int(stream(shop.seed, "victim", now).integers(len(running)))]
    shop.instances[instance].status = "shutting-down"
    shop.envelopes.append((now, writer.instance(now, instance, "shutting-down")))
    shop.plan(now + 9_000, "terminated", instance)
    shop.failures.append(Failure("instance_lost", instance, service, now, "instance_lost"))


def _stall(shop: Shop, writer: EventWriter, service: str, now: int) -> None:  # noqa: ARG001 - one shape for all
    shop.stalled[service] = now
    shop.plan(now + 12 * 60_000, "ships again", service)


def _throttle(shop: Shop, writer: EventWriter, service: str, now: int) -> None:  # noqa: ARG001 - one shape for all
    shop.throttled_until = now + 60_000


def _hotfix(shop: Shop, writer: EventWriter, service: str, now: int) -> None:
    """People deploy a release that does not leak, and start what is down."""
    state = shop.services[service]
    shop.leaking = False
    state.release = state.sound_release = state.newest + 1
    shop.envelopes.append((now, writer.deploy(now, service, state.release)))
    for name, each in shop.services.items():
        if name == service or not each.up:
            restart(shop, now, name, each)


FAULTS: dict[str, FaultKind] = {
    "pool_leak": FaultKind(("checkout",), _leak, "checkout leaks connections of the orders database"),
    "hotfix": FaultKind(("checkout",), _hotfix, "no fault: people mend the leak and start what is down"),
    "bad_deploy": FaultKind(("payments", "orders"), _bad_deploy, "a release that fails most requests"),
    "instance_terminated": FaultKind(("inventory",), _terminated, "an EC2 instance is lost"),
    "log_source_stalled": FaultKind(
        ("search", *sorted(set(SHOP) - {"search"})), _stall, "a log shipper dies for 12 min"
    ),
    "api_throttled": FaultKind(("",), _throttle, "the provider throttles every call for a minute"),
}
