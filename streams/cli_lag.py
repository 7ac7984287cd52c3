"""`foreshock lag`: how far the steps are behind, as tables or as one JSON object a look.

In: a log that knows its groups. Out: stdout.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from connectors.shared_log import INSPECT
from connectors.where import Where
from streams.cli_where import opened
from streams.lag import LagReport, PartitionLag, Watermarks, measure_lag, require_topics
from streams.rendering import put, put_json, put_table, seconds_text, time_text

__all__ = ["lag"]

_WATCH_SECONDS: Final = 2.0


def lag(where: Where, *, watch: bool, as_json: bool) -> None:
    """Show it once; with `watch` again and again, until interrupted. Raises MissingTopicError."""
    with opened(where) as log:
        require_topics(log, where.options)
        watermarks = Watermarks(log)
        _show(measure_lag(log, watermarks), as_json)
        while watch:
            time.sleep(_WATCH_SECONDS)
            _show(measure_lag(log, watermarks), as_json)


def _show(report: LagReport, as_json: bool) -> None:
    if as_json:
        put_json(_json(report))
        return
    put(time_text(report.at))
    inspected = [row for row in report.partitions if row.role == INSPECT]
    put_table(
        ["role", "topic", "partition", "committed", "end", "lag", "oldest unread", "member"],
        [
            *(_row(row) for row in report.partitions if row.role != INSPECT),
            *([_summary(inspected)] if inspected else ()),
        ],
    )
    put("")
    put_table(
        ["partition", "covered until", "behind now", "service furthest behind", "its watermark behind now"],
        [
            [
                str(mark.partition),
                "-" if mark.covered_until is None else time_text(mark.covered_until),
                _seconds(mark.delay_seconds),
                mark.service or "-",
                _seconds(mark.service_delay_seconds),
            ]
            for mark in report.watermarks
        ],
    )


def _row(row: PartitionLag) -> list[str]:
    return [
        row.role,
        row.topic,
        str(row.partition),
        "-" if row.committed is None else str(row.committed),
        str(row.end),
        str(row.records),
        _seconds(row.oldest_seconds),
        row.member or "nobody",
    ]


def _summary(rows: Sequence[PartitionLag]) -> list[str]:
    """All partitions of all topics that the inspectors read, in one row: --json has each."""
    oldest = max((row.oldest_seconds for row in rows if row.oldest_seconds is not None), default=None)
    members = sorted({row.member for row in rows if row.member})
    topics = f"{len({row.topic for row in rows})} topics"
    records = str(sum(row.records for row in rows))
    return [INSPECT, topics, "all", "-", "-", records, _seconds(oldest), ", ".join(members) or "nobody"]


def _json(report: LagReport) -> dict[str, Any]:
    return {
        "at": report.at,
        "groups": [
            {"role": group.role, "group": group.name, "state": group.state, "members": list(group.members)}
            for group in {group.name: group for group in report.groups}.values()
        ],
        "partitions": [row._asdict() for row in report.partitions],
        "watermarks": [mark._asdict() for mark in report.watermarks],
    }


def _seconds(value: float | None) -> str:
    return "-" if value is None else seconds_text(value)
