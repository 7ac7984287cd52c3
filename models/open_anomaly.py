"""The life of an anomaly: opened once, updated while it lasts, cleared once.

In: verdicts on windows. Out: the record a service keeps of it, and the words (`Anomaly`) it is told in.

An anomaly may be told before its window closes. What was told early has no part in any later judgement: when the window
closes the record is made anew from the closed count, or the early word is taken back. So all that follows from closed
windows is the same however the lines were delivered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models.anomaly import Anomaly, BaselineView, Kind, LinePointer, Status, Tier, Window
from models.count_tail import LN10, sigma_of
from models.event import digest
from models.template import BUCKET_MS
from models.window import BUCKETS_A_MINUTE

__all__ = ["Finding", "OpenAnomaly", "name_of"]


@dataclass(slots=True)
class Finding:
    """What was seen on one series: the figures of a verdict, on the window [`first`, `last`] of 10 s buckets."""

    kind: Kind
    tier: Tier
    rule: str
    first: int
    last: int
    observed: float
    expected: float
    dispersion: float
    log_p: float
    learnt: int
    warm: bool
    generation: int = 0
    """Of the baselines it rests on (0: learnt live)."""

    @property
    def excess(self) -> float:
        """Lines in 60 s above the expected."""
        return (self.observed - self.expected) * BUCKETS_A_MINUTE / (self.last - self.first + 1)


@dataclass(slots=True)
class OpenAnomaly:
    """One anomaly and what was last told of it. `calm` counts closed buckets back under the bound; `peak` is its
    largest excess (lines in 60 s above the expected) at a closing; `slot` is its series' place, or -1 for a source.
    """

    anomaly_id: str
    finding: Finding
    slot: int
    series_id: str
    source_id: str = ""
    revision: int = 0
    opened_at: int = 0
    calm: int = 0
    peak: float = 0.0
    evidence: tuple[LinePointer, ...] = field(default=())

    @classmethod
    def begin(cls, service: str, slot: int, series_id: str, finding: Finding, source_id: str = "") -> OpenAnomaly:
        """An anomaly first seen in this finding. Its id names service, series, kind and the start of that window."""
        name = digest(service, series_id or source_id, finding.kind, str(finding.first * BUCKET_MS))
        return cls(name, finding, slot, series_id, source_id, opened_at=(finding.last + 1) * BUCKET_MS)

    def tell(self, service: str, application: str, text: str, severity: int, status: Status, closed: bool) -> Anomaly:
        """The next revision, in words."""
        self.revision += 1
        seen = self.finding
        return Anomaly(
            anomaly_id=self.anomaly_id,
            revision=self.revision,
            status=status,
            tier=seen.tier,
            kind=seen.kind,
            service=service,
            application=application,
            template_id=self.series_id,
            source_id=self.source_id,
            text=text,
            severity=severity,
            window=Window(start=seen.first * BUCKET_MS, end=(seen.last + 1) * BUCKET_MS, closed=closed),
            observed=seen.observed,
            expected=round(seen.expected, 6),
            dispersion=round(seen.dispersion, 6),
            log10_p=round(seen.log_p / LN10, 4),
            sigma=round(max(0.0, sigma_of(seen.log_p)), 2),
            rule=seen.rule,
            baseline=BaselineView(generation=seen.generation, n=seen.learnt, warm=seen.warm),
            evidence=self.evidence,
            opened_at=self.opened_at,
        )

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it."""
        seen = {name: getattr(self.finding, name) for name in Finding.__slots__}
        own = {name: getattr(self, name) for name in OpenAnomaly.__slots__ if name not in ("finding", "evidence")}
        pointers = [[p.partition, p.offset, p.line] for p in self.evidence]
        return own | {"finding": seen, "evidence": pointers}

    @classmethod
    def load(cls, raw: dict[str, Any]) -> OpenAnomaly:
        """Back from `dump`."""
        seen = dict(raw["finding"])
        finding = Finding(**(seen | {"kind": Kind(seen["kind"]), "tier": Tier(seen["tier"])}))
        pointers = tuple(LinePointer(partition=p, offset=o, line=n) for p, o, n in raw["evidence"])
        return cls(**(raw | {"finding": finding, "evidence": pointers}))


def name_of(series_id: str, kind: Kind) -> str:
    """The key under which a service keeps what it knows of a series' anomaly."""
    return f"{series_id}|{kind}"
