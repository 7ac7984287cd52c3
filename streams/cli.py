"""The command line: every command's options and help, and the one edge where errors become exit codes.

In: argv. Out: an exit code, one for each kind of end: docs/OPERATIONS.md has the table, models/errors.py the errors.
Nothing heavy is imported here: each command imports what it needs, so `foreshock --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from models.errors import ForeshockError
from streams import (
    cli_ingest_commands,
    cli_log_commands,
    cli_operate_commands,
    cli_replay_commands,
    cli_simulate_commands,
    cli_topics_commands,
    cli_up_commands,
)

__all__ = ["app", "main"]

DEMO_FOLDER = Path("foreshock-demo")
app = typer.Typer(
    name="foreshock",
    help="Notices the small tremors in logs before an outage, and acts when it has earned the right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
schema_app = typer.Typer(help="The contracts of the topics, for other programs.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder (default: as configured, else ./foreshock-data).")
]
Config = Annotated[Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")]
Kafka = Annotated[str, typer.Option("--kafka", metavar="HOST:PORT,..", help="Brokers (default: as configured).")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]


def main() -> None:
    """The console script: run the command, and turn errors into a message on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ForeshockError as error:
        _complain(str(error))
        sys.exit(error.exit_code)


def _complain(message: str) -> None:
    from models.redaction import redact
    from streams.rendering import note

    for line in redact(f"foreshock: {message}").splitlines():  # an error may hold another process's last lines
        note(line)


def _folder(data: Path | None) -> Path:
    """The folder that was named, or the one of the configuration."""
    if data is not None:
        return data
    from connectors.settings import read_settings

    return read_settings().data


def _version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback()
def foreshock(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Notices the small tremors in logs before an outage, and acts when it has earned the right."""


@app.command()
def version() -> None:
    """Show the version."""
    from importlib.metadata import version as version_of

    sys.stdout.write(f"foreshock {version_of('foreshock')}\n")


@app.command()
def run(
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            help="A file, a quoted pattern ('/var/log/*.log'), - for standard input, or sim:7, a simulated shop. "
            "May be given again.",
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help="More inputs.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="The data folder (default: foreshock-data).")] = None,
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="Read to the end, in the input's own time, and stop.")] = False,
    service: Annotated[str, typer.Option("--service", help="The service of every line.")] = "",
    service_pattern: Annotated[
        str, typer.Option("--service-pattern", help="Where the path names it, as /var/log/{service}/*.log")
    ] = "",
    timezone: Annotated[str, typer.Option("--timezone", help="Of times without one (default: UTC).")] = "",
    partitions: Annotated[
        int, typer.Option("--partitions", min=0, show_default=False, help="Of a new data folder (default: 1).")
    ] = 0,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", help="On Kafka: be this role only (ingest, mine, detect, respond, act)."),
    ] = None,
    kafka: Kafka = "",
) -> None:
    """Read lines, find what is off, predict, decide, act, learn. Prints alerts (--once: anomalies) as JSON lines.

    With --role: be one role of a deployment on Kafka, until a signal comes.
    """
    if roles or kafka:
        from streams import cli_role

        cli_role.run_role(cli_role.Membership(roles or (), config, kafka, [*(inputs or ()), *(more or ())], data))
        return
    from streams import cli_run

    cli_run.run(
        cli_run.RunOptions(
            inputs=[*(inputs or ()), *(more or ())],
            data=data,
            config=config,
            once=once,
            service=service,
            service_pattern=service_pattern,
            timezone=timezone,
            partitions=partitions,
        )
    )


@app.command()
def init(
    file: Annotated[Path | None, typer.Argument(help="Where to (default: foreshock.yaml).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Write a commented configuration to begin with."""
    from streams import cli_run

    cli_run.init(file, force=force)


@app.command()
def demo(
    address: Annotated[
        str, typer.Argument(metavar="[ADDR]", help="With --kafka: host:port of a broker (default: one is started).")
    ] = "",
    data: Annotated[
        Path, typer.Option("--data", help="A folder of the demo's own: made, or emptied first.")
    ] = DEMO_FOLDER,
    fast: Annotated[bool, typer.Option("--fast", help="Without pacing.")] = False,
    on_kafka: Annotated[bool, typer.Option("--kafka", help="Through all roles as processes on Kafka.")] = False,
) -> None:
    """Play two stories in a simulated shop: a failure prevented, and a lost instance recovered."""
    if on_kafka:
        from streams import demo_kafka_view

        demo_kafka_view.show_kafka_demo(address)
        return
    if address:
        raise typer.BadParameter("an address needs --kafka", param_hint="ADDR")
    from streams import demo_view

    demo_view.show_demo(data, fast=fast)


@app.command()
def check(config: Config = None) -> None:
    """Check the configuration and the runbooks it names; exit 78 says what is wrong where."""
    from streams import cli_run

    cli_run.check(config)


@app.command()
def recompute(
    data: Data = None,
    step: Annotated[str, typer.Option("--step", help="mine, detect, case or act (default: all).")] = "",
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Feed the recorded inboxes through the steps again and compare what they emit, byte for byte."""
    from streams import recompute as recomputing

    recomputing.recompute_command(_folder(data), step=step, partition=partition, as_json=as_json)


@schema_app.command("export")
def schema_export(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write schemas/*.json and asyncapi.yaml here (default: stdout).")
    ] = None,
) -> None:
    """Write the JSON Schema of every contract and an AsyncAPI document of the topics."""
    from streams import cli_schema

    cli_schema.export(out)


cli_log_commands.register(app)
cli_operate_commands.register(app)
cli_topics_commands.register(app)
cli_replay_commands.register(app)
cli_ingest_commands.register(app)
cli_simulate_commands.register(app)
cli_up_commands.register(app)
