"""The log that a command talks to beside whoever runs the steps: a data folder or a cluster, behind one port.

In: nothing. Out: the port `SharedLog`, and how far the groups that read it have come. connectors/folder_log.py and
connectors/cluster_log.py implement it, connectors/open_log.py chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from connectors.ports import Log, Record
from models.signing import KeyRing
from models.topics import TOPICS

__all__ = ["INSPECT", "READERS", "Group", "Reader", "SharedLog"]


class Reader(NamedTuple):
    """A role that reads an inbox: which step it runs, on which topic."""

    role: str
    step: str
    inbox: str


_ROLE_OF: Final = {"mine": "mine", "detect": "detect", "case": "respond", "act": "act"}
READERS: Final = tuple(
    Reader(_ROLE_OF[topic.inbox_of], topic.inbox_of, topic.name) for topic in TOPICS.values() if topic.inbox_of
)
"""The roles that read, in the order in which a line passes them."""
INSPECT: Final = "inspect"
"""The consumer group, beside those of the roles, in which respond's workers inspect the topics that no step reads."""


@dataclass(frozen=True, slots=True)
class Group:
    """How far a role's readers have come. `name`: the consumer group, or the step in a data folder. `state` as Kafka
    says it (Stable, PreparingRebalance, Empty, Dead), `members` the client ids. `owners`: who has which partition.
    `committed`: the next offset each partition is read from after a restart; partitions nobody has read are left out.
    `topic`: what its owners and offsets are of.
    """

    role: str
    name: str
    state: str
    members: tuple[str, ...] = ()
    owners: Mapping[int, str] = field(default_factory=dict)
    committed: Mapping[int, int] = field(default_factory=dict)
    topic: str = ""


class SharedLog(Log, Protocol):
    """The port Log, and what people's commands ask besides."""

    @property
    def place(self) -> str:
        """What it is called in a message: the folder, or the brokers' addresses."""
        ...

    @property
    def run(self) -> str:
        """The deployment's name in the envelope."""
        ...

    @property
    def usual_span_ms(self) -> int | None:
        """How far back a command looks unless it is told; None: everything is read."""
        ...

    def now(self) -> int:
        """The present (ms) on the deployment's clock, virtual where that is."""
        ...

    def ends(self, topic: str) -> Mapping[int, int]:
        """The next offset to be written, of each partition."""
        ...

    def newest(self, topic: str, key: str) -> Record | None:
        """The newest record of `key` on a compacted topic, or None."""
        ...

    def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """The first offset logged at `at_ms` or later; the end of the log where there is none."""
        ...

    def groups(self) -> Sequence[Group]:
        """How far each of READERS has come, in that order; on Kafka also the inspectors' group, topic by topic."""
        ...

    def key_ring(self) -> KeyRing:
        """The keys that reviews and controls are signed with here. Raises ConfigError where none are known."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Within it nobody else appends, where the log can promise that: a data folder can, Kafka cannot (there the
        first answer to a proposal counts, and the case refuses the second).
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
