"""The `mine` step: batches of lines become counts of templates. Without state: the miner's memory only saves time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.errors import ContractError
from models.event import Event
from models.log import LogBatch
from models.mining import MAX_BYTES, Miner
from models.template import BatchPointer
from streams.step import Emit, NothingKeeper, Part, Turn

__all__ = ["Mine"]


class Mine:
    """One TemplateCounts for each LogBatch, under the partition's number as key.

    `max_bytes` bounds the miner's memory of lines; it changes the speed, not the answers.
    """

    name, inbox, urgent = "mine", "logs", False
    shared, state = NothingKeeper(), NothingKeeper()

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._miner = Miner(max_bytes)

    def admit(self, shared: None, event: Event[Any]) -> tuple[None, Sequence[Part]]:
        """The whole event is one part. Raises ContractError for what is no LogBatch from the log."""
        if not isinstance(event.data, LogBatch) or event.position is None:
            raise ContractError("wrong_type", f"{event.type} does not belong on {self.inbox}: only log_batch does")
        topic, partition, offset = event.position
        return shared, (Part(str(partition), event, BatchPointer(topic=topic, partition=partition, offset=offset)),)

    def advance(self, shared: None, state: None, part: Part) -> Turn[None]:  # noqa: ARG002 - the protocol's name
        """Count the batch. Raises ContractError where its columns do not fit each other."""
        counts = self._miner.mine(part.event.data, part.share)
        return Turn(state, (Emit("counts", part.key, part.event.at, counts),))
