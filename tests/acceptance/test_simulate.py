"""The simulated cloud as a process beside a broker: what it gives, and that it goes on after a kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager

import pytest
from kafka_broker import make_topics

from connectors.cloud_client import CloudActuator
from connectors.codec import decode_record
from connectors.kafka_log import KafkaLog
from connectors.local_kafka_config import free_ports
from connectors.settings import process_environment
from connectors.simulator_spec import parse_simulator_spec
from connectors.world import World
from connectors.world_shop import DATABASE_ARN, service_arn, source_of
from models.errors import ActionError
from models.log import LogBatch
from models.signal import Change, InfraEvent
from streams.pacing import Pacer, Stretch
from streams.reading import events_of

WORLD = "sim:7?hours=0.2&faults=instance_terminated@00:03"
MINUTE = 60_000
TOKEN = "for the tests"
SCALE = ("rds.scale", DATABASE_ARN, {"max_connections": 200})
WAIT = 90.0


class Deployment:
    """A corner of the broker with a plan of time, and the simulator as a process."""

    def __init__(self, folder, settings):
        self.spec = parse_simulator_spec(WORLD)
        self.pacer = Pacer(folder / "clock", self.spec.start)
        self.settings, self.folder = settings, folder
        self.port = free_ports(1)[0]
        self.cloud = CloudActuator(f"http://127.0.0.1:{self.port}", TOKEN)
        self.log = KafkaLog(settings, "tests", virtual=True)

    @contextmanager
    def running(self, world=WORLD, token=TOKEN):
        env = process_environment(
            {
                "FORESHOCK_ACTUATOR_TOKEN": token,
                "FORESHOCK_PARTITIONS": "2",
                "FORESHOCK_KAFKA__PREFIX": self.settings.prefix,
                "FORESHOCK_KAFKA__CLOCK": f"@{self.folder / 'clock'}",
            }
        )
        command = [sys.executable, "-m", "streams", "simulate", world, "--kafka", self.settings.bootstrap_servers[0]]
        with subprocess.Popen(
            [*command, "--data", str(self.folder / "data"), "--port", str(self.port)],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def wait_until_it_listens(self):
        def listens():
            try:
                return self.cloud.world()
            except ActionError:
                return None

        return self.wait_until(listens)

    def wait_until(self, holds):
        deadline = time.monotonic() + WAIT
        while not (found := holds()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found

    def given(self):
        """How far (ms) the log has every source, where it has them all."""
        ranges = [item for event in events_of(self.log, "logs", LogBatch) for item in event.data.sources]
        reached = defaultdict(int)
        for item in ranges:
            reached[item.source_id] = max(reached[item.source_id], item.covered_until)
        return min(reached.values()) if len(reached) == 8 else 0


@pytest.fixture
def deployment(tmp_path, kafka_settings):
    make_topics(kafka_settings, 2)
    made = Deployment(tmp_path, kafka_settings)
    yield made
    made.log.close()


@pytest.mark.timeout(200)
def test_it_goes_on_after_kills_as_if_there_had_been_none(deployment):
    spec, log = deployment.spec, deployment.log
    for minutes, action in ((2, SCALE), (5, ("ecs.restart", service_arn("web"), {})), (8, None)):
        with deployment.running() as process:
            deployment.wait_until_it_listens()
            if minutes > 2:
                deployment.cloud.call(*SCALE, "key-0")  # answered as before, not done again
            until = spec.start + minutes * MINUTE
            deployment.pacer.begin(Stretch(until, 300.0, 10 * MINUTE))
            deployment.wait_until(lambda until=until: deployment.given() >= until)
            if action:
                deployment.cloud.call(*action, f"key-{0 if minutes == 2 else 1}")
            os.kill(process.pid, signal.SIGKILL)
    found = [action["result"] for action in _journal(deployment)]
    assert [result["status"] for result in found] == ["modifying", "PRIMARY"]

    world = World(spec.seed, spec.faults, start=spec.start)
    expected, envelopes = _uninterrupted(world, _journal(deployment), spec.start + 8 * MINUTE)
    assert _lines(log) == expected
    signals = {event.id for event in events_of(log, "signals", InfraEvent, Change)}
    assert signals == {envelope["id"] for envelope in envelopes}
    catalogs = [decode_record(record) for record in log.read("catalog", 0, 0, 9)]
    assert [event.data.applications[0].name for event in catalogs] == ["shop"]


def test_without_a_token_or_with_a_world_of_another_pace_it_says_what_to_do(deployment):
    with deployment.running(token="") as process:
        assert process.wait(WAIT) == 78
        assert "FORESHOCK_ACTUATOR_TOKEN" in process.stderr.read()
    with deployment.running("sim:7?speed=60") as process:
        assert process.wait(WAIT) == 78
        assert "follows the deployment's clock" in process.stderr.read()


def test_sigterm_ends_it_with_zero_and_a_second_one_in_the_same_folder_is_refused(deployment):
    with deployment.running() as process:
        deployment.wait_until_it_listens()
        with deployment.running() as other:
            assert other.wait(WAIT) == 73
            assert "is held by process" in other.stderr.read()
        process.terminate()
        assert process.wait(WAIT) == 0


def _journal(deployment):
    lines = (deployment.folder / "data" / "simulator" / "actions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


def _uninterrupted(world, actions, end):
    """Every source's lines in a world in which the same was done and nothing was killed."""
    expected, envelopes = defaultdict(list), []
    for upto in [*(action["at"] for action in actions), end]:
        tick = world.advance(upto)
        for service, lines in tick.lines.items():
            expected[source_of(service)] += zip(lines.times, lines.texts, strict=True)
        envelopes += [envelope for _, envelope in tick.envelopes]
        for action in actions:
            if action["at"] == upto:
                world.act(action["action"], action["target"], action["params"], action["key"])
    return dict(expected), envelopes


def _lines(log):
    found = defaultdict(list)
    for event in events_of(log, "logs", LogBatch):
        batch = event.data
        texts = batch.messages.split("\n")
        for index, at, text in zip(batch.service_index, batch.timestamps, texts, strict=False):
            found[source_of(batch.services[index])].append((at, text))
    return dict(found)
