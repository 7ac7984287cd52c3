"""The command `foreshock up`: options and help, nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("up")(up)


def up(
    kafka: Annotated[
        str, typer.Option("--kafka", metavar="ADDR", help="host:port of a broker (else: configured).")
    ] = "",
    roles: Annotated[
        str,
        typer.Option("--roles", help="Only these, as mine,detect (default: all, ingest where there are inputs)."),
    ] = "",
    workers: Annotated[str, typer.Option("--workers", help="Processes of a role, as in mine=2,detect=2.")] = "",
    simulate: Annotated[
        str,
        typer.Option(
            "--simulate",
            metavar="sim:SEED",
            help="Also run a simulated cloud that act may act on; its first fault comes after five hours, when "
            "baselines are warm, unless sim:7?faults=KIND@HH:MM says another time.",
        ),
    ] = "",
    apply_topics: Annotated[
        bool, typer.Option("--apply-topics", help="Create and alter the topics first, where needed.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="The data folder; logs go to `logs` in it (default: as configured).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")
    ] = None,
) -> None:
    """Start all roles on Kafka as supervised processes, and keep them running until Ctrl-C or SIGTERM."""
    from streams import cli_up

    cli_up.up(cli_up.Options(kafka, roles, workers, simulate, apply_topics, data, config))
