"""predict: how likely is a failure, and what would help. The only verb that asks a model.

In: the incident as join left it, a ModelAnswered, time. Out: Prediction (also "no prediction", with its reason), audit
entry ANALYZED, effect `ask_model`. Asked on opening (after history was recalled, or 5 s), when severity rises or
another resource fails, and every 5 minutes; at most 4 times an incident, each with 30 s to answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import JsonValue

from models.answer import HORIZONS, ToolAnswer, read_answer
from models.audit import Stage
from models.case import CaseState, PredictState
from models.casefile import is_quiet
from models.errors import ContractError
from models.event import digest
from models.evidence import gather_evidence, offered_runbooks
from models.headline import escape
from models.incident import Incident
from models.prediction import ModelAnswered, Prediction
from models.signal import EffectAnswered
from streams.casework import Work
from streams.step import Effect

__all__ = ["ANSWER_MS", "ASK_AGAIN_MS", "HISTORY_MS", "MAX_CALLS", "predict", "predict_wish"]

HISTORY_MS = 5_000
ANSWER_MS = 30_000
ASK_AGAIN_MS = 300_000
MAX_CALLS = 4
_NO_ANSWER_HORIZON = 60


def predict(state: CaseState, work: Work) -> None:
    """Take an answer or miss one, then ask if there is reason to."""
    incident, asked = state.join.incident, state.predict
    if incident is None or work.closed:
        _drop(asked, work)
        return
    if asked.correlation_id != incident.correlation_id:
        _drop(asked, work)
        cid = incident.correlation_id
        asked = state.predict = PredictState(correlation_id=cid, wait_until=work.now + HISTORY_MS)
    _take(state, work, incident)
    if not asked.effect_id and _should_ask(state, work, incident):
        _ask(state, work, incident)


def predict_wish(state: CaseState) -> Iterator[int]:
    """When predict wants to look again (ms)."""
    asked, incident = state.predict, state.join.incident
    if incident is None:
        return
    if asked.effect_id:
        yield asked.deadline
    elif not asked.calls:
        yield asked.wait_until
    elif asked.calls < MAX_CALLS and not is_quiet(incident):
        yield asked.asked_at + ASK_AGAIN_MS


def _take(state: CaseState, work: Work, incident: Incident) -> None:
    asked, data = state.predict, work.event.data
    if not asked.effect_id:
        return
    if isinstance(data, ModelAnswered) and data.effect_id == asked.effect_id:
        try:
            _conclude(state, work, incident, _answered(asked, data, incident, read_answer(data, asked.offered)))
        except ContractError as error:
            _conclude(state, work, incident, _missed(asked, incident, f"{error.reason}: {error.detail}", data))
    elif isinstance(data, EffectAnswered) and data.effect_id == asked.effect_id:
        _conclude(state, work, incident, _missed(asked, incident, f"the model failed: {escape(data.error)[:200]}"))
    elif work.now >= asked.deadline:
        work.cancels.append(asked.effect_id)
        reason = f"no answer within {ANSWER_MS // 1_000} s"
        _conclude(state, work, incident, _missed(asked, incident, reason))


def _should_ask(state: CaseState, work: Work, incident: Incident) -> bool:
    asked = state.predict
    if asked.calls >= MAX_CALLS:
        return False
    if not asked.calls:
        return not state.join.recall_id or work.now >= asked.wait_until
    if is_quiet(incident):
        return False
    worse = incident.severity > asked.asked_severity or (incident.failed and not asked.asked_failed)
    worse = worse or _open_failures(incident) > asked.asked_events
    return worse or work.now >= asked.asked_at + ASK_AGAIN_MS


def _ask(state: CaseState, work: Work, incident: Incident) -> None:
    asked = state.predict
    names = work.catalog.application(state.application).runbooks
    books = [book for book in map(work.catalog.runbook, names) if book is not None]
    question = "diagnose" if incident.failed else "predict"
    told: dict[str, JsonValue] = {
        "question": question,
        "evidence": gather_evidence(incident, books).model_dump(mode="json"),
        "runbooks": [book.model_dump(mode="json") for book in offered_runbooks(books)],
        "horizons": list(HORIZONS),
    }
    asked.calls += 1
    asked.effect_id = digest("ask", incident.correlation_id, str(asked.calls))
    asked.question, asked.evidence_digest = question, incident.evidence_digest
    asked.prompt_digest = digest(json.dumps(told, sort_keys=True, separators=(",", ":")))
    asked.offered = [book.id for book in books]
    asked.asked_at, asked.deadline = work.now, work.now + ANSWER_MS
    asked.asked_severity, asked.asked_failed = incident.severity, incident.failed
    asked.asked_events = _open_failures(incident)
    args: dict[str, JsonValue] = {"correlation_id": incident.correlation_id, **told}
    work.effects.append(Effect(asked.effect_id, "ask_model", args))


def _open_failures(incident: Incident) -> int:
    return sum(not event.expected and not event.cleared_at for event in incident.events)


def _answered(asked: PredictState, data: ModelAnswered, incident: Incident, answer: ToolAnswer) -> Prediction:
    return _prediction(asked, incident).model_copy(
        update={
            "failure_probability": answer.failure_probability,
            "horizon_minutes": answer.horizon_minutes,
            "failure_mode": answer.failure_mode,
            "runbook_id": answer.runbook_id,
            "by": "local" if data.model_id.startswith("local") else "bedrock",
            "model_id": data.model_id,
            "cost_usd": data.cost_usd,
            "summary": escape(answer.summary),
        }
    )


def _missed(asked: PredictState, incident: Incident, reason: str, data: ModelAnswered | None = None) -> Prediction:
    spent = {"model_id": data.model_id, "cost_usd": data.cost_usd} if data else {}
    return _prediction(asked, incident).model_copy(update={"reason": reason, **spent})


def _prediction(asked: PredictState, incident: Incident) -> Prediction:
    return Prediction(
        correlation_id=incident.correlation_id,
        application=incident.application,
        revision=asked.calls,
        question="diagnose" if asked.question == "diagnose" else "predict",
        horizon_minutes=_NO_ANSWER_HORIZON,
        by="none",
        prompt_digest=asked.prompt_digest,
        evidence_digest=asked.evidence_digest,
    )


def _conclude(state: CaseState, work: Work, incident: Incident, prediction: Prediction) -> None:
    asked = state.predict
    asked.effect_id, asked.last = "", prediction
    asked.cost_usd += prediction.cost_usd
    work.predicted = prediction
    cid = incident.correlation_id
    work.emit("predictions", state.application, prediction, cid)
    facts = prediction.model_dump(
        mode="json", include={"failure_probability", "failure_mode", "runbook_id", "by", "model_id", "reason"}
    )
    work.audit(state, Stage.ANALYZED, "predict", cid, **facts)


def _drop(asked: PredictState, work: Work) -> None:
    """A question about an incident that is over needs no answer."""
    if asked.effect_id:
        work.cancels.append(asked.effect_id)
        asked.effect_id = ""
