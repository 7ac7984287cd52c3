"""quix-streams on the benchmark's job: `python -m benchmarks.kafka.quix_peer MODE BROKER TOPIC OUT WARM TOTAL`.

`batches`: a message of counts for each batch, made with the four expressions that one writes first and a dict. `lines`:
each line a message of its own, grouped by service and template, counted in tumbling windows of 10 s.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from quixstreams import Application

from benchmarks.kafka.loops import Marks
from models.template import BUCKET_MS

_MASKS: Final = (
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<ip>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\d+"), "<n>"),
)


def template(line: str) -> str:
    """The line with what varies masked."""
    for expression, name in _MASKS:
        line = expression.sub(name, line)
    return line


def rows(batch: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Service, template and time (ms) of each line."""
    services = batch["services"]
    lines = batch["messages"].split("\n")
    for index, at, line in zip(batch["service_index"], batch["timestamps"], lines, strict=True):
        yield services[index], template(line), at


def counted(message: dict[str, Any]) -> list[tuple[str, str, int, int]]:
    """The batch's counts."""
    counts = Counter((service, text, at // BUCKET_MS) for service, text, at in rows(message["data"]))
    return [(*cell, n) for cell, n in counts.items()]


def split(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A value for each line."""
    return [{"key": f"{service}\t{text}", "at": at} for service, text, at in rows(message["data"])]


def main(words: list[str]) -> None:
    mode, broker, source, out, warm, total = words
    marks = Marks(int(warm), int(total))
    with tempfile.TemporaryDirectory(prefix="foreshock-bench-") as folder:
        app = Application(
            broker_address=broker,
            consumer_group=f"bench-{out}",
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="WARNING",
            consumer_extra_config={"fetch.message.max.bytes": 4 << 20, "fetch.queue.backoff.ms": 5},
            producer_extra_config={"compression.type": "lz4", "message.max.bytes": 4 << 20},
        )

        def note(lines: int) -> None:
            if marks.add(lines):
                app.stop()

        frame = app.dataframe(app.topic(source, value_deserializer="json", key_deserializer="bytes"))
        to = app.topic(out, value_serializer="json", key_serializer="bytes" if mode == "batches" else "str")
        if mode == "batches":
            frame = frame.update(lambda message: note(len(message["data"]["timestamps"])))
            frame = frame.apply(counted)
        else:
            frame = frame.apply(split, expand=True).set_timestamp(lambda row, *_: row["at"])
            frame = frame.group_by("key", value_deserializer="json", key_deserializer="str")
            frame = frame.update(lambda _: note(1)).tumbling_window(BUCKET_MS).count().current()
        frame.to_topic(to)
        app.run()
    marks.done()


if __name__ == "__main__":
    main(sys.argv[1:])
