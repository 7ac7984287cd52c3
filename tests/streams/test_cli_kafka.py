"""tap, incidents, explain, review and pause on a real Kafka: the same as on the data folder its log was copied from."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys

import pytest
from case_folder import PARTITIONS, PERFORMERS, build, steps
from cli_rig import run_cli
from kafka_broker import make_topics, proxied_broker
from kafka_twin import copy_to_kafka, corner, write_config
from run_rig import FORESHOCK

from connectors.clock import WallClock
from connectors.data_folder import DataFolder, open_reader
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.keys import load_keys
from connectors.ports import Outbound
from models.signal import Control, Review
from models.signing import verify
from models.topics import TOPICS
from streams.cli_where import quiet_clients
from streams.embedded import EmbeddedHost
from streams.reading import events_of


class Twin:
    """A case in a data folder, and its copy on Kafka."""

    def __init__(self, root, address):
        self.folder = root / "folder"
        self.story = build(self.folder)
        self.settings = corner(address, PARTITIONS)
        copy_to_kafka(open_reader(self.folder), self.settings)
        self.config = write_config(root / "foreshock.yaml", self.settings, PARTITIONS, self.folder)
        self.log = KafkaLog(self.settings, "tests")

    def on_kafka(self, *args):
        said = run_cli(*args, "--config", self.config)
        assert "kafka" in said.err.lower() or said.code in (2, 78), "a folder of data is there, too: it must be said"
        return said

    def in_folder(self, *args):
        return run_cli(*args, "--data", self.folder)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory, kafka):
    """For tests that write nothing."""
    twin = Twin(tmp_path_factory.mktemp("twin"), kafka)
    yield twin
    twin.log.close()


@pytest.fixture
def twin(tmp_path, kafka):
    made = Twin(tmp_path, kafka)
    yield made
    made.log.close()


def without_times(value):
    """The same without what the broker stamped."""
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name != "logged_at"}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def by_place(row):
    return (row["partition"], row["offset"])


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_tap_shows_of_every_topic_what_the_folder_holds(read_only, topic):
    rows = read_only.on_kafka("tap", topic, "--from-start", "--json").rows
    kept = read_only.in_folder("tap", topic, "--from-start", "--json").rows
    # a compacted topic's records stand at other offsets once the folder has forgotten older ones of their key
    drop = {"offset"} if TOPICS[topic].compacted else set()
    seen, wanted = (
        [{k: v for k, v in without_times(row).items() if k not in drop} for row in sorted(some, key=by_place)]
        for some in (rows, kept)
    )
    assert seen == wanted


def test_the_newest_of_all_partitions_are_shown_and_only_those_wanted(read_only):
    every = read_only.on_kafka("tap", "signals", "--from-start", "--json").rows
    assert len(every) > 4
    assert read_only.on_kafka("tap", "signals", "--last", "3", "--json").rows == every[-3:]
    (alarm,) = read_only.on_kafka("tap", "signals", "--type", "anomaly", "--last", "9", "--json").rows
    assert alarm["type"] == "anomaly"


def test_strangers_bytes_are_shown_escaped(kafka, tmp_path):
    settings = corner(kafka, 1, ["alerts", "health"])
    log = KafkaLog(settings, "tests")
    log.append([Outbound("alerts", "k\x1b[2J", b"\x1b]0;owned\x07 \xff\x00 password=hunter2", 0)], 0)
    log.append([Outbound("health", "gone", b"", 0)], 0)
    log.close()
    config = write_config(tmp_path / "foreshock.yaml", settings, 1, tmp_path / "none")
    said = run_cli("tap", "alerts", "--config", config)
    assert said.code == 0
    assert "not_json" in said.out
    assert "\\x1b]0;owned\\x07" in said.out
    assert "\x1b" not in said.out
    assert "hunter2" not in said.out
    assert run_cli("tap", "health", "--config", config).out.endswith("gone deleted\n")


def test_follow_shows_what_is_appended_while_it_runs(twin):
    args = [FORESHOCK, "tap", "audit", "--follow", "--last", "1", "--json", "--config", str(twin.config)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tapping:
        try:
            assert json.loads(tapping.stdout.readline())["topic"] == "audit"
            for number in range(3):
                twin.log.append([Outbound("audit", "k", b"%d" % number, number % PARTITIONS)], 0)
                assert json.loads(tapping.stdout.readline())["text"] == str(number)
        finally:
            tapping.kill()


def test_follow_waits_an_outage_out_says_so_once_and_misses_nothing(tmp_path):
    with proxied_broker(tmp_path) as (own, proxy):
        settings = KafkaSettings(bootstrap_servers=(own.bootstrap,))
        make_topics(settings, PARTITIONS, ["audit"])
        log = KafkaLog(settings, "tests")
        log.append([Outbound("audit", "k", b"before", 0)], 0)
        hasty = "import connectors.cluster_log as c; c._CONNECT_SECONDS = 1.0; from streams.cli import main; main()"
        args = [sys.executable, "-c", hasty, "tap", "audit", "--follow", "--json", "--kafka", own.bootstrap]
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as tapping:
            try:
                assert json.loads(tapping.stdout.readline())["text"] == "before"
                proxy.cut()
                assert "waiting" in tapping.stderr.readline()
                proxy.restore()
                log.append([Outbound("audit", "k", b"%d" % number, number % PARTITIONS) for number in range(3)], 0)
                assert sorted(json.loads(tapping.stdout.readline())["text"] for _ in range(3)) == ["0", "1", "2"]
                assert "answers again" in tapping.stderr.readline()
            finally:
                tapping.kill()
        log.close()


def test_incidents_and_explain_tell_the_same(read_only):
    name = read_only.story.cid
    assert read_only.on_kafka("incidents", "--json").rows == read_only.in_folder("incidents", "--json").rows
    for asked in (name, read_only.story.anomaly_id, read_only.story.pointer):
        (here,) = read_only.on_kafka("explain", asked, "--json").rows
        (there,) = read_only.in_folder("explain", asked, "--json").rows
        assert without_times(here) == without_times(there)
    assert name in read_only.on_kafka("explain", name).out
    assert read_only.on_kafka("explain", "fs-nothing").code == 1


def test_what_is_older_than_since_is_not_read_and_that_is_said(read_only):
    said = read_only.on_kafka("incidents", "--since", "0s")
    assert said.out == ""
    assert "only what was logged since" in said.err
    assert "incidents" in said.err
    usual = read_only.on_kafka("incidents")
    assert read_only.story.cid in usual.out
    assert "only what was logged since" not in usual.err
    said = read_only.on_kafka("explain", read_only.story.cid, "--since", "0s")
    assert said.code == 1
    assert "only what was logged since" in said.err
    assert read_only.on_kafka("incidents", "--since", "soon").code == 2


def go_on(twin):
    """What the case and act do with what people have said on Kafka, as a host on the folder does it."""
    store = open_reader(twin.folder, append=True)
    for topic in ("signals", "commands"):
        for partition in range(PARTITIONS):
            new = twin.log.read(topic, partition, store.bounds(topic, partition)[1], 100)
            store.append([Outbound(topic, r.key, r.value, partition) for r in new], WallClock().now())
    store.close()
    with DataFolder(twin.folder) as data:
        clock = WallClock(int(data.store.meta("clock")))
        host = EmbeddedHost(data.store, steps(twin.folder, data.run), PERFORMERS, clock=clock, run=data.run)
        host.settle()
        host.finish()


def test_an_approval_is_on_the_applications_partition_and_the_case_takes_it(twin):
    (row,) = twin.on_kafka("review", "list", "--json").rows
    assert (row["correlation_id"], row["state"]) == (twin.story.cid, "open")
    said = twin.on_kafka("review", "approve", twin.story.cid, "--reviewer", "ada", "--json")
    assert said.code == 0, said.err
    (event,) = events_of(twin.log, "signals", Review)
    verify(event.data, load_keys(twin.folder, {}))
    assert (event.key, event.cid, event.run, event.data.reviewer) == ("shop", twin.story.cid, twin.settings.run, "ada")
    again = twin.on_kafka("review", "reject", twin.story.cid)
    assert again.code == 1
    assert "approve by ada" in again.err
    go_on(twin)
    (order,) = twin.in_folder("tap", "commands", "--type", "command", "--json").rows
    assert order["data"]["correlation_id"] == twin.story.cid
    assert twin.in_folder("tap", "dead-letters").out == ""


@pytest.mark.parametrize("kind", ["pause", "resume"])
def test_a_control_reaches_every_partition_that_the_case_and_act_read(twin, kind):
    said = twin.on_kafka(kind, "--reason", "holiday", "--by", "ada", "--scope", "shop", "--json")
    assert said.code == 0, said.err
    ring = load_keys(twin.folder, {})
    for topic in ("signals", "commands"):
        controls = list(events_of(twin.log, topic, Control))
        assert sorted(event.position.partition for event in controls) == list(range(PARTITIONS))
        for event in controls:
            verify(event.data, ring)
            assert (event.data.kind, event.data.by, event.key) == (kind, "ada", "shop")
    assert twin.on_kafka("pause", "--reason", "x", "--scope", "shopp").code == 2
    go_on(twin)
    assert twin.in_folder("tap", "dead-letters").out == ""


def test_without_the_deployments_keys_nothing_is_signed_and_none_are_made(twin, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    config = write_config(tmp_path / "other.yaml", twin.settings, PARTITIONS, elsewhere)
    said = run_cli("pause", "--reason", "x", "--config", config)
    assert said.code == 78
    assert "FORESHOCK_SIGNING_KEYS" in said.err
    assert not elsewhere.exists()
    assert list(events_of(twin.log, "signals", Control)) == []


def test_a_command_talks_to_what_is_named_and_else_to_the_configured_cluster(read_only, tmp_path):
    both = run_cli("incidents", "--data", read_only.folder, "--kafka", "localhost:9092")
    assert both.code == 2
    assert "--data for a data folder" in both.err
    named = run_cli("incidents", "--data", read_only.folder, "--config", read_only.config)
    assert read_only.story.cid in named.out
    assert "Kafka" not in named.err
    shutil.copy(read_only.config, tmp_path / "alone.yaml")
    text = (tmp_path / "alone.yaml").read_text().replace(str(read_only.folder), str(tmp_path / "no-folder"))
    (tmp_path / "alone.yaml").write_text(text)
    alone = run_cli("incidents", "--config", tmp_path / "alone.yaml")
    assert read_only.story.cid in alone.out
    assert alone.err == ""
    nobody = run_cli("incidents", "--kafka", "127.0.0.1:1", "--config", read_only.config)
    assert nobody.code == 69
    assert "127.0.0.1:1: nobody listens there" in nobody.err


def test_kafkas_clients_keep_their_warnings_to_themselves_while_a_command_runs():
    """kafka-python warns of each Faust member that it cannot read what its assignor writes."""
    client = logging.getLogger("kafka.admin._groups")
    with quiet_clients():
        assert not client.isEnabledFor(logging.WARNING)
    assert client.isEnabledFor(logging.WARNING)
