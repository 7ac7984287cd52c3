"""How fast lines come in: decoded alone, read and batched, and appended to a log: the floor of the end-to-end ratio.

`floor(paths)` is "read, decode timestamps, append to the log" and nothing else, in lines per CPU second. Run
it: `python benchmarks/reading.py FILE...`; without files, Loghub's (FORESHOCK_TEST_DATA), repeated to 200,000 lines.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from connectors.inputs import InputOptions
from connectors.opening import open_inputs
from connectors.ports import Outbound
from models.line import LineMemory, LineRules, decode_lines

_BLOCK = 512 * 1024
_LINES = 200_000


def decoding(path: Path) -> float:
    """Lines per CPU second of `decode_lines` alone, in blocks of 512 KB."""
    data = path.read_bytes()
    memory, rules, lines, at = LineMemory(), LineRules(time.time_ns() // 1_000_000), 0, 0
    begun = time.process_time()
    while at < len(data):
        end = data.rfind(b"\n", at, at + _BLOCK) + 1
        lines += len(decode_lines(data[at:end], rules, memory).messages)
        at = end
    return lines / (time.process_time() - begun)


def reading(paths: Sequence[str], append: Callable[[Sequence[Outbound]], object] = len) -> float:
    """Lines per CPU second from files to encoded batches, given to `append` poll by poll."""
    source = open_inputs(paths, InputOptions(once=True))
    begun = time.process_time()
    while not source.ended:
        append(source.poll(0))
    seconds = time.process_time() - begun
    source.close()
    return source.counters["lines"] / seconds


def floor(paths: Sequence[str]) -> float:
    """Lines per CPU second from files to a SQLite log, one transaction a poll, nothing else done."""
    from connectors.sqlite import SqliteStore

    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "log.db", durable=False)  # as the pipeline in lockstep

        def append(batch: Sequence[Outbound]) -> None:
            with store.transaction():
                store.append(batch, max((out.at for out in batch), default=0))

        speed = reading(paths, append)
        store.close()
        return speed


def repeated(source: Path, target: Path, lines: int = _LINES) -> Path:
    """`source` written over and over to `target`, to about `lines` lines."""
    data = source.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    target.write_bytes(data * max(lines // data.count(b"\n"), 1))
    return target


def main(names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(name) for name in names]
        if not paths:
            root = Path(os.environ.get("FORESHOCK_TEST_DATA", "data")) / "loghub"
            paths = [repeated(path, Path(folder) / path.name) for path in sorted(root.glob("*/*_2k.log"))]
        print(f"{'k lines/CPU s':20}{'decode':>10}{'read':>10}{'floor':>10}")
        for path in paths:
            speeds = (decoding(path), reading([str(path)]), floor([str(path)]))
            print(f"{path.name:20}" + "".join(f"{speed / 1_000:10.0f}" for speed in speeds))


if __name__ == "__main__":
    main(sys.argv[1:])
