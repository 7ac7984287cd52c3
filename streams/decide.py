"""decide: the only verb that may order an action.

In: the incident, a prediction, a person's review, an outcome, time. Out: Decision (always with every reason), signed
Command, audit entries. The rules are the table in models/rules.py; here stands when they are asked and what follows.
"""

from __future__ import annotations

from collections.abc import Iterator

from models.audit import Stage
from models.calibration import calibrate
from models.case import CaseState, DecideState, Proposal
from models.casefile import is_quiet
from models.command import Outcome
from models.confidence import assess
from models.cooldown import CooldownCheck
from models.decision import Confidence, Decision, Verdict
from models.errors import ContractError
from models.event import digest
from models.incident import Incident
from models.ledger import row_of
from models.policy import Mode, Policy
from models.prediction import Prediction
from models.rules import Weighing, judge
from models.runbook import Runbook
from models.signal import Control, Review
from models.targets import TargetChoice, choose_target
from streams.casework import Work
from streams.orders import cooling, order, policy_digest, settle

__all__ = ["check_review", "decide", "decide_wish"]

_DAY_MS = 86_400_000
_ANSWERED_KEPT = 50
_NO_TARGET = TargetChoice("", False, "no runbook, no target")


def check_review(state: CaseState, review: Review, now: int) -> bool:
    """Whether the review is news (a second one for the same proposal is not). Raises ContractError, before anything is
    changed, for one that answers no open proposal of this case.
    """
    if review.proposal_digest in state.decide.answered:
        return False
    proposal = state.decide.proposal
    if proposal is None or review.proposal_digest != proposal.digest:
        raise ContractError("no such proposal", f"{review.proposal_digest[:40]}: see `foreshock review list`")
    if review.correlation_id != proposal.correlation_id:
        raise ContractError("review of another incident", review.correlation_id[:40])
    if now >= min(review.expires_at, proposal.expires_at):
        raise ContractError("review expired", "decide again with `foreshock review list`")
    return True


def decide(state: CaseState, work: Work) -> None:
    """Settle what came to its end, take a review, and weigh anew where there is reason to."""
    made, data = state.decide, work.event.data
    made.ordered_at = [at for at in made.ordered_at if work.now - at < _DAY_MS]
    if isinstance(data, Outcome):
        settle(state, work, data.command_id, data)
    for command_id in [name for name, item in made.in_flight.items() if work.now >= item.until]:
        settle(state, work, command_id, None)
    incident = state.join.incident
    if incident is None:
        return
    if made.proposal is not None and (work.closed or work.now >= made.proposal.expires_at):
        _expire(state, work, made.proposal)
    if work.closed:
        if isinstance(data, Review):  # the very signal that found the incident quiet for long enough
            ignored = state.join.ignored
            ignored["review as the incident closed"] = ignored.get("review as the incident closed", 0) + 1
        return
    if work.opened:
        made.tried, made.rejected, made.retry_at = [], [], 0
    prediction = state.predict.last
    if isinstance(data, Review):  # a cooldown that ends now is looked at with the next tick
        _review(state, work, incident, data)
    elif _should_weigh(made, work) and prediction is not None:
        _weigh(state, work, incident, prediction)


def decide_wish(state: CaseState) -> Iterator[int]:
    """When decide wants to look again (ms)."""
    made = state.decide
    if made.proposal is not None:
        yield made.proposal.expires_at
    if made.retry_at and state.join.incident is not None:
        yield made.retry_at
    yield from (item.until for item in made.in_flight.values())


def _should_weigh(made: DecideState, work: Work) -> bool:
    """A new prediction, a person's hand on a switch, or the end of a cooldown a decision waited for."""
    if made.retry_at and work.now >= made.retry_at:
        made.retry_at = 0
        return True
    return work.predicted is not None or isinstance(work.event.data, Control)


def _weigh(state: CaseState, work: Work, incident: Incident, prediction: Prediction) -> None:
    runbook = work.catalog.runbook(prediction.runbook_id) if prediction.runbook_id else None
    weighing = _weighing(state, work, incident, prediction, runbook, None)
    verdict, reasons = judge(weighing)
    made = state.decide
    decision = _decision(state, work, weighing, verdict).model_copy(update={"reasons": reasons})
    if verdict in (Verdict.ALERT, Verdict.REVIEW) and not weighing.cooldown.allowed:
        made.retry_at = weighing.cooldown.until
    if verdict == Verdict.ACT and runbook is not None:
        _act(state, work, incident, runbook, decision)
        return
    proposal = None
    if verdict == Verdict.REVIEW and runbook is not None:
        proposal = _proposal(made, work, incident, runbook, weighing.target.arn, decision)
        bound = {"proposal_digest": proposal.digest, "expires_at": proposal.expires_at}
        decision = decision.model_copy(update=bound)
    _publish(state, work, decision)
    _propose(state, work, proposal)


def _weighing(
    state: CaseState,
    work: Work,
    incident: Incident,
    prediction: Prediction,
    runbook: Runbook | None,
    arn: str | None,
) -> Weighing:
    """Everything the rules look at; `arn` fixes the target (a proposal's), otherwise it is chosen."""
    made, policy, application = state.decide, work.catalog.policy, state.application
    target = choose_target(work.catalog, incident, runbook) if runbook else _NO_TARGET
    if runbook is not None and arn is not None:
        target = TargetChoice(arn, True, f"{arn} is what was proposed")
    control = work.control("mode", application)
    allowed = runbook is not None and runbook.id in work.catalog.application(application).runbooks
    return Weighing(
        now=work.now,
        incident=incident,
        evidence_at=state.join.evidence_at,
        prediction=prediction,
        policy=policy,
        mode=Mode(control.mode) if control is not None and control.mode else policy.mode,
        pause=work.control("pause", application),
        silence=work.control("silence", application),
        runbook=runbook,
        allowed=allowed and ("*" in policy.allow or (runbook is not None and runbook.id in policy.allow)),
        target=target,
        cooldown=cooling(state, runbook, target.arn, work.now) if runbook else CooldownCheck(True),
        in_flight=[item.target for item in made.in_flight.values()],
        ordered_today=len(made.ordered_at),
        rejected=made.rejected,
        tried=[(item.runbook_id, item.target) for item in made.tried if item.applied or not item.result],
        confidence=_confidence(state, incident, runbook, prediction, policy) if runbook else None,
        open=not is_quiet(incident),
    )


def _confidence(
    state: CaseState, incident: Incident, runbook: Runbook, prediction: Prediction, policy: Policy
) -> Confidence:
    kept, recalled = state.learn.stats, incident.stats
    row = row_of(kept, recalled, state.application, incident.pattern_id, runbook)
    controls = row_of(kept, recalled, state.application, incident.pattern_id, None)
    confidence = assess(row, controls, policy)
    p = prediction.failure_probability
    return confidence if p is None else confidence.model_copy(update={"calibrated_claim": calibrate(p, row.claims)})


def _decision(state: CaseState, work: Work, weighing: Weighing, verdict: Verdict) -> Decision:
    made, runbook, policy = state.decide, weighing.runbook, work.catalog.policy
    made.revision = made.revision + 1
    return Decision(
        correlation_id=weighing.incident.correlation_id,
        application=state.application,
        revision=made.revision,
        verdict=verdict,
        reasons=(),
        runbook_id=runbook.id if runbook else "",
        runbook_version=runbook.version if runbook else 0,
        target=weighing.target.arn,
        failure_probability=weighing.prediction.failure_probability,
        horizon_minutes=weighing.prediction.horizon_minutes,
        confidence=weighing.confidence,
        policy_digest=policy_digest(policy),
    )


def _publish(state: CaseState, work: Work, decision: Decision) -> None:
    cid = decision.correlation_id
    work.decided = decision
    work.emit("predictions", state.application, decision, cid)
    refused = [reason.rule for reason in decision.reasons if not reason.passed]
    facts = decision.model_dump(mode="json", include={"verdict", "runbook_id", "target", "reviewer"})
    work.audit(state, Stage.DECIDED, "decide", cid, revision=decision.revision, refused=list(refused), **facts)


def _proposal(
    made: DecideState, work: Work, incident: Incident, runbook: Runbook, target: str, decision: Decision
) -> Proposal:
    """The open proposal if it says the same, else a new one."""
    same, attempt = made.proposal, len(made.tried) + 1
    wanted = (incident.correlation_id, runbook.id, runbook.version, target, decision.policy_digest, attempt)
    if same is not None and wanted == (
        same.correlation_id,
        same.runbook_id,
        same.runbook_version,
        same.target,
        same.policy_digest,
        same.attempt,
    ):
        return same
    return Proposal(
        digest=digest(*map(str, wanted), str(decision.revision)),
        correlation_id=incident.correlation_id,
        pattern_id=incident.pattern_id,
        runbook_id=runbook.id,
        runbook_version=runbook.version,
        target=target,
        expires_at=work.now + round(work.catalog.policy.review_expires_seconds * 1_000),
        policy_digest=decision.policy_digest,
        attempt=attempt,
    )


def _propose(state: CaseState, work: Work, proposal: Proposal | None) -> None:
    """Put the proposal in place of the one before, which a person can no longer approve."""
    made = state.decide
    if proposal is made.proposal:
        return
    if made.proposal is not None:
        _expire(state, work, made.proposal)
    if proposal is None:
        return
    made.proposal = proposal
    facts = proposal.model_dump(mode="json", include={"runbook_id", "target", "expires_at"})
    cid = proposal.correlation_id
    work.audit(state, Stage.REVIEW_REQUESTED, "decide", cid, proposal=proposal.digest, **facts)


def _expire(state: CaseState, work: Work, proposal: Proposal) -> None:
    state.decide.proposal = None
    work.audit(state, Stage.EXPIRED, "decide", proposal.correlation_id, proposal=proposal.digest)


def _review(state: CaseState, work: Work, incident: Incident, review: Review) -> None:
    """A person has answered the open proposal (`check_review` has said so)."""
    made, proposal, prediction = state.decide, state.decide.proposal, state.predict.last
    if proposal is None or prediction is None:
        return
    approved = review.verdict == "approve"
    made.proposal = None
    made.answered = [*made.answered, proposal.digest][-_ANSWERED_KEPT:]
    if not approved:
        made.rejected.append((proposal.runbook_id, proposal.target))
    stage = Stage.APPROVED if approved else Stage.REJECTED
    facts = {"proposal": proposal.digest, "reason": review.reason[:200]}
    work.audit(state, stage, review.reviewer, proposal.correlation_id, **facts)
    runbook = work.catalog.runbook(proposal.runbook_id, proposal.runbook_version)
    weighing = _weighing(state, work, incident, prediction, runbook, proposal.target)
    verdict, reasons = judge(weighing, approved_by=review.reviewer if approved else "")
    named = {"reasons": reasons, "reviewer": review.reviewer, "proposal_digest": proposal.digest}
    decision = _decision(state, work, weighing, verdict).model_copy(update=named)
    if approved and verdict == Verdict.ACT and runbook is not None:
        _act(state, work, incident, runbook, decision)
    else:
        _publish(state, work, decision)


def _act(state: CaseState, work: Work, incident: Incident, runbook: Runbook, decision: Decision) -> None:
    if state.decide.proposal is not None:  # what was proposed before is overtaken
        _expire(state, work, state.decide.proposal)
    command_id = digest(
        incident.correlation_id, runbook.id, str(runbook.version), decision.target, str(len(state.decide.tried) + 1)
    )
    _publish(state, work, decision.model_copy(update={"command_id": command_id}))
    order(state, work, incident, runbook, decision.target, command_id)
