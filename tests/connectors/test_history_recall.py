"""Recalling history: the similar incidents of the application, the runbook's outcomes of everywhere."""

from __future__ import annotations

from case_rig import Memory

from connectors.history import recall_history
from models.history import HistoryRecord, PatternStats, Tally
from streams.step import Effect


def record(name: str, application: str = "shop", *texts: str) -> HistoryRecord:
    return HistoryRecord(
        correlation_id=name,
        application=application,
        pattern_id="p",
        primary="x",
        texts=texts,
        opened_at=0,
        closed_at=1,
        failed=False,
        acted=False,
    )


def row(application: str, pattern: str, runbook: str, ok: float, bad: float) -> PatternStats:
    tally = Tally(ok=ok, bad=bad)
    return PatternStats(application=application, pattern_id=pattern, runbook_id=runbook, acted=tally, acted_n=3)


def recalled(*kept):
    memory = Memory()
    memory.kept = {str(n): item for n, item in enumerate(kept)}
    args = {
        "application": "shop",
        "correlation_id": "fs-now",
        "pattern_id": "p",
        "texts": ["pool exhausted"],
        "runbooks": ["scale-db"],
    }
    return recall_history(memory)(Effect("e1", "recall_history", args))


def test_similar_incidents_are_those_of_the_same_application_and_not_itself():
    text = "pool exhausted"
    answer = recalled(record("fs-1", "shop", text), record("fs-2", "mall", text), record("fs-now", "shop", text))
    assert [item.record.correlation_id for item in answer.similar] == ["fs-1"]
    assert (answer.records, answer.effect_id) == (1, "e1")


def test_a_runbooks_outcomes_elsewhere_are_pooled_beside_its_own():
    answer = recalled(
        row("shop", "p", "scale-db", 3, 1),
        row("shop", "q", "scale-db", 10, 0),
        row("mall", "p", "scale-db", 4, 2),
        row("shop", "q", "other", 50, 0),
    )
    waiting, own = answer.stats
    assert (waiting.runbook_id, waiting.elsewhere) == ("", Tally())
    assert (own.acted, own.elsewhere) == (Tally(ok=3, bad=1), Tally(ok=14, bad=2))


def test_only_the_newest_value_of_a_key_counts():
    answer = recalled(
        record("fs-1", "shop", "old text"),
        row("shop", "q", "scale-db", 1, 0),
        record("fs-1", "shop", "pool exhausted"),
        row("shop", "q", "scale-db", 2, 0),
    )
    assert answer.records == 1
    assert answer.similar[0].similarity == 1.0
    assert answer.stats[1].elsewhere == Tally(ok=2, bad=0)


def test_an_empty_history_answers_with_empty_rows():
    answer = recalled()
    assert [(r.runbook_id, r.acted_n) for r in answer.stats] == [("", 0), ("scale-db", 0)]
    assert answer.similar == ()
