"""The commands that look after a deployment: doctor, lag, dead-letters. Options and help, nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

from connectors.where import Where
from streams.cli_log_commands import AsJson, Config, Data, Kafka, Since

__all__ = ["register"]

Topic = Annotated[str, typer.Option("--topic", help="Only those of this topic.")]
Reason = Annotated[str, typer.Option("--reason", help="Only those with this reason, as `list` shows it.")]

letters_app = typer.Typer(help="What could not be taken: list, show, replay.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(doctor)
    app.command()(lag)
    app.add_typer(letters_app, name="dead-letters")


def doctor(data: Data = None, kafka: Kafka = "", config: Config = None, as_json: AsJson = False) -> None:
    """Look whether everything is as it must be, and say what to do where it is not; exit 1 when something failed."""
    from streams import cli_doctor

    cli_doctor.doctor(Where(data, kafka, config), as_json=as_json)


def lag(
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until interrupted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far the steps are behind: by group and partition in records and seconds, and their watermarks.

    mine and detect save their positions now and then: what they have done since counts as lag, too.
    """
    from streams import cli_lag

    cli_lag.lag(Where(data, kafka, config), watch=watch, as_json=as_json)


@letters_app.command("list")
def letters_list(
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    topic: Topic = "",
    reason: Reason = "",
    since: Since = "",
    as_json: AsJson = False,
) -> None:
    """List what could not be taken, with its reason and place."""
    from streams import cli_dead_letters

    wanted = cli_dead_letters.Wanted(topic, reason, since)
    cli_dead_letters.list_letters(Where(data, kafka, config), wanted, as_json=as_json)


@letters_app.command("show")
def letters_show(
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="dead-letters/0@12, or where the original stands: signals/1@7.")
    ],
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one of them whole, its bytes made harmless."""
    from streams import cli_dead_letters

    cli_dead_letters.show_letter(Where(data, kafka, config), place, as_json=as_json)


@letters_app.command("replay")
def letters_replay(
    places: Annotated[list[str] | None, typer.Argument(metavar="[PLACE]...", help="As in `show`.")] = None,
    data: Data = None,
    kafka: Kafka = "",
    config: Config = None,
    topic: Topic = "",
    reason: Reason = "",
    since: Since = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only what would be done is shown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Append the original bytes again where they stood: once what refused them has been mended.

    A step takes again what it refused, and drops what it has taken: an event that it has seen does nothing.
    """
    from streams import cli_dead_letters

    wanted = cli_dead_letters.Wanted(topic, reason, since)
    cli_dead_letters.replay_letters(Where(data, kafka, config), places or [], wanted, yes=yes, as_json=as_json)
