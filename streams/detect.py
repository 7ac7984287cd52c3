"""The step `detect`: counts in, anomalies and health out. Key: service.

In, on `counts`: TemplateCounts (mine), Catalog (operator), generations of baselines and their rollback (replay). Out:
every Anomaly on `anomalies`, the same on `signals` for the service's application, ServiceHealth on `health` once a
closed minute, and at every closed bucket while an alarm is open or was within 15 minutes; AuditEntries of generations.

Time is event time: a bucket closes when the service's sources have covered it (streams/detect_sources.py). Whatever is
told of closed windows depends on the counts in them alone; only what is told early, of windows still open, depends on
how the lines were delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import intern
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.anomaly import Anomaly, Kind, LinePointer, Status, Tier
from models.catalog import Catalog
from models.errors import ContractError
from models.event import Event
from models.log import Severity
from models.open_anomaly import Finding, OpenAnomaly
from models.service_state import ServiceState
from models.template import BUCKET_MS, Section, TemplateCounts
from models.vocabulary import has_failure_words
from models.window import BUCKETS_A_MINUTE
from streams.detect_buckets import close_until
from streams.detect_columns import LAST_BUCKET, Columns, check_pointer, columns_of
from streams.detect_generations import GenerationEvent, audits_of, check_generation, take
from streams.detect_health import has_open_or_recent_alarm, health_of
from streams.detect_judge import Judge
from streams.detect_rows import Known, Rows, known_of, rows_of, take_rows
from streams.detect_sources import MAX_LEAD_MS, DetectShared, check_coverage, cover, coverage_of, link
from streams.step import Emit, Keeper, ModelKeeper, Part, Turn

__all__ = ["Detect", "Share"]

NewJudge = Callable[[ServiceState, Callable[[], str]], Judge]
"""A judge for one service and turn; the second argument names the service's application."""
_MAX_AHEAD: Final = MAX_LEAD_MS // BUCKET_MS + 40
"""Buckets a line may be ahead of what its service has closed: an hour between its sources, and some lateness."""


class Share(NamedTuple):
    """One service's part of an event: its sections, what may be closed, and which sources stalled or moved again."""

    sections: tuple[Columns, ...]
    end: int
    whole: bool
    stalled: tuple[tuple[str, int], ...] = ()
    """Source and the time (ms) it is complete to."""
    resumed: tuple[str, ...] = ()


class _ServiceKeeper:
    def initial(self, key: str) -> ServiceState:
        return ServiceState(key)

    def dump(self, value: ServiceState) -> bytes:
        return value.dump()

    def load(self, raw: bytes) -> ServiceState:
        return ServiceState.load(raw, intern)


class Detect:
    """Windows, baselines and verdicts of all services of a partition."""

    name = "detect"
    inbox = "counts"
    urgent = False
    shared: Keeper[DetectShared] = ModelKeeper(DetectShared)
    state: Keeper[ServiceState] = _ServiceKeeper()

    def __init__(self, failing: Callable[[str], bool] = has_failure_words, judge: NewJudge = Judge) -> None:
        self._failing, self._judge = failing, judge

    def admit(self, shared: DetectShared, event: Event[Any]) -> tuple[DetectShared, Sequence[Part]]:
        """Note the sources' progress; a part for each service with lines, with buckets free to close, or with a source
        that stalled or moved again.
        """
        if isinstance(event.data, Catalog):
            shared.catalog = event.data
            return shared, ()
        if isinstance(event.data, GenerationEvent):
            if wrong := check_generation(event.data):
                raise ContractError("generation_invalid", wrong)
            return shared, (Part(event.data.service, event),)
        if not isinstance(event.data, TemplateCounts):
            return shared, ()
        counts = event.data
        check_pointer(counts.input)
        check_coverage(counts.sources, event.at, event.logged_at)
        return shared, self._parts(shared, event, columns_of(counts.sections))

    def _parts(self, shared: DetectShared, event: Event[TemplateCounts], read: Sequence[Columns]) -> list[Part]:
        sections: dict[str, list[Columns]] = {}
        for columns in read:
            sections.setdefault(columns.section.service, []).append(columns)
        moves = cover(shared, event.data.sources, event.at, shared.catalog.detection.stall_seconds * 1_000)
        for service in sections:
            if service not in shared.services:
                for source in event.data.sources:  # no source claims it: all of this batch do
                    link(shared, source.source_id, service)
        parts = []
        for service in sections | moves.touched:
            before = shared.services[service].closed if service in shared.services else 0
            end, whole = coverage_of(shared, service) if service in shared.services else (0, True)
            stalled = tuple((name, shared.sources[name].covered_until) for name in moves.stalled.get(service, ()))
            resumed = tuple(moves.resumed.get(service, ()))
            if service in sections or end > before or stalled or resumed:
                share = Share(tuple(sections.get(service, ())), end, whole, stalled, resumed)
                parts.append(Part(service, event, share))
        return parts

    def advance(self, shared: DetectShared, state: ServiceState, part: Part) -> Turn[ServiceState]:
        """Take the service's rows, close what is covered, judge, and judge the open windows early."""
        catalog = shared.catalog

        def application() -> str:
            return catalog.application_of(state.service)

        if isinstance(part.event.data, GenerationEvent):
            take(state, part.event.data)
            return Turn(state, audits_of(state, application(), part.event.at))
        share: Share = part.share
        judge = self._judge(state, application)
        before = state.next_bucket
        told = _stalls(state, share, part.event.at, application)
        counts: TemplateCounts = part.event.data
        state.partition = counts.input.partition
        touched = self._take(state, share, counts, catalog, judge)
        if state.next_bucket < 0 < share.end:
            state.start(share.end)
        close_until(state, share.end, share.whole, catalog.detection, judge)
        for bucket in sorted(touched):
            if bucket >= state.next_bucket:
                judge.early(bucket)
                judge.early_unborn(bucket, touched[bucket])
        told += judge.told
        emits = [emit for anomaly in told for emit in _emits(anomaly)]
        if _wants_health(state, before):
            health = health_of(state, application())
            emits.append(Emit("health", state.service, health.watermark, health))
        if state.generations.told:
            emits += audits_of(state, application(), part.event.at)
        return Turn(state, emits)

    def _take(
        self, state: ServiceState, share: Share, counts: TemplateCounts, catalog: Catalog, judge: Judge
    ) -> dict[int, list[tuple[str, LinePointer]]]:
        """Take the rows bucket by bucket, closing what is free before each, so that a batch that spans hours needs no
        more memory than one of seconds. Returns the open buckets that got lines, with their failing unborn templates.
        """
        offset, cap = counts.input.offset, catalog.detection.max_templates
        touched: dict[int, list[tuple[str, LinePointer]]] = {}
        work = [(rows, columns) for columns in share.sections for rows in rows_of(columns)]
        if len(work) > 1:
            work.sort(key=lambda item: item[0].bucket)
        known: dict[int, Known] = {}
        named = -1
        for rows, columns in work:
            if not 0 <= rows.bucket <= LAST_BUCKET:
                state.lose("late" if rows.bucket < 0 else "future", rows.lines)
                continue
            if state.next_bucket < 0:
                state.start(rows.bucket)
            if rows.bucket < state.next_bucket:
                state.lose("late", rows.lines)
                continue
            if rows.bucket > max(share.end, state.next_bucket) + _MAX_AHEAD:
                state.lose("future", rows.lines)
                continue
            close_until(state, min(rows.bucket, share.end), share.whole, catalog.detection, judge)
            if named != state.series.changes:
                named, known = state.series.changes, {}
            if id(columns) not in known:
                known[id(columns)] = known_of(state, columns)
            at = take_rows(state, columns.section, rows, known[id(columns)], offset, self._failing, cap)
            if rows.bucket >= share.end:
                touched.setdefault(rows.bucket, []).extend(_failing_unborn(state, columns.section, rows, at, offset))
        return touched


def _failing_unborn(
    state: ServiceState, section: Section, rows: Rows, at: NDArray[np.intp], offset: int
) -> list[tuple[str, LinePointer]]:
    """The templates without a slot among the rows that speak of failure, each with a pointer to a line of it."""
    if np.minimum.reduce(at) >= 0:
        return []
    found = []
    for row in np.flatnonzero(at < 0).tolist():
        place = int(rows.template[row])
        name = section.ids[place]
        unborn = state.unborn.get(name)
        if unborn is not None and (unborn.failing or section.severities[place] >= Severity.ERROR):
            line = int(rows.first_line[row])
            found.append((name, LinePointer(partition=state.partition, offset=offset, line=line)))
    return found


def _stalls(state: ServiceState, share: Share, at: int, application: Callable[[], str]) -> list[Anomaly]:
    """Tell which sources of the service stalled, and which moved again. `at` is the connector's clock."""
    told = []
    for source, covered in share.stalled:
        first, last = covered // BUCKET_MS, max(covered, at - 1) // BUCKET_MS
        seconds = (at - covered) / 1_000
        seen = Finding(Kind.SOURCE_STALLED, Tier.ALARM, "stalled", first, last, seconds, 0.0, 0.0, 0.0, 0, True)
        held = state.stalls[source] = OpenAnomaly.begin(state.service, -1, "", seen, source)
        told.append(held.tell(state.service, application(), f"source {source}", 0, Status.OPENED, True))
    for source in share.resumed:
        if source in state.stalls:
            held = state.stalls.pop(source)
            told.append(held.tell(state.service, application(), f"source {source}", 0, Status.CLEARED, True))
    return told


def _emits(anomaly: Anomaly) -> tuple[Emit, Emit]:
    at = anomaly.window.end
    return Emit("anomalies", anomaly.service, at, anomaly), Emit("signals", anomaly.application, at, anomaly)


def _wants_health(state: ServiceState, before: int) -> bool:
    if state.next_bucket <= max(before, 0):
        return False
    # Once a minute, but not of all services at once.
    minutes = (state.next_bucket - state.delay) // BUCKETS_A_MINUTE > (before - state.delay) // BUCKETS_A_MINUTE
    return minutes or has_open_or_recent_alarm(state)
