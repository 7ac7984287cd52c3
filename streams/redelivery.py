"""One partition's reading, where delivery is not what its Unit wants: records lost on their way, holes of the log.

In: gaps that the Unit refuses, and how far delivery says it has come. Out: the Unit skips what the log itself has not
(retention, markers of transactions), or reading goes back until the wanted record has come.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog

from connectors.kafka_log import KafkaLog
from models.errors import BrokerError, GapError
from streams.runtime import Unit

__all__ = ["Consumer", "Redelivery"]

_log = structlog.get_logger(__name__)
_REWIND_SECONDS: Final = 2.0

Block = Callable[..., Awaitable[Any]]
"""Makes a call that blocks, in a thread."""


class Consumer(Protocol):
    """What a host asks of whoever delivers the inbox."""

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        """Note that reading resumes at `offset`; refused silently where the partition belongs to somebody else now."""
        ...

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Deliver again from `offset` on; may have to be asked again."""
        ...

    async def delivered(self, topic: str, partition: int) -> int:
        """The offset behind the last record that was read from the log for us, handed over or not; 0: none yet."""
        ...


class Redelivery:
    """Sees to it that one partition's Unit gets every record. `counters`: gaps, refused, lost."""

    def __init__(self, unit: Unit, log: KafkaLog, block: Block, consumer: Consumer, counters: Counter[str]) -> None:
        self._unit, self._log, self._block, self._consumer, self._counters = unit, log, block, consumer, counters
        self._inbox = unit.step.inbox
        self._going_back: asyncio.Task[None] | None = None
        self._back_to = -1
        self._stood_at = -1
        self._nothing_at = -1

    def cancel(self) -> None:
        """The partition is no longer ours."""
        if self._going_back is not None:
            self._going_back.cancel()

    async def heal(self, gap: GapError) -> bool:
        """Whether the Unit may try the record again: the log lacks what it wanted. Else reading goes back."""
        if self._busy:
            self._counters["refused"] += 1
            return False
        self._counters["gaps"] += 1
        unit = self._unit
        there = await self._block(self._log.read, self._inbox, unit.partition, gap.want, 1)
        if not there or there[0].offset == gap.want:
            self._go_back(gap.want)
            return False
        await self._skip_hole(min(there[0].offset, gap.got))
        return True

    async def look(self) -> None:
        """Go back where records were lost and none after them will show the gap. To be called about once a second.

        What Faust reads while partitions are being taken over is dropped; of a topic that then falls quiet nobody would
        notice before its watch (30 s).
        """
        unit, want = self._unit, self._unit.next_offset
        stood, self._stood_at = self._stood_at == want, want
        if not stood or self._busy:
            return
        delivered = await self._consumer.delivered(self._inbox, unit.partition)
        if delivered <= want or delivered == self._nothing_at:
            return
        try:
            there = await self._block(self._log.read, self._inbox, unit.partition, want, 1)
        except BrokerError:
            return  # it will be asked again
        if not there:  # markers of transactions: nothing was lost
            self._nothing_at = delivered
        elif want == unit.next_offset and not self._busy:
            self._counters["lost"] += 1
            if there[0].offset > want:
                await self._skip_hole(there[0].offset)
            self._go_back(unit.next_offset)

    @property
    def _busy(self) -> bool:
        going = self._going_back is not None and not self._going_back.done()
        return going and self._unit.next_offset <= self._back_to

    async def _skip_hole(self, offset: int) -> None:
        """The log has nothing from what the Unit wants up to this offset."""
        unit, want = self._unit, self._unit.next_offset
        unit.skip_to(offset)
        first, _ = await self._block(self._log.bounds, self._inbox, unit.partition)
        if first > want:  # else markers of transactions: there was nothing to read
            _log.error("records are gone unread", step=unit.step.name, partition=unit.partition, up_to=first)

    def _go_back(self, want: int) -> None:
        self.cancel()
        unit, self._back_to = self._unit, want
        _log.warning("delivery skipped records: going back", step=unit.step.name, at=want, partition=unit.partition)
        self._going_back = asyncio.create_task(self._keep_going_back(want))

    async def _keep_going_back(self, want: int) -> None:
        """Records on their way undo a seek; so seek until the wanted one has come."""
        while self._unit.next_offset <= want:
            await self._consumer.rewind(self._inbox, self._unit.partition, want)
            await asyncio.sleep(_REWIND_SECONDS)
