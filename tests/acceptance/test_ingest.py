"""`foreshock ingest` on a real broker: every line once, through kills of the process and of the broker."""

from __future__ import annotations

import os
import random

from fork_server import fork_server
from ingest_rig import (
    Process,
    arguments,
    assert_exactly_once,
    logged_lines,
    make_ingest_topics,
    wait_until,
    writing,
)

KILLS = int(os.environ.get("FORESHOCK_TEST_KILLS", "6"))
"""The long form: FORESHOCK_TEST_KILLS=50."""


def test_every_line_is_logged_exactly_once_through_kill_9(kafka_settings, tmp_path):
    make_ingest_topics(kafka_settings)
    chance = random.Random(8)
    with writing(tmp_path) as writers, fork_server() as server:
        args = arguments(
            kafka_settings,
            tmp_path / "data",
            *(writer.path for writer in writers),
            "--service-pattern",
            f"{tmp_path}/{{service}}/app.log",
        )
        for _ in range(KILLS):
            process = Process(server, args)
            if chance.random() < 0.8:
                process.wait_for(b"foreshock: reading")
            process.process.join(chance.random() * 0.7)
            assert process.process.exitcode is None, process.wait_for(b"all that it said")
            process.kill()
        for writer in writers:
            writer.finish()
        process = Process(server, args)
        written = sum(len(writer.lines) for writer in writers)
        wait_until(lambda: logged_lines(kafka_settings) >= written, "not all lines came")
        assert process.stop() == 0
    assert_exactly_once(kafka_settings, writers)
