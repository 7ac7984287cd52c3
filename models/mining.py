"""Mining: a batch of lines becomes the counts of its templates, by service and 10 s of event time.

In: a LogBatch and its place in the log. Out: TemplateCounts, equal for equal batches whatever was mined before, in any
order, by any miner: a template is a pure function of the line's canonical form and its severity.

A line's way: its canonical form (models.canonical, a thousand lines at once) -> the memory of known ones -> only for
those not there: redaction, rules, template. Then lines are counted by (service, template, bucket) with numpy. The
canonical line itself is the key, not a hash of it: two lines share a key exactly when they share a canonical line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.canonical import canonical_lines
from models.errors import ContractError
from models.event import digest
from models.log import LogBatch, Severity
from models.redaction import redact
from models.severity import own_severity
from models.template import BUCKET_MS, BatchPointer, CoveredSource, Section, Template, TemplateCounts
from models.template_rules import RULES_VERSION, template_text

__all__ = ["MAX_BYTES", "Miner", "template_of"]

MAX_BYTES: Final = 64 * 1024 * 1024
"""What a miner's memory of lines may take, roughly: some 70,000 canonical lines of 100 bytes with their templates."""
_ENTRY_BYTES: Final = 700  # a dict entry and a template (915 bytes measured for lines of 98, which are held twice)
_MAX_MS: Final = 1 << 53  # the year 287396; beyond it milliseconds are no longer exact in JSON readers

_LEVELS: Final = frozenset(int(level) for level in Severity)

_I64 = NDArray[np.int64]


def template_of(canonical: bytes, severity: int = Severity.UNKNOWN) -> Template:
    """The template of a canonical line: its text without secrets, its severity the line's own or, where that is
    UNKNOWN, the one its text names. Its id is a digest of the text, the severity and the rules version.
    """
    text = template_text(redact(canonical.decode("utf-8", "replace")))
    level = int(severity or own_severity(text))
    return Template(id=digest(text, str(level), str(RULES_VERSION)), text=text, severity=level)


class Miner:
    """Mines batches, remembering templates by canonical line; no answer depends on what it remembers.

    With `max_bytes` of lines remembered, all are forgotten before the next batch. Learning so many takes seconds, and
    learning the few hundred that are in use again some 20 ms, so a subtler policy would win about one percent.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._forget()

    def _forget(self) -> None:
        self._held = 0
        self._templates: list[Template] = []
        self._number_of_id: dict[str, int] = {}
        # One table a severity: the same words at two levels are two templates.
        self._number_of_line: tuple[dict[bytes, int], ...] = tuple({} for _ in Severity)

    @property
    def held(self) -> int:
        """Bytes that its memory takes now, roughly."""
        return self._held

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
        service_of_line, bucket_of_line = _columns(batch)
        if not batch.lines:
            return ()
        lines = canonical_lines(batch.messages.encode("utf-8", "surrogatepass"))
        if len(lines) != batch.lines:
            raise ContractError("bad_columns", f"{batch.lines} timestamps for {len(lines)} messages: give one each")
        rows = _count(service_of_line, self._numbers(lines, batch.severity), bucket_of_line)
        borders = np.searchsorted(rows[0], np.arange(len(batch.services) + 1)).tolist()
        columns = [column.tolist() for column in rows[1:]]
        return tuple(
            _section(service, self._templates, *(column[start:end] for column in columns))
            for service, start, end in zip(batch.services, borders, borders[1:], strict=False)
            if start < end
        )

    def _numbers(self, lines: list[bytes], severity: Sequence[int]) -> _I64:
        """The number of each line's template: equal for equal templates, whatever their lines."""
        if self._held > self._max_bytes:
            self._forget()
        if len(levels := set(severity)) == 1:  # the usual batch: a fifth faster than asking a table for each line
            numbers = [*map(self._number_of_line[levels.pop()].get, lines)]
        else:
            numbers = [self._number_of_line[level].get(line) for level, line in zip(severity, lines, strict=True)]
        if None in numbers:
            numbers = [
                self._learn(line, level) if number is None else number
                for number, line, level in zip(numbers, lines, severity, strict=True)
            ]
        return np.array(numbers, np.int64)

    def _learn(self, line: bytes, severity: int) -> int:
        known = self._number_of_line[severity].get(line)
        if known is not None:  # an earlier line of this batch
            return known
        template = template_of(line, severity)
        number = self._number_of_id.setdefault(template.id, len(self._templates))
        if number == len(self._templates):
            self._templates.append(template)
        self._number_of_line[severity][line] = number
        self._held += 2 * len(line) + _ENTRY_BYTES
        return number


def _columns(batch: LogBatch) -> tuple[_I64, _I64]:
    """Service index and 10 s bucket of each line; all columns are checked."""
    if not len(batch.service_index) == len(batch.severity) == batch.lines:
        raise ContractError("bad_columns", "service_index, timestamps and severity need one item a line each")
    if len(set(batch.services)) < len(batch.services):
        raise ContractError("bad_columns", "services: name each service once")
    if not _LEVELS.issuperset(batch.severity):
        raise ContractError("bad_columns", f"severity must be 0..{max(Severity)}")
    try:
        services = np.array(batch.service_index, np.int64)
        times = np.array(batch.timestamps, np.int64)
    except (OverflowError, ValueError) as error:
        raise ContractError("bad_columns", f"indices and timestamps must fit 64 bits: {error}") from error
    if batch.lines and not (services.min() >= 0 and services.max() < len(batch.services)):
        raise ContractError("bad_columns", f"service_index must be 0..{len(batch.services) - 1}, an index of services")
    if batch.lines and not (times.min() > -_MAX_MS and times.max() < _MAX_MS):
        raise ContractError("bad_columns", "timestamps must be ms since the epoch, within ±2^53")
    return services, times // BUCKET_MS


def _count(service: _I64, number: _I64, bucket: _I64) -> tuple[_I64, _I64, _I64, _I64, _I64]:
    """Distinct (service, number, bucket) with their lines: service, number, bucket, n, first line; by service, then by
    first line. The numbers themselves depend on keys, so they must not order anything.
    """
    low, high = int(bucket.min()), int(bucket.max())
    if high - low < len(bucket):
        values, rank = np.arange(low, high + 1), bucket - low
    else:  # scattered times: ranks keep the cells small
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
