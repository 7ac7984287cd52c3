"""`python -m benchmarks.kafka [--quick | --one-round] [NAME...]`: run all benchmarks, or those named, on a local
broker.

Prints one table. --quick: short topics and one round, to see that everything runs; its figures mean nothing.
--one-round: each contender once. Exit 1 if a claim fails, or was not measured for want of data.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.kafka import ingest_speed, latency, mining_speed, retraining_speed, worker_speed
from benchmarks.kafka.contender import BROKER_CORE, Bench
from benchmarks.loghub import MissingDataError
from benchmarks.table import Row, markdown
from connectors.local_kafka import LocalBroker

Benchmark = Callable[[Bench], list[Row]]
BENCHMARKS: Final[dict[str, Benchmark]] = {
    ingest_speed.NAME: ingest_speed.run,
    mining_speed.NAME: mining_speed.run,
    worker_speed.NAME: worker_speed.run,
    latency.NAME: latency.run,
    retraining_speed.NAME: retraining_speed.run,
}
_ROUNDS: Final = 3
_QUICK: Final = 10
"""--quick divides the lengths of topics by this."""


def main(words: list[str]) -> int:
    quick = "--quick" in words
    rounds = 1 if quick or "--one-round" in words else _ROUNDS
    names = [word for word in words if not word.startswith("--")]
    # The broker inherits this; contenders are bound to the other core.
    os.sched_setaffinity(0, {BROKER_CORE})
    rows: list[Row] = []
    skipped = 0
    with tempfile.TemporaryDirectory(prefix="foreshock-bench-") as folder, LocalBroker(Path(folder)) as broker:
        for name, benchmark in BENCHMARKS.items():
            if names and name not in names:
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                bench = Bench(broker.bootstrap, broker.pid or 0, rounds, _QUICK if quick else 1)
                rows += benchmark(bench)
            except MissingDataError as missing:
                skipped += 1
                print(f"{name}: skipped: {missing}", file=sys.stderr)
    print("<!-- bench-kafka -->")
    print(markdown(rows))
    print("<!-- /bench-kafka -->")
    return 0 if all(row.holds for row in rows) and not skipped else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
