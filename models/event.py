"""The envelope every message wears, and the base of what it carries.

In: nothing. Out: `Contract` (base of all payloads), `Event` (envelope + payload), `Position`, and the two identities a
re-emission must keep, `event_id` and `Cause`.

`logged_at` belongs to the log, not to the value: the log keeps it as the record's own timestamp (SQLite column, Kafka
record timestamp), so the value's bytes depend on nothing but the input and a replay can be compared byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Cause", "Contract", "Event", "Model", "Position", "digest", "event_id"]


class Model(BaseModel):
    """A frozen value: unknown fields are refused, NaN and infinity too (JSON has no word for them)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Contract(Model):
    """What an event carries. `TYPE` names it on the wire; `VERSION` grows with every change of its fields or of what
    they mean, also when one is added: former programs refuse fields that they do not know.
    """

    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - for those that do
        """Turn the data of an older `version` into today's. Raises KeyError for a version never published."""
        raise KeyError(version)

    def digest_view(self) -> dict[str, Any]:
        """The answer without what belongs to one log (ids, pointers): what two runs must agree on."""
        return self.model_dump(mode="json")


C_co = TypeVar("C_co", bound=Contract, covariant=True)


class Position(NamedTuple):
    """A place in the log: topic, partition, offset (0-based)."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


class Cause(NamedTuple):
    """Who emitted an event, from which record: `detect:counts/0@17#1.2` is the third emission of the second part of it.

    A re-emission after a crash has the same cause, so consumers drop what is not above the highest `rank` they have
    seen of an `origin`. Parts are numbered by admit, also those skipped because their key had them already, so the
    numbers do not move. `log_id` names the log the position belongs to where topics can be deleted and made anew
    (Kafka): offsets begin at 0 again there, and must not be taken for those of before.
    """

    step: str
    position: Position
    part: int
    number: int
    log_id: str = ""

    def __str__(self) -> str:
        topic, partition, offset = self.position
        return f"{self.step}:{topic}{self._mark}/{partition}@{offset}#{self.part}.{self.number}"

    @property
    def origin(self) -> str:
        """The stream this cause is ordered in: step and source partition."""
        return f"{self.step}:{self.position.topic}{self._mark}/{self.position.partition}"

    @property
    def _mark(self) -> str:
        return f"+{self.log_id}" if self.log_id else ""

    @property
    def rank(self) -> tuple[int, int, int]:
        """Its place in that stream: offset, part, number."""
        return (self.position.offset, self.part, self.number)

    @classmethod
    def parse(cls, text: str) -> Cause | None:
        """Read a cause back; None for an event that no step emitted (a connector, a person, the host)."""
        match = _CAUSE.fullmatch(text)
        if match is None:
            return None
        step, topic, log_id, partition, offset, part, number = match.groups()
        return cls(step, Position(topic, int(partition), int(offset)), int(part), int(number), log_id or "")


# Every number fits 64 bits: the text is a stranger's, and what was seen of it is kept.
_CAUSE = re.compile(
    r"([a-z_]{1,32}):([a-z-]{1,32})(?:\+([0-9a-f]{8}))?/([0-9]{1,5})@([0-9]{1,18})#([0-9]{1,9})\.([0-9]{1,9})"
)


@dataclass(frozen=True, slots=True)
class Event(Generic[C_co]):
    """One message: envelope and payload. Times are milliseconds since the epoch, UTC.

    `at` is event time; `logged_at` is when the log took it (0 until then); `cid` is the correlation id of the incident
    it belongs to ("" where there is none); `run` is the deployment or replay that wrote it.
    """

    id: str
    at: int
    key: str
    data: C_co
    cause: str = ""
    cid: str = ""
    region: str = ""
    run: str = ""
    logged_at: int = 0
    position: Position | None = None

    @property
    def type(self) -> str:
        """The payload's name on the wire."""
        return self.data.TYPE


def digest(*parts: str | bytes, size: int = 10) -> str:
    """A hex digest (blake2b, `size` bytes) of the parts; their borders count, so ("ab","c") and ("a","bc") differ."""
    state = hashlib.blake2b(digest_size=size)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return state.hexdigest()


def event_id(step: str, position: Position, key: str, number: int, log_id: str = "") -> str:
    """The id of the `number`-th emission of `step` for `key` from the record at `position`; equal when re-emitted."""
    return digest(step, f"{log_id}{position}", key, str(number))
