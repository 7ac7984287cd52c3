"""What the doctor finds: checks that look at a deployment and change nothing.

In: a `Where`. Out: Findings, each with what to do next where it is not well. streams/doctor_cluster.py looks at Kafka,
streams/doctor_folder.py at a data folder; what both have in common is here.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from connectors.settings import Configuration
from connectors.shared_log import INSPECT, Group, SharedLog
from models.errors import ForeshockError
from streams.catalog import standing_version, version_of
from streams.dead_letters import is_for_a_step, read_letters
from streams.lag import PartitionLag, Watermarks, partition_lags
from streams.reading import Recent
from streams.rendering import seconds_text, time_text

__all__ = [
    "Finding",
    "check_catalog",
    "check_clock",
    "check_dead_letters",
    "check_keys",
    "check_lag",
    "check_watermarks",
]

_HOUR_MS: Final = 3_600_000
_LATE_SECONDS: Final = 120.0
"""mine and detect may save their positions only once a minute: less than two is no sign of anything."""
_FAR_BEHIND_SECONDS: Final = 900.0
"""A quarter of an hour: warnings of an outage would come after it."""
_AHEAD_SECONDS: Final = 1.0
_REASONS_ADVISED: Final = 3
_NAMED: Final = 8
_INSPECTED_BY: Final = "respond"


class Finding(NamedTuple):
    """One check. `fail`: something does not work; `warn`: it works, but look at it; `advice`: what to do next."""

    check: str
    level: Literal["ok", "warn", "fail"]
    said: str
    advice: str = ""


def check_catalog(log: SharedLog, configuration: Configuration, publish: str) -> Finding:
    """Whether what the steps decide by is what is configured; `publish` is the command that makes it so."""
    name = "catalog"
    catalog = configuration.catalog
    standing = standing_version(log)
    summary = f"{len(catalog.applications)} applications, {len(catalog.runbooks)} runbooks, mode {catalog.policy.mode}"
    if standing == version_of(catalog):
        return Finding(name, "ok", f"the configured one is published: {summary}")
    if not standing:
        return Finding(name, "fail", "none is published: every service is its own application", publish)
    return Finding(name, "warn", f"another one is published than configured here ({summary})", publish)


def check_lag(log: SharedLog, groups: Sequence[Group], *, start: str) -> Iterator[Finding]:
    """Whether somebody reads each inbox, and keeps up. `start` says how a role is started, with {role} in it."""
    lags = partition_lags(log, groups, log.now())
    for group in {group.name: group for group in groups}.values():
        inspects = group.role == INSPECT
        role = _INSPECTED_BY if inspects else group.role
        rows = [row for row in lags if row.role == group.role]
        records = sum(row.records for row in rows)
        oldest = max((row.oldest_seconds or 0.0 for row in rows), default=0.0)
        found = [_who_reads(group, records, start.replace("{role}", role))]
        if group.members:
            found.append(_how_far(group.role, role, rows, records, oldest))
        # Nothing waits for what is not inspected.
        yield from (item._replace(level="warn") if inspects and item.level == "fail" else item for item in found)


def check_watermarks(log: SharedLog) -> Finding:
    """Whether sources go on promising that they have given everything."""
    name = "watermarks"
    marks = [mark for mark in Watermarks(log).look(log.now()) if mark.delay_seconds is not None]
    if not marks:
        return Finding(name, "ok", "no lines yet")
    worst = max(marks, key=lambda mark: mark.delay_seconds or 0.0)
    behind = f"{seconds_text(worst.delay_seconds or 0.0)} behind now on partition {worst.partition}"
    if (worst.delay_seconds or 0.0) > _LATE_SECONDS:
        advice = "Look whether ingest runs and its inputs grow: `foreshock lag`, `foreshock tap logs --follow`."
        return Finding(name, "warn", f"sources are complete only up to {behind}", advice)
    return Finding(name, "ok", f"sources are complete up to {behind}")


def check_dead_letters(log: SharedLog, options: str) -> Finding:
    """What could not be taken within the last hour, by reason. `options`: those that lead a command to this log."""
    letters = list(read_letters(Recent(log, log.now() - _HOUR_MS)))
    if not letters:
        return Finding("dead letters", "ok", "none in the last hour")
    reasons = Counter(letter.data.reason for letter in letters)
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    advice = f"`foreshock dead-letters list --since 1h{options}` shows them; mend what writes them"
    again = Counter(letter.data.reason for letter in letters if is_for_a_step(letter))
    commands = (
        f"`foreshock dead-letters replay --reason {shlex.quote(reason)} --since 1h --yes{options}`"
        for reason, _ in again.most_common(_REASONS_ADVISED)
    )
    then = f", then {', '.join(commands)}." if again else ", and let it write them again."
    return Finding("dead letters", "warn", f"in the last hour: {said}", advice + then)


def check_keys(log: SharedLog) -> Finding:
    """Whether a review or a pause given here would be believed."""
    name = "signing keys"
    try:
        ring = log.key_ring()
    except ForeshockError as error:
        return Finding(name, "warn", "none are known here: nobody can review or pause from here", str(error))
    return Finding(name, "ok", f"{ring.current!r} signs")


def check_clock(newest: int, now: int) -> Finding:
    """Whether the clock that stamps the log is ahead of this machine's; `newest` is its last stamp (ms)."""
    if not newest:
        return Finding("clock", "ok", "nothing has been logged yet: it cannot be compared")
    ahead = (newest - now) / 1_000
    if ahead > _AHEAD_SECONDS:
        advice = "Synchronise the clocks of this machine and of the brokers (NTP): expiries are judged by both."
        return Finding("clock", "warn", f"the log's clock is {seconds_text(ahead)} ahead of this machine's", advice)
    return Finding("clock", "ok", f"not ahead of this machine's; the newest record is of {time_text(newest)}")


def _who_reads(group: Group, records: int, start: str) -> Finding:
    name = f"group {group.role}"
    if group.members:
        settled = group.state == "Stable"
        said = f"{len(group.members)} in {group.name}, {group.state}"
        return Finding(name, "ok" if settled else "warn", said, "" if settled else "Look again in a few seconds.")
    if records:
        return Finding(name, "fail", f"nobody is in {group.name}, and {records} records wait", start)
    return Finding(name, "warn", f"nobody is in {group.name}; nothing waits", start)


def _how_far(reader: str, role: str, rows: Sequence[PartitionLag], records: int, oldest: float) -> Finding:
    """`role` is what a process is told to be, to be one of the readers."""
    name = f"lag {reader}"
    idle = [f"{row.topic}/{row.partition}" for row in rows if not row.member]
    if idle:
        more = f" and {len(idle) - _NAMED} more" if len(idle) > _NAMED else ""
        said = f"nobody has partitions {', '.join(idle[:_NAMED])}{more}"
        return Finding(name, "warn", said, "Look again in a few seconds.")
    said = f"{records} records, the oldest for {seconds_text(oldest)}"
    if oldest <= _LATE_SECONDS:
        return Finding(name, "ok", said)
    advice = (
        f"Start more of {role} (up to one for each partition), or look what keeps it: its log, `foreshock lag "
        "--watch`. One partition alone far behind is one busy key."
    )
    return Finding(name, "fail" if oldest > _FAR_BEHIND_SECONDS else "warn", said, advice)
