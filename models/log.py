"""Log lines on their way in: what a connector puts on `logs`.

A LogBatch is bound for one log partition and holds many services' lines in columns. An empty batch is a heartbeat.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from models.event import Contract, Model

__all__ = [
    "HEARTBEAT_MS",
    "LATENESS_MS",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_LINES",
    "MAX_BATCH_MS",
    "MAX_MESSAGE_BYTES",
    "NEWLINE_IN_MESSAGE",
    "LogBatch",
    "Severity",
    "SourceRange",
]

MAX_BATCH_LINES = 4_000
MAX_BATCH_BYTES = 512 * 1024
MAX_BATCH_MS = 400
"""A turn of detect for each service and batch costs nearly the same for 10 lines as for 40: at 1,000 services, lines
that wait 200 ms longer bring alerts seconds sooner."""
MAX_MESSAGE_BYTES = 8 * 1024
HEARTBEAT_MS = 1_000
LATENESS_MS = 5_000
"""A followed source promises to have given everything up to its last event time minus this."""
NEWLINE_IN_MESSAGE = "\u2028"
"""What stands in a message where a newline stood: messages are joined with newlines."""


class Severity(IntEnum):
    """A line's own word for how bad it is. UNKNOWN lets mine read it from the template."""

    UNKNOWN = 0
    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    FATAL = 5


class SourceRange(Model):
    """What one source gave in a batch: cursors (opaque to all but its connector) and the event time it is complete to.

    `services` names the services this source has given lines of in this range; detect remembers them, so that a
    heartbeat (empty range) still moves their watermark.
    """

    source_id: str
    cursor_from: str
    cursor_to: str
    covered_until: int
    services: tuple[str, ...] = ()


class LogBatch(Contract):
    """Lines of many services for one log partition, in columns. The event's `at` is the connector's clock (ms).

    `service_index`, `timestamps` (ms) and `severity` have one item a line; `messages` joins the lines with newlines
    ("" when there is none: see `lines`). `truncated` counts messages cut at 8 KB; `dropped` counts by reason.
    """

    TYPE: ClassVar[str] = "log_batch"

    sources: tuple[SourceRange, ...]
    services: tuple[str, ...] = ()
    service_index: list[int] = []
    timestamps: list[int] = []
    severity: list[int] = []
    messages: str = ""
    event_ids: list[str] | None = None
    truncated: int = 0
    dropped: dict[str, int] = {}

    @property
    def lines(self) -> int:
        """How many lines the batch holds."""
        return len(self.timestamps)
