"""What the commands that read a log share: opening the one that is meant, and saying since when.

In: a `Where`, a span or a time as people write them. Out: an opened log, milliseconds, remarks on stderr.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import typer

from connectors.open_log import open_log
from connectors.shared_log import SharedLog
from connectors.where import Where
from streams.reading import ReadableLog, Recent
from streams.rendering import note, shown, time_text

__all__ = ["opened", "parse_moment", "quiet_clients", "recent", "say_what_is_cut", "since_of"]

_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_EVERYTHING: Final = "all"


@contextmanager
def opened(where: Where, *, append: bool = False) -> Iterator[SharedLog]:
    """The log that is meant, open until the block ends; said on stderr where another could have been meant."""
    with quiet_clients():
        log, remark = open_log(where, append=append)
        try:
            if remark:
                note(f"foreshock: {remark}")
            yield log
        finally:
            log.close()


@contextmanager
def quiet_clients() -> Iterator[None]:
    """Until the block ends Kafka's clients keep their warnings to themselves: what goes wrong comes as an error that
    says what to do, and what they say besides (that a Faust member's metadata is not theirs) is none of a person's.
    """
    loggers = [logging.getLogger(name) for name in ("kafka", "aiokafka")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def parse_moment(text: str, now: int, option: str, *, ago: bool) -> int:
    """A span (`30m`, `2h`, `1d`) from `now` (`ago`: before it), or an ISO 8601 time (UTC where it names no zone), as
    ms. Raises BadParameter for anything else.
    """
    span = _SPAN.fullmatch(text)
    if span is not None:
        length = int(span[1]) * _UNIT_MS[span[2]]
        return now - length if ago else now + length
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, OverflowError):
        advice = "write a span as 30m, 2h or 1d, or a time as 2026-03-01T12:00Z"
        raise typer.BadParameter(f"{option} {shown(text)}: {advice}") from None


def since_of(log: SharedLog, text: str) -> int:
    """What `--since` means (ms): a time or a span back from now; `all` or, where everything is read anyway, "": 0."""
    if text == _EVERYTHING or (not text and log.usual_span_ms is None):
        return 0
    return parse_moment(text, log.now(), "--since", ago=True) if text else log.now() - (log.usual_span_ms or 0)


def recent(log: SharedLog, since: int) -> SharedLog | Recent:
    """The log from `since` (ms) on; 0: all of it."""
    return Recent(log, since) if since > 0 else log


def say_what_is_cut(log: ReadableLog, since: int) -> None:
    """On stderr, where something older is kept and was not read."""
    if isinstance(log, Recent) and log.cut:
        topics = ", ".join(sorted(log.cut))
        note(f"only what was logged since {time_text(since)} was read of {topics}; --since 30d reads more, all, all")
