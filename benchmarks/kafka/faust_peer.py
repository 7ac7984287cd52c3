"""Plain Faust, a line at a time, as its tutorials do: `python -m benchmarks.kafka.faust_peer BROKER TOPIC WARM TOTAL`.

Each line's template (one regular expression) counts up an entry of a table by service, template and 10 s.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from typing import Any

import faust

from benchmarks.kafka.lines import PARTITIONS
from benchmarks.kafka.loops import Marks
from models.template import BUCKET_MS

_WITH_DIGIT = re.compile(r"\S*\d\S*")


def main(words: list[str]) -> None:
    broker, source, warm, total = words
    marks = Marks(int(warm), int(total))
    logging.getLogger("faust").setLevel(logging.WARNING)
    app = faust.App(
        f"bench-{source}-lines",
        broker=f"kafka://{broker}",
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        consumer_max_fetch_size=4 << 20,
        consumer_auto_offset_reset="earliest",
        datadir=tempfile.mkdtemp(prefix="foreshock-bench-"),
        worker_redirect_stdouts=False,
    )
    counts: Any = app.Table("counts", default=int)
    topic = app.topic(source, value_serializer="json")

    @app.agent(topic)
    async def count(stream: Any) -> None:
        async for message in stream:
            batch = message["data"]
            services, lines = batch["services"], batch["messages"].split("\n")
            for index, at, line in zip(batch["service_index"], batch["timestamps"], lines, strict=True):
                counts[f"{services[index]}\t{_WITH_DIGIT.sub('0', line)}\t{at // BUCKET_MS}"] += 1
            if marks.add(len(lines)):
                await app.producer.flush()
                marks.done()
                await app.stop()

    app.finalize()
    faust.Worker(app, redirect_stdouts=False, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
