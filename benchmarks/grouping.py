"""How well templates group lines: GA and FGA.

GA (grouping accuracy; Zhu et al. 2019, https://arxiv.org/abs/1811.03509): the share of lines whose predicted group is
exactly the set of lines of their true event. FGA (Jiang et al. 2023, https://arxiv.org/abs/2308.10828): the F1 score
over groups: precision = exact groups / predicted groups, recall = exact groups / true events; rare events count as
much as common ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

__all__ = ["Grouping", "grouping"]


class Grouping(NamedTuple):
    """GA and FGA, both in [0, 1]; the numbers of predicted groups and true events."""

    ga: float
    fga: float
    predicted: int
    true: int


def grouping(predicted: Sequence[Hashable], true: Sequence[Hashable]) -> Grouping:
    """Compare the predicted group of each line with its true one. Raises ValueError for unequal lengths."""
    found, wanted = _groups(predicted), _groups(true)
    if len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} predictions for {len(true)} lines: give one each")
    exact = found & wanted
    return Grouping(
        ga=sum(map(len, exact)) / len(true),
        fga=2 * len(exact) / (len(found) + len(wanted)),
        predicted=len(found),
        true=len(wanted),
    )


def _groups(labels: Sequence[Hashable]) -> set[frozenset[int]]:
    lines = defaultdict(list)
    for line, label in enumerate(labels):
        lines[label].append(line)
    return {frozenset(group) for group in lines.values()}
