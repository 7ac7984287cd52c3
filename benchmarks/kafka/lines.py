"""Topics full of real lines, for every contender to read from the beginning: LogBatches as the product writes them.

In: Loghub's 16 systems. Out: `{prefix}logs`, 4 partitions, 4 services each. A partition's lines are those of its
services in turn, over and over; each time around every digit is another one (d becomes d + k), so lines repeat as logs
do: same words, other numbers. 100 lines a second and service of event time; a batch holds 2,000 lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from kafka import KafkaProducer

from benchmarks.loghub import System
from benchmarks.moving import START
from connectors.codec import encode
from connectors.kafka_clients import producer_options
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_topics import apply, open_admin, plan
from models.event import Event
from models.log import LATENESS_MS, MAX_BATCH_LINES, LogBatch, SourceRange
from models.topics import partition_of

__all__ = ["LINES_A_SECOND", "PARTITIONS", "LinesTopic", "fill", "service_names"]

PARTITIONS: Final = 4
LINES_A_SECOND: Final = 100
"""Of event time, a service."""
_DIGITS: Final = "0123456789"
_LETTERS: Final = str.maketrans(_DIGITS, "ghijklmnop")


class LinesTopic(NamedTuple):
    """What a topic of lines holds. `tiles`: how often each of the systems' lines stands in it. `unseen_lines`: the
    share of lines that end with a word never seen before; `unseen_words`: the share of words replaced by such a word.
    """

    prefix: str
    tiles: int
    unseen_lines: float = 0.0
    unseen_words: float = 0.0

    def lines(self, systems: Sequence[System]) -> int:
        """How many lines that is."""
        return self.tiles * sum(len(system.lines) for system in systems)


def service_names(systems: Sequence[System]) -> list[str]:
    """A service for each system, named so that every partition has as many."""
    names = []
    for number, system in enumerate(systems):
        tries = (f"{system.name.lower()}-{suffix}" for suffix in range(1_000))
        names.append(next(name for name in tries if partition_of(name, PARTITIONS) == number % PARTITIONS))
    return names


def fill(topic: LinesTopic, settings: KafkaSettings, systems: Sequence[System]) -> int:
    """Make the deployment's topics and fill `logs`; returns the lines written."""
    admin = open_admin(settings)
    apply(admin, settings, plan(settings, PARTITIONS))
    admin.close()
    producer = KafkaProducer(**producer_options(settings, "bench"))
    written = 0
    streams = [_partition(topic, systems, partition) for partition in range(PARTITIONS)]
    for batches in zip(*streams, strict=True):
        for partition, batch in enumerate(batches):
            event = Event(id=f"bench-{partition}-{written}", at=batch.timestamps[-1], key=str(partition), data=batch)
            producer.send(settings.topic("logs"), encode(event), event.key.encode(), partition=partition)
            written += batch.lines
    producer.flush()
    producer.close()
    return written


def _partition(topic: LinesTopic, systems: Sequence[System], partition: int) -> Iterator[LogBatch]:
    names = service_names(systems)
    own = list(range(partition, len(systems), PARTITIONS))
    once = "\n".join(chain.from_iterable(zip(*(systems[number].lines for number in own), strict=True)))
    lines = _all_lines(topic, once, partition)
    step = 1_000 / (LINES_A_SECOND * len(own))
    cursors = dict.fromkeys(own, 0)
    at = 0
    while batch := [line for _, line in zip(range(MAX_BATCH_LINES), lines, strict=False)]:
        times = [START + int((at + i) * step) for i in range(len(batch))]
        at += len(batch)
        sources = []
        for number in own:
            before, cursors[number] = cursors[number], at
            ends = {"cursor_from": str(before), "cursor_to": str(at), "covered_until": times[-1] - LATENESS_MS}
            sources.append(SourceRange(source_id=f"{names[number]}.log", services=(names[number],), **ends))
        yield LogBatch(
            sources=tuple(sources),
            services=tuple(names[number] for number in own),
            service_index=[i % len(own) for i in range(len(batch))],
            timestamps=times,
            severity=[0] * len(batch),
            messages="\n".join(batch),
        )


def _all_lines(topic: LinesTopic, once: str, partition: int) -> Iterator[str]:
    words = line_number = 0
    every_line = round(1 / topic.unseen_lines) if topic.unseen_lines else 0
    every_word = round(1 / topic.unseen_words) if topic.unseen_words else 0
    for tile in range(topic.tiles):
        turned = str.maketrans(_DIGITS, _DIGITS[tile % 10 :] + _DIGITS[: tile % 10])
        for line in once.translate(turned).split("\n"):
            line_number += 1
            if every_line and line_number % every_line == 0:
                yield f"{line} {_new_word(partition, line_number)}"
            elif every_word:
                parts = line.split(" ")
                first = -(words + 1) % every_word
                for place in range(first, len(parts), every_word):
                    parts[place] = _new_word(partition, words + place)
                words += len(parts)
                yield " ".join(parts)
            else:
                yield line


def _new_word(partition: int, number: int) -> str:
    """A word of letters that no other partition and number makes."""
    return f"new{'abcd'[partition]}{str(number).translate(_LETTERS)}"
