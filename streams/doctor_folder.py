"""The doctor's look at a data folder: holder, disk, schema, sizes, positions. In: the folder. Out: Findings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from connectors.clock import WallClock
from connectors.folder_log import FolderLog, find_holder
from connectors.ports import UnitName
from connectors.settings import Configuration
from connectors.shared_log import READERS
from connectors.sqlite import SCHEMA_VERSION
from models.errors import DataFolderError
from models.topics import TOPICS
from streams.doctor import (
    Finding,
    check_catalog,
    check_clock,
    check_dead_letters,
    check_keys,
    check_lag,
    check_watermarks,
)

__all__ = ["examine_folder"]

_LEAST_FREE: Final = 100_000_000
_MB: Final = 1_000_000


def examine_folder(data: Path, configuration: Configuration, options: str) -> Iterator[Finding]:
    """Every check, one after the other; without a database there is nothing to look at. `options`: see the doctor's
    `check_dead_letters`.
    """
    try:
        log = FolderLog(data, Path(configuration.file) if configuration.file else None)
    except DataFolderError as error:
        yield Finding("data folder", "fail", f"{data} cannot be read", str(error))
        return
    try:
        schema = log.store.schema_version
        if schema != SCHEMA_VERSION:
            said = f"schema {schema}, this Foreshock reads {SCHEMA_VERSION}"
            yield Finding("data folder", "fail", said, "Use the version that wrote it, or another --data folder.")
            return
        yield Finding("data folder", "ok", f"{data}, schema {schema}, run {log.run}")
        yield from _check_files(data, log, configuration)
        yield from _check_steps(data, log, configuration)
        yield check_dead_letters(log, options)
        if log.store.meta("time") != "virtual":
            yield check_clock(int(log.store.meta("clock") or 0), WallClock().now())
        yield check_keys(log)
    finally:
        log.close()


def _check_files(data: Path, log: FolderLog, configuration: Configuration) -> Iterator[Finding]:
    sizes = {file.name: file.stat().st_size for file in sorted(data.iterdir()) if file.is_file()}
    held = log.store.sizes()
    largest = sorted(held, key=lambda topic: held[topic], reverse=True)[:3]
    said = f"{sum(sizes.values()) / _MB:.1f} MB; largest topics: "
    yield Finding("sizes", "ok", said + ", ".join(f"{topic} {held[topic] / _MB:.1f} MB" for topic in largest))
    retention = configuration.settings.retention
    allowed = retention.logs_bytes + retention.topic_bytes * sum(not topic.compacted for topic in TOPICS.values())
    free = shutil.disk_usage(data).free
    left = f"{free / _MB:.0f} MB free"
    if free < _LEAST_FREE:
        yield Finding("disk", "fail", left, "Free some space: a full disk stops the run (nothing committed is lost).")
    elif free < allowed - sum(held.values()):
        advice = "Free some space, or set retention.logs_bytes and retention.topic_bytes lower."
        yield Finding("disk", "warn", f"{left}, less than the topics may still grow by retention", advice)
    else:
        yield Finding("disk", "ok", left)


def _check_steps(data: Path, log: FolderLog, configuration: Configuration) -> Iterator[Finding]:
    holder = find_holder(data)
    yield Finding("holder", "ok", f"process {holder} runs it" if holder else "nobody runs it now")
    for unit, crash in _crashes(log):
        said = f"{unit} has failed {crash[1]} times at offset {crash[0]}: {crash[2]}"
        advice = "The third time the record becomes a dead letter and the run goes on. Please report it."
        yield Finding("steps", "warn", said, advice)
    simulated = log.store.meta("time") == "virtual"
    if not simulated or configuration.catalog.applications:  # a simulated shop has a catalog of its own
        yield check_catalog(log, configuration, "`foreshock run` publishes the configured one when it starts.")
    if holder and not simulated:
        yield from check_lag(log, log.groups(), start="Start `foreshock run`.")
        yield check_watermarks(log)


def _crashes(log: FolderLog) -> Iterator[tuple[UnitName, tuple[int, int, str]]]:
    for _, step, inbox in READERS:
        for partition in range(log.partitions(inbox)):
            unit = UnitName(step, partition)
            yield from ((unit, crash) for crash in log.store.crashes(unit).values())
