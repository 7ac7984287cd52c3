"""docker-compose.yml with the simulated cloud: an instance is lost, a person approves, act replaces it through the
cloud's API, all in containers. What it says on stdout is a report (`pytest -s`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import pytest
from compose_rig import Stack, until

from connectors.codec import decode_record
from connectors.world import DEFAULT_START
from models.command import Outcome

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1_800)]

WORLD = "sim:7?faults=instance_terminated@05:30&hours=8"
QUIET_HOURS, FAST, SLOW = 5.4, 200, 10


def say(text: str) -> None:
    """For the report."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Time goes fast while baselines learn, then slowly: a call's time-out is in the world's time, too."""
    made = Stack({"WORLD": WORLD}, ["--env-file", "infra/compose/simulator.env"])
    try:
        made.build()
        begins, quiet_ms = int(time.time() * 1_000), int(QUIET_HOURS * 3_600_000)
        slows = f"{begins + quiet_ms // FAST}:{DEFAULT_START + quiet_ms}:{SLOW}"
        made.up(CLOCK=f"{begins}:{DEFAULT_START}:{FAST},{slows}")
        yield made
    finally:
        made.down()
    assert made.left() == []


def outcomes(stack: Stack) -> list[Outcome]:
    told = [decode_record(record).data for record in stack.read("signals") if b'"outcome"' in record.value]
    return [data for data in told if isinstance(data, Outcome)]


def asked(stack: Stack) -> list[str]:
    """The incidents about which a person is asked."""
    lines = stack.foreshock("respond", "review", "list", "--json").splitlines()
    return [json.loads(line)["correlation_id"] for line in lines]


def test_act_replaces_a_lost_instance_in_the_simulated_cloud_once_a_person_approves(stack):
    for name in ("kafka", "simulator", "mine", "detect", "respond", "act"):
        stack.wait_for(name, "healthy", 240)
    say(stack.compose("ps"))
    until("a person is asked", lambda: bool(asked(stack)), 600)
    say(stack.foreshock("respond", "review", "list"))
    assert outcomes(stack) == []
    say(stack.foreshock("respond", "review", "approve", asked(stack)[0], "--reviewer", "tester", "--reason", "a test"))
    until("act has told what came of it", lambda: bool(outcomes(stack)), 300)
    say(stack.foreshock("respond", "incidents", "--all"))
    assert [(each.runbook_id, each.result) for each in outcomes(stack)] == [("replace-instance", "recovered")]
