"""What mine finds in a batch: templates and their counts by 10 s bucket, put on `counts`."""

from __future__ import annotations

from typing import ClassVar

from models.event import Contract, Model

__all__ = ["BUCKET_MS", "BatchPointer", "CoveredSource", "Section", "Template", "TemplateCounts"]

BUCKET_MS = 10_000


class Template(Model):
    """A log template: `id` = digest of its text, its severity and the rules version; `text` is redacted; `severity` as
    models.log: the line's own where the source told it, else what the text says.
    """

    id: str
    text: str
    severity: int


class BatchPointer(Model):
    """Where the counted batch stands in the log; with a line number it points at one line."""

    topic: str
    partition: int
    offset: int


class CoveredSource(Model):
    """A source, the event time (ms) it is complete to, and the services it gave lines of in this batch."""

    source_id: str
    covered_until: int
    services: tuple[str, ...] = ()


class Section(Model):
    """One service's counts, in columns: row i says that `templates[template[i]]` had `n[i]` lines in the bucket
    `bucket[i]` (= ms // 10,000), the first of them at line `first_line[i]` of the batch (0-based).
    """

    service: str
    templates: tuple[Template, ...]
    template: list[int]
    bucket: list[int]
    n: list[int]
    first_line: list[int]
    lines: int
    overflow: int = 0


class TemplateCounts(Contract):
    """The counts of one LogBatch. The event's `at` is the batch's."""

    TYPE: ClassVar[str] = "template_counts"

    rules_version: int
    input: BatchPointer
    sources: tuple[CoveredSource, ...]
    sections: tuple[Section, ...] = ()
    dropped: dict[str, int] = {}
