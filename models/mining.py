"""Mining: a batch of lines becomes the counts of its templates, by service and 10 s of event time.

In: a LogBatch and its place in the log. Out: TemplateCounts, equal for equal batches whatever was mined before, in any
order, by any miner: a template is a pure function of the line's canonical form and its severity, and nothing in the
output depends on what the cache holds.

A line's way: its key (models.line_key, all lines at once by numpy) -> the cache of templates by key -> only for keys
not there: canonical line -> redaction -> rules -> template. Then lines are counted by (service, template, bucket), again
by numpy; Python loops run over unseen keys and rows only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ContractError
from models.event import digest
from models.line_key import DEFAULT_SEED, canonical_line, line_keys
from models.log import LogBatch, Severity
from models.redaction import redact
from models.severity import own_severity
from models.template import BUCKET_MS, BatchPointer, CoveredSource, Section, Template, TemplateCounts
from models.template_rules import RULES_VERSION, template_text

__all__ = ["MAX_KEYS", "Miner", "template_of"]

MAX_KEYS: Final = 65_536
"""Keys in a miner's cache: at most about 100 MB where every template is 1,000 characters long, 45 MB as a rule."""
_MAX_MS: Final = 1 << 53  # the year 287396; beyond it milliseconds are no longer exact in JSON readers

# A line's own severity is part of its key, so that the same words at two levels are two templates. 0 leaves the key.
_SEVERITY_SALT: Final = np.array([0, *(0x9E6C63D0876A9A47 * n % (1 << 64) for n in range(1, len(Severity)))], np.uint64)

_I64 = NDArray[np.int64]


def template_of(line: str, severity: int = Severity.UNKNOWN) -> Template:
    """The template of a line: its text from the canonical line without secrets, its severity the line's own or, where
    that is UNKNOWN, the one its text names. Its id is a digest of the text, the severity and the rules version.
    """
    text = template_text(redact(canonical_line(line)))
    level = int(severity or own_severity(text))
    return Template(id=digest(text, str(level), str(RULES_VERSION)), text=text, severity=level)


class Miner:
    """Mines batches, remembering templates by key. `seed` is the keys' (models.line_key): no answer depends on it.

    With `max_keys` remembered, everything is forgotten before the next batch. Learning 65,536 keys takes seconds, and
    learning the few hundred that are in use again some 30 ms, so a subtler policy would win less than one percent.
    """

    def __init__(self, seed: int = DEFAULT_SEED, max_keys: int = MAX_KEYS) -> None:
        self._seed, self._max_keys = seed, max_keys
        self._templates: list[Template] = []
        self._number_of_key: dict[int, int] = {}
        self._number_of_id: dict[str, int] = {}

    def mine(self, batch: LogBatch, position: BatchPointer) -> TemplateCounts:
        """Count the batch. Raises ContractError where its columns do not fit each other."""
        # model_construct skips validation: all of it was made here, from columns that are checked below.
        return TemplateCounts.model_construct(
            rules_version=RULES_VERSION,
            input=position,
            sources=tuple(
                CoveredSource.model_construct(
                    source_id=source.source_id, covered_until=source.covered_until, services=source.services
                )
                for source in batch.sources
            ),
            sections=self._sections(batch),
            dropped=batch.dropped,
        )

    def _sections(self, batch: LogBatch) -> tuple[Section, ...]:
        service_of_line, level_of_line, bucket_of_line = _columns(batch)
        if not batch.lines:
            return ()
        keys = line_keys(batch.messages.encode("utf-8", "surrogatepass"), self._seed)
        if len(keys) != batch.lines:
            raise ContractError("bad_columns", f"{batch.lines} timestamps for {len(keys)} messages: give one each")
        numbers = self._numbers(keys ^ _SEVERITY_SALT[level_of_line], level_of_line, batch.messages)
        rows = _count(service_of_line, numbers, bucket_of_line)
        borders = np.searchsorted(rows[0], np.arange(len(batch.services) + 1)).tolist()
        columns = [column.tolist() for column in rows[1:]]
        return tuple(
            _section(service, self._templates, *(column[start:end] for column in columns))
            for service, start, end in zip(batch.services, borders, borders[1:], strict=False)
            if start < end
        )

    def _numbers(self, keys: NDArray[np.uint64], level_of_line: NDArray[np.uint8], messages: str) -> _I64:
        """The number of each line's template: equal for equal templates, whatever their keys."""
        if len(self._number_of_key) >= self._max_keys:
            self._templates, self._number_of_key, self._number_of_id = [], {}, {}
        numbers = [*map(self._number_of_key.get, wanted := keys.tolist())]
        if None in numbers:
            lines = messages.split("\n")
            for i in (i for i, number in enumerate(numbers) if number is None):
                number = self._number_of_key.get(wanted[i])
                numbers[i] = self._learn(wanted[i], lines[i], int(level_of_line[i])) if number is None else number
        return np.array(numbers, np.int64)

    def _learn(self, key: int, line: str, level: int) -> int:
        template = template_of(line, level)
        number = self._number_of_id.setdefault(template.id, len(self._templates))
        if number == len(self._templates):
            self._templates.append(template)
        self._number_of_key[key] = number
        return number


def _columns(batch: LogBatch) -> tuple[_I64, NDArray[np.uint8], _I64]:
    """Service index, severity and 10 s bucket of each line, checked."""
    if not len(batch.service_index) == len(batch.severity) == batch.lines:
        raise ContractError("bad_columns", "service_index, timestamps and severity need one item a line each")
    if len(set(batch.services)) < len(batch.services):
        raise ContractError("bad_columns", "services: name each service once")
    try:
        services = np.array(batch.service_index, np.int64)
        levels = np.frombuffer(bytes(batch.severity), np.uint8)
        times = np.array(batch.timestamps, np.int64)
    except (OverflowError, ValueError) as error:
        raise ContractError("bad_columns", f"a severity is 0..{max(Severity)}, a timestamp in ms: {error}") from error
    if batch.lines and not (services.min() >= 0 and services.max() < len(batch.services)):
        raise ContractError("bad_columns", f"service_index must be 0..{len(batch.services) - 1}, an index of services")
    if batch.lines and levels.max() > max(Severity):
        raise ContractError("bad_columns", f"severity must be 0..{max(Severity)}, got {levels.max()}")
    if batch.lines and not (times.min() > -_MAX_MS and times.max() < _MAX_MS):
        raise ContractError("bad_columns", "timestamps must be ms since the epoch, within ±2^53")
    return services, levels, times // BUCKET_MS


def _count(service: _I64, number: _I64, bucket: _I64) -> tuple[_I64, _I64, _I64, _I64, _I64]:
    """Distinct (service, number, bucket) with their lines: service, number, bucket, n, first line; by service, then by
    first line. The numbers themselves depend on keys, so they must not order anything.
    """
    values, rank = np.unique(bucket, return_inverse=True)
    numbers = int(number.max()) + 1
    cells = (service * numbers + number) * len(values) + rank
    cell, first_line, n = np.unique(cells, return_index=True, return_counts=True)
    pair, rank = np.divmod(cell, len(values))
    service, number = np.divmod(pair, numbers)
    order = np.lexsort((first_line, service))
    return service[order], number[order], values[rank[order]], n[order], first_line[order]


def _section(
    service: str,
    templates: Sequence[Template],
    number: list[int],
    bucket: list[int],
    n: list[int],
    first_line: list[int],
) -> Section:
    places = {number: place for place, number in enumerate(dict.fromkeys(number))}
    return Section.model_construct(
        service=service,
        templates=tuple(templates[number] for number in places),
        template=[places[number] for number in number],
        bucket=bucket,
        n=n,
        first_line=first_line,
        lines=sum(n),
        overflow=0,
    )
