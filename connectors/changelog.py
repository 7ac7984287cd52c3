"""Checkpoints as messages of a changelog topic: one per key that changed, then the unit's position and shared state.

In and out: `Entry`, `Checkpoint`, `Crash` (connectors/ports.py). A changelog is a compacted topic: the newest message
of each key counts. Every message carries a fencing term: whoever takes a partition over writes a position with a
higher one before anything else, so that what a worker writes late, after another took over, can be told and dropped.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import orjson

from connectors.ports import Checkpoint, Crash, Entry
from models.errors import DataFolderError, UpgradeError

__all__ = ["Fence", "Kept", "decode_kept", "encode_checkpoint", "encode_crash", "term_of"]

_HEAD: Final = struct.Struct(">BQ")
_ENTRY: Final = struct.Struct(">qqI")
_POSITION: Final = struct.Struct(">I")
_VERSION: Final = 1
_VERSIONS_AHEAD: Final = 3
"""What has a version so far ahead of ours, no upgrade has written."""
_NONE: Final = -1


class Kept(NamedTuple):
    """What a changelog message holds: exactly one of the three."""

    partition: int
    term: int
    entry: Entry | None = None
    position: Checkpoint | None = None
    crash: Crash | None = None


def encode_checkpoint(partition: int, term: int, checkpoint: Checkpoint) -> list[tuple[bytes, bytes]]:
    """Key and value of each message, in the order in which they must be written: the position is the last."""
    head = _HEAD.pack(_VERSION, term)
    messages = []
    for entry in checkpoint.entries:
        wake_at = _NONE if entry.wake_at is None else entry.wake_at
        fixed = _ENTRY.pack(entry.applied, wake_at, len(entry.pending))
        messages.append((_key(partition, "entry", entry.key), b"".join((head, fixed, entry.pending, entry.state))))
    about = orjson.dumps([checkpoint.resume_at, checkpoint.emitted, checkpoint.log_id, checkpoint.shared is not None])
    value = b"".join((head, _POSITION.pack(len(about)), about, checkpoint.shared or b""))
    messages.append((_key(partition, "position"), value))
    return messages


def encode_crash(partition: int, term: int, crash: Crash) -> tuple[bytes, bytes]:
    """Key and value of the message that counts a step's failures at an offset."""
    value = orjson.dumps([crash.offset, crash.failures, crash.error])
    return _key(partition, "crash", str(crash.offset)), _HEAD.pack(_VERSION, term) + value


def term_of(value: bytes) -> int:
    """The fencing term a message was written under. Raises as `decode_kept`."""
    try:
        return _term(value)
    except (ValueError, struct.error) as error:
        raise _foreign(value, error) from error


class Fence:
    """Tells what a worker wrote late, after another had taken the partition over: messages are shown in the order of
    the changelog, and one of a lower term than any before it is not admitted.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """How many were not admitted."""
        self._terms: dict[int, int] = {}

    def admit(self, partition: int, value: bytes) -> bool:
        """Whether the next message of a partition's changelog counts. Raises DataFolderError as `term_of`."""
        term = term_of(value)
        if term < self.term(partition):
            self.dropped += 1
            return False
        self._terms[partition] = term
        return True

    def term(self, partition: int) -> int:
        """The highest term seen; 0 before the first. Whoever takes the partition over writes under one more."""
        return self._terms.get(partition, 0)


def decode_kept(key: bytes, value: bytes) -> Kept:
    """What the message holds. Raises DataFolderError for one that no program of ours has written, and UpgradeError for
    one that a newer one has.
    """
    try:
        partition, kind, name = key.decode().split("/", 2)
        return _decode(int(partition), kind, name, _term(value), value)
    except (ValueError, TypeError, struct.error) as error:
        raise _foreign(key, error) from error


def _term(value: bytes) -> int:
    version, term = _HEAD.unpack_from(value)
    if _VERSION < version <= _VERSION + _VERSIONS_AHEAD:
        raise UpgradeError(f"the changelog has messages of version {version}, this program knows {_VERSION}")
    if version != _VERSION:
        raise ValueError(f"version {version}")
    return int(term)


def _foreign(what: bytes, error: Exception) -> DataFolderError:
    return DataFolderError(
        f"The changelog holds a message that is none of Foreshock's ({what[:80]!r}: {error}). Only the role that owns "
        "the state may write there: check who else does (`foreshock topics acls`)."
    )


def _decode(partition: int, kind: str, name: str, term: int, value: bytes) -> Kept:
    at = _HEAD.size
    if kind == "entry":
        applied, wake_at, size = _ENTRY.unpack_from(value, at)
        at += _ENTRY.size
        wish = None if wake_at == _NONE else wake_at
        return Kept(partition, term, Entry(name, applied, wish, value[at : at + size], value[at + size :]))
    if kind == "position":
        (size,) = _POSITION.unpack_from(value, at)
        at += _POSITION.size
        resume_at, emitted, log_id, has_shared = orjson.loads(value[at : at + size])
        shared = value[at + size :] if has_shared else None
        return Kept(partition, term, position=Checkpoint((), shared, resume_at, emitted, log_id))
    if kind == "crash":
        return Kept(partition, term, crash=Crash(*orjson.loads(value[at:])))
    raise ValueError(f"kind {kind[:20]!r}")


def _key(partition: int, kind: str, name: str = "") -> bytes:
    return f"{partition}/{kind}/{name}".encode()
