"""The topics: the product's public face. One row each: its key, who writes and reads it, how long it is kept.

Only `logs -> counts -> anomalies, health` keep the partition number of their input; everything else goes to
`partition_of(key, n)`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["INSPECTED", "TOPICS", "Topic", "partition_of"]

_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's contract. `retention_ms` None means compacted: the newest value of each key is kept for good."""

    name: str
    key: str
    types: tuple[str, ...]
    retention_ms: int | None
    written_by: str
    read_by: str
    keeps_partition: bool = False
    inbox_of: str = ""

    @property
    def compacted(self) -> bool:
        """True where the newest value of each key is kept for good."""
        return self.retention_ms is None


_ROWS = (
    Topic("logs", "partition of the service", ("log_batch",), 3 * _DAY, "connectors", "mine", inbox_of="mine"),
    Topic(
        "counts",
        "the same partition",
        ("template_counts", "catalog", "tick", "baseline_snapshot", "baseline_rollback"),
        30 * _DAY,
        "mine, host, replay",
        "detect",
        keeps_partition=True,
        inbox_of="detect",
    ),
    Topic("anomalies", "service", ("anomaly",), 30 * _DAY, "detect", "subscribers", keeps_partition=True),
    Topic("health", "service", ("service_health",), None, "detect", "act, the page", keeps_partition=True),
    Topic(
        "signals",
        "application",
        (
            "anomaly",
            "infra_event",
            "change",
            "history_recalled",
            "model_answered",
            "effect_answered",
            "outcome",
            "review",
            "control",
            "catalog",
            "tick",
        ),
        90 * _DAY,
        "connectors, detect, host, act, people",
        "the case",
        inbox_of="case",
    ),
    Topic("incidents", "application", ("incident",), 90 * _DAY, "case", "subscribers"),
    Topic("predictions", "application", ("prediction", "decision"), 90 * _DAY, "case", "subscribers"),
    Topic("alerts", "application", ("alert",), 90 * _DAY, "case", "subscribers"),
    Topic(
        "commands",
        "target",
        ("command", "effect_answered", "control", "catalog", "tick"),
        7 * _DAY,
        "decide, host",
        "act",
        inbox_of="act",
    ),
    Topic("journal", "target", ("journal_entry",), 90 * _DAY, "act", "act, the page"),
    Topic(
        "history",
        "correlation id, or application/pattern/runbook",
        ("history_record", "pattern_stats"),
        None,
        "learn",
        "history tables",
    ),
    Topic("catalog", "own id", ("catalog",), None, "operator", "all, as broadcasts into each inbox"),
    Topic("audit", "correlation id", ("audit_entry",), 400 * _DAY, "all", "anyone"),
    Topic("dead-letters", "source", ("dead_letter",), 14 * _DAY, "all", "operator"),
)

TOPICS: dict[str, Topic] = {row.name: row for row in _ROWS}
INSPECTED: tuple[str, ...] = tuple(row.name for row in _ROWS if not row.inbox_of and row.name != "dead-letters")
"""The topics that no step reads, so that no step refuses what a stranger puts there: they are inspected for it."""


def partition_of(key: str, partitions: int) -> int:
    """The partition of `key` among `partitions`: Kafka's default partitioner (murmur2, seed 0x9747b28c), so that any
    Kafka client puts the same key on the same partition.
    """
    return (_murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    size = len(data)
    h = (0x9747B28C ^ size) & mask
    whole = size & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if size & 3:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
