"""`python -m benchmarks [NAME...]`: run all benchmarks, or those named; print one table. Exit 1 if a claim fails."""

from __future__ import annotations

import sys

from benchmarks import detection, end_to_end, memory, mining, retraining, startup
from benchmarks.loghub import MissingDataError
from benchmarks.table import Row, markdown

# Each module has `NAME` and `run(repeats=5) -> list[Row]`.
BENCHMARKS = (mining, detection, end_to_end, memory, startup, retraining)


def main(names: list[str]) -> int:
    rows: list[Row] = []
    for benchmark in BENCHMARKS:
        if names and benchmark.NAME not in names:
            continue
        print(f"{benchmark.NAME} ...", file=sys.stderr, flush=True)
        try:
            rows += benchmark.run()
        except MissingDataError as missing:
            print(f"{benchmark.NAME}: skipped: {missing}", file=sys.stderr)
    print(markdown(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
