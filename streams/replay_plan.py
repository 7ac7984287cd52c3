"""What a replay will read: ranges of offsets from times or offsets, and the minutes it will not learn from.

In: a request as a person wrote it, and the log. Out: a plan of nothing but numbers, so that a replay that was
interrupted goes on with the same one, whatever has been logged since.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol

from connectors.ports import Entry, UnitName
from connectors.shared_log import SharedLog
from models.anomaly import Anomaly
from models.catalog import Catalog
from models.errors import ForeshockError, UsageError
from models.event import Model, digest
from models.incident import Incident
from models.retraining import LeftOut, alarm_spans, incident_spans
from models.snapshot import ReplayRange, Span
from models.template_rules import RULES_VERSION
from models.topics import partition_of
from streams.reading import events_of

__all__ = ["Plan", "ReplayError", "ReplayPlace", "Request", "generation_of", "make_plan"]

_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LEARNING: Final = 1
"""Grows when the same counts teach other baselines."""


class ReplayError(ForeshockError):
    """A replay cannot do what was asked of it."""


class ReplayPlace(Protocol):
    """Where a deployment keeps its log and what its steps remember."""

    log: SharedLog

    def log_name(self, topic: str) -> str:
        """Tells this log from every other, also from one that stood in its place before: offsets mean nothing there."""
        ...

    def entries(self, unit: UnitName) -> Iterator[Entry]:
        """What a step's partition has saved, by key; nothing where that cannot be known."""
        ...


class Request(Model):
    """What a person asks for. `since` and `until`: a time (ISO 8601 or ms), a span before now (`7d`), an offset
    (`@12`), or "" for the log's own bounds. Times are those of the log: when it took a record.
    """

    topic: str
    since: str = ""
    until: str = ""
    service: str = ""
    with_incidents: bool = False
    margin_minutes: int = 10

    @property
    def name(self) -> str:
        """The same for the same request."""
        return digest(self.model_dump_json(), size=6)


class Plan(Model):
    """What is read and what is left out of it. `alarms` are by service, `incidents` by application."""

    request: Request
    made_at: int
    partitions: int
    ranges: tuple[ReplayRange, ...]
    catalog: Catalog
    alarms: dict[str, tuple[Span, ...]] = {}
    incidents: dict[str, tuple[Span, ...]] = {}

    def left_out(self, service: str) -> LeftOut:
        """The minutes not learnt of a service: its alarms, and the incidents of its application."""
        application = self.catalog.application_of(service)
        return LeftOut([*self.alarms.get(service, ()), *self.incidents.get(application, ())])


class LeftOutByService(Mapping[str, LeftOut]):
    """A plan's minutes left out, for whatever services come."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._made: dict[str, LeftOut] = {}

    def __getitem__(self, service: str) -> LeftOut:
        if service not in self._made:
            self._made[service] = self._plan.left_out(service)
        return self._made[service]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def make_plan(place: ReplayPlace, request: Request) -> Plan:
    """Resolve the request. Raises ReplayError where it names nothing that can be read."""
    log, now = place.log, place.log.now()
    count = log.partitions(request.topic)
    wanted = [partition_of(request.service, count)] if request.service else list(range(count))
    ranges = [_range(log, request, partition, now) for partition in wanted]
    ranges = [each for each in ranges if each.begin < each.end]
    if not ranges:
        raise ReplayError(
            f"{request.topic} holds nothing from {request.since or 'its beginning'} to {request.until or 'its end'}. "
            f"Look at it with `foreshock tap {request.topic} --last 1`, and give --from and --to within it."
        )
    catalogs = [event.data for event in events_of(log, "catalog", Catalog)]
    alarms: dict[str, list[Span]] = {}
    incidents: dict[str, list[Span]] = {}
    if not request.with_incidents:
        margin = request.margin_minutes * 60_000
        alarms = alarm_spans((event.data for event in events_of(log, "anomalies", Anomaly)), margin)
        incidents = incident_spans((event.data for event in events_of(log, "incidents", Incident)), margin)
    return Plan(
        request=request,
        made_at=now,
        partitions=count,
        ranges=tuple(ranges),
        catalog=catalogs[-1] if catalogs else Catalog(),
        alarms={service: tuple(spans) for service, spans in alarms.items()},
        incidents={application: tuple(spans) for application, spans in incidents.items()},
    )


def generation_of(plan: Plan, service: str, within: ReplayRange) -> str:
    """The id of what this plan teaches of a service: a digest of all that it depends on."""
    spans = ",".join(f"{span.start}-{span.end}" for span in plan.left_out(service).spans)
    source = f"{plan.request.topic}/{within.partition}@{within.begin}-{within.end}"
    return digest(service, source, spans, plan.catalog.detection.model_dump_json(), f"{RULES_VERSION}.{_LEARNING}")


def _range(log: SharedLog, request: Request, partition: int, now: int) -> ReplayRange:
    first, end = log.bounds(request.topic, partition)
    begin, stop = first, end
    if request.since:
        begin = max(first, _offset(log, request.topic, partition, "--from", request.since, now))
    if request.until:
        stop = min(end, _offset(log, request.topic, partition, "--to", request.until, now))
    return ReplayRange(partition=partition, begin=begin, end=stop)


def _offset(log: SharedLog, topic: str, partition: int, option: str, text: str, now: int) -> int:
    if re.fullmatch(r"@\d{1,18}", text):
        return int(text[1:])
    return log.offset_at(topic, partition, _time(option, text, now))


def _time(option: str, text: str, now: int) -> int:
    span = _SPAN.fullmatch(text)
    if span is not None:
        return now - int(span[1]) * _UNIT_MS[span[2]]
    if re.fullmatch(r"\d{7,16}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: write a time as 2026-03-01T12:00Z or in ms, a span before now as 7d, 12h or 90m, "
            "or an offset as @1234"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
