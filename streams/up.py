"""A whole deployment on one machine: what `foreshock up` runs, and what must hold before it does.

In: a configuration, which roles and how many of each. Out: programs for the supervisor, or an error that says what is
missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from connectors import kafka_topics
from connectors.clock import PacedClock
from connectors.kafka_log import KafkaLog
from connectors.settings import Configuration, process_environment
from models.catalog import Catalog
from models.errors import ConfigError
from streams.catalog import publish_catalog
from streams.deployment import deployment_clock
from streams.simulate import refuse_replacing
from streams.supervisor import Program

__all__ = [
    "DRAIN_ORDER",
    "ROLES",
    "SIMULATOR",
    "check_topics",
    "child_environment",
    "choose_roles",
    "command",
    "parse_workers",
    "programs",
    "publish",
    "remarks",
]

ROLES: Final = ("ingest", "mine", "detect", "respond", "act")
SIMULATOR: Final = "simulate"
DRAIN_ORDER: Final = (*ROLES, SIMULATOR)
"""Each role still takes what those before it wrote; the simulated cloud answers act to the last."""
_SHARED: Final = ("mine", "detect", "respond")
_MOST_WORKERS: Final = 64


def parse_workers(text: str) -> dict[str, int]:
    """`mine=2,detect=2` as numbers. Raises ConfigError; ingest and act are one process each on a machine: the former's
    inputs and the latter's credentials are one's own.
    """
    found: dict[str, int] = {}
    for part in text.split(",") if text else ():
        role, _, count = part.partition("=")
        if role not in _SHARED or not count.isdecimal() or not 1 <= int(count) <= _MOST_WORKERS:
            advice = f"Write ROLE=N with a role of {', '.join(_SHARED)}, as in mine=2,detect=2."
            raise ConfigError(f"{part!r} cannot be used", key="--workers", advice=advice)
        found[role] = int(count)
    return found


def choose_roles(text: str, configuration: Configuration) -> list[str]:
    """The named roles in order; without names all, ingest only where inputs are configured. Raises ConfigError."""
    named = [part.strip() for part in text.split(",") if part.strip()]
    wrong = next((role for role in named if role not in ROLES), None)
    if wrong is not None:
        raise ConfigError(f"there is no role {wrong!r}", key="--roles", advice=f"Known: {', '.join(ROLES)}.")
    if named:
        return [role for role in ROLES if role in named]
    return [role for role in ROLES if role != "ingest" or configuration.settings.inputs]


def remarks(
    configuration: Configuration, roles: Sequence[str], workers: Mapping[str, int], *, without_ingest: bool, made: bool
) -> list[str]:
    """What will not be as a person may expect: no ingest (unless that was meant: `without_ingest`), one partition for
    good (`made`: just now), idle workers.
    """
    partitions, found = configuration.settings.partitions, []
    if "ingest" not in roles and not without_ingest and not configuration.settings.inputs:
        found.append(
            "ingest is not started: there are no inputs. Write them into foreshock.yaml, as in "
            "`inputs: [{path: /var/log/shop/*.log}]`, or run `foreshock ingest --input PATH` beside this"
        )
    if made and partitions == 1:
        found.append(
            "the topics have one partition each, for good: one worker of a role can work. For more, write "
            "`partitions: 4` into foreshock.yaml before there are records, with a kafka.prefix of its own"
        )
    idle = [f"{role}={count}" for role, count in workers.items() if role in roles and count > partitions]
    if idle:
        found.append(
            f"{', '.join(idle)}: more workers than partitions ({partitions}); those beyond stand by until one ends"
        )
    return found


def programs(roles: Sequence[str], workers: Mapping[str, int], env: Mapping[str, str]) -> list[Program]:
    """A process for each role, or as many as `workers` says; `env` is all that tells them the configuration."""
    made = []
    for role in roles:
        count = workers.get(role, 1)
        for number in range(1, count + 1):
            name = role if count == 1 else f"{role}-{number}"
            made.append(Program(name, role, command("run", "--role", role), env, finite=role == "ingest"))
    return made


def command(*arguments: str) -> tuple[str, ...]:
    """The command line of this very program."""
    return (sys.executable, "-m", "streams", *arguments)


def child_environment(configuration: Configuration) -> dict[str, str]:
    """This process's environment, with the same configuration for whoever reads it: its file, brokers and folder."""
    given = {
        "FORESHOCK_DATA": str(configuration.data.absolute()),
        "FORESHOCK_KAFKA__BOOTSTRAP_SERVERS": ",".join(configuration.settings.kafka.bootstrap_servers),
    }
    if configuration.file:
        given["FORESHOCK_CONFIG"] = os.path.abspath(configuration.file)
    return process_environment(given)


def check_topics(configuration: Configuration, *, apply: bool) -> list[str]:
    """Make sure that the topics are there; `apply`: make and alter them. Returns what was changed, in words.

    Raises BrokerError; ConfigError where a topic is missing (without `apply`) or cannot be used.
    """
    settings = configuration.settings
    plans = kafka_topics.plan(settings.kafka, settings.partitions)
    admin = kafka_topics.open_admin(settings.kafka, "up")
    try:
        if apply:
            changes = kafka_topics.apply(admin, settings.kafka, plans)
            return [f"{item.name} made" if item.setting == "topic" else str(item) for item in changes]
        found = kafka_topics.describe(admin, settings.kafka, [plan.name for plan in plans])
    finally:
        admin.close()
    differences = kafka_topics.diff(plans, found)
    hindering = [item for item in differences if item.setting == "topic" or item.refused]
    if hindering:
        more = f" (and {len(hindering) - 1} more)" if len(hindering) > 1 else ""
        advice = "Give --apply-topics, or run `foreshock topics apply`."
        raise ConfigError(f"{hindering[0]}{more}", key="kafka", advice="" if hindering[0].refused else advice)
    return []


def publish(configuration: Configuration, catalog: Catalog | None = None) -> bool:
    """Publish that catalog (a simulated world's), or the configured one; True where it was news. A configuration
    without applications does not take away what another (or a simulated cloud) has published.

    Raises ConfigError where a world's catalog would replace that of something else.
    """
    settings = configuration.settings.kafka
    clock = deployment_clock(configuration)
    log = KafkaLog(settings, "up", virtual=isinstance(clock, PacedClock))
    try:
        if catalog is None and not configuration.catalog.applications and log.newest("catalog", "catalog"):
            return False
        if catalog is not None:
            refuse_replacing(log, catalog)
        return publish_catalog(log, catalog or configuration.catalog, clock.now(), at_once=False, run=settings.run)
    finally:
        log.close()
