"""The commands `foreshock topics ...` and `foreshock catalog apply`: options and help, nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

Config = Annotated[Path | None, typer.Option("--config", help="The configuration (default: foreshock.yaml, if any).")]
Kafka = Annotated[
    str, typer.Option("--kafka", metavar="ADDR", help="host:port of a broker, several with commas (else: configured).")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
topics_app = typer.Typer(help="The topics on Kafka: create, check, show, and who may use them.", no_args_is_help=True)
catalog_app = typer.Typer(help="What is watched and what may be done, on Kafka.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(topics_app, name="topics")
    app.add_typer(catalog_app, name="catalog")


@topics_app.command("apply")
def topics_apply(kafka: Kafka = "", config: Config = None, as_json: AsJson = False) -> None:
    """Create what is missing and alter what differs; what would break keys is refused, with the way to migrate."""
    from streams import cli_topics

    cli_topics.apply_topics(config, kafka, as_json=as_json)


@topics_app.command("diff")
def topics_diff(kafka: Kafka = "", config: Config = None, as_json: AsJson = False) -> None:
    """Show what is not as configured; exit 1 when something is not."""
    from streams import cli_topics

    cli_topics.diff_topics(config, kafka, as_json=as_json)


@topics_app.command("describe")
def topics_describe(kafka: Kafka = "", config: Config = None, as_json: AsJson = False) -> None:
    """Show every topic: its key, partitions, how long it is kept, what is in it, who writes and reads it."""
    from streams import cli_topics

    cli_topics.describe_topics(config, kafka, as_json=as_json)


@topics_app.command("acls")
def topics_acls(
    kafka: Kafka = "",
    config: Config = None,
    role: Annotated[str, typer.Option("--role", help="Only this role's: ingest, mine, detect, respond, act ...")] = "",
    create: Annotated[bool, typer.Option("--apply", help="Create them on the cluster.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the least that each role must be allowed, as kafka-acls.sh commands."""
    from streams import cli_topics

    cli_topics.list_acls(config, kafka, role=role, create=create, as_json=as_json)


@catalog_app.command("apply")
def catalog_apply(kafka: Kafka = "", config: Config = None, as_json: AsJson = False) -> None:
    """Publish the configured applications, services, targets, runbooks and policy, unless they stand there."""
    from streams import cli_topics

    cli_topics.apply_catalog(config, kafka, as_json=as_json)
