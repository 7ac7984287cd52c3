"""What detect says: anomalies (on `anomalies` by service and on `signals` by application) and a service's health."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from models.event import Contract, Model

__all__ = [
    "UNJUDGED",
    "Anomaly",
    "BaselineView",
    "Kind",
    "LinePointer",
    "SeriesHealth",
    "ServiceHealth",
    "Status",
    "Tier",
    "Window",
]


class Kind(StrEnum):
    """What is wrong with a series. The first three are about one template or a service's total."""

    SPIKE = "spike"
    DROP = "drop"
    NOVELTY = "novelty"
    SERVICE_SILENT = "service_silent"
    SOURCE_STALLED = "source_stalled"


class Tier(StrEnum):
    """`watch`: 3.5σ on one series, published. `alarm`: it also holds the false-alarm budget and opens incidents."""

    WATCH = "watch"
    ALARM = "alarm"


class Status(StrEnum):
    """An anomaly's life: opened once, updated while it lasts (a higher tier, a closed window), cleared once."""

    OPENED = "opened"
    UPDATED = "updated"
    CLEARED = "cleared"


_MOST_MS = 1 << 53
"""Of a time: what JSON numbers hold exactly in every language, and floats can divide."""


class Window(Model):
    """The tested window [start, end) in ms of event time; `closed` once the watermark has passed its end."""

    start: Annotated[int, Field(ge=-_MOST_MS, le=_MOST_MS)]
    end: Annotated[int, Field(ge=-_MOST_MS, le=_MOST_MS)]
    closed: bool


class LinePointer(Model):
    """One line in the log: partition and offset of its batch on `logs`, line number in it (0-based)."""

    partition: int
    offset: int
    line: int


class BaselineView(Model):
    """The baseline behind a verdict: its generation (0 = learnt live), closed minutes learnt, warm (n >= 288)."""

    generation: int = 0
    n: int
    warm: bool


class Anomaly(Contract):
    """One series off its baseline. `template_id` "" is the service's total. `log10_p`, `sigma` judge the exact count.

    `source_id` names the source of a `source_stalled`; `rule` names the rule of MATH.md C or D that set the tier.
    """

    TYPE: ClassVar[str] = "anomaly"

    anomaly_id: str
    revision: int
    status: Status
    tier: Tier
    kind: Kind
    service: str
    application: str
    template_id: str = ""
    source_id: str = ""
    text: str = ""
    severity: int = 0
    window: Window
    observed: float
    expected: float
    dispersion: float = 0.0
    log10_p: float
    sigma: float
    rule: str
    baseline: BaselineView
    evidence: tuple[LinePointer, ...] = ()
    opened_at: int

    @property
    def series(self) -> str:
        """The natural key of what is anomalous: service, template or source, kind."""
        return f"{self.service}/{self.template_id or self.source_id}/{self.kind}"

    def digest_view(self) -> dict[str, Any]:
        """Natural keys and the verdict. Ids, pointers, the revision number, and whether the anomaly was told before its
        window closed (so that the closed window is an update) belong to one log.
        """
        view = self.model_dump(mode="json", exclude={"anomaly_id", "revision", "evidence", "status"})
        return view | {"cleared": self.status is Status.CLEARED}


UNJUDGED = 1e9
"""`SeriesHealth.upper` of a series without a baseline: nothing is known to be too much."""


class SeriesHealth(Model):
    """The last six closed 10 s buckets of one series, oldest first, and the most that is still normal in 10 s
    (UNJUDGED or more: nobody knows yet).
    """

    template_id: str
    kinds: tuple[Kind, ...]
    observed: tuple[float, ...]
    expected: float
    upper: float


class ServiceHealth(Contract):
    """A service as detect sees it at `watermark` (ms): is it alive, what is open, and is it back to normal.

    `total` is all its lines, `errors` its lines of severity ERROR or worse (the usual guard signal).
    """

    TYPE: ClassVar[str] = "service_health"

    service: str
    application: str
    alive: bool
    watermark: int
    total: SeriesHealth
    errors: SeriesHealth
    open: tuple[SeriesHealth, ...] = ()
    """Series with an open anomaly, and for 15 minutes those whose anomaly was cleared (`kinds` is empty)."""
    lost: dict[str, int] = {}
    """Lines not taken since the state began, by reason: `late` (their bucket had closed), `future`."""
