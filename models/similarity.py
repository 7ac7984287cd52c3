"""Which past incidents resemble this one: idf-weighted Jaccard over template texts and event types.

In: the texts and the pattern of an incident, and the records of closed ones. Out: the k most similar: those that began
the same way, and those at or above 0.35.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from models.history import HistoryRecord, SimilarIncident

__all__ = ["AT_LEAST", "MOST", "get_similar_incidents", "weighted_jaccard"]

AT_LEAST = 0.35
"""Below this, two incidents share little more than everyday texts."""
MOST = 3


def get_similar_incidents(
    texts: Sequence[str],
    records: Sequence[HistoryRecord],
    k: int = MOST,
    at_least: float = AT_LEAST,
    pattern_id: str = "",
) -> tuple[SimilarIncident, ...]:
    """The `k` records whose texts are most similar, best first; newer ones first among equals.

    Those of the pattern `pattern_id` come before all others, however little they share: they began the same way, and at
    its beginning an incident has said little of what the whole of another has.

    A text weighs ln((1 + N) / (1 + df)) + 1 with N records of which df hold it (smoothed idf): what every incident
    says counts little, what only these two say counts much.
    """
    found = Counter(text for record in records for text in sorted(set(record.texts)))
    weights = {text: math.log((1 + len(records)) / (1 + df)) + 1.0 for text, df in found.items()}
    unseen = math.log(1 + len(records)) + 1.0
    scored = [(weighted_jaccard(texts, record.texts, weights, unseen), record) for record in records]
    kept = sorted(
        (pair for pair in scored if pair[0] >= at_least or (pattern_id and pair[1].pattern_id == pattern_id)),
        key=lambda pair: (
            pair[1].pattern_id != pattern_id,
            -pair[0],
            -pair[1].closed_at,
            pair[1].correlation_id,
        ),
    )
    return tuple(SimilarIncident(record=record, similarity=round(score, 6)) for score, record in kept[:k])


def weighted_jaccard(
    left: Sequence[str], right: Sequence[str], weights: Mapping[str, float], unseen: float = 1.0
) -> float:
    """Weight of what both have over weight of what either has, 0..1; 0 where both are empty."""
    either = sorted({*left, *right})
    both = {*left} & {*right}
    whole = math.fsum(weights.get(text, unseen) for text in either)
    return math.fsum(weights.get(text, unseen) for text in either if text in both) / whole if whole else 0.0
