"""What people say to a running system: `foreshock review`, `pause` and `resume`.

In: a log, beside whoever runs it, and a person's word. Out: a signed Review or Control, appended to the inboxes it
concerns; whoever reads them takes it at once, or at its next start.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import typer

from connectors.codec import encode
from connectors.ports import Outbound
from connectors.shared_log import SharedLog
from connectors.where import Where
from models.catalog import Catalog
from models.decision import Decision
from models.errors import ForeshockError
from models.event import Event, digest
from models.signal import Control, Review
from models.signing import sign
from streams.caselog import Proposed, read_proposals
from streams.cli_where import opened, parse_moment, recent, say_what_is_cut, since_of
from streams.reading import ReadableLog, events_of
from streams.rendering import note, put, put_json, put_table, shown, time_text

__all__ = [
    "Answer", "ProposalError", "Switch", "answer_proposal", "list_proposals", "parse_until", "pause", "resume",
    "show_proposal",
]  # fmt: skip

_RESUME_MS: Final = 600_000
"""A machine's clock may be wrong by less; as long as a command may be under way."""


class ProposalError(ForeshockError):
    """There is no proposal that can be answered now."""


def list_proposals(where: Where, *, include_past: bool, since: str, as_json: bool) -> None:
    """List what is open; with `include_past` also what can no longer be answered, and why."""
    with opened(where) as log:
        every, place = _proposals(log, since), log.place
    proposals = [proposed for proposed in every if include_past or proposed.state == "open"]
    if as_json:
        for proposed in proposals:
            put_json(_proposal_json(proposed))
    elif proposals:
        columns = ["correlation id", "application", "state", "runbook", "target", "probability", "answer until"]
        put_table(columns, [_proposal_row(proposed) for proposed in proposals])
    if not proposals:
        past = f"; {len(every)} past: show them with --all" if every else ""
        note(f"nobody is asked anything in {place}{past}")


def show_proposal(where: Where, correlation_id: str, *, as_json: bool) -> None:
    """Show one proposal with every reason, whatever its state. Raises ProposalError where there is none."""
    with opened(where) as log:
        proposed = _find(_proposals(log), correlation_id)
    if as_json:
        put_json(_proposal_json(proposed))
        return
    decision = proposed.decision
    put(shown(f"{correlation_id} ({proposed.incident.application}): {proposed.state}"))
    put(shown(f"  {decision.runbook_id} v{decision.runbook_version} on {decision.target}"))
    put(shown(f"  proposal {decision.proposal_digest}, answer until {time_text(decision.expires_at)}"))
    for reason in decision.reasons:
        put(shown(f"  {'passed    ' if reason.passed else 'NOT passed'} {reason.rule}: {reason.text}"))
    if proposed.review is not None:
        put(shown(f"  {proposed.review.verdict} by {proposed.review.reviewer}: {proposed.review.reason or '-'}"))


class Answer(NamedTuple):
    """A person's answer to the proposal whose digest begins with `proposal` ("": the only one there has been)."""

    verdict: Literal["approve", "reject"]
    proposal: str = ""
    reason: str = ""
    reviewer: str = ""


def answer_proposal(where: Where, correlation_id: str, answer: Answer, *, as_json: bool) -> None:
    """Sign and append a person's verdict, bound to the digest of what was proposed.

    Raises ProposalError where nothing can be answered: unknown, answered already, expired, superseded, incident closed,
    or another proposal stands now than the one that was meant.
    """
    with opened(where, append=True) as log:
        ring = log.key_ring()
        with log.alone():
            now = log.now()
            proposed = _find(_proposals(log), correlation_id)
            _require_open(proposed)
            decision = proposed.decision
            _require_meant(log, decision, answer.proposal)
            review = Review(
                correlation_id=correlation_id,
                proposal_digest=decision.proposal_digest,
                verdict=answer.verdict,
                reviewer=_utf8(answer.reviewer) or _login(),
                reason=_utf8(answer.reason),
                expires_at=decision.expires_at,
            )
            event = Event(
                id=digest("review", decision.proposal_digest, answer.verdict, str(now)),
                at=now,
                key=proposed.incident.application,
                data=sign(review, ring),
                cid=correlation_id,
                run=log.run,
            )
            record = log.append([Outbound("signals", event.key, encode(event), at=now)], now)[0]
    if as_json:
        put_json({"position": str(record.position), "data": event.data.model_dump(mode="json")})
    else:
        what = f"{decision.runbook_id} v{decision.runbook_version} on {decision.target}"
        put(shown(f"{answer.verdict}: {what} for {correlation_id}, by {review.reviewer} ({record.position})"))
    note(f"a running foreshock takes it at once; see `foreshock explain {correlation_id}`")


class Switch(NamedTuple):
    """A person's pause or resume: of an application or `*`, `until` a span or time ("": until resumed)."""

    scope: str
    reason: str
    by: str
    until: str = ""


def pause(where: Where, switch: Switch, *, as_json: bool) -> None:
    """Append a signed pause to every partition that the case and act read."""
    with opened(where, append=True) as log:
        end = parse_until(switch.until, log.now()) if switch.until else 0
        _append_control(log, _control("pause", switch, end), as_json)


def resume(where: Where, switch: Switch, *, as_json: bool) -> None:
    """Append a signed resume likewise. It counts if it is in the log within ten minutes."""
    with opened(where, append=True) as log:
        _append_control(log, _control("resume", switch, log.now() + _RESUME_MS), as_json)


def parse_until(text: str, now: int) -> int:
    """What `--until` means, as ms. Raises BadParameter for what is no span and no time, and for a time that is not
    after `now`.
    """
    at = parse_moment(text, now, "--until", ago=False)
    if at <= now:
        raise typer.BadParameter(f"--until {time_text(at)} is not after {time_text(now)}")
    return at


def _proposals(log: SharedLog, since: str = "") -> list[Proposed]:
    begin = since_of(log, since)
    view = recent(log, begin)
    proposals = read_proposals(view, log.now())
    say_what_is_cut(view, begin)
    return proposals


def _control(kind: Literal["pause", "resume"], switch: Switch, until: int) -> Control:
    by = _utf8(switch.by) or _login()
    return Control(kind=kind, scope=_utf8(switch.scope), until=until, by=by, reason=_utf8(switch.reason))


def _append_control(log: SharedLog, control: Control, as_json: bool) -> None:
    _require_known(log, control.scope)
    signed = sign(control, log.key_ring())
    with log.alone():
        now = log.now()
        copies = [
            Outbound(topic, control.scope, encode(_control_event(log.run, signed, now, topic, part)), part, now)
            for topic in ("signals", "commands")
            for part in range(log.partitions(topic))
        ]
        log.append(copies, now)
    if as_json:
        put_json(signed.model_dump(mode="json"))
        return
    whom = "all applications" if control.scope == "*" else control.scope
    if control.kind == "resume":
        put(shown(f"resumed: {whom}, by {control.by}"))
    else:
        end = f"until {time_text(control.until)}" if control.until else "until `foreshock resume`"
        put(shown(f"paused: {whom}, by {control.by}, {end}: {control.reason}"))


def _control_event(run: str, control: Control, now: int, topic: str, partition: int) -> Event[Control]:
    name = digest("control", control.kind, control.scope, str(now), topic, str(partition))
    return Event(id=name, at=now, key=control.scope, data=control, run=run)


def _require_known(log: ReadableLog, scope: str) -> None:
    """A pause of a misspelt application would stop nothing."""
    newest = {event.key: event.data for event in events_of(log, "catalog", Catalog)}
    known = {name for catalog in newest.values() for app in catalog.applications for name in (app.name, *app.services)}
    if newest and scope != "*" and scope not in known:
        names = ", ".join(sorted(app.name for catalog in newest.values() for app in catalog.applications))
        raise typer.BadParameter(shown(f"--scope {scope}: no such application; there are {names or 'none'}"))


def _find(proposals: Sequence[Proposed], correlation_id: str) -> Proposed:
    for proposed in proposals:
        if proposed.incident.correlation_id == correlation_id:
            return proposed
    raise ProposalError(
        f"nobody is asked anything about {correlation_id!r}. `foreshock review list` shows what is open, "
        f"`foreshock explain {correlation_id}` what was decided"
    )


def _require_meant(log: ReadableLog, decision: Decision, proposal: str) -> None:
    """A prediction may have replaced what a person has looked at: then they must say which proposal they mean."""
    cid, now = decision.correlation_id, decision.proposal_digest
    made = {event.data.proposal_digest for event in events_of(log, "predictions", Decision, about=[cid])} - {""}
    if proposal and now.startswith(proposal):
        return
    if proposal or len(made) > 1:
        what = f"{decision.runbook_id} v{decision.runbook_version} on {decision.target}"
        raise ProposalError(
            f"{cid} has had {len(made)} proposals; the open one is {now[:12]}: {what}. Look at it with "
            f"`foreshock review show {cid}`, then answer with --proposal {now[:12]}"
        )


def _require_open(proposed: Proposed) -> None:
    cid, decision = proposed.incident.correlation_id, proposed.decision
    if proposed.state == "open":
        return
    if proposed.review is not None:
        raise ProposalError(f"{cid} was answered already: {proposed.review.verdict} by {proposed.review.reviewer}")
    if proposed.state == "closed":
        raise ProposalError(f"{cid} is closed: there is nothing left to decide. See `foreshock explain {cid}`")
    if proposed.state == "superseded":
        raise ProposalError(f"a newer decision on {cid} asks nobody: see `foreshock explain {cid}`")
    raise ProposalError(
        f"the proposal for {cid} expired at {time_text(decision.expires_at)}. While the incident lasts, the next "
        "prediction proposes anew: watch `foreshock review list`"
    )


def _proposal_json(proposed: Proposed) -> dict[str, Any]:
    return {
        "correlation_id": proposed.incident.correlation_id,
        "application": proposed.incident.application,
        "state": proposed.state,
        "decision": proposed.decision.model_dump(mode="json"),
        "review": proposed.review.model_dump(mode="json") if proposed.review else None,
    }


def _proposal_row(proposed: Proposed) -> list[str]:
    decision = proposed.decision
    return [
        proposed.incident.correlation_id,
        proposed.incident.application,
        proposed.state,
        f"{decision.runbook_id} v{decision.runbook_version}",
        decision.target,
        "-" if decision.failure_probability is None else f"{decision.failure_probability:.2f}",
        time_text(decision.expires_at),
    ]


def _utf8(text: str) -> str:
    """The argument as JSON can hold it: what is no UTF-8 in it stands as question marks."""
    return text.encode("utf-8", "replace").decode()


def _login() -> str:
    """The login name of whoever runs this; the environment could say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
