"""What a subscriber gets: the consumer of docs/SUBSCRIBING.md, run as it stands there, on a simulated shop's alerts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from kafka import KafkaAdminClient
from kafka_twin import copy_to_kafka, corner, write_config
from run_rig import acting_config, foreshock, records
from wire import check_message, messages, schema_of

from connectors.codec import decode
from connectors.kafka_clients import client_options
from connectors.kafka_log import KafkaLog
from connectors.kafka_topics import apply, open_admin, plan
from connectors.ports import Outbound, Record
from connectors.sqlite import SqliteStore
from models.topics import TOPICS
from streams.mine import Mine
from streams.runtime import Shard, Unit

DOCS = Path(__file__).parents[2] / "docs"
WORLD = "sim:7?hours=1.1&faults=instance_terminated@00:20,pool_leak@00:40&volume=0.3"
PARTITIONS = 2
PUBLIC = ("alerts", "incidents", "predictions", "anomalies", "audit", "dead-letters", "journal", "signals", "commands")
"""Everything but lines and counts (checked at their heads), and what is compacted."""
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def produced(tmp_path_factory):
    """The folder of a run that noticed, told, decided and acted; and was given a line of garbage."""
    root = tmp_path_factory.mktemp("shop")
    args = ("--config", acting_config(root), "--data", root / "data", "--partitions", PARTITIONS)
    said = foreshock("run", "--input", WORLD, *args)
    assert said.returncode == 0, said.stderr
    store = SqliteStore(root / "data" / "foreshock.db")
    (letter,) = Unit(Mine(), Shard(0)).apply(Record("logs", 0, 0, "0", b"\xff garbage", 5))
    store.append([letter], 5)
    store.close()
    return root / "data"


@pytest.fixture(scope="module")
def cluster(produced, kafka):
    """Its messages on Kafka."""
    settings = corner(kafka, PARTITIONS, ())
    admin = open_admin(settings)
    apply(admin, settings, plan(settings, PARTITIONS))
    admin.close()
    store = SqliteStore(produced / "foreshock.db", read_only=True)
    assert copy_to_kafka(store, settings, TOPICS) > 500
    store.close()
    return settings


@pytest.fixture(scope="module")
def consumer_file(tmp_path_factory):
    """The very text of the page."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "SUBSCRIBING.md").read_text(), re.DOTALL)
    file = tmp_path_factory.mktemp("consumer") / "pager.py"
    file.write_text(code)
    return file


def own_group(file, settings, folder):
    """The same with a group of the test's own: the broker is shared."""
    copy = folder / "pager.py"
    copy.write_text(file.read_text().replace('group_id="', f'group_id="{settings.prefix}'))
    return copy


def lines_of(file, settings, count):
    """What it prints first, `count` lines; then, once it has committed them all, it is stopped as Ctrl-C does it."""
    args = [sys.executable, str(file), settings.bootstrap_servers[0], settings.topic("alerts")]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline().rstrip("\n") for _ in range(count)]
            until_committed(file, settings)
            process.send_signal(signal.SIGINT)
            ended = process.wait(60)
        finally:
            process.kill()
        said = process.stderr.read()
        assert all(lines), said
    assert (ended, "Traceback" in said) == (0, False), said  # the client may warn of a rebalance
    return lines


def until_committed(file, settings):
    """Wait until the consumer's group has committed all that is on `alerts`."""
    (group,) = re.findall(r'group_id="(.*?)"', file.read_text())
    log, admin = KafkaLog(settings, "tests"), KafkaAdminClient(**client_options(settings, "tests"))
    ends = {part: end for part, end in log.ends("alerts").items() if end}
    committed: dict[int, int] = {}
    while committed != ends:
        offsets = admin.list_group_offsets({group: None})[group]
        committed = {place.partition: at.offset for place, at in offsets.items() if at.offset}
    admin.close()
    log.close()


def told(record):
    event = decode(record.value)
    return f"{event.data.correlation_id} {event.data.stage} {event.data.title}"


def test_the_consumer_on_the_page_is_plain_and_fifteen_lines(consumer_file):
    code = consumer_file.read_text().strip()
    assert len(code.splitlines()) <= 15
    assert not re.search(r"\b(connectors|models|streams|foreshock)\b(?!-)", code)


def test_a_subscriber_that_starts_late_reads_everything_that_was_told(produced, cluster, consumer_file, tmp_path):
    wanted = Counter(told(record) for record in records(produced, "alerts"))
    assert sum(wanted.values()) >= 5
    late = own_group(consumer_file, cluster, tmp_path)
    assert Counter(lines_of(late, cluster, sum(wanted.values()))) == wanted


def test_a_subscriber_that_was_away_goes_on_where_it_was_stopped(produced, kafka, consumer_file, tmp_path):
    settings = corner(kafka, 1, ["alerts"])
    log = KafkaLog(settings, "tests")
    alerts = [Outbound("alerts", record.key, record.value, 0) for record in records(produced, "alerts")]
    file = own_group(consumer_file, settings, tmp_path)
    log.append(alerts[:3], 0)
    assert lines_of(file, settings, 3) == [told(out) for out in alerts[:3]]
    log.append(alerts[3:], 0)  # while it is away
    log.close()
    again = lines_of(file, settings, len(alerts) - 3)
    assert again == [told(out) for out in alerts[3:]]


@pytest.mark.parametrize("topic", PUBLIC)
def test_every_message_keeps_its_schema_and_wears_its_headers(cluster, topic):
    found = messages(cluster, topic)
    assert found, topic
    seen = Counter(map(check_message, found))
    assert set(seen) <= set(TOPICS[topic].types)
    if topic in ("alerts", "incidents", "predictions"):
        assert all(dict(message.headers)["correlation-id"].startswith(b"fs-") for message in found)


def test_a_message_that_breaks_its_contract_would_be_noticed(cluster):
    value = json.loads(messages(cluster, "alerts")[0].value)
    schema = schema_of("alert")
    for broken in ({**value, "at": "now"}, {**value, "more": 1}, {**value, "data": {**value["data"], "stage": "soon"}}):
        with pytest.raises(jsonschema.ValidationError):
            schema.validate(broken)


def test_what_subscribers_read_is_kept_for_as_long_as_the_page_says(cluster):
    said = (DOCS / "SUBSCRIBING.md").read_text()
    kept = {wanted.topic: int(wanted.configs["retention.ms"]) for wanted in plan(cluster, 1) if not wanted.compacted}
    days = {"alerts": 90, "incidents": 90, "predictions": 90, "anomalies": 30, "audit": 400, "dead-letters": 14}
    for topic, number in days.items():
        assert kept[topic] == number * DAY_MS
        assert f"`{topic}`" in said
    assert "kept for 90 days, `anomalies` for 30, `audit` for 400" in said


def test_the_people_of_the_deployment_see_the_same_with_their_own_commands(produced, cluster, tmp_path):
    config = write_config(tmp_path / "foreshock.yaml", cluster, PARTITIONS, produced)
    said = foreshock("tap", "alerts", "--from-start", "--json", "--config", config)
    assert said.returncode == 0, said.stderr
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    ids = [(row["partition"], row["offset"], row["id"]) for row in rows]
    assert sorted(ids) == [(r.partition, r.offset, decode(r.value).id) for r in records(produced, "alerts")]
