"""`foreshock dead-letters`: list, show and replay what could not be taken.

In: a log, beside whoever runs it. Out: one line or JSON object a letter, secrets and control characters taken out; with
`--yes` the original bytes once more on their topic.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import typer

from connectors.shared_log import SharedLog
from connectors.where import Where
from models.topics import TOPICS
from streams.cli_where import opened, recent, say_what_is_cut, since_of
from streams.dead_letters import (
    Letter,
    Replay,
    find_letter,
    parse_place,
    plan_replays,
    raw_bytes,
    read_letters,
)
from streams.rendering import note, put, put_json, shown, time_text

__all__ = ["Wanted", "list_letters", "replay_letters", "show_letter"]

_SHOWN: Final = 160


class Wanted(NamedTuple):
    """Which letters: about one topic, for one reason ("" = any), `since` as people write it."""

    topic: str = ""
    reason: str = ""
    since: str = ""


def list_letters(where: Where, wanted: Wanted, *, as_json: bool) -> None:
    """List them in the order in which they were logged."""
    _require_topic(wanted.topic)
    with opened(where) as log:
        letters = _read(log, wanted)
        place = log.place
    for letter in letters:
        if as_json:
            put_json(_json(letter))
        else:
            put(_line(letter))
    if not letters:
        note(f"no dead letters in {place}{_filter_text(wanted)}")


def show_letter(where: Where, place: str, *, as_json: bool) -> None:
    """Show one whole. Raises LetterError where there is none, UsageError for what is no place."""
    wanted = parse_place(place)
    with opened(where) as log:
        since = since_of(log, "")
        letter = find_letter(log, recent(log, since), wanted)
    if as_json:
        put_json(_json(letter))
        return
    data = letter.data
    put(shown(f"{letter.position}: {time_text(letter.event.logged_at)}"))
    put(shown(f"  reason    {data.reason}"))
    put(shown(f"  detail    {data.detail or '-'}"))
    put(shown(f"  original  {letter.place}"))
    put(shown(f"  key       {data.key or '-'}"))
    raw = raw_bytes(data)
    put(f"  raw       {len(raw)} bytes kept:")
    for line in raw.decode("utf-8", "backslashreplace").split("\n"):
        put(f"    {shown(line)}")


def replay_letters(where: Where, places: Sequence[str], wanted: Wanted, *, yes: bool, as_json: bool) -> None:
    """Say what would be appended, and with `yes` append it; exit 1 where something was not.

    Raises LetterError where a place has no letter, BadParameter or UsageError where none is named.
    """
    if not places and not wanted.reason:
        raise typer.BadParameter("name a place, or --reason with a reason that `foreshock dead-letters list` shows")
    wanted_places = [parse_place(place) for place in places]
    _require_topic(wanted.topic)
    with opened(where, append=yes) as log:
        since = since_of(log, wanted.since)
        named = [find_letter(log, recent(log, since), place) for place in wanted_places]
        replays = plan_replays(log, [*named, *(_read(log, wanted) if wanted.reason else ())])
        for replay in replays:
            if not as_json:
                put(_plan_line(replay))
        done = _append(log, replays, as_json) if yes else 0
    refused = sum(replay.outbound is None for replay in replays)
    _sum_up(len(replays) - refused, refused, done, yes)
    if refused or done < len(replays):
        sys.exit(1)


def _append(log: SharedLog, replays: Sequence[Replay], as_json: bool) -> int:
    todo = [replay for replay in replays if replay.outbound is not None]
    records = log.append([replay.outbound for replay in todo if replay.outbound is not None], log.now())
    for replay, record in zip(todo, records, strict=True):
        if as_json:
            put_json({"original": replay.letter.place, "position": str(record.position)})
        else:
            put(shown(f"{replay.letter.place} stands again at {record.position}"))
    return len(records)


def _sum_up(possible: int, refused: int, done: int, yes: bool) -> None:
    cannot = f"; {refused} cannot be" if refused else ""
    if not possible and not refused:
        note("no dead letter is like that")
    elif yes:
        note(f"{done} replayed{cannot}. What a step has taken before, it drops; what it refuses again, comes back here")
    else:
        note(f"nothing was appended: {possible} would be with --yes{cannot}")


def _require_topic(topic: str) -> None:
    if topic and topic not in TOPICS:
        raise typer.BadParameter(f"there is no topic {shown(topic)}; there are {', '.join(TOPICS)}")


def _read(log: SharedLog, wanted: Wanted) -> list[Letter]:
    since = since_of(log, wanted.since)
    view = recent(log, since)
    letters = list(read_letters(view, topic=wanted.topic, reason=wanted.reason))
    say_what_is_cut(view, since)
    return letters


def _line(letter: Letter) -> str:
    data = letter.data
    raw = raw_bytes(data).decode("utf-8", "backslashreplace")
    said = f"{data.reason} at {letter.place}: {_cut(shown(data.detail))}"
    return shown(f"{time_text(letter.event.logged_at)} {letter.position} {said} | ") + _cut(shown(raw))


def _plan_line(replay: Replay) -> str:
    out, data = replay.outbound, replay.letter.data
    if out is None:
        return shown(f"{replay.letter.place} ({data.reason}) cannot be replayed: {replay.refusal}")
    whose = f"{len(out.value)} bytes with key {out.key!r}"
    return shown(f"{replay.letter.place} ({data.reason}): {whose} once more onto {out.topic}/{out.partition}")


def _json(letter: Letter) -> dict[str, Any]:
    return {
        "position": str(letter.position),
        "logged_at": letter.event.logged_at,
        "original": str(letter.original or ""),
        **letter.data.model_dump(mode="json"),
    }


def _filter_text(wanted: Wanted) -> str:
    about = f" about {shown(wanted.topic)}" if wanted.topic else ""
    return f"{about} for {shown(wanted.reason)}" if wanted.reason else about


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
