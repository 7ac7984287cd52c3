"""How the demo on Kafka looks: the view of the embedded demo, and how its processes are.

In: the broker's address, or "" for one of the demo's own. Out: stdout; DemoError where a story did not end well.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.status import Status as Spinner

from connectors.simulator_spec import SimulatorSpec, parse_simulator_spec
from models.errors import ForeshockError
from streams.cli_up import status_text
from streams.demo import DEMO_WORLD
from streams.demo_kafka import KafkaSide, TwinSide, play, verdict
from streams.demo_stage import Stage, open_stage
from streams.demo_view import PlainNews, picture, tell_incidents, tell_truth

__all__ = ["DemoError", "show_kafka_demo"]

_FRAME: Final = 1 / 10
Sides = tuple[KafkaSide, TwinSide]


class DemoError(ForeshockError):
    """A story of the demo did not end well."""


def show_kafka_demo(address: str) -> None:
    """Play the stories through real roles. Raises DemoError; BrokerError, LocalKafkaError where there is no broker."""
    console = Console(highlight=False)
    spec = parse_simulator_spec(DEMO_WORLD)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped then, too
    began = time.monotonic()
    try:
        _introduce(console)
        with open_stage(address, DEMO_WORLD, spec, lambda text: _tell(console, text)) as stage:
            sides = _play_live(console, stage, spec) if console.is_terminal else _play_plain(console, stage, spec)
            tell_incidents(console, sides[0])
            tell_truth(console, sides)
            wrong = verdict(*sides)
            if wrong:
                raise DemoError(f"the stories did not end well: {'; '.join(wrong)}")
    finally:
        signal.signal(signal.SIGTERM, before)
    console.print(f"Both stories ended well, in {time.monotonic() - began:.0f} s. Everything is stopped and removed.")


def _introduce(console: Console) -> None:
    console.print(
        "[bold]Foreshock on Kafka[/]: the same shop, the same faults, two worlds. In one of them the roles mine, "
        "detect, respond and act work as processes on Kafka, in [bold]act[/] mode with [bold]declared priors[/] (as if "
        "each runbook had helped 7 times in 8), and act calls the simulated cloud over HTTP. In the other nobody "
        "watches.\n"
        "[dim]Time is simulated: fast while nothing happens, slow in the stories. All else is real.[/]"
    )


def _tell(console: Console, text: str) -> None:
    console.print(text, style="dim", markup=False, soft_wrap=True)


def _play_plain(console: Console, stage: Stage, spec: SimulatorSpec) -> Sides:
    console.print("Learning what is normal, in observe mode: 00:00 to 06:55 of the simulated day.")
    news = PlainNews(console)
    moves = play(stage, spec)
    sides = next(moves)  # the past of both
    news.put_shared(sides[0].moments)
    news.skip(sides)
    for sides in moves:
        news.put(sides)
    return sides


def _play_live(console: Console, stage: Stage, spec: SimulatorSpec) -> Sides:
    spinner = Spinner("", console=console)

    def told(share: float) -> None:
        minutes = int(share * (6 * 60 + 55))
        spinner.update(f"learning what is normal: {minutes // 60:02}:{minutes % 60:02} of the simulated day")

    moves: Iterator[Sides] = play(stage, spec, told=told)
    with spinner:
        sides = next(moves)
    drawn = 0.0
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for sides in moves:
            if time.monotonic() - drawn >= _FRAME:
                drawn = time.monotonic()
                live.update(Group(picture(sides, console), status_text(stage.supervisor.status())), refresh=True)
        live.update(picture(sides, console), refresh=True)
    return sides
