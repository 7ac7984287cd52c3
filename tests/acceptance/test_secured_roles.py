"""All roles as processes on a broker that asks who they are: TLS, a SCRAM login each, and no right but those listed.

What `foreshock topics acls` lists must be enough for every role's whole work, from a line in a file to an alert.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka_broker import broker
from kafka_twin import write_config
from role_rig import Roles, wait_until
from run_rig import foreshock
from trouble_rig import lines

from connectors.codec import encode
from connectors.kafka_acls import ROLES
from connectors.kafka_groups import read_groups
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.local_kafka import LocalBroker, Security
from connectors.ports import Outbound
from connectors.settings import process_environment
from models.audit import DeadLetter
from models.event import Event
from models.history import HistoryRecalled
from models.signal import InfraEvent
from models.topics import TOPICS
from streams.reading import events_of

PARTITIONS = 2
STEPS = ("mine", "detect", "respond", "act")
SLICES = lines(4)
BEGIN = 1_767_600_000_000
LZ4 = 3
OPERATORS = (("topics", "diff"), ("lag",), ("doctor",), ("incidents",), ("tap", "logs", "--last", "1"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    users = {f"foreshock-{role}": f"password-of-{role}" for role in ROLES}
    with broker(tmp_path_factory.mktemp("secured"), security=Security(users=users, acls=True)) as own:
        yield own


def login(role: str) -> dict[str, str]:
    """As the process of a role gets it: by its environment."""
    user = f"foreshock-{role}"
    return {"FORESHOCK_KAFKA__SASL__USERNAME": user, "FORESHOCK_KAFKA_PASSWORD": f"password-of-{role}"}


def of_operator(roles: Roles, *words: str) -> subprocess.CompletedProcess[str]:
    return roles.foreshock(*words, env=process_environment(login("operator")))


def ended(roles: Roles) -> bool:
    """Some role has, which none may: what it may not do ends it with 69."""
    return any(process.poll() is not None for process in roles.running)


def secured_section(secured: LocalBroker, file: Path) -> str:
    """Of the configuration, the rest of `kafka:`, and what is read."""
    return (
        "  client_id: shop-7\n  security_protocol: SASL_SSL\n  sasl: {mechanism: SCRAM-SHA-512}\n"
        f"  tls: {{ca_file: {secured.ca_file}}}\ninputs:\n  - path: {file}\n"
    )


def test_every_role_does_its_work_with_its_own_login_and_no_more_than_its_acls(secured, tmp_path, prefix):
    inside = KafkaSettings(bootstrap_servers=(secured.bootstrap,), prefix=prefix)
    admin = write_config(tmp_path / "admin.yaml", inside, PARTITIONS, tmp_path / "data")
    for words in (("topics", "apply"), ("topics", "acls", "--apply")):
        done = foreshock(*words, "--config", admin)
        assert done.returncode == 0, done.stderr
    file = tmp_path / "app.log"
    file.write_text("".join(line for part in SLICES for line in part))
    outside = inside.model_copy(update={"bootstrap_servers": (secured.sasl_bootstrap,)})
    with (
        closing(KafkaLog(inside, "test")) as log,
        Roles.of(tmp_path, outside, PARTITIONS, extra=secured_section(secured, file)) as roles,
    ):
        assert of_operator(roles, "catalog", "apply").returncode == 0
        for role in ("ingest", *STEPS):
            roles.start(role, **login(role))
        give_a_failure_and_a_forged_command(log)
        wait_until(lambda: ended(roles) or every_role_has_done_its_work(log), roles.said)
        assert not ended(roles), roles.said()
        for words in OPERATORS:
            done = of_operator(roles, *words)
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        assert clients_of(inside) == {role: {f"shop-7-{role}"} for role in STEPS}
        assert [roles.stop(process) for process in list(roles.running)] == [0] * 5, roles.said()
    assert "uthorization" not in roles.said()
    of_topics = batches_of(secured.folder, prefix)
    assert {"logs", "counts", "anomalies", "incidents", "alerts", "audit", "dead-letters"} <= of_topics.keys()
    for topic, batches in of_topics.items():
        assert {attributes & 0x07 for attributes, _ in batches} == {LZ4}, topic
        assert all(producer >= 0 for _, producer in batches), f"{topic}: a producer that is not idempotent"


def give_a_failure_and_a_forged_command(log: KafkaLog) -> None:
    """What the case opens an incident for, and what act refuses."""
    failure = InfraEvent(
        event_id="e1",
        source="tests",
        detail_type="RDS-EVENT-0004",
        resource="db-shop",
        resource_type="rds",
        application="shop",
        meaning="failure",
    )
    event = Event(id="e1", at=BEGIN, key="shop", data=failure, run="tests")
    log.append([Outbound("signals", "shop", encode(event)), Outbound("commands", "shop", b"forged " * 100)], 0)


def every_role_has_done_its_work(log: KafkaLog) -> bool:
    """ingest, mine and detect as far as anomalies; the case as far as an alert and its memory; act its refusal."""
    told = sum(log.ends("anomalies").values()) and sum(log.ends("alerts").values())
    letters = {letter.data.topic for letter in events_of(log, "dead-letters", DeadLetter)}
    return bool(told) and "commands" in letters and bool(list(events_of(log, "signals", HistoryRecalled)))


def clients_of(settings: KafkaSettings) -> dict[str, set[str]]:
    """The client ids of each role's members."""
    groups = [group for group in read_groups(settings, "test") if group.role in STEPS]
    return {group.role: {member.split()[0] for member in group.members} for group in groups}


def batches_of(folder: Path, prefix: str) -> dict[str, list[tuple[int, int]]]:
    """Attributes and producer id of every batch on the broker's disk, by topic of ours. Version 2 of the format:
    https://kafka.apache.org/documentation/#recordbatch
    """
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for segment in sorted(folder.glob(f"**/{prefix}*/*.log")):
        name = re.sub(r"-\d+$", "", segment.parent.name.removeprefix(prefix))
        raw, at = segment.read_bytes(), 0
        while name in TOPICS and at + 61 <= len(raw):
            length, magic = struct.unpack_from(">i4xb", raw, at + 8)
            if length == 0:  # room that is not written yet
                break
            assert magic == 2
            attributes, producer = struct.unpack_from(">h", raw, at + 21)[0], struct.unpack_from(">q", raw, at + 43)[0]
            found[name].append((attributes, producer))
            at += 12 + length
    return found
