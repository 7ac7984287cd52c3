"""The books of learning: which row of outcome statistics counts for a pattern and a runbook, and its next state.

In: rows kept by the case, rows recalled from history, an outcome. Out: the row to judge by, or the row after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.calibration import brier
from models.confidence import count_outcome, spend_credit
from models.history import PatternStats, Tally
from models.policy import Policy
from models.runbook import Runbook

__all__ = ["CLAIMS_KEPT", "after_action", "after_waiting", "pool_elsewhere", "row_key", "row_of"]

CLAIMS_KEPT = 60
"""Claims kept for calibration: at 60 Platt's excess Brier is below .004, and older ones describe an older model."""


def row_key(pattern_id: str, runbook_id: str) -> str:
    """The key of a row within one application."""
    return f"{pattern_id}/{runbook_id}"


def row_of(
    kept: Mapping[str, PatternStats],
    recalled: Sequence[PatternStats],
    application: str,
    pattern_id: str,
    runbook: Runbook | None,
) -> PatternStats:
    """The row of `runbook` (None: of waiting) on a pattern: the case's own, else the recalled one, else a fresh one.

    Outcomes elsewhere come from the recall only. A new version of the runbook is declared anew: its credit is whole.
    """
    runbook_id = runbook.id if runbook else ""
    remembered = next((r for r in recalled if (r.pattern_id, r.runbook_id) == (pattern_id, runbook_id)), None)
    fresh = PatternStats(application=application, pattern_id=pattern_id, runbook_id=runbook_id)
    row = kept.get(row_key(pattern_id, runbook_id)) or remembered or fresh
    row = row.model_copy(update={"elsewhere": remembered.elsewhere if remembered else row.elsewhere})
    if runbook is None:
        return row
    declared_anew = row.runbook_version != runbook.version
    return row.model_copy(
        update={
            "runbook_version": runbook.version,
            "prior": runbook.prior,
            "credit_used": row.credit_used and not declared_anew,
        }
    )


def after_action(row: PatternStats, ok: bool, claim: float | None, policy: Policy) -> PatternStats:
    """The row after one more verified action. `claim` is the model's probability behind it, scored by what came."""
    claims = _claimed(row, claim, ok)
    acted = {"acted": count_outcome(row.acted, ok), "acted_n": row.acted_n + 1}
    return spend_credit(row.model_copy(update={**acted, "claims": claims, "brier": brier(claims)}), policy)


def after_waiting(row: PatternStats, recovered: bool, claim: float | None, failed: bool) -> PatternStats:
    """The row of waiting after one more case nobody acted on. `claim` is the predicted P(failure), scored by
    `failed`: without an action in between a prediction can be checked.
    """
    claims = _claimed(row, claim, failed)
    waited = {"not_acted": count_outcome(row.not_acted, recovered), "not_acted_n": row.not_acted_n + 1}
    return row.model_copy(update={**waited, "claims": claims, "brier": brier(claims)})


def pool_elsewhere(rows: Sequence[PatternStats], application: str, pattern_id: str, runbook_id: str) -> Tally:
    """Outcomes of a runbook on every other pattern, and on this pattern in other applications."""
    others = sorted(
        (row for row in rows if row.runbook_id == runbook_id),
        key=lambda row: (row.application, row.pattern_id),
    )
    counted = [row.acted for row in others if (row.application, row.pattern_id) != (application, pattern_id)]
    return Tally(ok=sum(tally.ok for tally in counted), bad=sum(tally.bad for tally in counted))


def _claimed(row: PatternStats, claim: float | None, came_true: bool) -> tuple[tuple[float, int], ...]:
    return row.claims if claim is None else (*row.claims, (claim, int(came_true)))[-CLAIMS_KEPT:]
