"""The command `replay`, registered on the command line's app. Nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

_TOPICS = ("counts", "logs")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    topic: Annotated[str, typer.Option("--topic", help="counts, or logs, which are mined again.")] = "counts",
    since: Annotated[
        str,
        typer.Option("--from", help="When the log took it: 2026-03-01T12:00Z, 7d (before now), ms; or an offset, @12."),
    ] = "",
    until: Annotated[str, typer.Option("--to", help="Likewise (default: the log's end).")] = "",
    service: Annotated[str, typer.Option("--service", help="Only this service (default: all).")] = "",
    with_incidents: Annotated[
        bool, typer.Option("--with-incidents", help="Learn incidents too: what was an alarm becomes normal.")
    ] = False,
    margin: Annotated[
        int, typer.Option("--margin", min=0, max=1_440, help="Minutes left out around an incident.")
    ] = 10,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Learn and show what would change; write nothing.")
    ] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Take the last generation back instead.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Of a rollback: why.")] = "",
    by: Annotated[str, typer.Option("--by", help="Of a rollback: who (default: the user's login name).")] = "",
    wait: Annotated[
        int, typer.Option("--wait", min=0, max=3_600, help="Seconds to wait for detect's answer; 0: do not.")
    ] = 90,
    restart: Annotated[bool, typer.Option("--restart", help="Do not go on with an interrupted replay.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="The data folder (default: as configured, else ./foreshock-data).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")
    ] = None,
    kafka: Annotated[
        str, typer.Option("--kafka", metavar="HOST:PORT,..", help="Brokers (default: as configured).")
    ] = "",
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep progress here (default: the data folder).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Learn baselines anew from recorded lines, without incidents, and give them to a running detect."""
    from streams import cli_replay
    from streams.replay_plan import Request

    if topic not in _TOPICS:
        raise typer.BadParameter(f"--topic {topic}: {' or '.join(_TOPICS)}")
    options = cli_replay.Options(
        data=data,
        kafka=kafka,
        config=config,
        state=state,
        dry_run=dry_run,
        restart=restart,
        wait=wait,
        as_json=as_json,
    )
    if rollback:
        cli_replay.roll_back(service, by, reason, options)
        return
    request = Request(
        topic=topic,
        since=since,
        until=until,
        service=service,
        with_incidents=with_incidents,
        margin_minutes=margin,
    )
    cli_replay.replay(request, options)
