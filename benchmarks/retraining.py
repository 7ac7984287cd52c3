"""Retraining: records of `counts` a second from a data folder to baselines, against decoding their JSON alone.

The load is one service that writes 10,000 lines a second in 100 templates: ingest gives mine a batch of
4,000 every 400 ms, so five records come in two seconds.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from benchmarks.table import Row, median_seconds
from connectors.codec import decode, encode
from connectors.data_folder import DataFolder
from connectors.ports import Outbound
from models.log import MAX_BATCH_LINES, MAX_BATCH_MS
from models.template import BUCKET_MS, TemplateCounts
from streams.replay import Replay
from streams.replay_places import FolderPlace
from streams.replay_plan import Request, make_plan

NAME: Final = "retraining"

_TEMPLATES: Final = 100
_A_SECOND: Final = 1_000 / MAX_BATCH_MS
_LINES: Final = min(MAX_BATCH_LINES, round(10_000 / _A_SECOND))
_DAY: Final = round(86_400 * _A_SECOND)
_HOURS: Final = 2.0
_START_MS: Final = 1_767_571_200_000
_SAMPLE: Final = 2_000
_PAGE: Final = 500


def run(repeats: int = 3) -> list[Row]:
    """Both claims, on two hours of the load."""
    folder = Path(tempfile.mkdtemp(prefix="retraining-"))
    try:
        records = write_load(folder, _HOURS)
        return measure(folder, records, repeats)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, records: int, repeats: int) -> list[Row]:
    """The whole command's work but for writing the generation: reading, learning, saving progress."""
    place = FolderPlace(folder)
    values = [record.value for record in place.log.read("counts", 0, records // 2, _SAMPLE)]
    gc.set_threshold(50_000, 20, 20)  # as the command does

    def decode_only() -> None:
        for value in values:
            orjson.loads(value)

    def replay() -> None:
        work = Replay(place.log, make_plan(place, Request(topic="counts")), folder / "progress.json")
        (learned,) = work.run(lambda _: None)
        assert learned.messages
        assert not work.skipped
        assert learned.training.minutes >= records // (60 * _A_SECOND) - 2

    begun = time.monotonic()
    replay()
    wall = time.monotonic() - begun
    seconds = median_seconds({"floor": decode_only, "ours": replay}, repeats)
    rate, floor = records / seconds["ours"], len(values) / seconds["floor"]
    day = _DAY / rate
    return [
        Row(
            f"records of counts a second ({_LINES:,} lines, {_TEMPLATES} templates), from SQLite to baselines",
            f"{rate:,.0f}/s",
            f"orjson.loads alone: {floor:,.0f}/s",
            rate / floor,
            0.08,
        ),
        Row(
            f"a day of 10,000 lines a second retrained (from {records:,} records; wall {wall * _DAY / records:.0f} s)",
            f"{day:.0f} s",
            "120 s",
            120 / day,
            1.0,
        ),
    ]


def write_load(folder: Path, hours: float) -> int:
    """A data folder whose `counts` hold so many hours of the load; returns how many records."""
    total = 0
    with DataFolder(folder, durable=False) as data:
        for page in pages_of_load(hours):
            data.store.append(page, page[-1].at)
            total += len(page)
    return total


def pages_of_load(hours: float) -> Iterator[list[Outbound]]:
    """So many hours of the load, a few hundred records at once."""
    total = round(hours * 3_600 * _A_SECOND)
    chance = np.random.default_rng(1)
    weights = np.exp(chance.uniform(0, 4, _TEMPLATES))
    weights *= _LINES / weights.sum()
    names = [f"{number:020x}" for number in range(_TEMPLATES)]
    texts = [f"INFO [<*>] request <*> to upstream {name[-2:]} took <*> ms" for name in names]
    for first in range(0, total, _PAGE):
        counts = chance.poisson(weights, (min(_PAGE, total - first), _TEMPLATES))
        page = [_message(first + row, each, names, texts, chance) for row, each in enumerate(counts)]
        if first == 0:
            assert encode(decode(page[0].value)) == page[0].value  # as mine writes it
        yield page


def _message(
    number: int, counts: np.ndarray, names: list[str], texts: list[str], chance: np.random.Generator
) -> Outbound:
    """One record as mine writes it; its templates stand in the order of their first lines."""
    at = _START_MS + number * MAX_BATCH_MS
    seen = chance.permutation(np.flatnonzero(counts))
    rows = len(seen)
    section = {
        "service": "api",
        "ids": [names[place] for place in seen.tolist()],
        "texts": [texts[place] for place in seen.tolist()],
        "severities": [2] * rows,
        "template": list(range(rows)),
        "bucket": [at // BUCKET_MS] * rows,
        "n": counts[seen].tolist(),
        "first_line": list(range(rows)),
        "lines": int(counts.sum()),
        "overflow": 0,
    }
    data = {
        "rules_version": 1,
        "input": {"topic": "logs", "partition": 0, "offset": number},
        "sources": [{"source_id": "file:/var/log/api.log", "covered_until": at, "services": ["api"]}],
        "sections": [section],
        "dropped": {},
    }
    head = {
        "v": TemplateCounts.VERSION,
        "type": "template_counts",
        "id": f"{number:020x}",
        "at": at,
        "cause": f"mine:logs/0@{number}#0.0",
    }
    envelope = {**head, "cid": "", "key": "0", "region": "", "run": "bench", "data": data}
    return Outbound("counts", "0", orjson.dumps(envelope), 0, at)
