"""The port of everything that gives messages: files, standard input, the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from connectors.ports import Outbound

__all__ = ["Source"]


class Source(Protocol):
    """A door that messages come in by. What it returns is not yet in the log: the host appends it in the transaction
    that also moves everything else, and on a restart gives each source the last cursor found in the log.
    """

    @property
    def ended(self) -> bool:
        """Everything was read and nothing more will come."""
        ...

    @property
    def cursors(self) -> Mapping[str, str]:
        """How far each source is with what was polled, by source id: kept in the transaction that appends it."""
        ...

    def poll(self, now: int) -> Sequence[Outbound]:
        """What is new at `now` (ms), batches of `logs` and dead letters; empty when nothing is. Never waits."""
        ...

    def close(self) -> None:
        """Let go of files and the like."""
        ...
