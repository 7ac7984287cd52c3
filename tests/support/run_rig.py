"""Runs `foreshock run` as the product does: as a process, or in a forked one that the heavy imports are done for."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import streams.cli_run  # noqa: F401 - heavy, and else imported in every forked process
from connectors.codec import decode_record
from connectors.data_folder import DataFolder
from connectors.keys import load_keys
from connectors.ports import Record
from connectors.sqlite import SqliteStore
from models.event import Event
from models.template import TemplateCounts
from models.topics import TOPICS
from streams.cli import main
from streams.wiring import RUNBOOKS

FORESHOCK = str(Path(sys.executable).with_name("foreshock"))
WAIT = 60


def foreshock(*args: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """One command from beginning to end."""
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": WAIT, "check": False, **options}
    return subprocess.run([FORESHOCK, *map(str, args)], **given)


def live(args: Sequence[str], errors: Connection) -> None:
    """`foreshock ARGS` in a forked process; what it writes to stderr goes to the other end."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process lives
    sys.stderr = open(errors.fileno(), "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["foreshock", *args]
    main()


def wait_for(told: Connection, words: bytes) -> bytes:
    """Read what a process says until it has said `words`, or has closed its end; all that was read."""
    said = b""
    while words not in said and (piece := os.read(told.fileno(), 65_536)):
        said += piece
    return said


def live_until_killed(context: Any, args: Sequence[str], seconds: float) -> bool:
    """One life of `foreshock ARGS`, ended by kill -9 that long after it has opened its folder; True where it had ended
    well before that. AssertionError where it failed.
    """
    here, there = context.Pipe()
    process = context.Process(target=live, args=(args, there))
    process.start()
    there.close()  # so that reading ends when the process does
    said = wait_for(here, b"foreshock: reading")
    process.join(seconds)
    ended = process.exitcode is not None
    process.kill()
    process.join()
    assert not ended or process.exitcode == 0, (said + wait_for(here, b"all that it said")).decode()
    here.close()
    return ended


def acting_config(folder: Path, **more: str) -> Path:
    """A configuration in `act` mode, its runbooks with a declared prior, as the demo's operator would write it."""
    books = folder / "runbooks"
    books.mkdir(parents=True, exist_ok=True)
    for file in sorted(RUNBOOKS.glob("*.yaml")):
        (books / file.name).write_text(file.read_text() + "prior: {ok: 7, bad: 1}\n")
    config = folder / "foreshock.yaml"
    config.write_text("runbooks: [runbooks/]\npolicy:\n  mode: act\n" + "".join(f"{k}: {v}\n" for k, v in more.items()))
    return config


def new_folder(path: Path, partitions: int = 1) -> Path:
    """An empty data folder with its run's name and its keys: copies of it must come to the same bytes."""
    with DataFolder(path, partitions=partitions):
        load_keys(path, {})
    return path


def copy_folder(source: Path, target: Path) -> Path:
    """The same run once more, from the same beginning. File times count: a key's id comes from the key alone."""
    return Path(shutil.copytree(source, target))


def records(folder: Path, topic: str) -> Iterator[Record]:
    """What a topic holds, partition by partition."""
    store = SqliteStore(folder / "foreshock.db", read_only=True)
    for partition in range(store.partitions(topic)):
        yield from store.read(topic, partition, 0, 10_000_000)
    store.close()


def events(folder: Path, topic: str, kind: str = "") -> list[Event[Any]]:
    """The same, decoded; only those of a type, where one is given."""
    found = map(decode_record, records(folder, topic))
    return [event for event in found if not kind or event.type == kind]


def fingerprints(folder: Path) -> dict[str, tuple[int, str]]:
    """Every topic's number of records and a hash over position, key, time of logging and bytes of each of them."""
    found = {}
    for topic in TOPICS:
        state, number = hashlib.sha256(), 0
        for record in records(folder, topic):
            state.update(repr(record).encode())
            number += 1
        found[topic] = (number, state.hexdigest())
    return found


def line_counts(folder: Path) -> dict[tuple[str, str, int], int]:
    """Lines by (service, template text, 10 s bucket), as `counts` has them."""
    found: dict[tuple[str, str, int], int] = {}
    for event in events(folder, "counts", TemplateCounts.TYPE):
        for section in event.data.sections:
            for place, bucket, lines in zip(section.template, section.bucket, section.n, strict=True):
                key = (section.service, section.texts[place], bucket)
                found[key] = found.get(key, 0) + lines
    return found
