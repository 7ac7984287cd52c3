"""Feeds the step detect as its host would, from tables of counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.anomaly import Anomaly, ServiceHealth
from models.audit import AuditEntry
from models.event import Event
from models.template import BatchPointer, CoveredSource, Section, Template, TemplateCounts
from streams.detect import Detect

Row = tuple[int, str, int]
"""Bucket, template id, count."""


def failing(text: str) -> bool:
    return "failed" in text


class Driver:
    """One partition: shared state, a state for each service, and all that was emitted."""

    def __init__(self, dump_every: int = 0) -> None:
        self.step = Detect(failing)
        self.shared = self.step.shared.initial("")
        self.states: dict[str, Any] = {}
        self.told: list[Anomaly] = []
        self.health: list[ServiceHealth] = []
        self.audits: list[AuditEntry] = []
        self.parts = 0
        self._offset = 0
        self._dump_every = dump_every

    def give(self, data: Any, at: int) -> None:
        event = Event("id", at, "k", data)
        self.shared, parts = self.step.admit(self.shared, event)
        for part in parts:
            self.parts += 1
            state = self.states.get(part.key) or self.step.state.initial(part.key)
            turn = self.step.advance(self.shared, state, part)
            self.states[part.key] = turn.state
            for emit in turn.emits:
                if emit.topic == "anomalies":
                    self.told.append(emit.data)
                elif emit.topic == "health":
                    self.health.append(emit.data)
                elif emit.topic == "audit":
                    self.audits.append(emit.data)
        self._offset += 1
        if self._dump_every and self._offset % self._dump_every == 0:
            keeper = self.step.state
            self.states = {key: keeper.load(keeper.dump(state)) for key, state in self.states.items()}
            self.shared = self.step.shared.load(self.step.shared.dump(self.shared))

    def counts(
        self, covered: Mapping[str, int], services: Mapping[str, Sequence[Row]], at: int | None = None,
        texts: Mapping[str, str] | None = None, severity: Mapping[str, int] | None = None,
        of: Mapping[str, Iterable[str]] | None = None,
    ) -> None:  # fmt: skip
        """A batch: sources with the time (ms) each is complete to, rows by service."""
        texts, severity = texts or {}, severity or {}
        sections = tuple(section_of(name, rows, texts, severity) for name, rows in services.items() if rows)
        data = self.batch(covered, sections, {name: (of or {}).get(name, services.keys()) for name in covered})
        self.give(data, max(covered.values()) if at is None else at)

    def batch(
        self, covered: Mapping[str, int], sections: tuple[Section, ...], of: Mapping[str, Iterable[str]] | None = None
    ) -> TemplateCounts:
        """The next batch of the log."""
        sources = tuple(
            CoveredSource(source_id=name, covered_until=until, services=tuple((of or {}).get(name, ())))
            for name, until in covered.items()
        )
        pointer = BatchPointer(topic="logs", partition=0, offset=self._offset)
        return TemplateCounts(rules_version=1, input=pointer, sources=sources, sections=sections)


def section_of(service: str, rows: Sequence[Row], texts: Mapping[str, str], severity: Mapping[str, int]) -> Section:
    names = list(dict.fromkeys(name for _, name, _ in rows))
    return Section(
        service=service,
        **Section.columns_of(Template(id=n, text=texts.get(n, n), severity=severity.get(n, 2)) for n in names),
        template=[names.index(name) for _, name, _ in rows],
        bucket=[bucket for bucket, _, _ in rows],
        n=[count for _, _, count in rows],
        first_line=list(range(len(rows))),
        lines=sum(count for _, _, count in rows),
    )
