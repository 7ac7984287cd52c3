"""What detect answers to generations and rollbacks, awaited for a while.

In: a log beside whoever runs detect. Out: the audit's word on each service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from connectors.codec import decode_record
from connectors.ports import Record
from connectors.shared_log import SharedLog
from models.audit import AuditEntry, Stage
from models.errors import ContractError
from streams.reading import events_of, read_topic

__all__ = ["Answer", "detect_runs", "running_generations", "wait_for_answers"]

_LOOK_SECONDS: Final = 0.5
_ANSWERS: Final = (Stage.BASELINES_SWAPPED, Stage.BASELINES_REFUSED, Stage.BASELINES_RESTORED)


class Answer(NamedTuple):
    """What became of a service's `generation`; where it was refused, why."""

    service: str
    stage: Stage
    generation: str
    reason: str = ""


def detect_runs(log: SharedLog) -> bool:
    """Whether anybody reads detect's inbox now. Raises BrokerError."""
    return any(group.members for group in log.groups() if group.role == "detect")


def running_generations(log: SharedLog) -> dict[str, str]:
    """The replayed generation of each service that runs one, as far as the audit is kept: its last swap that was not
    taken back.
    """
    last: dict[str, Answer] = {}
    for event in events_of(log, "audit", AuditEntry, about=["BASELINES_SWAPPED", "BASELINES_RESTORED"]):
        answer = _answer(event.data)
        if answer is not None and answer.stage is not Stage.BASELINES_REFUSED:
            last[answer.service] = answer
    return {name: each.generation for name, each in last.items() if each.stage is Stage.BASELINES_SWAPPED and name}


def wait_for_answers(
    log: SharedLog,
    begin: Mapping[int, int],
    wanted: Mapping[str, str],
    seconds: float,
    tell: Callable[[Answer], None],
) -> list[str]:
    """Tell every service's answer, read from the audit's offsets `begin` on; returns those that have not answered after
    so many seconds. `wanted`: the generation that each is asked about; "" for whatever comes of it next.
    """
    waiting, at, deadline = dict(wanted), dict(begin), time.monotonic() + seconds
    while waiting:
        ends = log.ends("audit")
        if ends != at:
            for record in read_topic(log, "audit", at):
                at[record.partition] = record.offset + 1
                answer = _answer_of(record)
                if answer is not None and waiting.get(answer.service) in ("", answer.generation):
                    tell(answer)
                    del waiting[answer.service]
        if not waiting or time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_SECONDS)
    return sorted(waiting)


def _answer_of(record: Record) -> Answer | None:
    if b'"BASELINES_' not in record.value:
        return None
    try:
        data = decode_record(record).data
    except ContractError:  # `tap` shows it
        return None
    return _answer(data) if isinstance(data, AuditEntry) else None


def _answer(entry: AuditEntry) -> Answer | None:
    if entry.stage not in _ANSWERS:
        return None
    facts = entry.facts
    reason = f"{facts['reason']}: {facts.get('detail', '')}" if "reason" in facts else ""
    return Answer(str(facts.get("service", "")), entry.stage, entry.correlation_id, reason)
