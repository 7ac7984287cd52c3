"""The command `foreshock simulate`: options and help, nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

PORT = 8091


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("simulate")(simulate)


def simulate(
    world: Annotated[str, typer.Argument(metavar="sim:SEED[?OPTIONS]", help="The world, as in sim:7?faults=none.")],
    kafka: Annotated[
        str, typer.Option("--kafka", metavar="ADDR", help="host:port of a broker (else: configured).")
    ] = "",
    host: Annotated[str, typer.Option("--host", help="The address the cloud's API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Its port; 0: a free one.")] = PORT,
    data: Annotated[Path | None, typer.Option("--data", help="Keeps the journal of actions, in `simulator`.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")
    ] = None,
    no_catalog: Annotated[bool, typer.Option("--no-catalog", help="Do not publish the world's catalog.")] = False,
) -> None:
    """Run a simulated cloud beside a deployment on Kafka: it gives lines and events, and act may call its API.

    FORESHOCK_ACTUATOR_TOKEN opens the API; act's configuration names it: `actuator: {kind: simulator, url: ...}`. On
    the wall's clock its first fault comes after five hours; sim:7?faults=KIND@HH:MM says another time.
    """
    from streams import cli_simulate

    cli_simulate.simulate(world, cli_simulate.Options(kafka, host, port, data, config, publish=not no_catalog))
