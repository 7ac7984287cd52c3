"""`foreshock replay` beside a detect that runs on Kafka: the swap, detection meanwhile, a refusal, the way back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
from counts_rig import START, buckets, fifty_minutes
from kafka_broker import make_topics
from role_rig import WAIT, Roles, wait_until
from run_rig import FORESHOCK

from connectors.kafka_log import KafkaLog
from connectors.ports import Outbound
from models.anomaly import Anomaly, ServiceHealth
from models.audit import AuditEntry
from models.snapshot import BaselineRollback, BaselineSnapshot
from models.template import BUCKET_MS
from streams.reading import events_of


class Beside:
    """A detect with fifty minutes behind it, and a service that goes on when the test says so."""

    def __init__(self, roles: Roles, log: KafkaLog) -> None:
        self.roles, self.log = roles, log
        self._next, self._chance = 300, np.random.default_rng(9)

    def go(self, minutes: int, burst: int = 0) -> None:
        """Let it log for so long; returns when detect has taken all but the last minute."""
        number = 6 * minutes
        give(self.log, buckets(self._next, number, self._chance, burst))
        self._next += number
        self.taken()

    def taken(self) -> None:
        end = (START + self._next - 7) * BUCKET_MS
        wait_until(lambda: self.watermark() >= end, self.roles.said)

    def watermark(self) -> int:
        return max((event.data.watermark for event in events_of(self.log, "health", ServiceHealth)), default=0)

    @contextmanager
    def replaying(self, *words: str) -> Iterator[dict[str, Any]]:
        """`foreshock replay ...`, which waits for detect while the block runs; how it ended is there behind it."""
        args = [FORESHOCK, "replay", *words, "--wait", "120", "--config", str(self.roles.config)]
        ended: dict[str, Any] = {}
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield ended
                out, err = process.communicate(timeout=WAIT)
            finally:
                process.kill()
        ended |= {"code": process.returncode, "out": out, "said": " ".join(err.split())}

    def asked(self, kind: type, count: int) -> None:
        """Wait until so many such messages stand in detect's inbox."""
        wait_until(lambda: len(list(events_of(self.log, "counts", kind))) >= count, "nothing was written")

    def stages(self) -> list[str]:
        told = [event.data.stage.value for event in events_of(self.log, "audit", AuditEntry)]
        return [stage.removeprefix("BASELINES_") for stage in told if stage.startswith("BASELINES_")]

    def burst(self) -> int:
        """The number of the generation by which five hundred lines more are an anomaly; 0: learnt live."""
        before = len(list(events_of(self.log, "anomalies", Anomaly)))
        self.go(3, burst=500)
        wait_until(lambda: len(list(events_of(self.log, "anomalies", Anomaly))) > before, self.roles.said)
        return list(events_of(self.log, "anomalies", Anomaly))[before].data.baseline.generation


def give(log: KafkaLog, counts: list[Outbound]) -> None:
    """Counts, and on `logs` the records that they name as their causes: detect looks how far that goes."""
    log.append([Outbound("logs", "0", b"{}", 0)] * len(counts), 0)
    log.append(counts, 0)


@pytest.fixture
def beside(kafka_settings, tmp_path) -> Iterator[Beside]:
    make_topics(kafka_settings, 1)
    with closing(KafkaLog(kafka_settings, "test")) as log, Roles.of(tmp_path, kafka_settings, 1) as roles:
        give(log, fifty_minutes())
        roles.start("detect")
        found = Beside(roles, log)
        found.taken()
        yield found
        assert [roles.stop(process) for process in list(roles.running)] == [0], roles.said()


def test_a_replay_swaps_while_detection_goes_on_is_refused_when_it_is_older_and_is_taken_back(beside):
    assert beside.burst() == 0
    with beside.replaying("--json") as first:
        beside.asked(BaselineSnapshot, 1)
        assert beside.stages() == []  # no minute has closed since
        beside.go(3)
    assert first["code"] == 0, first["said"]
    assert [json.loads(line)["service"] for line in first["out"].splitlines()] == ["web"]
    assert "web: swapped" in first["said"]
    assert beside.burst() == 1

    with beside.replaying("--to", "@200") as older:
        beside.asked(BaselineSnapshot, 2)
        beside.go(3)
    assert older["code"] == 1
    assert "web: refused (older" in older["said"]
    assert beside.burst() == 1

    with beside.replaying("--rollback", "--reason", "a test") as back:
        beside.asked(BaselineRollback, 1)
        beside.go(3)
    assert back["code"] == 0, back["said"]
    assert "web: restored" in back["said"]
    assert beside.burst() == 0
    assert beside.stages() == ["SWAPPED", "REFUSED", "RESTORED"]
