"""The command `ingest`: its options and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(ingest)


def ingest(
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            help="A file, a quoted pattern ('/var/log/*.log'), or - for standard input. May be given again.",
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help="More inputs.")] = None,
    kafka: Annotated[str, typer.Option("--kafka", help="Brokers, host:port (default: as configured).")] = "",
    data: Annotated[Path | None, typer.Option("--data", help="Where spool and lock are (its folder `ingest`).")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Read to the end, in the input's own time, and stop.")] = False,
    name: Annotated[
        str, typer.Option("--name", help="Of this connector, one of its kind in the deployment (default: the host's).")
    ] = "",
    service: Annotated[str, typer.Option("--service", help="The service of every line.")] = "",
    service_pattern: Annotated[
        str, typer.Option("--service-pattern", help="Where the path names it, as /var/log/{service}/*.log")
    ] = "",
    timezone: Annotated[str, typer.Option("--timezone", help="Of times without one (default: UTC).")] = "",
    spool_mb: Annotated[
        int, typer.Option("--spool-mb", min=1, help="What may wait on disk while no broker is there.")
    ] = 1024,
    lookback: Annotated[
        float,
        typer.Option("--lookback", min=0, help="Hours of the log to look through where the data folder was lost."),
    ] = 24.0,
) -> None:
    """Put lines on the topic `logs`: each exactly once, through kills and outages of the broker."""
    from streams import cli_ingest

    cli_ingest.ingest(
        cli_ingest.IngestCommand(
            inputs=[*(inputs or ()), *(more or ())],
            kafka=kafka,
            data=data,
            config=config,
            once=once,
            name=name,
            service=service,
            service_pattern=service_pattern,
            timezone=timezone,
            spool_mb=spool_mb,
            lookback=lookback,
        )
    )
