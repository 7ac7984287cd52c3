"""Learning baselines offline: the records of one partition through detect itself, which learns but judges nothing.

In: records of `counts`, or of `logs`, which are mined first, in order. Out: the services' states as detect would have
them, had nothing been an alarm and had the minutes left out not been learnt; and what was skipped, by reason.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from connectors.codec import decode_record
from connectors.ports import Record
from models.anomaly import LinePointer
from models.catalog import Catalog
from models.errors import ContractError
from models.event import Event
from models.log import LogBatch
from models.mining import Miner
from models.retraining import LeftOut
from models.service_state import ServiceState
from models.template import BatchPointer, TemplateCounts
from models.template_rules import RULES_VERSION
from streams.detect import Detect, Share
from streams.detect_buckets import FAILING_LAG
from streams.detect_judge import Judge
from streams.gather import Gathered, Names
from streams.inbox_guard import InboxGuard, Shard
from streams.step import Part

__all__ = ["Trainer"]

_NOTHING: Final = LeftOut()
_MOST_NAMES: Final = 5_000
"""Templates of a service that are remembered by number: ten times as many as have a slot."""


class _Bystander(Judge):
    """Judges nothing, and keeps the minutes left out from being learnt: as an alarm would, by freezing every series."""

    def __init__(self, state: ServiceState, application: Callable[[], str], left_out: LeftOut) -> None:
        super().__init__(state, application)
        self._left_out = left_out

    def spikes(self, bucket: int) -> None:
        """Just before a minute brings learning, freeze what would be learnt of a minute left out."""
        minute, series = self.state.lesson_at(bucket), self.state.series
        if minute is None or not self._left_out.spans:
            return
        failing = series.failing[: series.used]
        series.frozen[: series.used] = np.where(
            failing, minute - FAILING_LAG in self._left_out, minute - 1 in self._left_out
        )

    def novelties(self, bucket: int) -> None:
        """Nothing."""

    def drops(self, minute: int, bucket: int) -> None:
        """Nothing."""

    def silence(self, start: int, end: int) -> None:
        """Nothing."""

    def settle(self, bucket: int) -> None:
        """Nothing."""

    def early(self, bucket: int) -> None:
        """Nothing."""

    def early_unborn(self, bucket: int, names: list[tuple[str, LinePointer]]) -> None:
        """Nothing."""


class Trainer:
    """Learns the services of one partition of `partitions`; `service` "" means all. `left_out` by service."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        catalog: Catalog,
        *,
        service: str = "",
        left_out: Mapping[str, LeftOut] | None = None,
    ) -> None:
        self.partition = partition
        self.skipped: Counter[str] = Counter()
        """Records not learnt from, by reason."""
        self.lines = 0
        self.began: dict[str, int] = {}
        """By service, the first bucket of which anything was said."""
        self._states: dict[str, ServiceState] = {}
        self._gathered: dict[str, Gathered] = {}
        self._names: dict[str, Names] = {}
        self._left_out = {} if left_out is None else left_out
        self._service = service
        self._step = Detect(judge=self._bystander)
        self._shared = self._step.shared.initial("")
        self._shared.catalog = catalog
        self._guard = InboxGuard(Shard(partition, partitions))
        self._miner = Miner()

    def take(self, record: Record) -> None:
        """Learn from one record. What detect would make a dead letter is counted in `skipped`."""
        try:
            event = self._event(record)
            if event is None:
                return
            self._shared, parts = self._step.admit(self._shared, event)
        except ContractError as error:
            self.skipped[error.reason] += 1
            return
        for part in parts:
            self._give(part)

    @property
    def states(self) -> dict[str, ServiceState]:
        """The services, with all that was taken."""
        for gathered in self._gathered.values():
            waiting = gathered.part()
            if waiting is not None:
                self._advance(waiting)
        self._gathered = {}
        return self._states

    def dump(self) -> dict[str, Any]:
        """All that later records depend on, as JSON can hold it."""
        return {
            "shared": self._step.shared.dump(self._shared).decode(),
            "seen": {origin: list(rank) for origin, rank in self._guard.seen.items()},
            "states": {name: base64.b64encode(state.dump()).decode() for name, state in self.states.items()},
            "skipped": dict(self.skipped),
            "lines": self.lines,
            "began": self.began,
        }

    def load(self, raw: Mapping[str, Any]) -> None:
        """Go on where `dump` was made."""
        self._shared = self._step.shared.load(raw["shared"].encode())
        self._guard.seen = {origin: (o, p, n) for origin, (o, p, n) in raw["seen"].items()}
        self._states = {name: ServiceState.load(base64.b64decode(state)) for name, state in raw["states"].items()}
        self.skipped, self.lines, self.began = Counter(raw["skipped"]), raw["lines"], dict(raw["began"])

    def _give(self, part: Part) -> None:
        """Let the part wait for others like it; or let detect take what has waited, and it."""
        if self._service not in ("", part.key):
            return
        self.lines += sum(columns.section.lines for columns in part.share.sections)
        gathered = self._gathered.get(part.key)
        if gathered is not None and gathered.takes(part):
            gathered.add(part)
            return
        waiting = gathered.part() if gathered is not None else None
        if waiting is not None:
            self._advance(waiting)
        self._advance(part)
        names = self._names.get(part.key)
        if names is None or len(names) > _MOST_NAMES:
            names = self._names[part.key] = Names()
        self._gathered[part.key] = Gathered(part, names)

    def _advance(self, part: Part) -> None:
        state = self._states.get(part.key) or self._step.state.initial(part.key)
        if state.next_bucket < 0:
            share: Share = part.share
            said = [int(bucket) for section in share.sections for bucket in section.bucket if bucket >= 0]
            self.began[part.key] = min(said, default=share.end)
        self._states[part.key] = self._step.advance(self._shared, state, part).state

    def _bystander(self, state: ServiceState, application: Callable[[], str]) -> Judge:
        return _Bystander(state, application, self._left_out.get(state.service, _NOTHING))

    def _event(self, record: Record) -> Event[Any] | None:
        """What detect gets to see of the record; None where it is nothing to learn from."""
        mined = record.topic == "logs"
        event = decode_record(record)
        self._guard.check_place(record, event)
        if self._guard.seen_before(record, event):
            self.skipped["duplicate"] += 1
            return None
        if mined:
            return self._mined(record, event) if isinstance(event.data, LogBatch) else None
        if isinstance(event.data, TemplateCounts):
            if event.data.rules_version == RULES_VERSION:
                return event
            raise ContractError("rules_version", "templates of other rules are other series")
        return event if isinstance(event.data, Catalog) else None

    def _mined(self, record: Record, event: Event[LogBatch]) -> Event[TemplateCounts]:
        pointer = BatchPointer(topic=record.topic, partition=record.partition, offset=record.offset)
        counts = self._miner.mine(event.data, pointer)
        return Event(event.id, event.at, event.key, counts, logged_at=event.logged_at, position=event.position)
