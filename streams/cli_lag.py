"""`foreshock lag`: how far the steps are behind, as tables or as one JSON object a look.

In: a log that knows its groups. Out: stdout.
"""

from __future__ import annotations

import time
from typing import Any, Final

from connectors.where import Where
from streams.cli_where import opened
from streams.lag import LagReport, Watermarks, measure_lag, require_topics
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
    put_table(
        ["role", "topic", "partition", "committed", "end", "lag", "oldest unread", "member"],
        [
            [
                row.role,
                row.topic,
                str(row.partition),
                "-" if row.committed is None else str(row.committed),
                str(row.end),
                str(row.records),
                _seconds(row.oldest_seconds),
                row.member or "nobody",
            ]
            for row in report.partitions
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


def _json(report: LagReport) -> dict[str, Any]:
    return {
        "at": report.at,
        "groups": [
            {"role": group.role, "group": group.name, "state": group.state, "members": list(group.members)}
            for group in report.groups
        ],
        "partitions": [row._asdict() for row in report.partitions],
        "watermarks": [mark._asdict() for mark in report.watermarks],
    }


def _seconds(value: float | None) -> str:
    return "-" if value is None else seconds_text(value)
