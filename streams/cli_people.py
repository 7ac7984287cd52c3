"""What people say to a running system: `foreshock review`, `pause` and `resume`.

In: a data folder, beside whoever runs it, and a person's word. Out: a signed Review or Control, appended in one short
transaction; whoever runs the folder takes it at once, or at its next start.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import typer

from connectors.clock import WallClock
from connectors.codec import encode
from connectors.data_folder import open_reader
from connectors.keys import load_keys
from connectors.ports import Log, Outbound
from connectors.settings import read_settings
from connectors.sqlite import SqliteStore
from models.catalog import Catalog
from models.decision import Decision
from models.errors import ForeshockError
from models.event import Event, digest
from models.signal import Control, Review
from models.signing import KeyRing, sign
from streams.caselog import Proposed, read_proposals
from streams.reading import events_of
from streams.rendering import note, put, put_json, put_table, shown, time_text

__all__ = [
    "Answer", "ProposalError", "answer_proposal", "list_proposals", "parse_until", "pause", "resume", "show_proposal",
]  # fmt: skip

_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class ProposalError(ForeshockError):
    """There is no proposal that can be answered now."""


def list_proposals(data: Path, *, include_past: bool, as_json: bool) -> None:
    """List what is open; with `include_past` also what can no longer be answered, and why."""
    store = open_reader(data)
    every = read_proposals(store, _now(store))
    proposals = [proposed for proposed in every if include_past or proposed.state == "open"]
    if as_json:
        for proposed in proposals:
            put_json(_proposal_json(proposed))
    elif proposals:
        columns = ["correlation id", "application", "state", "runbook", "target", "probability", "answer until"]
        put_table(columns, [_proposal_row(proposed) for proposed in proposals])
    if not proposals:
        past = f"; {len(every)} past: show them with --all" if every else ""
        note(f"nobody is asked anything in {data}{past}")


def show_proposal(data: Path, correlation_id: str, *, as_json: bool) -> None:
    """Show one proposal with every reason, whatever its state. Raises ProposalError where there is none."""
    store = open_reader(data)
    proposed = _find(read_proposals(store, _now(store)), correlation_id)
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


def answer_proposal(data: Path, correlation_id: str, answer: Answer, *, as_json: bool) -> None:
    """Sign and append a person's verdict, bound to the digest of what was proposed.

    Raises ProposalError where nothing can be answered: unknown, answered already, expired, superseded, incident closed,
    or another proposal stands now than the one that was meant.
    """
    verdict = answer.verdict
    store = open_reader(data, append=True)
    ring = _key_ring(data)
    with store.transaction():  # nobody else can answer between the look and the append
        now = _now(store)
        proposed = _find(read_proposals(store, now), correlation_id)
        _require_open(proposed)
        decision = proposed.decision
        _require_meant(store, decision, answer.proposal)
        review = Review(
            correlation_id=correlation_id,
            proposal_digest=decision.proposal_digest,
            verdict=verdict,
            reviewer=_utf8(answer.reviewer) or _login(),
            reason=_utf8(answer.reason),
            expires_at=decision.expires_at,
        )
        event = Event(
            id=digest("review", decision.proposal_digest, verdict, str(now)),
            at=now,
            key=proposed.incident.application,
            data=sign(review, ring),
            cid=correlation_id,
            run=store.meta("run") or "",
        )
        record = store.append([Outbound("signals", event.key, encode(event), at=now)], now)[0]
    if as_json:
        put_json({"position": str(record.position), "data": event.data.model_dump(mode="json")})
    else:
        what = f"{decision.runbook_id} v{decision.runbook_version} on {decision.target}"
        put(shown(f"{verdict}: {what} for {correlation_id}, by {review.reviewer} ({record.position})"))
    note(f"a running foreshock takes it at once; see `foreshock explain {correlation_id}`")


def pause(data: Path, *, scope: str, until: str, reason: str, by: str, as_json: bool) -> None:
    """Append a signed pause to every partition that the case and act read."""
    store = open_reader(data, append=True)
    end = parse_until(until, _now(store)) if until else 0
    _require_known(store, scope)
    control = Control(kind="pause", scope=_utf8(scope), until=end, by=_utf8(by) or _login(), reason=_utf8(reason))
    _switch(store, data, control, as_json)


def resume(data: Path, *, scope: str, reason: str, by: str, as_json: bool) -> None:
    """Append a signed resume likewise."""
    store = open_reader(data, append=True)
    _require_known(store, scope)
    _switch(
        store, data, Control(kind="resume", scope=_utf8(scope), by=_utf8(by) or _login(), reason=_utf8(reason)), as_json
    )


def parse_until(text: str, now: int) -> int:
    """A span (`30m`, `2h`, `1d`) from `now`, or an ISO 8601 time (UTC where it names no zone), as ms. Raises
    BadParameter for anything else, and for a time that is not after `now`.
    """
    span = _SPAN.fullmatch(text)
    if span is not None:
        return now + int(span[1]) * _UNIT_MS[span[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        advice = "write a span as 30m, 2h or 1d, or a time as 2026-03-01T12:00Z"
        raise typer.BadParameter(f"--until {shown(text)}: {advice}") from None
    at = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    if at <= now:
        raise typer.BadParameter(f"--until {time_text(at)} is not after {time_text(now)}")
    return at


def _switch(store: SqliteStore, data: Path, control: Control, as_json: bool) -> None:
    signed = sign(control, _key_ring(data))
    with store.transaction():
        now = _now(store)
        copies = [
            Outbound(topic, control.scope, encode(_control_event(store, signed, now, topic, part)), part, now)
            for topic in ("signals", "commands")
            for part in range(store.partitions(topic))
        ]
        store.append(copies, now)
    if as_json:
        put_json(signed.model_dump(mode="json"))
        return
    whom = "all applications" if control.scope == "*" else control.scope
    if control.kind == "resume":
        put(shown(f"resumed: {whom}, by {control.by}"))
    else:
        end = f"until {time_text(control.until)}" if control.until else "until `foreshock resume`"
        put(shown(f"paused: {whom}, by {control.by}, {end}: {control.reason}"))


def _control_event(store: SqliteStore, control: Control, now: int, topic: str, partition: int) -> Event[Control]:
    name = digest("control", control.kind, control.scope, str(now), topic, str(partition))
    return Event(id=name, at=now, key=control.scope, data=control, run=store.meta("run") or "")


def _require_known(log: Log, scope: str) -> None:
    """A pause of a misspelt application would stop nothing."""
    catalogs = list(events_of(log, "catalog", Catalog))
    known = {name for event in catalogs for app in event.data.applications for name in (app.name, *app.services)}
    if catalogs and scope != "*" and scope not in known:
        names = ", ".join(sorted(app.name for event in catalogs for app in event.data.applications))
        raise typer.BadParameter(shown(f"--scope {scope}: no such application; there are {names or 'none'}"))


def _find(proposals: Sequence[Proposed], correlation_id: str) -> Proposed:
    for proposed in proposals:
        if proposed.incident.correlation_id == correlation_id:
            return proposed
    raise ProposalError(
        f"nobody is asked anything about {correlation_id!r}. `foreshock review list` shows what is open, "
        f"`foreshock explain {correlation_id}` what was decided"
    )


def _require_meant(store: SqliteStore, decision: Decision, proposal: str) -> None:
    """A prediction may have replaced what a person has looked at: then they must say which proposal they mean."""
    cid, now = decision.correlation_id, decision.proposal_digest
    made = {event.data.proposal_digest for event in events_of(store, "predictions", Decision, about=[cid])} - {""}
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


def _key_ring(data: Path) -> KeyRing:
    """The configured keys, else the folder's own."""
    configuration = read_settings(options={"data": str(data)})
    return load_keys(data, configuration.signing_keys, configuration.settings.signing_key)


def _now(store: SqliteStore) -> int:
    """The present as the folder's host sees it: its own clock where that is virtual (a simulation), else the wall's,
    never behind what the log has reached.
    """
    reached = int(store.meta("clock") or 0)
    return reached if store.meta("time") == "virtual" else WallClock(reached).now()


def _utf8(text: str) -> str:
    """The argument as JSON can hold it: what is no UTF-8 in it stands as question marks."""
    return text.encode("utf-8", "replace").decode()


def _login() -> str:
    """The login name of whoever runs this; the environment could say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
