"""A story of the demo through real roles as processes on a real broker: an instance is lost, replaced, and verified."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient
from topic_reading import read_all
from wire import check_message, messages

from connectors.kafka_log import KafkaLog
from connectors.simulator_spec import parse_simulator_spec
from models.command import Command
from models.topics import INSPECTED, TOPICS
from streams.demo_kafka import LOSS, Scene, play, verdict
from streams.demo_stage import open_stage
from streams.inspector import inspect
from streams.reading import events_of

WORLD = "sim:7?hours=0.5&faults=instance_terminated@00:06"
MINUTE = 60_000
SCENES = (
    Scene(5 * MINUTE, 600.0, 5 * MINUTE, settles=True),
    Scene(25 * MINUTE, 20.0, MINUTE, ends_with=LOSS),
)


@pytest.mark.timeout(240)
def test_a_lost_instance_is_replaced_through_all_roles_and_nothing_is_left(kafka):
    spec = parse_simulator_spec(WORLD)
    told = []
    with open_stage(kafka, WORLD, spec, told.append) as stage:
        for sides in play(stage, spec, SCENES):
            acting, twin = sides
        log = KafkaLog(stage.settings, "tests", virtual=True)
        commands = [event.data for event in events_of(log, "commands", Command)]
        types = {topic: set(map(check_message, messages(stage.settings, topic))) for topic in TOPICS}
        inspected = [record for topic in INSPECTED for record in read_all(log, topic)]
        misplaced = [record.position for record in inspected if inspect(record, 1, stage.settings.run) is not None]
        log.close()
        pids = [status.pid for status in stage.supervisor.status()]
    outcome = acting.outcomes[LOSS]
    assert (outcome.result, outcome.applied) == ("recovered", True)
    assert outcome.times["detected"] <= outcome.times["commanded"] <= outcome.times["verified"]
    assert [command.runbook_id for command in commands] == [LOSS]
    assert commands[0].signature
    assert [truth.what for truth in acting.failures] == ["inventory instance_lost"]
    assert [truth.what for truth in twin.failures] == ["inventory instance_lost"]
    assert any("scale-database has no outcome" in wrong for wrong in verdict(acting, twin))
    verbs = [moment.verb for moment in acting.moments if moment.cid == outcome.correlation_id]
    assert [verb for verb in verbs if verb in ("join", "decide", "command", "act", "verify")][:4] == [
        "join",
        "decide",
        "command",
        "act",
    ]
    assert {topic for topic, seen in types.items() if not seen} <= {"anomalies", "dead-letters"}
    assert all(seen <= set(TOPICS[topic].types) for topic, seen in types.items())
    assert {record.topic for record in inspected} >= set(INSPECTED) - {"anomalies"}
    assert misplaced == []
    assert len(pids) == 5
    assert not any(_alive(pid) for pid in pids)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    assert not [topic for topic in admin.list_topics() if topic.startswith(stage.settings.prefix)]
    assert not [group for group in admin.list_groups() if group["group_id"].startswith(stage.settings.prefix)]
    admin.close()


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
