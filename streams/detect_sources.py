"""How far each source and each service is covered: the shared half of detect.

In: the `sources` of TemplateCounts and the connector's clock. Out: for each service the bucket up to which it may be
closed, and the sources that stalled or moved again.

- A source is *live* while it is listed: seen within 3 heartbeats of the newest clock. What is not listed holds nothing
  back; when it comes again, its lines are late or not, by their time.
- A live source is *stalled* when it has not advanced for `stall_seconds` of its connector's clock although that clock
  is ahead of it. (A source reading old lines is behind its clock too, but advances.) Until then it holds its services
  back, from then on it is passed over where another live source covers the service, and what is closed without it is
  not whole: no drop, no silence and no learning from it. Where it is the only source nothing closes at all.
- No live source holds a service back by more than an hour against the service's newest: open buckets are bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from pydantic import BaseModel

from models.catalog import Catalog
from models.errors import ContractError
from models.log import HEARTBEAT_MS, LATENESS_MS
from models.template import BUCKET_MS, CoveredSource

__all__ = [
    "MAX_LEAD_MS",
    "Coverage",
    "DetectShared",
    "Moves",
    "Source",
    "check_coverage",
    "cover",
    "coverage_of",
    "link",
]

MAX_LEAD_MS: Final = 3_600_000
"""How far event time may run ahead of the connector's clock, and a service's newest source ahead of its oldest."""

_FARTHEST_MS = 1 << 53
_LIVE_MS = 3 * HEARTBEAT_MS
_LAG_MS = _LIVE_MS + LATENESS_MS
_FORGET_MS = 86_400_000


class Source(BaseModel):
    """One source: complete to `covered_until`, last listed at `seen_at`, last moved at `advanced_at` (ms)."""

    covered_until: int
    seen_at: int
    advanced_at: int
    stalled: bool = False
    services: dict[str, None] = {}
    """An ordered set: a file may speak for a thousand services."""


class Coverage(BaseModel):
    """One service: its sources and the first bucket that has not been given free to close."""

    sources: dict[str, None] = {}
    closed: int = 0


class DetectShared(BaseModel):
    """What detect knows of a partition: the newest connector clock, sources, services, and the newest catalog."""

    at: int = 0
    sources: dict[str, Source] = {}
    services: dict[str, Coverage] = {}
    catalog: Catalog = Catalog()


class Moves(NamedTuple):
    """What the sources of one event did: services to look at again, and sources stalled or moving again, by service."""

    touched: dict[str, None]
    stalled: dict[str, list[str]]
    resumed: dict[str, list[str]]


def check_coverage(sources: Iterable[CoveredSource], at: int, logged_at: int) -> None:
    """Raises ContractError where a connector's clock `at` is more than an hour ahead of the log's (0: not logged), and
    where a source claims to be complete to more than an hour after that clock. The newest clock is kept: one that is
    years ahead would hide every stall until then.
    """
    if at < 0 or (logged_at and at > logged_at + MAX_LEAD_MS):
        raise ContractError("clock_wrong", f"the connector's clock says {at}, the log's {logged_at}: correct the first")
    for source in sources:
        if source.covered_until < -_FARTHEST_MS:
            raise ContractError(
                "covered_until_invalid", f"source {source.source_id!r}: ms must be within ±2^53 of 1970"
            )
        if source.covered_until > at + MAX_LEAD_MS:
            raise ContractError(
                "covered_until_in_future",
                f"source {source.source_id!r} claims {source.covered_until}, its connector's clock says {at}: "
                "correct that clock or the time stamps of the source",
            )


def cover(shared: DetectShared, sources: Iterable[CoveredSource], at: int, stall_ms: float) -> Moves:
    """Note how far the sources of an event have come."""
    shared.at = max(shared.at, at)
    moves = Moves({}, {}, {})
    for item in sources:
        source = shared.sources.get(item.source_id)
        if source is None:
            source = Source(covered_until=item.covered_until, seen_at=shared.at, advanced_at=shared.at)
            shared.sources[item.source_id] = source
        source.seen_at = shared.at
        for service in item.services:
            link(shared, item.source_id, service)
        if item.covered_until > source.covered_until:
            source.covered_until, source.advanced_at = item.covered_until, shared.at
            if source.stalled:
                source.stalled = False
                _list(moves.resumed, source.services, item.source_id, moves.touched)
        elif not source.stalled and _stands(source, shared.at, stall_ms):
            source.stalled = True
            _list(moves.stalled, source.services, item.source_id, moves.touched)
        free = source.covered_until // BUCKET_MS
        for service in source.services:
            if shared.services[service].closed < free:
                moves.touched[service] = None
    return moves


def link(shared: DetectShared, source_id: str, service: str) -> None:
    """Remember that this source gives lines of this service."""
    covered = shared.services.get(service)
    if covered is None:
        covered = shared.services[service] = Coverage()
    if source_id not in covered.sources:
        shared.sources[source_id].services[service] = None
        covered.sources[source_id] = None


def coverage_of(shared: DetectShared, service: str) -> tuple[int, bool]:
    """The first bucket of the service that may not be closed yet, and whether all its live sources cover what may."""
    covered = shared.services[service]
    known = [(name, shared.sources[name]) for name in covered.sources]
    gone = [name for name, source in known if shared.at - source.seen_at > _FORGET_MS]
    for name in gone:
        del covered.sources[name], shared.sources[name].services[service]
        if not shared.sources[name].services:
            del shared.sources[name]
    live = [source for _, source in known if shared.at - source.seen_at <= _LIVE_MS]
    moving = [source.covered_until for source in live if not source.stalled]
    if moving:
        watermark = max(min(moving), max(moving) - MAX_LEAD_MS)
        free = watermark // BUCKET_MS
        if free > covered.closed:
            covered.closed = free
    return covered.closed, len(moving) == len(live)


def _stands(source: Source, now: int, stall_ms: float) -> bool:
    limit = max(stall_ms, _LAG_MS)
    return now - source.advanced_at >= limit and now - source.covered_until > _LAG_MS


def _list(into: dict[str, list[str]], services: Iterable[str], source_id: str, touched: dict[str, None]) -> None:
    for service in services:
        into.setdefault(service, []).append(source_id)
        touched[service] = None
