"""How the demo looks: side by side on a terminal, plain lines elsewhere, and a table of what happened when at the end.

In: the demo's sides as they move. Out: stdout.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from streams.demo import Demo, Side, prepare
from streams.rendering import shown
from streams.story import Moment

__all__ = ["show_demo"]

_SECONDS: Final = 50.0
"""The demo is paced to end by then, where the machine is quick enough."""
_FRAME: Final = 1 / 15
_MINUTES: Final = 60
_ROWS: Final = 14
_BARS: Final = " ▁▂▃▄▅▆▇█"
_COLOURS: Final = {
    "detect": "yellow",
    "event": "red",
    "change": "blue",
    "join": "cyan",
    "recall": "cyan",
    "predict": "magenta",
    "decide": "bold white",
    "command": "bold green",
    "act": "green",
    "verify": "bold green",
    "learn": "blue",
    "alert": "bold yellow",
}


def show_demo(folder: Path, *, fast: bool = False) -> None:
    """Play the demo in `folder`; `fast`: without pacing. Raises ConfigError where the folder is not the demo's."""
    console = Console(highlight=False)
    demo = prepare(folder)
    began = time.monotonic()
    _introduce(console, demo)
    before = _warm_up(console, demo)
    deadline = 0.0 if fast or not console.is_terminal else began + _SECONDS
    sides = _play_live(console, demo, deadline) if console.is_terminal else _play_plain(console, demo, before)
    _conclude(console, demo, sides)


def _introduce(console: Console, demo: Demo) -> None:
    console.print(
        "[bold]Foreshock[/]: one simulated shop, eight services, two worlds. Both live through the same faults; in\n"
        "one of them Foreshock may act: its policy is in [bold]act[/] mode, its operator has [bold]declared priors[/]\n"
        "(as if each runbook had helped 7 times in 8). The other world only looks on.\n"
        "[dim]Time is simulated and accelerated; detection, cases, actions and SQLite are the real ones.[/]"
    )
    console.print(f"[dim]Data in {demo.folder}[/]", soft_wrap=True)


def _warm_up(console: Console, demo: Demo) -> list[Moment]:
    if not console.is_terminal:
        console.print("Learning what is normal, in observe mode: 00:00 to 06:55 of the simulated day.")
        return demo.warm_up(lambda _: None)
    columns = (
        TextColumn("learning what is normal"),
        BarColumn(),
        TextColumn("{task.fields[clock]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1.0, clock="00:00")

        def told(share: float) -> None:
            minutes = int(share * (6 * 60 + 55))
            progress.update(task, completed=share, clock=f"{minutes // 60:02}:{minutes % 60:02} of the simulated day")

        return demo.warm_up(told)


def _play_live(console: Console, demo: Demo, deadline: float) -> tuple[Side, Side]:
    sides: tuple[Side, Side] | None = None
    drawn = 0.0
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for sides in demo.play():
            left = max(1, (demo.spec.end - sides[0].now) // demo.spec.chunk_ms)
            time.sleep(min(max(0.0, deadline - time.monotonic()) / left, 0.04))
            if time.monotonic() - drawn >= _FRAME:
                drawn = time.monotonic()
                live.update(_picture(sides, console), refresh=True)
        assert sides is not None
        live.update(_picture(sides, console), refresh=True)
    return sides


def _play_plain(console: Console, demo: Demo, before: Sequence[Moment]) -> tuple[Side, Side]:
    for moment in before:
        console.print(_plain("both", moment), soft_wrap=True, markup=False)
    sides: tuple[Side, Side] | None = None
    told = [0, 0]
    failed = [0, 0]
    for sides in demo.play():
        for number, side in enumerate(sides):
            for moment in side.moments[told[number] :]:
                console.print(_plain(side.name, moment), soft_wrap=True, markup=False)
            told[number] = len(side.moments)
            for truth in side.failures[failed[number] :]:
                world = f"{_clock(truth.at)}  {side.name:<15} {'WORLD':<8} {truth.what} ({truth.cause})"
                console.print(world, soft_wrap=True, markup=False)
            failed[number] = len(side.failures)
    assert sides is not None
    return sides


def _picture(sides: tuple[Side, Side], console: Console) -> RenderableType:
    width = max(50, console.width // 2 - 1)
    panels = [_panel(side, width) for side in sides]
    return Group(Text(f"simulated time {_clock(sides[0].now)}", style="bold"), Columns(panels, expand=True, equal=True))


def _panel(side: Side, width: int) -> Panel:
    rows = Table.grid(padding=(0, 1))
    rows.add_column(no_wrap=True, width=8)
    rows.add_column(no_wrap=True, width=8)
    rows.add_column(overflow="ellipsis", no_wrap=True, width=max(20, width - 22))
    for moment in side.moments[-_ROWS:]:
        rows.add_row(
            Text(_clock(moment.at), style="dim"),
            Text(moment.verb, style=_COLOURS.get(moment.verb, "")),
            Text(shown(moment.text)),
        )
    for _ in range(_ROWS - min(_ROWS, len(side.moments))):
        rows.add_row("", "", "")
    failures = side.failures
    state = (
        Text(f"FAILED: {failures[-1].what} at {_clock(failures[-1].at)}", "bold red")
        if failures
        else Text("serving", "green")
    )
    return Panel(
        Group(Text.assemble("errors ", (_sparkline(side, width - 12), "red")), state, rows),
        title=side.name,
        width=width,
        box=box.ROUNDED,
    )


def _sparkline(side: Side, columns: int) -> str:
    """Error lines a minute in the last hour, or as much of it as there are columns."""
    now = side.now // 60_000
    counts = [side.errors.get(minute, 0) for minute in range(now - min(_MINUTES, columns) + 1, now + 1)]
    top = max(*counts, 20)
    return "".join(_BARS[min(len(_BARS) - 1, -(-count * (len(_BARS) - 1) // top))] for count in counts)


def _conclude(console: Console, demo: Demo, sides: tuple[Side, Side]) -> None:
    table = Table(title="What happened when", box=box.SIMPLE, title_justify="left")
    for name in ("time", "verb", "what"):
        table.add_column(name, no_wrap=name != "what", overflow="fold")
    for cid, moments in _by_incident(sides[0]):
        table.add_section()
        table.add_row("", "[bold]incident", f"[bold]{cid}")
        for moment in moments:
            table.add_row(_clock(moment.at), moment.verb, Text(shown(moment.text)))
    console.print(table)
    for side in sides:
        failures = side.failures
        told = "; ".join(f"{truth.what} at {_clock(truth.at)} ({truth.cause})" for truth in failures) or "nothing"
        worst = max(side.errors.values(), default=0)
        console.print(f"[bold]{side.name}[/]: at most {worst} error lines a minute. Failed: {told}", soft_wrap=True)
    console.print("[dim]What failed is told by the world itself, since the two parted at 06:55.[/]")
    console.print("\nTry next:")
    cids = [cid for cid, _ in _by_incident(sides[0])]
    data = demo.acting_folder
    for command in _next_commands(data, cids):
        console.print(f"  {command}", soft_wrap=True)


def _next_commands(data: Path, cids: Sequence[str]) -> Iterator[str]:
    if cids:
        yield f"foreshock explain {cids[0]} --data {data}"
    yield f"foreshock incidents --all --data {data}"
    yield f"foreshock tap alerts --from-start --data {data}"
    yield f"foreshock recompute --data {data}"
    yield "foreshock init && foreshock run --once --input /var/log/syslog"


def _by_incident(side: Side) -> list[tuple[str, list[Moment]]]:
    """The moments of each incident in which something was ordered, in order."""
    acted = {moment.cid for moment in side.moments if moment.verb == "command"}
    found: dict[str, list[Moment]] = {}
    for moment in side.moments:
        cid = side.cid_of(moment)
        if cid in acted:
            found.setdefault(cid, []).append(moment)
    return list(found.items())


def _plain(side: str, moment: Moment) -> str:
    return f"{_clock(moment.at)}  {side:<15} {moment.verb:<8} {shown(moment.text)}"


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S")
