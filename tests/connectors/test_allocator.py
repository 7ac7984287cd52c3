"""Freed memory is kept: large blocks by turns cost no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BLOCKS = """
import resource, sys
from connectors.allocator import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
def turn():
    return [b"x" * 300_000 for _ in range(60)]
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    turn()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", _BLOCKS, how], capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept, int(count)


def test_large_blocks_by_turns_cost_no_page_faults() -> None:
    kept, count = faults("keep")
    if kept == "False":
        pytest.skip("this C library cannot be asked")
    assert count * 10 < faults("leave")[1]
