"""History: recalls what earlier incidents can teach about this one (effect `recall_history`).

In: the question (application, pattern, texts, runbooks) and a reader of the topic `history`. Out: HistoryRecalled, the
most similar closed incidents and the statistics of each runbook on this pattern, pooled with those elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pydantic import ConfigDict

from connectors.asked import Asked
from models.event import Model
from models.history import HistoryRecalled, HistoryRecord, PatternStats
from models.ledger import pool_elsewhere
from models.similarity import get_similar_incidents

__all__ = ["HistoryReader", "recall_history"]


class HistoryReader(Protocol):
    """What stands on the topic `history`, oldest first; a later value of a key may follow an earlier one."""

    def records(self, application: str) -> Sequence[HistoryRecord]:
        """The closed incidents of an application."""
        ...

    def stats(self, application: str) -> Sequence[PatternStats]:
        """The statistics of an application; "" means those of all applications."""
        ...


class _Question(Model):
    """The arguments of the effect."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    application: str
    correlation_id: str
    pattern_id: str
    texts: tuple[str, ...]
    runbooks: tuple[str, ...] = ()


def recall_history(reader: HistoryReader) -> Callable[[Asked], HistoryRecalled]:
    """The performer of `recall_history` over this reader. It raises what the reader raises."""

    def recall(asked: Asked) -> HistoryRecalled:
        question = _Question.model_validate(dict(asked.args))
        newest = {record.correlation_id: record for record in reader.records(question.application)}
        records = [item for item in newest.values() if item.correlation_id != question.correlation_id]
        return HistoryRecalled(
            effect_id=asked.id,
            correlation_id=question.correlation_id,
            similar=get_similar_incidents(question.texts, records, pattern_id=question.pattern_id),
            stats=_pooled(question, reader.stats("")),
            records=len(records),
        )

    return recall


def _pooled(question: _Question, rows: Sequence[PatternStats]) -> tuple[PatternStats, ...]:
    """A row for waiting ("") and for each runbook on this pattern, with its outcomes elsewhere beside it."""
    application, pattern = question.application, question.pattern_id
    rows = list({(row.application, row.pattern_id, row.runbook_id): row for row in rows}.values())
    own = {row.runbook_id: row for row in rows if (row.application, row.pattern_id) == (application, pattern)}
    found = []
    for runbook_id in ("", *question.runbooks):
        fresh = PatternStats(application=application, pattern_id=pattern, runbook_id=runbook_id)
        elsewhere = pool_elsewhere(rows, application, pattern, runbook_id)
        found.append(own.get(runbook_id, fresh).model_copy(update={"elsewhere": elsewhere}))
    return tuple(found)
