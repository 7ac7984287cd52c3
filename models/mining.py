"""Mining: a batch of lines becomes the counts of its templates, by service and 10 s of event time.

In: a LogBatch and its place in the log. Out: TemplateCounts, equal for equal batches whatever was mined before, in any
order, by any miner: a template is a pure function of the line's canonical form and its severity.

A line's way: its canonical form (models.canonical, a thousand lines at once) -> the memory of known ones -> only for
those not there: redaction, rules, template. Then lines are counted by (service, template, bucket) with numpy. The
canonical line itself is the key, not a hash of it: two lines share a key exactly when they share a canonical line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.canonical import canonical_lines
from models.errors import ContractError
from models.event import Model, digest
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
_M = TypeVar("_M", bound=Model)


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
        self._templates: tuple[list[str], list[str], list[int]] = ([], [], [])  # ids, texts, severities
        self._number_of_id: dict[str, int] = {}
        # One table a severity: the same words at two levels are two templates.
        self._number_of_line: tuple[dict[bytes, int], ...] = tuple({} for _ in Severity)

    @property
    def held(self) -> int:
        """Bytes that its memory takes now, roughly."""
        return self._held

    def mine(self, batch: LogBatch, position: BatchPointer) -> TemplateCounts:
        """Count the batch. Raises ContractError where its columns do not fit each other."""
        # Nothing is validated: all of it was made here, from columns that are checked below.
        return _unchecked(
            TemplateCounts,
            rules_version=RULES_VERSION,
            input=position,
            sources=tuple(
                _unchecked(
                    CoveredSource,
                    source_id=source.source_id,
                    covered_until=source.covered_until,
                    services=source.services,
                )
                for source in batch.sources
            ),
            sections=self._sections(batch),
            dropped=batch.dropped,
        )

    def _sections(self, batch: LogBatch) -> tuple[Section, ...]:
        service_of_line, bucket_of_line, levels = _columns(batch)
        if not batch.lines:
            return ()
        lines = canonical_lines(batch.messages.encode("utf-8", "surrogatepass"))
        if len(lines) != batch.lines:
            raise ContractError("bad_columns", f"{batch.lines} timestamps for {len(lines)} messages: give one each")
        number_of_line = self._numbers(lines, levels)
        first_line, n = _count(service_of_line, number_of_line, bucket_of_line)
        service = service_of_line[first_line]
        borders = [0, *(np.flatnonzero(service[1:] != service[:-1]) + 1).tolist(), len(service)]
        columns = [
            column.tolist() for column in (number_of_line[first_line], bucket_of_line[first_line], n, first_line)
        ]
        return tuple(
            self._section(batch.services[index], *[column[start:end] for column in columns])
            for index, start, end in zip(service[borders[:-1]].tolist(), borders, borders[1:], strict=False)
        )

    def _section(
        self, service: str, number: list[int], bucket: list[int], n: list[int], first_line: list[int]
    ) -> Section:
        distinct = dict.fromkeys(number)
        if len(distinct) == len(number):  # the usual section: one bucket, so each template once
            template = list(range(len(number)))
        else:
            places = {number: place for place, number in enumerate(distinct)}
            template = [places[number] for number in number]
        ids, texts, severities = self._templates
        return _unchecked(
            Section,
            service=service,
            ids=[*map(ids.__getitem__, distinct)],
            texts=[*map(texts.__getitem__, distinct)],
            severities=[*map(severities.__getitem__, distinct)],
            template=template,
            bucket=bucket,
            n=n,
            first_line=first_line,
            lines=sum(n),
            overflow=0,
        )

    def _numbers(self, lines: list[bytes], levels: int | Sequence[int]) -> _I64:
        """The number of each line's template: equal for equal templates, whatever their lines."""
        if self._held > self._max_bytes:
            self._forget()
        try:
            return self._known(lines, levels)
        except KeyError:
            for level in {levels} if isinstance(levels, int) else set(levels):
                for line in self._new_lines(lines, levels, level):
                    self._learn(line, level)
        return self._known(lines, levels)

    def _known(self, lines: list[bytes], levels: int | Sequence[int]) -> _I64:
        """Raises KeyError where a line is not remembered."""
        known = self._number_of_line
        if isinstance(levels, int):
            return np.fromiter(map(known[levels].__getitem__, lines), np.int64, len(lines))
        numbers = (known[level][line] for level, line in zip(levels, lines, strict=True))
        return np.fromiter(numbers, np.int64, len(lines))

    def _new_lines(self, lines: list[bytes], levels: int | Sequence[int], level: int) -> set[bytes]:
        """The lines of that level which are not remembered."""
        if not isinstance(levels, int):
            lines = [line for line, other in zip(lines, levels, strict=True) if other == level]
        return set(lines).difference(self._number_of_line[level])

    def _learn(self, line: bytes, severity: int) -> None:
        template = template_of(line, severity)
        number = self._number_of_id.setdefault(template.id, len(self._number_of_id))
        if number == len(self._templates[0]):
            ids, texts, severities = self._templates
            ids.append(template.id)
            texts.append(template.text)
            severities.append(template.severity)
        self._number_of_line[severity][line] = number
        self._held += 2 * len(line) + _ENTRY_BYTES


def _columns(batch: LogBatch) -> tuple[_I64, _I64, int | Sequence[int]]:
    """Service index and 10 s bucket of each line, and its severity or the one of all; all columns are checked."""
    if not len(batch.service_index) == len(batch.severity) == batch.lines:
        raise ContractError("bad_columns", "service_index, timestamps and severity need one item a line each")
    if len(set(batch.services)) < len(batch.services):
        raise ContractError("bad_columns", "services: name each service once")
    levels: int | Sequence[int] = batch.severity
    if batch.lines and batch.severity.count(batch.severity[0]) == batch.lines:  # the usual batch
        levels = batch.severity[0]
    if not _LEVELS.issuperset((levels,) if isinstance(levels, int) else levels):
        raise ContractError("bad_columns", f"severity must be 0..{max(Severity)}")
    try:
        services = np.fromiter(batch.service_index, np.int64, batch.lines)
        times = np.fromiter(batch.timestamps, np.int64, batch.lines)
    except (OverflowError, ValueError) as error:
        raise ContractError("bad_columns", f"indices and timestamps must fit 64 bits: {error}") from error
    if batch.lines and not (services.min() >= 0 and services.max() < len(batch.services)):
        raise ContractError("bad_columns", f"service_index must be 0..{len(batch.services) - 1}, an index of services")
    if batch.lines and not (times.min() > -_MAX_MS and times.max() < _MAX_MS):
        raise ContractError("bad_columns", "timestamps must be ms since the epoch, within ±2^53")
    return services, times // BUCKET_MS, levels


def _count(service: _I64, number: _I64, bucket: _I64) -> tuple[_I64, _I64]:
    """The first line of each distinct (service, number, bucket), and how many have the same; by service, then by first
    line. The numbers themselves depend on keys, so they must not order anything.
    """
    # numpy sorts integers of 8 and 16 bits by radix: half the time of np.unique on one column of 64 bits.
    services = _narrow(service)
    columns = (_narrow(bucket - bucket.min()), _narrow(number), services)
    order = np.lexsort(columns)
    begins = np.zeros(len(order), np.bool_)
    begins[0] = True
    for column in columns:
        ordered = column[order]
        begins[1:] |= ordered[1:] != ordered[:-1]
    places = np.flatnonzero(begins)
    n_of_line = np.zeros(len(order), np.int64)
    n_of_line[order[places]] = np.diff(places, append=len(order))  # equal ones are in the order of their lines
    first_line = np.flatnonzero(n_of_line)
    first_line = first_line[np.argsort(services[first_line], kind="stable")]
    return first_line, n_of_line[first_line]


def _narrow(column: _I64) -> NDArray[np.integer]:
    """Numbers from 0 on in the smallest integers that hold them."""
    return column.astype(np.min_scalar_type(int(column.max())))


def _unchecked(kind: type[_M], **fields: object) -> _M:
    """`kind.model_construct` of all fields, in their order: without looking for aliases and defaults, 1 µs of 3."""
    model = kind.__new__(kind)
    object.__setattr__(model, "__dict__", fields)
    object.__setattr__(model, "__pydantic_fields_set__", set(fields))
    object.__setattr__(model, "__pydantic_extra__", None)
    object.__setattr__(model, "__pydantic_private__", None)
    return model
