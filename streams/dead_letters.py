"""Dead letters as people deal with them: found, looked at, and the original bytes appended again where they stood.

In: a log. Out: Letters, and Replays that say what would be appended, or why it cannot be.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from connectors.codec import decode_record
from connectors.ports import Outbound, Record
from connectors.shared_log import SharedLog
from models.audit import DeadLetter
from models.errors import ContractError, ForeshockError, UsageError
from models.event import Event, Position
from models.topics import TOPICS
from streams.reading import ReadableLog, read_topic
from streams.refusal import RAW_KEPT

__all__ = [
    "Letter", "LetterError", "Replay", "find_letter", "is_for_a_step", "parse_place", "plan_replays", "raw_bytes",
    "read_letters",
]  # fmt: skip

TOPIC: Final = "dead-letters"
_PLACE: Final = re.compile(r"(?:([a-z-]{1,32})/)?(\d{1,5})@(\d{1,18})")


class LetterError(ForeshockError):
    """There is no such dead letter, or it cannot be replayed."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, and where it stands itself."""

    event: Event[DeadLetter]
    position: Position

    @property
    def data(self) -> DeadLetter:
        """What it says."""
        return self.event.data

    @property
    def original(self) -> Position | None:
        """Where the refused record stands; None where the input never came into the log."""
        data = self.data
        return Position(data.topic, data.partition, data.offset) if data.topic and data.offset >= 0 else None

    @property
    def place(self) -> str:
        """The same in words: a place in the log, or in the source."""
        return str(self.original or f"{self.data.source_id}@{self.data.cursor}")


@dataclass(frozen=True, slots=True)
class Replay:
    """What replaying a letter means: `outbound` is appended again; None where `refusal` says why it cannot be."""

    letter: Letter
    outbound: Outbound | None
    refusal: str = ""


def parse_place(text: str) -> Position:
    """`dead-letters/0@12`, `0@12` (a dead letter, too) or `signals/1@7`. Raises UsageError."""
    match = _PLACE.fullmatch(text)
    topic = (match[1] or TOPIC) if match else ""
    if match is None or topic not in TOPICS:
        raise UsageError(f"{text!r} is no place. Write TOPIC/PARTITION@OFFSET, as `foreshock dead-letters list` does.")
    return Position(topic, int(match[2]), int(match[3]))


def read_letters(log: ReadableLog, *, topic: str = "", reason: str = "") -> Iterator[Letter]:
    """The dead letters, of one topic or reason where given, in the order in which they were logged. After a crash a
    letter may have been written again: of those with one id that say the same of the same place, the first.
    """
    known = set()
    for record in read_topic(log, TOPIC):
        letter = _letter(record)
        if letter is None or topic not in ("", letter.data.topic) or reason not in ("", letter.data.reason):
            continue
        # Not by the id alone: a stranger's letter under the id that ours will have must not hide ours.
        said = (letter.event.id, letter.event.cause, letter.data.reason, letter.place)
        if said not in known:
            known.add(said)
            yield letter


def find_letter(log: SharedLog, view: ReadableLog, place: Position) -> Letter:
    """The dead letter that stands there, or the newest in `view` about the record that stands there. Raises
    LetterError.
    """
    if place.topic == TOPIC:
        known = place.partition < log.partitions(TOPIC)
        page = log.read(TOPIC, place.partition, place.offset, 1) if known else ()
        letter = _letter(page[0]) if page and page[0].offset == place.offset else None
    else:
        about = (found for found in read_letters(view, topic=place.topic) if found.original == place)
        letter = next(iter(sorted(about, key=lambda found: found.event.logged_at, reverse=True)), None)
    if letter is None:
        raise LetterError(f"there is no dead letter at or about {place}. `foreshock dead-letters list` shows all.")
    return letter


def plan_replays(log: SharedLog, letters: Iterable[Letter]) -> list[Replay]:
    """What replaying these means; of several about the same record, the last one's."""
    last = {letter.original or letter.position: letter for letter in letters}
    return [_plan(log, letter) for letter in last.values()]


def is_for_a_step(letter: Letter) -> bool:
    """Whether what was refused stands on a topic that a step reads: nothing else can be replayed."""
    at = letter.original
    return at is not None and at.topic in TOPICS and bool(TOPICS[at.topic].inbox_of)


def raw_bytes(letter: DeadLetter) -> bytes:
    """What is kept of the original: all of it, or its beginning. What is no base64 stays as it is."""
    try:
        return base64.b64decode(letter.raw, validate=True)
    except ValueError:  # binascii.Error, too
        return letter.raw.encode("utf-8", "replace")


def _letter(record: Record) -> Letter | None:
    try:
        event = decode_record(record)
    except ContractError:
        return None
    return Letter(event, record.position) if isinstance(event.data, DeadLetter) else None


def _plan(log: SharedLog, letter: Letter) -> Replay:
    at, data = letter.original, letter.data
    if at is None:
        advice = "mend it there and give the source again (`foreshock ingest`, `foreshock run --input`)"
        return Replay(letter, None, f"it never came into the log: {advice}")
    if not is_for_a_step(letter) or not 0 <= at.partition < log.partitions(at.topic):
        return Replay(letter, None, "no step reads there: what wrote it must be mended, and write it again")
    kept = raw_bytes(data)
    page = log.read(at.topic, at.partition, at.offset, 1)
    if page and page[0].offset == at.offset:
        if not page[0].value.startswith(kept):
            return Replay(letter, None, "another record stands there now: the topic was made anew")
        return Replay(letter, Outbound(at.topic, page[0].key, page[0].value, at.partition, letter.event.at))
    if len(kept) < RAW_KEPT:
        return Replay(letter, Outbound(at.topic, data.key, kept, at.partition, letter.event.at))
    advice = (
        f"its topic keeps it no longer, and here are only its first {RAW_KEPT} bytes: have its writer send it again"
    )
    return Replay(letter, None, advice)
