"""`foreshock replay`: learn baselines from what was logged, and give them to a running detect; or take them back.

In: what a person asks for. Out: progress on stderr, what came of each service on stdout, messages in detect's inbox.
"""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from connectors.codec import encode
from connectors.collector import collecting_seldom
from connectors.kafka_settings import kafka_options
from connectors.ports import Outbound, UnitName
from connectors.settings import read_settings
from connectors.where import Where
from models.audit import Stage
from models.errors import BrokerError
from models.event import Event, digest
from models.retraining import Shift, shifts_of
from models.series import FIRST_TEMPLATE
from models.service_state import ServiceState
from models.snapshot import BaselineRollback
from models.topics import partition_of
from streams.cli_where import quiet_clients
from streams.rendering import note, put_json, put_table, time_text
from streams.replay import Learned, Progress, Replay, progress_file, write_generations
from streams.replay_answers import Answer, detect_runs, running_generations, wait_for_answers
from streams.replay_places import open_place
from streams.replay_plan import ReplayError, ReplayPlace, Request, make_plan
from streams.replay_telling import telling

__all__ = ["Options", "replay", "roll_back"]

_SHIFTS_SHOWN: Final = 3
_SHIFT_LEAST: Final = 0.005
"""Standard deviations below which a change would be shown as none."""
_INTERRUPTED: Final = 130
"""The exit code of a command that was interrupted: 128 and the signal's number."""
_WITHDRAWN: Final = "withdrawn:"
"""The reason of a refusal that was asked for: a rollback before the generation's minute came."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how: `data` None means as configured, `kafka` brokers instead of the configured; `state` is the folder
    of the progress files; `wait`: seconds in which detect may answer.
    """

    data: Path | None = None
    kafka: str = ""
    config: Path | None = None
    state: Path | None = None
    dry_run: bool = False
    restart: bool = False
    wait: float = 0.0
    as_json: bool = False


def replay(request: Request, options: Options) -> None:
    """Learn and write generations; with `dry_run` only show what would change, and leave nothing. Raises ReplayError
    where nothing can be read, nothing could be learnt, or detect refused what was; BrokerError.
    """
    with _opened(options) as (place, folder):
        work = _begun(place, folder, request, options)
        learned = _learn(work, place)
        if work.skipped:
            reasons = sorted(work.skipped.items())
            note("not learnt from: " + ", ".join(f"{count} {reason}" for reason, count in reasons))
        _show(place, learned, options.as_json)
        if not any(each.messages for each in learned):
            work.forget()
            raise ReplayError(_nothing_learnt(request, learned))
        if options.dry_run:
            note("nothing was written (--dry-run); the same command without it learns and writes")
            return
        wanted = {each.service: each.generation for each in learned if each.messages}
        running = running_generations(place.log)
        begin = place.log.ends("audit")
        count = write_generations(place.log, learned, place.log.now())
        work.forget()
        note(f"wrote {'1 message' if count == 1 else f'{count} messages'} for detect")
        for name in sorted(name for name in wanted if running.get(name) == wanted[name]):
            note(f"{name} runs this generation already")
            del wanted[name]
        refused = _await(place, begin, wanted, options)
    if refused:
        raise ReplayError(f"detect refused what was learnt of {', '.join(refused)}: the reasons are above")


def _nothing_learnt(request: Request, learned: Sequence[Learned]) -> str:
    if learned:
        return "no service has been learnt for long enough: give --from an earlier time"
    of = f" of {request.service!r}" if request.service else ""
    return f"no line{of} is in what was read: check --service, or give --from an earlier time"


def roll_back(service: str, by: str, reason: str, options: Options) -> None:
    """Ask detect to put back what a service's last swap replaced; "" means every service that has swapped since.

    Raises ReplayError where there is nothing to take back; BrokerError.
    """
    with _opened(options) as (place, _):
        log = place.log
        services = [service] if service else sorted(running_generations(log))
        if not services:
            raise ReplayError("no service runs a replayed generation: there is nothing to take back")
        begin, now, count = log.ends("audit"), log.now(), log.partitions("counts")
        batch = []
        for name in services:
            data = BaselineRollback(service=name, by=by or _login(), reason=reason)
            event = Event(id=digest("rollback", name, str(now)), at=now, key=name, data=data)
            batch.append(Outbound("counts", name, encode(event), partition_of(name, count), now))
        log.append(batch, now)
        if options.as_json:
            put_json({"services": services})
        note(f"asked to take back: {', '.join(services)}")
        refused = _await(place, begin, dict.fromkeys(services, ""), options)
    if refused:
        raise ReplayError(f"nothing was taken back of {', '.join(refused)}: the reasons are above")


@contextmanager
def _opened(options: Options) -> Iterator[tuple[ReplayPlace, Path]]:
    """The place, and the folder for the progress of its replays. A data folder that was named is meant, and no
    cluster, unless one was named, too: then it is for the progress.
    """
    given = dict(kafka_options(options.kafka))
    if options.data is not None:
        given["data"] = str(options.data)
    configuration = read_settings(options.config, given)
    with quiet_clients():
        place = open_place(configuration, folder=options.data is not None and not options.kafka)
        try:
            yield place, options.state or configuration.data
        finally:
            place.log.close()


def _begun(place: ReplayPlace, folder: Path, request: Request, options: Options) -> Replay:
    """The interrupted replay of the same request, or a new one. A dry run keeps nothing of its own."""
    file = progress_file(folder, place, request)
    keep = not options.dry_run
    work = None if options.restart else Replay.resume(place.log, file, keep=keep)
    if work is not None:
        note(
            f"going on with the same replay of {time_text(work.plan.made_at)}, of which a part is done, up to what was "
            "logged by then; --restart begins anew, with what has come since"
        )
        return work
    plan = make_plan(place, request)
    if keep:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Replay(place.log, plan, file if keep else None)


def _learn(work: Replay, place: ReplayPlace) -> list[Learned]:
    """Work to the end. Interrupted, or left by its broker, it keeps what it has learnt."""
    kept = "" if work.file is None else " What was learnt is kept: the same command goes on where it was."
    try:
        with collecting_seldom(), telling(place.log.place) as tell, _interruptible(tell) as told:
            return work.run(told)
    except KeyboardInterrupt:
        work.save()
        note(f"interrupted.{kept}")
        raise typer.Exit(_INTERRUPTED) from None
    except BrokerError as error:
        raise BrokerError(f"{error}{kept}") from error


@contextmanager
def _interruptible(tell: Callable[[Progress], None]) -> Iterator[Callable[[Progress], None]]:
    """The first SIGINT or SIGTERM becomes a KeyboardInterrupt between two pages, where all that was read is learnt; the
    second does what it always does.
    """
    asked = False
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        restore()

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def told(progress: Progress) -> None:
        tell(progress)
        if asked:
            raise KeyboardInterrupt

    for number in former:
        signal.signal(number, ask)
    try:
        yield told
    finally:
        restore()


def _await(place: ReplayPlace, begin: Mapping[int, int], wanted: Mapping[str, str], options: Options) -> list[str]:
    """Tell what detect answers, and what is waited for; returns the services whose generations it refused."""
    if not wanted:
        return []
    later = f"`foreshock tap audit{Where(options.data, options.kafka, options.config).options}` shows it then"
    if not detect_runs(place.log):
        note(f"no detect runs at {place.log.place}: it answers once it is started and goes on; {later}")
        return []
    refused = []

    def tell(answer: Answer) -> None:
        word = answer.stage.value.removeprefix("BASELINES_").lower()
        note(f"{answer.service}: {word}{f' ({answer.reason})' if answer.reason else ''}")
        if answer.stage is Stage.BASELINES_REFUSED and not answer.reason.startswith(_WITHDRAWN):
            refused.append(answer.service)

    if options.wait:
        note(f"waiting up to {options.wait:.0f} s for detect, which swaps when the next minute of a service closes")
    try:
        silent = wait_for_answers(place.log, begin, wanted, options.wait, tell)
    except KeyboardInterrupt:
        note(f"not waiting any longer: detect answers all the same; {later}")
        raise typer.Exit(_INTERRUPTED) from None
    if silent:
        note(
            f"not answered yet: {', '.join(silent)}. A minute closes when the sources of the service have covered it; "
            f"while none of them gives a sign of life, detect waits, and so does what was written. {later}"
        )
    return refused


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
    left_out = sum(span.end - span.start for span in each.training.left_out)
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
    unknown = "detect has saved nothing to compare with" if row["series_known"] is None else "none"
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
