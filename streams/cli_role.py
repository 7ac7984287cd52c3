"""`foreshock run --role R`: one role of a deployment on Kafka as a process.

In: the role's name, the configuration. Out: log lines on stderr; exit 0 after SIGTERM or Ctrl-C, else a code that tells
the supervisor why (streams/roles.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.kafka_settings import kafka_options
from connectors.settings import Configuration, read_settings
from models.errors import ConfigError
from streams.cli_run import log_to_stderr
from streams.rendering import note

__all__ = ["ROLES", "Membership", "run_role"]

ROLES: Final = ("ingest", "mine", "detect", "respond", "act")


@dataclass(frozen=True, slots=True)
class Membership:
    """What `foreshock run --role` was given; empty values leave the configuration as it is."""

    roles: Sequence[str] = ()
    config: Path | None = None
    kafka: str = ""
    inputs: Sequence[str] = ()
    data: Path | None = None


def run_role(given: Membership) -> None:
    """Be that role until a signal comes. Several of mine, detect and respond may share a process.

    Raises ConfigError for a role there is not, or roles that must not share a process.
    """
    wrong = next((role for role in given.roles if role not in ROLES), None)
    if not given.roles or wrong is not None:
        what = f"there is no role {wrong!r}" if given.roles else "on Kafka a process is one role"
        raise ConfigError(what, key="--role", advice=f"Give one of {', '.join(ROLES)}.")
    alone = [role for role in given.roles if role in ("ingest", "act")]
    if alone and len(given.roles) > 1:
        advice = f"Start `foreshock run --role {alone[0]}` on its own: it holds credentials or inputs of its own."
        raise ConfigError(f"{alone[0]} shares its process with no other role", key="--role", advice=advice)
    configuration = read_settings(given.config, _overrides(given))
    log_to_stderr()
    _become(configuration, list(given.roles))


def _become(configuration: Configuration, roles: Sequence[str]) -> None:
    if roles[0] == "ingest":
        from streams.cli_ingest import run_ingest

        run_ingest(configuration)
    elif roles[0] == "act":
        from connectors.kafka_probe import any_listens
        from streams.act_role import run_act

        kafka = configuration.settings.kafka
        if kafka.bootstrap_servers and not any_listens(kafka):  # its clients wait, and say nothing
            note(f"foreshock: no broker answers at {', '.join(kafka.bootstrap_servers)}: waiting for one")
        run_act(configuration)
    else:
        from streams.roles import run_agents

        run_agents(configuration, roles)


def _overrides(given: Membership) -> dict[str, Any]:
    overrides: dict[str, Any] = dict(kafka_options(given.kafka))
    if given.inputs:
        overrides["inputs"] = [{"path": path} for path in given.inputs]
    if given.data is not None:
        overrides["data"] = str(given.data)
    return overrides
