"""How far a replay has come, told while it works; and that nothing comes, where it waits for a broker.

In: Progress. Out: a bar with an estimate on a terminal, else a line now and then, on stderr.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from streams.rendering import note
from streams.replay import Progress

__all__ = ["telling"]

_TELL_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.5


@contextmanager
def telling(place: str) -> Iterator[Callable[[Progress], None]]:
    """Takes the progress, and says so where none comes for five seconds. `place`: what is read from."""
    with ExitStack() as stack:
        show = stack.enter_context(_bar())
        watch = stack.enter_context(_Watch(place))

        def tell(progress: Progress) -> None:
            watch.heard()
            show(progress)

        yield tell


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, TextColumn("{task.fields[lines]:,} lines"), console=console, transient=True) as bar:
        task = bar.add_task("replay", lines=0)

        def move(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, lines=progress.lines)

        yield move


class _Lines:
    """Tells progress in lines, every five seconds."""

    def __init__(self) -> None:
        self._begun = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        self._first = progress.done if self._first is None else self._first
        if now - self._told < _TELL_SECONDS and progress.done < progress.total:
            return
        self._told = now
        rate = (progress.done - self._first) / max(now - self._begun, 1e-3)
        left = (progress.total - progress.done) / rate if rate else 0.0
        estimate = f", about {left:.0f} s left" if progress.done < progress.total else ""
        note(f"{progress.done:,} of {progress.total:,} records, {progress.lines:,} lines{estimate}")


class _Watch:
    """A thread that says once of each silence what is waited for."""

    def __init__(self, place: str) -> None:
        self._place, self._heard_at = place, time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="replay-watch", daemon=True)

    def heard(self) -> None:
        """Something has come."""
        self._heard_at = time.monotonic()

    def _watch(self) -> None:
        told = 0.0
        while not self._ended.wait(_LOOK_SECONDS):
            last = self._heard_at
            if last != told and time.monotonic() - last >= _TELL_SECONDS:
                note(f"nothing has come for {_TELL_SECONDS:.0f} s: waiting for {self._place}")
                told = last

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
