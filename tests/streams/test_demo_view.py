"""What the demo suggests at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams import demo_view


def test_a_log_is_suggested_only_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "messages"
    monkeypatch.setattr(demo_view, "_LOGS", (str(tmp_path / "syslog"), str(log)))
    assert list(demo_view._next_commands(tmp_path, ()))[-1].endswith("run --input 'sim:7?speed=600'")
    log.write_text("a line\n")
    assert list(demo_view._next_commands(tmp_path, ()))[-1].endswith(f"run --once --input {log}")
