"""What a step is: pure functions over a partition's shared state and a key's own, whose effects are data.

A step never reads a clock, draws a random number or does I/O: an event brings its times (`at`, `logged_at`), a wish to
be woken becomes a logged Tick, a call into the world is an Effect whose answer comes back as a logged event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel, JsonValue

from models.errors import UpgradeError
from models.event import Contract, Event

__all__ = ["AnyStep", "Effect", "Emit", "Keeper", "ModelKeeper", "NothingKeeper", "Part", "Step", "Turn", "Upcast"]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Shared = TypeVar("Shared")
State = TypeVar("State")
Upcast: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""The fields of a kept model, from one version to the next."""
_VERSION_MARK: Final = re.compile(rb"[0-9]{1,9}(?=\{)")


class Part(NamedTuple):
    """The share of an event that concerns one key. `share` is what admit prepared for it (any object)."""

    key: str
    event: Event[Any]
    share: Any = None


class Emit(NamedTuple):
    """A contract for a topic: the runtime adds id, cause, run and region, and chooses the partition.

    `at` is event time (ms); `cid` the correlation id, where there is one.
    """

    topic: str
    key: str
    at: int
    data: Contract
    cid: str = ""


class Effect(NamedTuple):
    """A call into the world, as data. `id` is unique and the same when re-issued: it is the idempotency key.

    `kind` chooses the performer (`recall_history`, `ask_model`, `call_action`, `read_state`, `probe_health`); the
    answer lands in the step's inbox under the same key, carrying `effect_id`. Late and second answers never reach the
    step: the runtime gives it the first while pending.
    """

    id: str
    kind: str
    args: dict[str, JsonValue]


class Turn(NamedTuple, Generic[T]):
    """What came of one part. `wake_at` (ms) replaces the key's wish to be woken; `cancels` names effects whose answer
    is no longer wanted.
    """

    state: T
    emits: Sequence[Emit] = ()
    effects: Sequence[Effect] = ()
    wake_at: int | None = None
    cancels: Sequence[str] = ()


class Keeper(Protocol[T]):
    """How a kind of state begins, is written and is read back. `load(dump(x))` behaves as x in every later turn."""

    def initial(self, key: str) -> T:
        """The state of a key (or, for shared state, of the partition: key "") never seen before."""
        ...

    def dump(self, value: T) -> bytes:
        """The state as bytes."""
        ...

    def load(self, raw: bytes) -> T:
        """The state those bytes hold. Raises UpgradeError where a newer program has written them."""
        ...


class ModelKeeper(Generic[M]):
    """Keeps a pydantic model as JSON. The model may be mutable; `kind(key)` must not need more than defaults.

    `version` grows with every change of the model's fields (and of those of the models it holds); `upcasts[n]` then
    makes the fields of version n + 1 of those of version n. Bytes of version 1 are the JSON alone, later ones have
    their version before it: `2{"total":...`.
    """

    def __init__(
        self,
        kind: type[M],
        key_field: str = "",
        *,
        version: int = 1,
        upcasts: Mapping[int, Upcast] = MappingProxyType({}),
    ) -> None:
        if upcasts.keys() != set(range(1, version)):
            raise ValueError(f"{kind.__name__} v{version} needs an upcast from each version below")
        self._kind, self._key_field = kind, key_field
        self._version, self._upcasts = version, upcasts

    def initial(self, key: str) -> M:
        """A model of nothing but defaults (and its key, where the model has a field for it)."""
        return self._kind(**{self._key_field: key}) if self._key_field else self._kind()

    def dump(self, value: M) -> bytes:
        """Its JSON, and before it the version from 2 on."""
        mark = b"" if self._version == 1 else b"%d" % self._version
        return mark + value.model_dump_json().encode()

    def load(self, raw: bytes) -> M:
        """The model of that JSON, of this version or a former one."""
        mark = _VERSION_MARK.match(raw)
        version = int(mark[0]) if mark else 1
        body = raw[mark.end() :] if mark else raw
        if version == self._version:
            return self._kind.model_validate_json(body)
        if version > self._version:
            what = f"a saved {self._kind.__name__} is of version {version}; this program reads up to {self._version}"
            raise UpgradeError(what)
        fields: dict[str, Any] = orjson.loads(body)
        for former in range(version, self._version):
            fields = self._upcasts[former](fields)
        return self._kind.model_validate_json(orjson.dumps(fields))


class NothingKeeper:
    """For a step without state."""

    def initial(self, key: str) -> None:  # noqa: ARG002 - the protocol's name
        """Nothing."""
        return

    def dump(self, value: None) -> bytes:  # noqa: ARG002
        """No bytes."""
        return b""

    def load(self, raw: bytes) -> None:  # noqa: ARG002
        """Nothing."""
        return


class Step(Protocol[Shared, State]):
    """One verb of the pipeline. Its inbox is one topic: that topic's order is the step's order."""

    @property
    def name(self) -> str:
        """Its name in ids, causes and state."""
        ...

    @property
    def inbox(self) -> str:
        """The topic it reads."""
        ...

    @property
    def urgent(self) -> bool:
        """Save at every cut (case, act); otherwise when saving is cheap against what was read (mine, detect)."""
        ...

    @property
    def shared(self) -> Keeper[Shared]:
        """Keeper of the partition's shared state."""
        ...

    @property
    def state(self) -> Keeper[State]:
        """Keeper of a key's state."""
        ...

    def admit(self, shared: Shared, event: Event[Any]) -> tuple[Shared, Sequence[Part]]:
        """Per partition: note cursors and watermarks, and split the event into parts by key. Raises ContractError
        (before changing anything) for an event that must become a dead letter.
        """
        ...

    def advance(self, shared: Shared, state: State, part: Part) -> Turn[State]:
        """Per key: take one part. `shared` is read only here. Raises ContractError before changing anything."""
        ...


AnyStep: TypeAlias = Step[Any, Any]
"""A step of whatever states: what a Unit drives."""
