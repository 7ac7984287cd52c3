"""The command line: every command's options and help, and the one edge where errors become exit codes.

In: argv. Out: 0 done, 1 not done (or it differs), 2 usage, 70 a defect of a step, 78 configuration, 130 Ctrl-C.
Nothing heavy is imported here: each command imports what it needs, so `foreshock --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from models.errors import ForeshockError

__all__ = ["app", "main"]

DEMO_FOLDER = Path("foreshock-demo")
app = typer.Typer(
    name="foreshock",
    help="Notices the small tremors in logs before an outage, and acts when it has earned the right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
review_app = typer.Typer(help="What a person is asked: list, show, approve, reject.", no_args_is_help=True)
schema_app = typer.Typer(help="The contracts of the topics, for other programs.", no_args_is_help=True)
app.add_typer(review_app, name="review")
app.add_typer(schema_app, name="schema")

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder (default: as configured, else ./foreshock-data).")
]
Config = Annotated[Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Proposal = Annotated[
    str, typer.Option("--proposal", help="Its digest, as `review show` prints it: needed where it has changed.")
]
Reviewer = Annotated[str, typer.Option("--reviewer", help="Who answers (default: the user's login name).")]
Person = Annotated[str, typer.Option("--by", help="Who does it (default: the user's login name).")]


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
    from streams.rendering import note, shown

    note(f"foreshock: {shown(message)}")


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
            "--input", "-i", help="A file, - for standard input, or sim:7, a simulated shop. May be given again."
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
) -> None:
    """Read lines, find what is off, predict, decide, act, learn. Prints alerts (--once: anomalies) as JSON lines."""
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
    data: Annotated[
        Path, typer.Option("--data", help="A folder of the demo's own: made, or emptied first.")
    ] = DEMO_FOLDER,
    fast: Annotated[bool, typer.Option("--fast", help="Without pacing.")] = False,
) -> None:
    """Play two stories in a simulated shop: a failure prevented, and a lost instance recovered."""
    from streams import demo_view

    demo_view.show_demo(data, fast=fast)


@app.command()
def check(config: Config = None) -> None:
    """Check the configuration and the runbooks it names; exit 78 says what is wrong where."""
    from streams import cli_run

    cli_run.check(config)


@app.command()
def tap(
    topic: Annotated[
        str,
        typer.Argument(
            help="A topic: logs, anomalies, incidents, alerts, commands, dead-letters ... (a wrong name lists all)."
        ),
    ],
    data: Data = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is appended.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Everything that is kept.")] = False,
    last: Annotated[int, typer.Option("--last", min=0, help="The last N.")] = 10,
    key: Annotated[str, typer.Option("--key", help="Only this key.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Only this type of message.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the records of a topic."""
    from streams import cli_show

    wanted = cli_show.Wanted(key=key, kind=kind, from_start=from_start, last=last)
    cli_show.tap(_folder(data), topic, wanted, follow=follow, as_json=as_json)


@app.command()
def incidents(
    data: Data = None,
    include_closed: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    application: Annotated[str, typer.Option("--application", help="Only this application's.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the incidents: what is open, how likely a failure is, what was decided, what came of it."""
    from streams import cli_show

    cli_show.incidents(_folder(data), include_closed=include_closed, application=application, as_json=as_json)


@app.command()
def explain(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Correlation, anomaly, alert or command id, or a line: `logs/0@12:3`.")
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Explain one thing from end to end: line, template, window, incident, prediction, decision, action, outcome."""
    from streams import cli_explain

    cli_explain.explain(_folder(data), name, as_json=as_json)


@review_app.command("list")
def review_list(
    data: Data = None,
    include_past: Annotated[bool, typer.Option("--all", help="Answered and expired ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the actions a person is asked about."""
    from streams import cli_people

    cli_people.list_proposals(_folder(data), include_past=include_past, as_json=as_json)


@review_app.command("show")
def review_show(
    correlation_id: Annotated[str, typer.Argument(metavar="CORRELATION_ID", help="As in `foreshock review list`.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show a proposal with every reason."""
    from streams import cli_people

    cli_people.show_proposal(_folder(data), correlation_id, as_json=as_json)


@review_app.command("approve")
def review_approve(
    correlation_id: Annotated[str, typer.Argument(metavar="CORRELATION_ID", help="As in `foreshock review list`.")],
    data: Data = None,
    proposal: Proposal = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    reviewer: Reviewer = "",
    as_json: AsJson = False,
) -> None:
    """Approve the proposal: the action is ordered."""
    from streams import cli_people

    answer = cli_people.Answer("approve", proposal, reason, reviewer)
    cli_people.answer_proposal(_folder(data), correlation_id, answer, as_json=as_json)


@review_app.command("reject")
def review_reject(
    correlation_id: Annotated[str, typer.Argument(metavar="CORRELATION_ID", help="As in `foreshock review list`.")],
    data: Data = None,
    proposal: Proposal = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    reviewer: Reviewer = "",
    as_json: AsJson = False,
) -> None:
    """Reject the proposal: nothing is done."""
    from streams import cli_people

    answer = cli_people.Answer("reject", proposal, reason, reviewer)
    cli_people.answer_proposal(_folder(data), correlation_id, answer, as_json=as_json)


@app.command()
def pause(
    reason: Annotated[str, typer.Option("--reason", help="Why: it stands in every decision made meanwhile.")],
    data: Data = None,
    scope: Annotated[str, typer.Option("--scope", help="An application, or * for all.")] = "*",
    until: Annotated[str, typer.Option("--until", help="30m, 2h, 1d or a time (ISO 8601, UTC). Default: resume.")] = "",
    by: Person = "",
    as_json: AsJson = False,
) -> None:
    """Stop all acting at once; watching and telling go on; nothing is proposed meanwhile."""
    from streams import cli_people

    cli_people.pause(_folder(data), scope=scope, until=until, reason=reason, by=by, as_json=as_json)


@app.command()
def resume(
    data: Data = None,
    scope: Annotated[str, typer.Option("--scope", help="An application, or * for all.")] = "*",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: Person = "",
    as_json: AsJson = False,
) -> None:
    """Allow acting again (`*` ends every pause)."""
    from streams import cli_people

    cli_people.resume(_folder(data), scope=scope, reason=reason, by=by, as_json=as_json)


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
