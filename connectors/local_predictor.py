"""The local predictor: answers `ask_model` without any model service, with a declared logistic, and says so.

In: the same vocabulary-only evidence that a language model is given. Out: ModelAnswered in the same forced shape, with
`model_id` "local-logistic-1". No weight was fitted to data: each stands in `WEIGHTS` with the reason for its size.
Its scores are calibrated by outcomes like any model's, and may only veto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from pydantic import ConfigDict

from connectors.asked import Asked
from models.answer import ToolAnswer
from models.event import Model
from models.evidence import Evidence, OfferedRunbook, SignalEvidence
from models.log import Severity
from models.prediction import ModelAnswered
from models.vocabulary import FAILURE_WORDS

__all__ = ["GRAVE_WORDS", "MODEL_ID", "WEIGHTS", "Weight", "answer_locally"]

MODEL_ID: Final = "local-logistic-1"


class Weight(NamedTuple):
    """One term of the logit and why it has this size."""

    value: float
    reason: str


WEIGHTS: Final[Mapping[str, Weight]] = {
    "base": Weight(-2.2, "10%: of what is merely unusual, about one in ten comes to something"),
    "sigma": Weight(0.30, "for each σ above 3.5, up to 6 of them: rarity alone takes an alarm to about even odds"),
    "alarm": Weight(0.6, "it holds the false-alarm budget, or something corroborates it"),
    "grave words": Weight(2.0, "something has run out, died or is corrupt: that seldom mends itself"),
    "failure words": Weight(0.8, "errors are said, but errors are also daily work"),
    "severity": Weight(0.4, "the program itself calls it an error"),
    "rising": Weight(0.3, "at its peak now"),
    "falling": Weight(-0.7, "below 70% of its peak, or clear: it may be passing"),
    "second service": Weight(0.7, "it spreads"),
    "recent change": Weight(0.5, "changes cause a large share of outages"),
    "failed before": Weight(
        0.8, "times (failed - not failed) / (both + 2) of similar incidents: three alike move 75% by 10 points"
    ),
    "only a stalled source": Weight(-1.2, "we see less; the service itself may be well"),
    "diagnosis": Weight(0.4, "the failure is a fact; this is how sure its name is, before anything matches"),
    "name matches": Weight(1.6, "times the share of the failure mode's words found in the evidence"),
    "helped before": Weight(0.7, "this runbook has ended a similar incident (minus: it has failed at one)"),
}
"""The whole model: P = 1 / (1 + e^-x), x the sum of the terms that apply."""

_GRAVE = """
abend aborted corrupt corrupted corruption crash crashed crashes crashing crashloop crashloopbackoff dead deadlock
deadlocked died down econnrefused enomem enospc evicted exhaust exhausted exhausting exhaustion exhausts fatal full hung
kill killed leak leaked leaking leaks livelock lost offline oom oomkilled oops outage outofmemory outofmemoryerror
overflow overflowed panic panicked panics refused refuses refusing saturated saturation segfault segfaults sigkill
sigsegv splitbrain starvation starved stuck terminated unavailable unreachable unrecoverable unresponsive wedged
"""
GRAVE_WORDS: Final = frozenset(_GRAVE.split())
"""Failure words that name a state, not an occurrence."""

_SIGMA_MOST: Final = 6.0
_LEAST_MATCH: Final = 0.5
"""At least half of a failure mode's words must be in the evidence before its runbook is recommended."""
_STEM: Final = 5
_HINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "ec2": ("instance", "host"),
    "ecs": ("task", "service"),
    "rds": ("database", "db"),
    "lambda": ("function",),
    "service_silent": ("service", "silent", "silence", "down"),
    "terminated": ("lost", "down"),
    "stopped": ("lost", "down"),
    "source_stalled": ("source", "stalled"),
    "deploy": ("deploy", "deployment", "release", "version"),
    "config": ("config", "configuration"),
    "scale": ("scale",),
}
"""Words that others stand for: an `ec2` is an instance, what was terminated is lost."""


class _Question(Model):
    """The arguments of the effect."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    correlation_id: str
    question: Literal["predict", "diagnose"]
    evidence: Evidence
    runbooks: tuple[OfferedRunbook, ...]


class _Choice(NamedTuple):
    """A recommendation; `fits`: the runbook's kind of target is what failed or was changed."""

    runbook_id: str = ""
    mode: str = "unknown"
    match: float = 0.0
    fits: bool = False
    helped: float = 0.0

    @property
    def rank(self) -> tuple[float, bool, float]:
        """What is compared: the name first, then the target, then what helped before."""
        return self.match, self.fits, self.helped


def answer_locally(asked: Asked) -> ModelAnswered:
    """The performer of `ask_model`: deterministic, no network, no cost.

    Raises pydantic's ValidationError for arguments that are not a question (the effect pool answers with the failure).
    """
    question = _Question.model_validate(dict(asked.args))
    evidence = question.evidence
    choice = _choose(evidence, question.runbooks)
    diagnose = question.question == "diagnose"
    terms = _diagnosis_terms(choice) if diagnose else _prediction_terms(evidence)
    probability = 1.0 / (1.0 + math.exp(-math.fsum(terms.values())))
    answer = ToolAnswer(
        failure_probability=round(probability, 3),
        horizon_minutes=15 if diagnose else 60,
        failure_mode=choice.mode,
        runbook_id=choice.runbook_id,
        summary="local logistic: " + ", ".join(f"{name} {value:+.2f}" for name, value in terms.items()),
    )
    return ModelAnswered(
        effect_id=asked.id,
        correlation_id=question.correlation_id,
        stop_reason="tool_use",
        input=answer.model_dump(mode="json"),
        model_id=MODEL_ID,
    )


def _prediction_terms(evidence: Evidence) -> dict[str, float]:
    """The terms of the logit that apply, by name."""
    signals = evidence.signals
    words = {word for signal in signals for word in signal.words} & FAILURE_WORDS
    rarity = min(max((signal.sigma for signal in signals), default=0.0) - 3.5, _SIGMA_MOST)
    times = {
        "base": 1.0,
        "sigma": max(rarity, 0.0),
        "alarm": any(signal.tier == "alarm" for signal in signals),
        "grave words": bool(words & GRAVE_WORDS),
        "failure words": bool(words) and not words & GRAVE_WORDS,
        "severity": any(signal.severity >= Severity.ERROR for signal in signals),
        "rising": any(signal.trend == "rising" for signal in signals),
        "falling": bool(signals) and all(signal.trend in ("falling", "cleared") for signal in signals),
        "second service": evidence.services > 1,
        "recent change": any(change.kind in ("deploy", "config") for change in evidence.changes),
        "failed before": _failed_before(evidence),
        "only a stalled source": bool(signals) and all(signal.kind == "source_stalled" for signal in signals),
    }
    return _weighted(times)


def _diagnosis_terms(choice: _Choice) -> dict[str, float]:
    return _weighted({"diagnosis": 1.0, "name matches": choice.match, "helped before": choice.helped})


def _weighted(times: Mapping[str, float]) -> dict[str, float]:
    return {name: WEIGHTS[name].value * factor for name, factor in times.items() if factor}


def _failed_before(evidence: Evidence) -> float:
    """-1 (no similar incident failed) to +1 (all did), shrunk by two cases; those acted on say little."""
    known = [item for item in evidence.similar if not item.acted]
    failed = sum(item.failed for item in known)
    return (2.0 * failed - len(known)) / (len(known) + 2.0)


def _choose(evidence: Evidence, runbooks: Sequence[OfferedRunbook]) -> _Choice:
    """The runbook whose failure mode's words are best covered by the evidence; earlier offers win ties. Where none
    is, the first that is offered for the mode `unknown`.
    """
    words = _words(evidence)
    touched = {event.resource_type for event in evidence.events} | {change.resource_type for change in evidence.changes}
    best = _Choice()
    for book in runbooks:
        fits, helped = book.target_kind in touched, _helped(evidence, book.id)
        for mode in book.failure_modes:
            choice = _Choice(book.id, mode, _match(mode, words), fits, helped)
            if choice.match >= _LEAST_MATCH and choice.rank > best.rank:
                best = choice
    if best.runbook_id:
        return best
    return next((_Choice(book.id) for book in runbooks if best.mode in book.failure_modes), best)


def _words(evidence: Evidence) -> frozenset[str]:
    said = {word for signal in evidence.signals for word in signal.words}
    said |= {word for event in evidence.events for word in event.words}
    kinds = [event.resource_type for event in evidence.events] + [change.kind for change in evidence.changes]
    kinds += [signal.kind for signal in _open(evidence.signals)]
    meant = {hint for word in (*said, *kinds) for hint in _HINTS.get(word, ())}
    return frozenset(said | meant | set(kinds))


def _open(signals: Sequence[SignalEvidence]) -> list[SignalEvidence]:
    return [signal for signal in signals if signal.trend != "cleared"]


def _match(mode: str, words: frozenset[str]) -> float:
    """The share of a failure mode's words found. Words of one stem (5 letters) count as found: exhaust, exhausted."""
    wanted = [word for word in mode.lower().split("_") if word]
    found = sum(any(_same(word, said) for said in words) for word in wanted)
    return found / len(wanted) if wanted else 0.0


def _same(left: str, right: str) -> bool:
    return left == right or (min(len(left), len(right)) >= _STEM and left[:_STEM] == right[:_STEM])


def _helped(evidence: Evidence, runbook_id: str) -> float:
    """+1 where this runbook ended a similar incident, -1 where it only failed at one."""
    results = [item.result for item in evidence.similar if item.acted and item.runbook_id == runbook_id]
    return 1.0 if "recovered" in results else -1.0 if results else 0.0
