"""How soon something happens: `foreshock --help`, and the first line of a file processed after the start.

Wall seconds of real processes, the least of several: what else runs on the machine only ever adds. Ratios are the
permitted time over the measured one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.table import Row

__all__ = ["NAME", "run"]

NAME: Final = "startup"
_HELP_SECONDS: Final = 0.4
_FIRST_LINE_SECONDS: Final = 1.5
_FORESHOCK: Final = str(Path(sys.executable).with_name("foreshock"))


def run(repeats: int = 5) -> list[Row]:
    """Both times against the permitted ones, and a bare Python for comparison."""
    bare = min(_seconds([sys.executable, "-c", "pass"]) for _ in range(repeats))
    shown = min(_seconds([_FORESHOCK, "--help"]) for _ in range(repeats))
    first = min(first_line() for _ in range(repeats))
    peer = f"python alone: {bare:.2f} s"
    return [
        Row("foreshock --help", f"{shown:.2f} s", f"{_HELP_SECONDS} s; {peer}", _HELP_SECONDS / shown, 1.0),
        Row("first line", f"{first:.2f} s", f"{_FIRST_LINE_SECONDS} s; {peer}", _FIRST_LINE_SECONDS / first, 1.0),
    ]


def first_line() -> float:
    """Seconds from starting a live process until its first line is committed as a count (seen by another reader)."""
    from connectors.data_folder import open_reader
    from models.errors import DataFolderError

    with tempfile.TemporaryDirectory() as folder:
        log, data = Path(folder) / "app.log", Path(folder) / "data"
        log.write_text(f"{datetime.now(UTC).isoformat()} INFO the first line\n")
        begun = time.perf_counter()
        process = subprocess.Popen(
            [_FORESHOCK, "run", "--input", str(log), "--data", str(data)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while time.perf_counter() - begun < 60:
                try:
                    store = open_reader(data)
                except DataFolderError:  # not made yet
                    time.sleep(0.005)
                    continue
                try:
                    if any(b"the first line" in record.value for record in store.read("counts", 0, 0, 100)):
                        return time.perf_counter() - begun
                finally:
                    store.close()
                time.sleep(0.005)
            raise TimeoutError("no line was counted within a minute")
        finally:
            process.terminate()
            process.wait()


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun
