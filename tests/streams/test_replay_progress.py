"""A file of a replay's progress that is none, or is spoilt: an error that names it, not a defect."""

from __future__ import annotations

import pytest

from streams.replay import Replay
from streams.replay_plan import ReplayError


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 2, "plan": {}, "partitions": []}'])
def test_spoilt_progress_is_named_with_what_to_do(tmp_path, content):
    file = tmp_path / "replay-x.json"
    file.write_text(content)
    with pytest.raises(ReplayError, match=r"replay-x\.json is no progress of a replay .*--restart"):
        Replay.resume(None, file)
    assert Replay.resume(None, tmp_path / "none.json") is None
