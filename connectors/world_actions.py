"""What can be done to the simulated shop: the actions of its actuator, and what comes of them a little later.

An action is checked, answers at once as the provider's API would, and takes effect with its delay. None knows what is
wrong: scaling the database heals a leak because of the physics, failing it over does harm for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from connectors.world_events import EventWriter
from connectors.world_lines import START_UP, Line
from connectors.world_random import hex_text, uniform
from connectors.world_shop import DATABASE, DATABASE_ARN, SHOP, instance_arn, service_arn
from connectors.world_state import DatabaseState, InstanceState, ServiceState, Shop
from models.errors import ActionError
from models.log import Severity

__all__ = ["ACTIONS", "Deed", "carry_out", "come_due", "observe", "restart", "start_lines"]

Result = dict[str, Any]
_DATABASE_RESIZE_MS = 35_000
_FAILOVER_MS = 45_000
_RESTART_MS = 20_000
_SCALE_MS = 25_000
_ROLLBACK_MS = {"lambda": 5_000, "ecs": 25_000}
_REBOOT_MS = 40_000


class Deed(NamedTuple):
    """One action on one target at one time (ms)."""

    shop: Shop
    writer: EventWriter
    now: int
    target: str
    params: Mapping[str, Any]


def carry_out(action: str, deed: Deed) -> Result:
    """Check and begin an action; returns the provider's answer. Raises ActionError: throttled (transient), unknown
    action or target, a parameter or a state that does not allow it.
    """
    if deed.now < deed.shop.throttled_until:
        raise ActionError(f"{action}: Rate exceeded (ThrottlingException). Try again later.", transient=True)
    known = ACTIONS.get(action)
    if known is None:
        raise ActionError(f"unknown action {action!r}. The simulator knows: {', '.join(ACTIONS)}.")
    return known(deed)


def observe(shop: Shop, target: str) -> Result:
    """The target's state, as a describe call would tell it. Raises ActionError for an unknown target."""
    if target == DATABASE_ARN:
        base = shop.database
        return {"status": base.status, "max_connections": base.max_connections, "multi_az": True}
    instance = _instance_of(shop, target)
    if instance:
        one = shop.instances[instance]
        heir = shop.instances.get(one.replaced_by)
        return {
            "status": one.status,
            "service": one.service,
            "replaced": heir is not None,
            "replaced_by": one.replaced_by,
            "replacement_status": heir.status if heir else "",
        }
    name, state = _service_of(shop, target)
    releases = {"release": state.release, "previous_release": state.previous}
    if SHOP[name].kind == "lambda":
        return {"status": "Active", **releases}
    running = state.desired if state.up else 0
    return {"status": "ACTIVE", "desired": state.desired, "running": running, "restarts": state.restarts, **releases}


def _rds_scale(deed: Deed) -> Result:
    base = _database_of(deed)
    wanted = _number(deed, "max_connections", 10, 5_000)
    base.status = "modifying"
    deed.shop.plan(deed.now + _DATABASE_RESIZE_MS, "resized", wanted)
    deed.shop.envelopes.append((deed.now, deed.writer.database_modified(deed.now, wanted)))
    return {"status": "modifying", "pending": {"max_connections": wanted}}


def _rds_failover(deed: Deed) -> Result:
    base = _database_of(deed)
    base.status, base.lost_until = "rebooting", deed.now + _FAILOVER_MS
    base.storm += 35.0  # every client connects anew at once
    deed.shop.plan(base.lost_until, "failed over", DATABASE)
    event = deed.writer.database(deed.now, "RDS-EVENT-0013", "failover", "A Multi-AZ failover has started.")
    deed.shop.envelopes.append((deed.now, event))
    for state in (deed.shop.services["checkout"], deed.shop.services["orders"]):
        state.strain += 4.0  # requests under way are lost and come again
    return {"status": "rebooting"}


def _ecs_restart(deed: Deed) -> Result:
    name, state = _service_of(deed.shop, deed.target, "ecs")
    restart(deed.shop, deed.now, name, state)
    deed.shop.envelopes.append((deed.now, deed.writer.task(deed.now, name, "STOPPED", "UserInitiated", "restart")))
    return {"status": "PRIMARY", "deployment": hex_text(deed.shop.seed, 12, "deployment", name, deed.now)}


def _ecs_scale(deed: Deed) -> Result:
    name, _ = _service_of(deed.shop, deed.target, "ecs")
    wanted = _number(deed, "desired", 1, 50)
    deed.shop.plan(deed.now + _SCALE_MS, "scaled", (name, wanted))
    deed.shop.envelopes.append((deed.now, deed.writer.tasks_wanted(deed.now, name, wanted)))
    return {"status": "PRIMARY", "desired": wanted}


def _rollback(kind: str) -> Callable[[Deed], Result]:
    def act(deed: Deed) -> Result:
        name, state = _service_of(deed.shop, deed.target, kind)
        to = _number(deed, "release", 1, state.newest) if "release" in deed.params else state.previous
        deed.shop.plan(deed.now + _ROLLBACK_MS[kind], "rolled back", (name, to))
        deed.shop.envelopes.append((deed.now, deed.writer.deploy(deed.now, name, to, by_operator=True)))
        return {"status": "IN_PROGRESS", "release": to}

    return act


def _ec2_replace(deed: Deed) -> Result:
    instance, one = _known_instance(deed)
    if one.replaced_by:
        raise ActionError(f"{instance} was already replaced by {one.replaced_by}.")
    heir = f"i-0{hex_text(deed.shop.seed, 16, 'heir', instance)}"
    if one.status != "terminated":
        one.status = "terminated"
        deed.shop.envelopes.append((deed.now, deed.writer.instance(deed.now, instance, "terminated")))
    one.replaced_by = heir
    deed.shop.instances[heir] = InstanceState(one.service, "pending")
    deed.shop.envelopes.append((deed.now, deed.writer.instance(deed.now, heir, "pending")))
    takes = int(uniform(deed.shop.seed, 40, 60, "boot", heir)) * 1_000
    deed.shop.plan(deed.now + takes, "instance runs", heir)
    return {"replaced_by": heir, "replacement_status": "pending"}


def _ec2_reboot(deed: Deed) -> Result:
    instance, one = _known_instance(deed)
    if one.status != "running":
        raise ActionError(
            f"{instance} is {one.status}: only a running instance can be rebooted (IncorrectInstanceState)."
        )
    one.status = "rebooting"
    deed.shop.plan(deed.now + _REBOOT_MS, "instance runs", instance)
    return {"status": "rebooting"}


ACTIONS: dict[str, Callable[[Deed], Result]] = {
    "ecs.restart": _ecs_restart,
    "ecs.scale": _ecs_scale,
    "ecs.rollback": _rollback("ecs"),
    "lambda.rollback_alias": _rollback("lambda"),
    "ec2.replace": _ec2_replace,
    "ec2.reboot": _ec2_reboot,
    "rds.scale": _rds_scale,
    "rds.failover": _rds_failover,
}


def come_due(shop: Shop, writer: EventWriter, what: str, subject: Any, now: int) -> None:
    """What was begun (by an action or a fault) takes effect."""
    _EFFECTS[what](shop, writer, subject, now)


def _resized(shop: Shop, writer: EventWriter, subject: int, now: int) -> None:  # noqa: ARG001 - one shape for all
    shop.database.max_connections, shop.database.status = subject, "available"


def _failed_over(shop: Shop, writer: EventWriter, subject: str, now: int) -> None:  # noqa: ARG001
    shop.database.status = "available"
    event = writer.database(now, "RDS-EVENT-0049", "failover", "A Multi-AZ failover has completed.")
    shop.envelopes.append((now, event))


def _scaled(shop: Shop, writer: EventWriter, subject: tuple[str, int], now: int) -> None:  # noqa: ARG001
    shop.services[subject[0]].desired = subject[1]


def _rolled_back(shop: Shop, writer: EventWriter, subject: tuple[str, int], now: int) -> None:  # noqa: ARG001
    name, release = subject
    state = shop.services[name]
    if release != state.bad_release:
        state.sound_release = release
    state.release = release
    start_lines(shop, name, now)


def _terminated(shop: Shop, writer: EventWriter, subject: str, now: int) -> None:
    shop.instances[subject].status = "terminated"
    shop.envelopes.append((now, writer.instance(now, subject, "terminated")))


def _instance_runs(shop: Shop, writer: EventWriter, subject: str, now: int) -> None:
    one = shop.instances[subject]
    if one.status not in ("pending", "rebooting"):
        return  # lost in the meantime
    if one.status == "pending":
        shop.envelopes.append((now, writer.instance(now, subject, "running")))
    one.status = "running"
    start_lines(shop, one.service, now)


def _ships_again(shop: Shop, writer: EventWriter, subject: str, now: int) -> None:  # noqa: ARG001
    shop.stalled.pop(subject, None)


_EFFECTS: dict[str, Callable[[Shop, EventWriter, Any, int], None]] = {
    "resized": _resized,
    "failed over": _failed_over,
    "scaled": _scaled,
    "rolled back": _rolled_back,
    "terminated": _terminated,
    "instance runs": _instance_runs,
    "ships again": _ships_again,
}


def start_lines(shop: Shop, service: str, now: int) -> None:
    """The lines a service logs when it starts anew."""
    for number, (text, severity) in enumerate(START_UP):
        shop.one_off.append((now + 1_000 + 3_000 * number, service, Line(text, 0, Severity(severity), "timer")))


def restart(shop: Shop, now: int, name: str, state: ServiceState) -> None:
    """Start a service anew; what checkout had leaked is free again."""
    state.up, state.strain, state.restarting_until = True, 0.0, now + _RESTART_MS
    state.restarts += 1
    if name == "checkout":
        shop.database.leaked = 0.0
    start_lines(shop, name, now)


def _database_of(deed: Deed) -> DatabaseState:
    if deed.target != DATABASE_ARN:
        raise ActionError(f"{deed.target} is no database. The simulator has {DATABASE_ARN}.")
    if deed.shop.database.status != "available":
        raise ActionError(
            f"the database is {deed.shop.database.status}. Try again when it is available.", transient=True
        )
    return deed.shop.database


def _service_of(shop: Shop, target: str, kind: str = "") -> tuple[str, ServiceState]:
    for name, hosting in SHOP.items():
        if hosting.kind in ("ecs", "lambda") and kind in ("", hosting.kind) and service_arn(name) == target:
            return name, shop.services[name]
    raise ActionError(f"unknown {kind or 'target'} {target!r}. The catalog lists the simulator's targets.")


def _instance_of(shop: Shop, target: str) -> str:
    return next((name for name in shop.instances if instance_arn(name) == target), "")


def _known_instance(deed: Deed) -> tuple[str, InstanceState]:
    instance = _instance_of(deed.shop, deed.target)
    if not instance:
        raise ActionError(f"unknown instance {deed.target!r}. The catalog lists the simulator's targets.")
    return instance, deed.shop.instances[instance]


def _number(deed: Deed, name: str, low: int, high: int) -> int:
    value = deed.params.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ActionError(f"`{name}` must be a whole number from {low} to {high}, got {value!r}.")
    return value
