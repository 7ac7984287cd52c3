"""How the demo looks: side by side on a terminal, plain lines elsewhere, and a table of what happened when at the end.

In: the demo's sides as they move. Out: stdout.
"""

from __future__ import annotations

import os
import shutil
import sys
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

from streams.demo import Demo, Side, Truth, prepare
from streams.rendering import shown
from streams.story import Moment

__all__ = ["PlainNews", "picture", "show_demo", "tell_incidents", "tell_truth"]

_SECONDS: Final = 50.0
"""The demo is paced to end by then, where the machine is quick enough."""
_FRAME: Final = 1 / 15
_ROWS: Final = 14
_SIDE_BY_SIDE: Final = 100
"""Columns from which the two worlds stand beside each other; on a narrower terminal one stands above the other."""
_FRAME_LINES: Final = 4
"""Lines of a panel that are no moment: two of the border, the errors, the failures."""
_ERRORS: Final = "errors a minute "
_LOGS: Final = tuple(f"/var/log/{name}" for name in ("syslog", "messages", "system.log", "install.log", "dpkg.log"))
"""Files that a person may try next, where one of them is there."""
_LEAST_TOP: Final = 20
"""Errors a minute that the highest bar stands for, at least."""
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
        "[bold]Foreshock[/]: one simulated shop, eight services, two worlds. Both live through the same faults; in "
        "one of them Foreshock may act: its policy is in [bold]act[/] mode, its operator has [bold]declared priors[/] "
        "(as if each runbook had helped 7 times in 8). In the other it only watches and tells.\n"
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
                live.update(picture(sides, console), refresh=True)
        assert sides is not None
        live.update(picture(sides, console), refresh=True)
    return sides


def _play_plain(console: Console, demo: Demo, before: Sequence[Moment]) -> tuple[Side, Side]:
    news = PlainNews(console)
    news.put_shared(before)
    sides: tuple[Side, Side] | None = None
    for sides in demo.play():
        news.put(sides)
    assert sides is not None
    return sides


class PlainNews:
    """Prints each moment and failure of both worlds once, a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, int] = {}
        self._failed: dict[str, int] = {}

    def put_shared(self, moments: Sequence[Moment]) -> None:
        """Moments of the past that both worlds share."""
        for moment in moments:
            self._line(_plain("both", moment))

    def skip(self, sides: Sequence[Side]) -> None:
        """What is known of each has been told."""
        for side in sides:
            self._failed[side.name], self._told[side.name] = len(side.failures), len(side.moments)

    def put(self, sides: Sequence[Side]) -> None:
        """What is new in each."""
        for side in sides:
            failed, told = self._failed.get(side.name, 0), self._told.get(side.name, 0)
            failures, moments = side.failures[failed:], side.moments[told:]
            for truth in failures:
                self._line(_plain_failure(side.name, truth))
            for moment in moments:
                self._line(_plain(side.name, moment))
            self._failed[side.name] = failed + len(failures)
            self._told[side.name] = told + len(moments)

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


def picture(sides: tuple[Side, Side], console: Console) -> RenderableType:
    """Both worlds at this moment, to fit the terminal."""
    beside = console.width >= _SIDE_BY_SIDE
    width = console.width // 2 - 1 if beside else console.width
    lines = console.height - 2 if beside else (console.height - 2) // 2
    bars = max(1, width - len(_ERRORS) - 10)
    errors = [_errors(side, bars) for side in sides]
    top = max(_LEAST_TOP, *(max(counts) for counts in errors))
    panels = [
        _panel(side, width, min(_ROWS, lines - _FRAME_LINES), _bars(counts, top))
        for side, counts in zip(sides, errors, strict=True)
    ]
    worlds: RenderableType = Columns(panels, expand=True, equal=True) if beside else Group(*panels)
    return Group(Text(f"simulated time {_clock(sides[0].now)}", style="bold"), worlds)


def _panel(side: Side, width: int, lines: int, bars: str) -> Panel:
    rows = Table.grid(padding=(0, 1))
    rows.add_column(width=8, no_wrap=True)
    rows.add_column(width=7, no_wrap=True)
    rows.add_column()
    moments = side.moments[-lines:] if lines > 0 else []
    for moment in moments:
        rows.add_row(
            Text(_clock(moment.at), style="dim"),
            Text(moment.verb, style=_COLOURS.get(moment.verb, "")),
            Text(shown(moment.text), no_wrap=True, overflow="ellipsis"),
        )
    for _ in range(lines - len(moments)):
        rows.add_row("", "", "")
    failures = side.failures
    state = (
        Text("FAILED: " + ", ".join(f"{_words(truth.what)} {_clock(truth.at)}" for truth in failures[::-1]), "bold red")
        if failures
        else Text("nothing has failed", "green")
    )
    state.no_wrap, state.overflow = True, "ellipsis"
    return Panel(
        Group(Text.assemble(_ERRORS, (bars, "red")), state, rows),
        title=side.name,
        width=width,
        box=box.ROUNDED,
    )


def _errors(side: Side, minutes: int) -> list[int]:
    now = side.now // 60_000
    return [side.errors.get(minute, 0) for minute in range(now - minutes + 1, now + 1)]


def _bars(counts: Sequence[int], top: int) -> str:
    """One bar a minute, and the newest number; both worlds are drawn to the same `top`."""
    bars = "".join(_BARS[min(len(_BARS) - 1, -(-count * (len(_BARS) - 1) // top))] for count in counts)
    return f"{bars} {counts[-1]}"


def _conclude(console: Console, demo: Demo, sides: tuple[Side, Side]) -> None:
    tell_incidents(console, sides[0])
    tell_truth(console, sides)
    console.print("Try next:")
    cids = [cid for cid, _ in _by_incident(sides[0])]
    for command in _next_commands(demo.acting_folder, cids):
        console.print(f"  {command}", soft_wrap=True)


def tell_incidents(console: Console, side: Side) -> None:
    """A table of what happened when, in the incidents in which something was ordered."""
    table = Table(title="What happened when", box=box.SIMPLE, title_justify="left")
    for name in ("time", "verb", "what"):
        table.add_column(name, no_wrap=name != "what", overflow="fold")
    for cid, moments in _by_incident(side):
        table.add_section()
        table.add_row("", "[bold]incident", f"[bold]{cid}")
        for moment in moments:
            table.add_row(_clock(moment.at), moment.verb, Text(shown(moment.text)))
    console.print(table)


def tell_truth(console: Console, sides: tuple[Side, Side]) -> None:
    """What failed in which world since the two parted, as the worlds themselves know it."""
    table = Table(title="What really failed, told by the worlds themselves", box=box.SIMPLE, title_justify="left")
    for name in ("time", "what", *(side.name for side in sides)):
        table.add_column(name, no_wrap=name != "what")
    failed = [set(side.failures) for side in sides]
    for truth in sorted(failed[0] | failed[1]):
        cells = [Text("failed", "red") if truth in known else Text("did not happen", "bold green") for known in failed]
        table.add_row(_clock(truth.at), f"{_words(truth.what)} ({_words(truth.cause)})", *cells)
    worst = [str(max(side.errors.values(), default=0)) for side in sides]
    table.add_row("", "most error lines in one minute", *worst)
    console.print(table)


def _next_commands(data: Path, cids: Sequence[str]) -> Iterator[str]:
    program = "foreshock" if shutil.which("foreshock") else sys.argv[0]
    if cids:
        yield f"{program} explain {cids[0]} --data {data}"
    yield f"{program} incidents --all --data {data}"
    yield f"{program} tap alerts --from-start --data {data}"
    yield f"{program} recompute --data {data}"
    log = next((path for path in _LOGS if os.access(path, os.R_OK) and os.path.getsize(path)), None)
    yield f"{program} run --once --input {log}" if log else f"{program} run --input 'sim:7?speed=600'"


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


def _plain_failure(side: str, truth: Truth) -> str:
    return f"{_clock(truth.at)}  {side:<15} {'WORLD':<8} FAILED: {_words(truth.what)} ({_words(truth.cause)})"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S")
