"""What a deployment takes up, looked at again and again; and whether it has grown.

In: process ids, a broker, a spool's folder. Out: samples of named figures by event time, and a table of how each figure
was after the warm-up and at the end, with the bound it must keep.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from connectors.changelog import decode_kept
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_topics import CHANGELOG_STEPS, describe, plan
from connectors.ports import Entry

__all__ = [
    "Bound",
    "Changelog",
    "Finding",
    "Sample",
    "findings",
    "folder_bytes",
    "process_figures",
    "table",
    "topic_figures",
]

_HOUR: Final = 3_600_000
_PAGE: Final = 1_000


class Sample(NamedTuple):
    """Figures by name, as of event time `at` (ms)."""

    at: int
    figures: Mapping[str, float]


class Bound(NamedTuple):
    """How much a figure may grow: by `share` of what it was after the warm-up, and by `spare` of its unit on top.

    `of` makes one figure of a window's samples. `both_ways`: it may not shrink by more than that, either.
    """

    share: float
    spare: float = 0.0
    of: Callable[[Sequence[float]], float] = statistics.median
    both_ways: bool = False


BOUNDS: Final[Mapping[str, Bound | None]] = {
    "rss MB": Bound(0.05, both_ways=True),
    "files": Bound(0.0),
    # The threads of an effect pool (8) begin when there is work for them.
    "threads": Bound(0.0, 8),
    # One a target that was ever acted on: the simulated cloud has nine, and not all of them fail within the warm-up.
    "act keys": Bound(0.0, 9),
    "keys": Bound(0.0),
    "state kB": Bound(0.05, 64),
    "timers": Bound(0.0, 2, max),
    "effects": Bound(0.0, 2, max),
    # Compaction leaves the newest segment (1 MB here) of each partition alone, so what is on the disk goes up and down.
    "changelog MB": Bound(0.10, 2.0, max),
    "spool MB": Bound(0.0, 1.0, max),
    "topics MB": None,
    "behind s": None,
}
"""By the last words of a figure's name; None: shown only."""


class Finding(NamedTuple):
    """A figure after the warm-up and at the end; `allowed` None where nothing is required."""

    name: str
    warm: float
    final: float
    allowed: str
    holds: bool

    @property
    def drift(self) -> float:
        """In percent of what it was; 0 of nothing."""
        return (self.final - self.warm) / self.warm * 100 if self.warm else 0.0


class Changelog:
    """A step's changelog as a recovery would see it: the newest entry of each key. Reads on where it was."""

    def __init__(self, settings: KafkaSettings, step: str, log: KafkaLog) -> None:
        self._topic, self._log = settings.changelog(step).removeprefix(settings.prefix), log
        self._next: dict[int, int] = {}
        self._entries: dict[tuple[int, str], Entry] = {}

    def look(self) -> dict[str, float]:
        """keys, state kB, timers (keys that want to be woken), effects (without an answer)."""
        for partition, end in self._log.ends(self._topic).items():
            at = self._next.get(partition, 0)
            while at < end:
                page = self._log.read(self._topic, partition, at, _PAGE)
                at = page[-1].offset + 1 if page else end
                for record in page:
                    kept = decode_kept(record.key.encode(), record.value)
                    if kept.entry is not None:
                        self._entries[partition, kept.entry.key] = kept.entry
            self._next[partition] = at
        entries = self._entries.values()
        return {
            "keys": len(entries),
            "state kB": sum(len(entry.state) for entry in entries) / 1_000,
            "timers": sum(entry.wake_at is not None for entry in entries),
            "effects": sum(len(orjson.loads(entry.pending)) for entry in entries),
        }


def process_figures(pid: int) -> dict[str, float]:
    """Resident memory, threads and open files of a process. Raises OSError where it is gone."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if ":" in line
    )
    return {
        "rss MB": int(status["VmRSS"].split()[0]) / 1_000,
        "threads": int(status["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def topic_figures(admin: Any, settings: KafkaSettings, partitions: int) -> dict[str, float]:
    """What is on the broker's disk: each changelog, and all other topics together."""
    plans = plan(settings, partitions)
    states = describe(admin, settings, [each.name for each in plans])
    found = {"topics MB": 0.0}
    for each in plans:
        name = f"{each.changelog_of} changelog MB" if each.changelog_of else "topics MB"
        size = states[each.name].size_bytes if each.name in states else None
        found[name] = found.get(name, 0.0) + (size or 0) / 1e6
    return found


def changelogs(settings: KafkaSettings, log: KafkaLog) -> dict[str, Changelog]:
    """Those of all steps."""
    return {step: Changelog(settings, step, log) for step in CHANGELOG_STEPS}


def folder_bytes(folder: Path) -> int:
    """Of all files below it; those that go meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def findings(samples: Sequence[Sample], warm_at: int, window_ms: int = _HOUR) -> list[Finding]:
    """Every figure in the window before `warm_at` (ms) against the last window, in the order in which they came."""
    end = samples[-1].at
    warm = _window(samples, warm_at - window_ms, warm_at)
    final = _window(samples, end - window_ms, end)
    return [_finding(name, warm[name], final[name]) for name in warm if name in final]


def table(found: Iterable[Finding]) -> str:
    """As Markdown."""
    lines = ["| what | warm | end | drift | allowed | |", "|---|---|---|---|---|---|"]
    for each in found:
        verdict = "" if not each.allowed else "PASS" if each.holds else "FAIL"
        figures = f"{each.warm:,.1f} | {each.final:,.1f} | {each.drift:+.1f}%"
        lines.append(f"| {each.name} | {figures} | {each.allowed} | {verdict} |")
    return "\n".join(lines)


def _window(samples: Sequence[Sample], begin: int, end: int) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if begin <= sample.at <= end:
            for name, figure in sample.figures.items():
                values[name].append(figure)
    return values


def _finding(name: str, before: Sequence[float], after: Sequence[float]) -> Finding:
    bound = next(bound for ending, bound in BOUNDS.items() if name.endswith(ending))
    if bound is None:
        return Finding(name, statistics.median(before), statistics.median(after), "", True)
    warm, final = bound.of(before), bound.of(after)
    most = warm * bound.share + bound.spare
    allowed = f"{'±' if bound.both_ways else '+'}{bound.share:.0%}" + (f" +{bound.spare:g}" if bound.spare else "")
    holds = final - warm <= most and (not bound.both_ways or warm - final <= most)
    return Finding(name, warm, final, allowed, holds)
