"""A fleet: 1,000 services of 100 templates each, its history as counts, and its lines as a growing file.

`python -m benchmarks.kafka.fleet FILE SERVICES SECONDS BEGIN SETTLE EVERY` appends 100 JSON lines a second and service
to FILE, from BEGIN (ms) on; after SETTLE seconds, each EVERY seconds, BURST_LINES error lines of the next service, and
says on standard output `SERVICE WALL_MS` as soon as those are written. Twenty services are of one kind: they share
their templates.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from connectors.codec import encode
from connectors.ports import Outbound
from models.canonical import canonical_line
from models.event import Event
from models.mining import template_of
from models.template import BUCKET_MS, BatchPointer, CoveredSource, Section, Template, TemplateColumns, TemplateCounts
from models.template_rules import RULES_VERSION
from models.topics import partition_of

__all__ = ["BURST_LINES", "LINES_A_SECOND", "PARTITIONS", "SERVICES", "TEMPLATES", "history", "service_name"]

PARTITIONS: Final = 16
"""At 100,000 lines a second a batch is then not full within the 400 ms that lines wait: as few batches as can be."""
SERVICES: Final = 1_000
TEMPLATES: Final = 100
LINES_A_SECOND: Final = 100
"""A service's."""
BURST_LINES: Final = 500
_KINDS: Final = 50
_ERROR: Final = 0
"""The template of a service that speaks of failure."""
_STEPS_A_SECOND: Final = 50
_SECTIONS: Final = 50
"""Services a message of history: it must stay below what a topic takes."""
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")


def service_name(number: int) -> str:
    """Of the fleet's, from 0."""
    return f"svc-{number:04d}"


def message(service: int, template: int, value: int) -> str:
    """A line of it; `value` varies from line to line."""
    kind = str(service % _KINDS).translate(_LETTERS)
    if template == _ERROR:
        return f"ERROR {kind} payment {value} failed: connection to 10.0.0.{value % 256} refused after {value} ms"
    words = str(template).translate(_LETTERS)
    return f"{kind} handled {words} request {value} of session {value * 31} in {value % 97} ms"


def templates_of(service: int) -> tuple[Template, ...]:
    """As mine will find them."""
    return tuple(template_of(canonical_line(message(service, number, 7)).encode()) for number in range(TEMPLATES))


def history(services: int, begin: int, end: int, bucket_step: int) -> Iterator[Outbound]:
    """What detect would have got for [begin, end) (ms, whole buckets): counts of each `bucket_step` buckets, Poisson
    around the rate that the fleet's file will have.
    """
    chance = np.random.default_rng(begin)
    known = [Section.columns_of(templates_of(kind)) for kind in range(_KINDS)]
    mean = LINES_A_SECOND / TEMPLATES * BUCKET_MS / 1_000 * bucket_step
    homes: list[list[int]] = [[] for _ in range(PARTITIONS)]
    for number in range(services):
        homes[partition_of(service_name(number), PARTITIONS)].append(number)
    for first in range(begin // BUCKET_MS, end // BUCKET_MS, bucket_step):
        covered = (first + bucket_step) * BUCKET_MS
        for partition, home in enumerate(homes):
            for start in range(0, len(home), _SECTIONS):
                group = home[start : start + _SECTIONS]
                # Complete only with the last message of these buckets: what comes after it would be late.
                until = covered if start + _SECTIONS >= len(home) else covered - bucket_step * BUCKET_MS
                sections = [_section(number, known, first, chance.poisson(mean, TEMPLATES)) for number in group]
                counts = TemplateCounts(
                    rules_version=RULES_VERSION,
                    input=BatchPointer(topic="logs", partition=partition, offset=0),
                    sources=(CoveredSource(source_id="history", covered_until=until),),
                    sections=tuple(sections),
                )
                # Its clock is no further than its promise: a source behind its clock is taken for stalled.
                event = Event(id=f"history-{partition}-{first}-{start}", at=until, key=str(partition), data=counts)
                yield Outbound("counts", event.key, encode(event), partition, covered)


def _section(service: int, known: Sequence[TemplateColumns], bucket: int, n: np.ndarray) -> Section:
    rows = np.flatnonzero(n)
    return Section(
        service=service_name(service),
        **known[service % _KINDS],
        template=rows.tolist(),
        bucket=[bucket] * len(rows),
        n=n[rows].tolist(),
        first_line=[0] * len(rows),
        lines=int(n.sum()),
    )


def write(path: Path, services: int, seconds: float, begin: int, bursts: tuple[float, float]) -> None:
    """Append the fleet's lines in real time from `begin` (ms) on, and bursts: seconds until the first, and between."""
    chance = np.random.default_rng(1)
    tails = [
        f'","service":"{service_name(service)}","message":"{message(service, template, 1_000 + service)}"}}\n'
        for service in range(services)
        for template in range(TEMPLATES)
    ]
    step, a_step = 1 / _STEPS_A_SECOND, LINES_A_SECOND * services // _STEPS_A_SECOND
    settle, every = bursts
    struck = 0
    with path.open("ab", buffering=0) as file:
        time.sleep(max(begin / 1_000 - time.time(), 0))
        begun = time.monotonic()
        for number in range(int(seconds * _STEPS_A_SECOND)):
            time.sleep(max(begun + number * step - time.monotonic(), 0))
            head = '{"time":"' + datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            file.write("".join(head + tails[row] for row in chance.integers(0, len(tails), a_step).tolist()).encode())
            if struck < services and time.monotonic() >= begun + settle + every * struck:
                file.write((head + tails[struck * TEMPLATES + _ERROR]).encode() * BURST_LINES)
                print(service_name(struck), time.time_ns() // 1_000_000, flush=True)
                struck += 1
        behind = time.monotonic() - begun - seconds
        print(f"behind by {max(behind, 0):.1f} s", file=sys.stderr, flush=True)


def main(words: list[str]) -> None:
    path, services, seconds, begin, settle, every = words
    write(Path(path), int(services), float(seconds), int(begin), (float(settle), float(every)))


if __name__ == "__main__":
    main(sys.argv[1:])
