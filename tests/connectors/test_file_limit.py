"""More files than the usual soft limit has room for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CODE = """
import resource, sys
from connectors.file_limit import open_as_many_as_allowed
from connectors.files import check_file
resource.setrlimit(resource.RLIMIT_NOFILE, (16, int(sys.argv[1])))
open_as_many_as_allowed()
kept = []
for _ in range(40):
    check_file(sys.argv[2], False)
    kept.append(open(sys.argv[2]))
"""


def _run(hard: int, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _CODE, str(hard), str(path)], capture_output=True, text=True)


def test_as_many_files_can_be_open_as_the_hard_limit_allows_and_one_more_is_told(tmp_path: Path) -> None:
    (tmp_path / "app.log").touch()
    assert _run(64, tmp_path / "app.log").returncode == 0
    assert "too many open files. Raise the hard limit" in _run(32, tmp_path / "app.log").stderr
