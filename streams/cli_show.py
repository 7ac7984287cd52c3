"""`foreshock tap` and `foreshock incidents`: the records of a topic, and the list of cases.

In: a log, beside whoever runs it. Out: one readable line a record, a table, or JSON lines.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
import typer

from connectors.codec import decode_record
from connectors.ports import Record
from connectors.shared_log import SharedLog
from connectors.where import Where
from models.audit import DeadLetter
from models.errors import BrokerError, ContractError, MissingTopicError
from models.event import Contract, Event
from models.incident import IncidentStatus
from models.log import LogBatch
from models.template import TemplateCounts
from models.topics import TOPICS
from streams.caselog import CaseLine, read_cases
from streams.cli_where import opened, recent, say_what_is_cut, since_of
from streams.reading import read_back, read_topic
from streams.rendering import note, put, put_json, put_table, raw_text, shown, time_text

__all__ = ["Wanted", "WantedCases", "incidents", "tap"]

_POLL_SECONDS: Final = 0.2
_AWAY_SECONDS: Final = 1.0
_LONGEST: Final = 160
_ITEMS: Final = 3
_NOT_IN_LINE: Final = frozenset(("signature", "key_id", "reasons", "signals", "digest"))


@dataclass(frozen=True)
class Wanted:
    """Which records of a topic: of one key, of one type ("" = any); all from the start or `since` a span or time as
    people write it, else the last few.
    """

    key: str = ""
    kind: str = ""
    from_start: bool = False
    last: int = 10
    since: str = ""

    def takes(self, record: Record) -> bool:
        """Whether the record is one of them."""
        return self.key in ("", record.key) and (not self.kind or _type_of(record) == self.kind)


def tap(where: Where, topic: str, wanted: Wanted, *, follow: bool, as_json: bool) -> None:
    """Show a topic's records; with `follow` also those to come, until interrupted: an outage is waited out."""
    if topic not in TOPICS:
        raise typer.BadParameter(f"there is no topic {shown(topic)}; there are {', '.join(TOPICS)}")
    if wanted.kind and wanted.kind not in TOPICS[topic].types:
        raise typer.BadParameter(f"{topic} holds no {shown(wanted.kind)}; it holds {', '.join(TOPICS[topic].types)}")
    with opened(where) as log:
        ends = dict(log.ends(topic))
        _show_kept(log, topic, wanted, ends, as_json)
        away = False
        while follow:
            time.sleep(_AWAY_SECONDS if away else _POLL_SECONDS)
            try:
                _show_new(log, topic, wanted, ends, as_json)
            except MissingTopicError:
                raise
            except BrokerError as error:
                if not away:
                    note(f"foreshock: waiting: {error}")
                away = True
            else:
                if away:
                    note("foreshock: Kafka answers again")
                away = False


def _show_kept(log: SharedLog, topic: str, wanted: Wanted, ends: Mapping[int, int], as_json: bool) -> None:
    records: Iterable[Record]
    if wanted.since or wanted.from_start:
        since = since_of(log, wanted.since) if wanted.since else 0
        records = read_topic(log, topic, {part: log.offset_at(topic, part, since) for part in ends} if since else None)
    else:
        records = _last(log, topic, wanted)
    for record in records:
        if record.offset < ends[record.partition] and wanted.takes(record):
            _put_record(record, as_json)


def _show_new(log: SharedLog, topic: str, wanted: Wanted, shown_to: dict[int, int], as_json: bool) -> None:
    """What has been appended since; `shown_to` goes along, also where reading breaks off."""
    ends = log.ends(topic)
    if ends == shown_to:
        return
    for record in read_topic(log, topic, dict(shown_to)):
        if wanted.takes(record):
            _put_record(record, as_json)
        shown_to[record.partition] = record.offset + 1
    for partition, end in ends.items():  # there may be nothing but markers before it
        shown_to[partition] = max(shown_to.get(partition, 0), end)


class WantedCases(NamedTuple):
    """Which cases: open ones only, unless `include_closed`; of one application ("": all); `since` as people write it
    ("": as far back as is usual).
    """

    include_closed: bool = False
    application: str = ""
    since: str = ""


def incidents(where: Where, wanted: WantedCases, *, as_json: bool) -> None:
    """List the cases."""
    with opened(where) as log:
        begin = since_of(log, wanted.since)
        view = recent(log, begin)
        every = read_cases(view, wanted.application)
        say_what_is_cut(view, begin)
        place = log.place
    cases = [case for case in every if wanted.include_closed or case.incident.status == IncidentStatus.OPEN]
    if as_json:
        for case in cases:
            put_json(_case_json(case))
    elif cases:
        put_table(
            ["correlation id", "application", "status", "opened", "primary", "probability", "verdict", "outcome"],
            [_case_row(case) for case in cases],
        )
    if not cases:
        closed = f"; {len(every)} closed: show them with --all" if every else ""
        note(f"no {'' if wanted.include_closed else 'open '}incidents in {place}{closed}")


def _last(log: SharedLog, topic: str, wanted: Wanted) -> Iterable[Record]:
    """The last few that are wanted, over all partitions, in order; what is rare is not looked for in all that is kept
    of a large log.
    """
    since = since_of(log, "") if wanted.key or wanted.kind else 0
    view = recent(log, since)
    newest = [_take(read_back(view, topic, part), wanted) for part in range(log.partitions(topic))]
    merged = heapq.merge(*newest, key=lambda record: (record.logged_at, record.partition, record.offset))
    found = deque(merged, maxlen=wanted.last)
    if len(found) < wanted.last:
        say_what_is_cut(view, since)
    return found


def _take(backwards: Iterator[Record], wanted: Wanted) -> list[Record]:
    found: list[Record] = []
    while len(found) < wanted.last and (record := next(backwards, None)) is not None:
        if wanted.takes(record):
            found.append(record)
    return found[::-1]


def _type_of(record: Record) -> str:
    try:
        raw = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return ""
    return str(raw.get("type", "")) if isinstance(raw, dict) else ""


def _put_record(record: Record, as_json: bool) -> None:
    if as_json:
        put_json(_record_json(record))
        return
    if not record.value and TOPICS[record.topic].compacted:
        put(_line(record, "-", "deleted"))
        return
    try:
        event = decode_record(record)
    except ContractError as error:
        text = record.value.decode("utf-8", "replace")
        put(_line(record, "?", f"{shown(str(error))}: {shown(text)[:_LONGEST]}"))
        return
    if isinstance(event.data, LogBatch):
        put(f"{_place(record)} {_lines(event.data)}")
        return
    put(_line(record, event.type, _summary(event)))


def _place(record: Record) -> str:
    return f"{time_text(record.logged_at)} {record.topic}/{record.partition}@{record.offset}"


def _line(record: Record, kind: str, text: str) -> str:
    return f"{_place(record)} {kind} {shown(record.key)} {text}"


def _lines(batch: LogBatch) -> str:
    """How many lines of which services, and the first; of a heartbeat, how far its sources are complete."""
    left_out = {**batch.dropped, **({"cut": batch.truncated} if batch.truncated else {})}
    lost = "".join(f", {count} {shown(reason)}" for reason, count in sorted(left_out.items()))
    if batch.lines:
        first = batch.messages.split("\n", 1)[0]
        count = f"{batch.lines} line{'' if batch.lines == 1 else 's'}"
        return f'{count} of {_few(batch.services)}{lost}: "{_cut(shown(first))}"'
    until = min((source.covered_until for source in batch.sources), default=None)
    complete = f", complete to {time_text(until)}" if until is not None else ""
    about = f" of {_few([source.source_id for source in batch.sources])}" if batch.sources else ""
    return f"no lines{about}{complete}{lost}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _ITEMS} more" if len(names) > _ITEMS else ""
    return ", ".join(_cut(shown(name)) for name in names[:_ITEMS]) + more


def _summary(event: Event[Any]) -> str:
    """What is in the event, on one line, escaped."""
    data = event.data
    match data:
        case TemplateCounts():
            counted = ",".join(f"{section.service}:{section.lines}" for section in data.sections)
            return f"input={data.input.topic}/{data.input.partition}@{data.input.offset} lines={shown(counted) or 0}"
        case DeadLetter():
            in_log = f"{data.topic}/{data.partition}@{data.offset}"
            place = f"{data.source_id}@{data.cursor}" if data.source_id else in_log
            said = f"{shown(data.reason)} at {shown(place)}: {_cut(shown(data.detail))}"
            return f"{said} | {_cut(shown(raw_text(data.raw)))}"
        case _:
            return _fields(data)


def _fields(data: Contract) -> str:
    """The payload's own fields that say something: scalars, and lists by their length."""
    parts = []
    for name, value in data.model_dump(mode="json").items():
        if name in _NOT_IN_LINE or value in ("", None, [], {}):
            continue
        if isinstance(value, list):
            scalars = [item for item in value if not isinstance(item, list | dict)]
            text = ",".join(map(str, scalars)) if scalars and len(value) <= _ITEMS else f"[{len(value)}]"
        elif isinstance(value, dict):
            text = orjson.dumps(value).decode()
        else:
            text = str(value)
        parts.append(shown(f"{name}={_cut(text)}"))
    return " ".join(parts)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _record_json(record: Record) -> dict[str, Any]:
    place = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "logged_at": record.logged_at,
    }
    try:
        decode_record(record)
    except ContractError as error:
        return {**place, "key": record.key, "error": str(error), "text": record.value.decode("utf-8", "replace")}
    return {**place, **orjson.loads(record.value)}


def _case_json(case: CaseLine) -> dict[str, Any]:
    incident, prediction, decision, outcome = case
    return {
        "correlation_id": incident.correlation_id,
        "application": incident.application,
        "status": incident.status.value,
        "opened_at": incident.opened_at,
        "closed_at": incident.closed_at,
        "primary": incident.primary,
        "severity": incident.severity,
        "failed": incident.failed,
        "failure_probability": prediction.failure_probability if prediction else None,
        "verdict": decision.verdict.value if decision else None,
        "outcome": outcome.result if outcome else None,
    }


def _case_row(case: CaseLine) -> list[str]:
    row = _case_json(case)
    probability = row["failure_probability"]
    return [
        row["correlation_id"],
        row["application"],
        row["status"],
        time_text(row["opened_at"]),
        _cut(row["primary"]),
        "-" if probability is None else f"{probability:.2f}",
        row["verdict"] or "-",
        row["outcome"] or "-",
    ]
