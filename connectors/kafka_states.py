"""Kafka as the keeper of what Units remember: the port States over a step's changelog topic.

In: checkpoints of the partitions taken over. Out: the newest of them after a restart. A changelog is compacted; unit
`act/3` writes to partition 3 of act's. Its messages are those of connectors/changelog.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import structlog

from connectors.changelog import Fence, Kept, decode_kept, encode_checkpoint, encode_crash, term_of
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Checkpoint, Crash, Entry, Outbound, Record, UnitName
from models.errors import DataFolderError, FencedError

__all__ = ["KafkaStates"]

_NOTHING: Final = Checkpoint((), None, 0, 0)
"""The position of a claim on a partition that nobody has saved yet."""
_PAGE: Final = 1_000
_log = structlog.get_logger(__name__)


class KafkaStates:
    """The port States of one step, for the partitions that this process has taken over. Use from one thread.

    Two workers can believe to own a partition (one was stopped, its partition went to another, it woke up). Whoever
    takes over writes a claim under a higher term first; what the other writes after it is dropped by every later reader
    (`changelog.Fence`). Compaction knows nothing of terms: it would keep a late message and throw away the one that
    counts. So a save looks at the offsets it was given: where they are not the next ones, somebody else wrote in
    between, and what that hides is written again.

    Every method raises BrokerError, and FencedError where another worker has taken the partition over.
    """

    def __init__(self, settings: KafkaSettings, step: str, log: KafkaLog) -> None:
        self._step, self._log = step, log
        self._topic = settings.changelog(step).removeprefix(settings.prefix)
        self._held: dict[int, _Held] = {}

    def take_over(self, partition: int) -> None:
        """Read what was kept of a partition, and claim it: from now on what others write there does not count."""
        held = _Held(partition, self._log.bounds(self._topic, partition)[0])
        while True:
            self._read_on(held, self._log.bounds(self._topic, partition)[1])
            held.term = max(held.term, held.fence.term(partition) + 1)
            claim = encode_checkpoint(partition, held.term, held.position or _NOTHING)
            (record,) = self._append(partition, claim)
            if record.offset == held.read_to:  # else the former owner wrote after our look, and that counts
                held.read_to += 1
                break
        self._held[partition] = held
        if held.spoilt:
            self._write_again(held)

    def give_up(self, partition: int) -> None:
        """Forget what was read of it: another worker has it now."""
        self._held.pop(partition, None)

    def load(self, unit: UnitName) -> Checkpoint | None:
        """See ports.States."""
        return self._held[unit.partition].position

    def entries(self, unit: UnitName) -> Iterator[Entry]:
        """See ports.States. In order of key."""
        entries = self._held[unit.partition].entries
        return (entries[key] for key in sorted(entries))

    def save(self, unit: UnitName, checkpoint: Checkpoint) -> None:
        """See ports.States. The position is written when all entries are durable."""
        held = self._held[unit.partition]
        if held.is_passed(checkpoint):
            return
        *entries, position = encode_checkpoint(unit.partition, held.term, checkpoint)
        if entries:
            self._write(held, entries)
        self._write(held, [position])
        held.entries |= {entry.key: entry for entry in checkpoint.entries}
        held.move_to(checkpoint._replace(entries=()))
        if held.hidden or held.spoilt:
            self._write_again(held)

    def crashes(self, unit: UnitName) -> Mapping[int, Crash]:
        """See ports.States."""
        return dict(self._held[unit.partition].crashes)

    def record_crash(self, unit: UnitName, offset: int, error: str) -> int:
        """See ports.States."""
        held = self._held[unit.partition]
        before = held.crashes.get(offset)
        crash = Crash(offset, before.failures + 1 if before else 1, error)
        self._write(held, [encode_crash(unit.partition, held.term, crash)])
        held.crashes[offset] = crash
        return crash.failures

    # -- reading and writing -------------------------------------------------------------------------------------------

    def _read_on(self, held: _Held, end: int) -> None:
        for record in self._between(held, end):
            kept = self._decode(held, record)
            if kept is not None and held.fence.admit(held.partition, record.value):
                held.take(kept)

    def _between(self, held: _Held, end: int) -> Iterator[Record]:
        """The records from where was read to up to `end`, and then it was read."""
        while held.read_to < end:
            page = self._log.read(self._topic, held.partition, held.read_to, min(_PAGE, end - held.read_to))
            held.read_to = page[-1].offset + 1 if page else end
            yield from page

    def _decode(self, held: _Held, record: Record) -> Kept | None:
        """What a message holds; None for a stranger's. One under a key of ours hides what counts: that is written again
        while it is known. Where compaction has taken it already, the key begins anew.
        """
        error: DataFolderError | str = "no unit of this partition has such a key"
        if record.key.partition("/")[0] == str(record.partition):
            try:
                return decode_kept(record.key.encode(), record.value)
            except DataFolderError as wrong:
                error = wrong
                held.spoilt[record.key] = None
        _log.error("foreign message in a changelog", place=str(record.position), key=record.key[:80], error=str(error))
        return None

    def _append(self, partition: int, messages: Sequence[tuple[bytes, bytes]]) -> Sequence[Record]:
        batch = [Outbound(self._topic, key.decode(), value, partition) for key, value in messages]
        return self._log.append(batch, 0)

    def _write(self, held: _Held, messages: Sequence[tuple[bytes, bytes]]) -> None:
        records = self._append(held.partition, messages)
        if records[-1].offset == held.read_to + len(records) - 1:
            held.read_to = records[-1].offset + 1
            return
        for record in self._between(held, records[-1].offset + 1):
            kept = self._decode(held, record)
            if kept is None:
                continue
            term = term_of(record.value)
            if term > held.term:
                raise FencedError(f"{self._step}/{held.partition}", held.term, term)
            if term < held.term:
                held.hidden.append(kept)

    def _write_again(self, held: _Held) -> None:
        """Whatever another worker's late messages, or a stranger's, stand in the way of: the newest of each key must be
        ours.
        """
        late, held.hidden = held.hidden, []
        spoilt, held.spoilt = held.spoilt, {}
        if late:
            _log.warning("late messages of another worker", unit=f"{self._step}/{held.partition}", messages=len(late))
        keys = dict.fromkeys(kept.entry.key for kept in late if kept.entry is not None)
        keys |= dict.fromkeys(key.split("/", 2)[2] for key in spoilt if key.split("/")[1:2] == ["entry"])
        entries = [held.entries[key] for key in keys if key in held.entries]
        offsets = dict.fromkeys(kept.crash.offset for kept in late if kept.crash is not None)
        crashes = [held.crashes[offset] for offset in offsets if offset in held.crashes]
        position = (held.position or _NOTHING)._replace(entries=entries)
        messages = [encode_crash(held.partition, held.term, crash) for crash in crashes]
        self._write(held, messages + encode_checkpoint(held.partition, held.term, position))


class _Held:
    """What is known of a partition that was taken over, and how far its changelog was read."""

    def __init__(self, partition: int, read_to: int) -> None:
        self.partition, self.read_to = partition, read_to
        self.term = 0
        self.fence = Fence()
        self.position: Checkpoint | None = None
        self.entries: dict[str, Entry] = {}
        self.crashes: dict[int, Crash] = {}
        self.hidden: list[Kept] = []
        self.spoilt: dict[str, None] = {}

    def take(self, kept: Kept) -> None:
        if kept.entry is not None:
            self.entries[kept.entry.key] = kept.entry
        elif kept.crash is not None:
            self.crashes[kept.crash.offset] = kept.crash
        elif kept.position is not None and kept.position != _NOTHING and not self.is_passed(kept.position):
            self.move_to(kept.position)

    def is_passed(self, checkpoint: Checkpoint) -> bool:
        """Whether the position is behind the known one, of the same log."""
        known = self.position
        return known is not None and known.log_id == checkpoint.log_id and known.resume_at > checkpoint.resume_at

    def move_to(self, position: Checkpoint) -> None:
        renewed = self.position is not None and self.position.log_id != position.log_id
        least = position.resume_at
        self.crashes = {} if renewed else {at: crash for at, crash in self.crashes.items() if at >= least}
        self.position = position
