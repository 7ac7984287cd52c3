"""Where ingest left off, read from the ends of `logs` on Kafka: the log is the checkpoint.

In: the log, the sources to look for. Out: their Progress. Heartbeats name every source in every partition each second,
so the last records of a partition say all, unless other connectors have written since. A hint, kept beside the spool,
says how far back is far enough, and which sources were ever there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from connectors.kafka_log import KafkaLog
from connectors.ports import Record
from connectors.progress import Progress
from models.event import Model
from models.log import LogBatch, SourceRange

__all__ = ["Hint", "ranges_of", "read_hint", "read_progress", "write_hint"]

_LOGS: Final = "logs"
_FIRST_STEP: Final = 16
_STEP: Final = 256
"""Records read at once: up to 512 KB each."""
_RANGES: Final = TypeAdapter(tuple[SourceRange, ...])


class Hint(Model):
    """Of the log `log_id`: offsets behind what was acknowledged, by partition, and the sources that were given by then.

    After a loss of the hint the log is searched; an old hint only costs time.
    """

    log_id: str
    ends: dict[int, int]
    sources: tuple[str, ...]


def read_hint(path: Path) -> Hint | None:
    """The hint in a file; None where there is none that can be read."""
    try:
        return Hint.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_hint(path: Path, hint: Hint) -> None:
    """Replace the file. Raises OSError."""
    part = path.with_suffix(".part")
    part.write_text(hint.model_dump_json(), encoding="utf-8")
    part.replace(path)


def ranges_of(value: bytes) -> tuple[SourceRange, ...]:
    """The source ranges of a batch; empty for what is none."""
    try:
        event: Any = orjson.loads(value)
        return _RANGES.validate_python(event["data"]["sources"]) if event["type"] == LogBatch.TYPE else ()
    except (orjson.JSONDecodeError, ValidationError, KeyError, TypeError):
        return ()


def read_progress(
    log: KafkaLog,
    sources: Iterable[str],
    hint: Hint | None,
    lookback_ms: int,
    tell: Callable[[int, int], None],
) -> Progress:
    """Read each partition backwards until it has spoken of all `sources`, or of all that the hint knows and back to its
    offset, or began, or, without a hint, `lookback_ms` before its newest record. `tell(partition, offset)` hears how
    far back it is. Raises BrokerError.
    """
    wanted = set(sources)
    ends: Mapping[int, int] = log.ends(_LOGS)
    progress = Progress(len(ends))
    for partition, end in sorted(ends.items()):
        first = log.bounds(_LOGS, partition)[0]
        known = wanted if hint is None else wanted & set(hint.sources)
        reach = end if hint is None else min(hint.ends.get(partition, first), end)
        low, step, horizon = end, _FIRST_STEP, None
        while low > first and (low > reach or progress.missing(partition, known)):
            high, low = low, max(first, low - step)
            step = min(step * 2, _STEP)
            page = _read(log, partition, low, high)
            for record in page:
                progress.note(partition, ranges_of(record.value))
            if page and hint is None:
                horizon = page[-1].logged_at - lookback_ms if horizon is None else horizon
                if page[0].logged_at < horizon:
                    break
            tell(partition, low)
    return progress


def _read(log: KafkaLog, partition: int, low: int, high: int) -> list[Record]:
    found: list[Record] = []
    while low < high and (page := log.read(_LOGS, partition, low, high - low)):
        found += [record for record in page if record.offset < high]
        low = page[-1].offset + 1
    return found
