"""`foreshock replay`: learn baselines from what was logged, and give them to a running detect; or take them back.

In: what a person asks for. Out: progress on stderr, what came of each service on stdout, messages in detect's inbox.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from connectors.codec import encode
from connectors.collector import collecting_seldom
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import kafka_options
from connectors.ports import Outbound, UnitName
from connectors.settings import read_settings
from models.audit import AuditEntry, Stage
from models.event import Event, digest
from models.retraining import Shift, shifts_of
from models.series import FIRST_TEMPLATE
from models.service_state import ServiceState
from models.snapshot import BaselineRollback
from models.topics import partition_of
from streams.reading import events_of
from streams.rendering import note, put_json, put_table, time_text
from streams.replay import Learned, Progress, Replay, write_generations
from streams.replay_places import open_place
from streams.replay_plan import ReplayError, ReplayPlace, Request, make_plan

__all__ = ["Options", "replay", "roll_back"]

_TELL_SECONDS: Final = 5.0
_SHIFTS_SHOWN: Final = 3
_SHIFT_LEAST: Final = 0.005
"""Standard deviations below which a change would be shown as none."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how: `data` None means as configured, `kafka` brokers instead of the configured; `state` is the folder
    of the progress files.
    """

    data: Path | None = None
    kafka: str = ""
    config: Path | None = None
    state: Path | None = None
    dry_run: bool = False
    restart: bool = False
    as_json: bool = False


def replay(request: Request, options: Options) -> None:
    """Learn and write generations; with `dry_run` only show what would change. Raises ReplayError where nothing can be
    read or nothing could be learnt.
    """
    place, folder = _open(options)
    file = folder / _progress_name(place, request)
    if options.restart:
        file.unlink(missing_ok=True)
    work = Replay.resume(place.log, file)
    if work is not None:
        begun = time_text(work.plan.made_at)
        note(f"going on with the same replay of {begun}, of which a part is done; --restart begins anew")
    else:
        work = Replay(place.log, make_plan(place, request), file)
    with collecting_seldom(), _telling() as tell:
        learned = work.run(tell)
    if work.skipped:
        note("not learnt from: " + ", ".join(f"{count} {reason}" for reason, count in sorted(work.skipped.items())))
    _show(place, learned, options.as_json)
    if not any(each.messages for each in learned):
        work.forget()
        raise ReplayError("no service has been learnt for long enough: give --from an earlier time")
    if options.dry_run:
        note("nothing was written (--dry-run); the same command without it writes exactly this")
        return
    count = write_generations(place.log, learned, place.now())
    work.forget()
    what = "1 message" if count == 1 else f"{count} messages"
    note(f"wrote {what}; detect swaps when a minute closes, or says why not: see `foreshock tap audit`")


def roll_back(service: str, by: str, reason: str, options: Options) -> None:
    """Ask detect to put back what a service's last swap replaced; "" means every service that has swapped since."""
    place, _ = _open(options)
    services = [service] if service else _swapped(place)
    if not services:
        raise ReplayError("no service runs a replayed generation: there is nothing to take back")
    now, count = place.now(), place.log.partitions("counts")
    batch = []
    for name in services:
        data = BaselineRollback(service=name, by=by or _login(), reason=reason)
        event = Event(id=digest("rollback", name, str(now)), at=now, key=name, data=data)
        batch.append(Outbound("counts", name, encode(event), partition_of(name, count), now))
    place.log.append(batch, now)
    if options.as_json:
        put_json({"services": services})
    note(f"asked to take back: {', '.join(services)}; see `foreshock tap audit`")


def _progress_name(place: ReplayPlace, request: Request) -> str:
    """Of the progress file. A cluster's log is named, too: what was learnt from another must not go on in it."""
    log = f"-{digest(place.log.log_id(request.topic))}" if isinstance(place.log, KafkaLog) else ""
    return f"replay-{request.name}{log}.json"


def _open(options: Options) -> tuple[ReplayPlace, Path]:
    """A folder that was named is meant, and no cluster, unless one was named, too: for the progress of its replay."""
    given = dict(kafka_options(options.kafka))
    if options.data is not None:
        given["data"] = str(options.data)
    configuration = read_settings(options.config, given)
    kafka = configuration.settings.kafka if options.kafka or options.data is None else None
    folder = options.state or configuration.data
    place = open_place(configuration.data, kafka)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place, folder


def _swapped(place: ReplayPlace) -> list[str]:
    """The services whose last word on generations is a swap."""
    last: dict[str, Stage] = {}
    for event in events_of(place.log, "audit", AuditEntry, about=["BASELINES_SWAPPED", "BASELINES_RESTORED"]):
        if event.data.stage in (Stage.BASELINES_SWAPPED, Stage.BASELINES_RESTORED):
            last[str(event.data.facts.get("service", ""))] = event.data.stage
    return sorted(name for name, stage in last.items() if stage is Stage.BASELINES_SWAPPED and name)


@contextmanager
def _telling() -> Iterator[Callable[[Progress], None]]:
    """A bar with an estimate on a terminal; else a line now and then."""
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


def _show(place: ReplayPlace, learned: Sequence[Learned], as_json: bool) -> None:
    """What came of each service, and how it differs from what detect has saved of it."""
    count = place.log.partitions("counts")
    now = {
        entry.key: entry.state
        for partition in sorted({partition_of(each.service, count) for each in learned})
        for entry in place.entries(UnitName("detect", partition))
    }
    rows = [_row(each, now.get(each.service)) for each in learned]
    if as_json:
        for row in rows:
            put_json(row)
        return
    columns = ["service", "minutes", "left out", "series", "generation", "largest change (lines a minute)"]
    put_table(columns, [_cells(row) for row in rows])


def _row(each: Learned, saved: bytes | None) -> dict[str, Any]:
    left_out = sum(span.end - span.start for span in each.training.left_out if span.end < 1 << 50)
    row: dict[str, Any] = {
        "service": each.service,
        "minutes": each.training.minutes,
        "left_out_minutes": left_out // 60_000,
        "series": each.series,
        "generation": each.generation,
        "reason": each.reason,
        "series_known": None,
        "shifts": [],
    }
    if saved is not None:
        running = ServiceState.load(saved)
        each.state.predict()
        shifts = shifts_of(running, each.state)
        row["series_known"] = sum(name in running.series.slot_of for name in each.state.series.ids[FIRST_TEMPLATE:])
        row["shifts"] = [shift._asdict() for shift in shifts[:_SHIFTS_SHOWN] if abs(shift.sd) >= _SHIFT_LEAST]
    return row


def _cells(row: dict[str, Any]) -> list[str]:
    changes = _shift_text(Shift(**row["shifts"][0])) if row["shifts"] else ""
    unknown = "detect's own are not known here" if row["series_known"] is None else "none"
    series = f"{row['series']}" if row["series_known"] is None else f"{row['series']} ({row['series_known']} known)"
    verdict = row["reason"] or row["generation"]
    return [
        row["service"], str(row["minutes"]), f"{row['left_out_minutes']} min", series, verdict, changes or unknown,
    ]  # fmt: skip


def _shift_text(shift: Shift) -> str:
    return f"{shift.before:.3g} -> {shift.after:.3g} ({shift.sd:+.2f} sd) {shift.text[:40]}"


def _login() -> str:
    """The login name of whoever runs this."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
