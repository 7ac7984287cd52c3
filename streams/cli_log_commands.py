"""The commands that read a log and answer into it: tap, incidents, explain, review, pause, resume. Options and help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from connectors.where import Where

__all__ = ["AsJson", "Config", "Data", "Kafka", "Since", "register"]

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder (default: as configured, else ./foreshock-data).")
]
Kafka = Annotated[
    str,
    typer.Option("--kafka", metavar="HOST:PORT,..", help="Brokers, instead of a data folder (default: configured)."),
]
Config = Annotated[Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Since = Annotated[
    str, typer.Option("--since", help="30m, 2h, 7d, a time, or all (default: all of a data folder, 7d of Kafka).")
]
CorrelationId = Annotated[str, typer.Argument(metavar="CORRELATION_ID", help="As in `foreshock review list`.")]
Proposal = Annotated[
    str, typer.Option("--proposal", help="Its digest, as `review show` prints it: needed where it has changed.")
]
Why = Annotated[str, typer.Option("--reason", help="Why.")]
Reviewer = Annotated[str, typer.Option("--reviewer", help="Who answers (default: the user's login name).")]
Person = Annotated[str, typer.Option("--by", help="Who does it (default: the user's login name).")]
Scope = Annotated[str, typer.Option("--scope", help="An application, or * for all.")]

review_app = typer.Typer(help="What a person is asked: list, show, approve, reject.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (tap, incidents, explain, pause, resume):
        app.command()(command)
    app.add_typer(review_app, name="review")


def tap(
    topic: Annotated[
        str,
        typer.Argument(
            help="A topic: logs, anomalies, incidents, alerts, commands, dead-letters ... (a wrong name lists all)."
        ),
    ],
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is appended.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Everything that is kept.")] = False,
    since: Annotated[str, typer.Option("--since", help="Everything since: 30m, 2h, 7d, or a time.")] = "",
    last: Annotated[int, typer.Option("--last", min=0, help="The last N.")] = 10,
    key: Annotated[str, typer.Option("--key", help="Only this key.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Only this type of message.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the records of a topic."""
    from streams import cli_show

    wanted = cli_show.Wanted(key=key, kind=kind, from_start=from_start, last=last, since=since)
    cli_show.tap(Where(data, kafka, config), topic, wanted, follow=follow, as_json=as_json)


def incidents(
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    include_closed: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    application: Annotated[str, typer.Option("--application", help="Only this application's.")] = "",
    since: Since = "",
    as_json: AsJson = False,
) -> None:
    """List the incidents: what is open, how likely a failure is, what was decided, what came of it."""
    from streams import cli_show

    wanted = cli_show.WantedCases(include_closed, application, since)
    cli_show.incidents(Where(data, kafka, config), wanted, as_json=as_json)


def explain(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Correlation, anomaly, alert or command id, or a line: `logs/0@12:3`.")
    ],
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    since: Since = "",
    as_json: AsJson = False,
) -> None:
    """Explain one thing from end to end: line, template, window, incident, prediction, decision, action, outcome."""
    from streams import cli_explain

    cli_explain.explain(Where(data, kafka, config), name, since=since, as_json=as_json)


@review_app.command("list")
def review_list(
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    include_past: Annotated[bool, typer.Option("--all", help="Answered and expired ones too.")] = False,
    since: Since = "",
    as_json: AsJson = False,
) -> None:
    """List the actions a person is asked about."""
    from streams import cli_people

    cli_people.list_proposals(Where(data, kafka, config), include_past=include_past, since=since, as_json=as_json)


@review_app.command("show")
def review_show(
    correlation_id: CorrelationId, data: Data = None, kafka: Kafka = "", config: Config = None, as_json: AsJson = False
) -> None:
    """Show a proposal with every reason."""
    from streams import cli_people

    cli_people.show_proposal(Where(data, kafka, config), correlation_id, as_json=as_json)


def _answer_with(verdict: Literal["approve", "reject"]) -> Callable[..., None]:
    """The command that gives this answer."""

    def answer(
        correlation_id: CorrelationId,
        data: Data = None,
        kafka: Kafka = "",
        config: Config = None,
        proposal: Proposal = "",
        reason: Why = "",
        reviewer: Reviewer = "",
        as_json: AsJson = False,
    ) -> None:
        from streams import cli_people

        given = cli_people.Answer(verdict, proposal, reason, reviewer)
        cli_people.answer_proposal(Where(data, kafka, config), correlation_id, given, as_json=as_json)

    return answer


review_app.command("approve", help="Approve the proposal: the action is ordered.")(_answer_with("approve"))
review_app.command("reject", help="Reject the proposal: nothing is done.")(_answer_with("reject"))


def pause(
    reason: Annotated[str, typer.Option("--reason", help="Why: it stands in every decision made meanwhile.")],
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    scope: Scope = "*",
    until: Annotated[str, typer.Option("--until", help="30m, 2h, 1d or a time (ISO 8601, UTC). Default: resume.")] = "",
    by: Person = "",
    as_json: AsJson = False,
) -> None:
    """Stop all acting at once; watching and telling go on; nothing is proposed meanwhile."""
    from streams import cli_people

    cli_people.pause(Where(data, kafka, config), cli_people.Switch(scope, reason, by, until), as_json=as_json)


def resume(
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    scope: Scope = "*",
    reason: Why = "",
    by: Person = "",
    as_json: AsJson = False,
) -> None:
    """Allow acting again (`*` ends every pause)."""
    from streams import cli_people

    cli_people.resume(Where(data, kafka, config), cli_people.Switch(scope, reason, by), as_json=as_json)
