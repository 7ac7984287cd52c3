"""A replay on Kafka writes, byte for byte, what it writes on a data folder that holds the same records."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_rig import run_cli
from counts_rig import fifty_minutes
from kafka import KafkaAdminClient
from kafka_broker import make_topics
from kafka_twin import copy_to_kafka, write_config
from run_rig import foreshock, records

from connectors.codec import decode_record
from connectors.data_folder import DataFolder
from connectors.kafka_log import KafkaLog
from connectors.kafka_states import KafkaStates
from connectors.local_kafka_config import free_ports
from connectors.ports import Checkpoint, Entry, UnitName
from connectors.settings import read_settings
from connectors.sqlite import SqliteStore
from models.snapshot import BaselineRollback
from streams.replay import Replay, progress_file
from streams.replay_places import KafkaPlace
from streams.replay_plan import Request, make_plan


@pytest.fixture
def deployment(kafka_settings, tmp_path):
    """The same records on both hosts: a data folder, a cluster's topics, and the configuration of the second."""
    make_topics(kafka_settings, 1)
    batch = fifty_minutes()
    with DataFolder(tmp_path / "data") as data:
        data.store.append(batch, 1_800_000_000_000)
    log = KafkaLog(kafka_settings, "test")
    log.append(batch, 1_800_000_000_000)
    config = tmp_path / "foreshock.yaml"
    servers = ",".join(kafka_settings.bootstrap_servers)
    config.write_text(
        f"data: {tmp_path / 'state'}\nkafka:\n  bootstrap_servers: {servers}\n  prefix: {kafka_settings.prefix}\n"
    )
    yield tmp_path / "data", log, config
    log.close()


def test_both_hosts_write_the_same_generation_and_take_it_back_the_same_way(deployment):
    folder, log, config = deployment
    assert run_cli("replay", "--data", folder).code == 0
    said = run_cli("replay", "--config", config, "--json")
    assert said.code == 0, said.err
    (row,) = said.rows
    assert (row["service"], row["minutes"]) == ("web", 48)
    (written,) = [(r.key, r.value) for r in records(folder, "counts")][300:]
    (found,) = [(r.key, r.value) for r in log.read("counts", 0, 300, 9)]
    assert found == written
    assert run_cli("replay", "--config", config, "--rollback", "--service", "web", "--by", "ada").code == 0
    (last,) = log.read("counts", 0, 301, 9)
    assert decode_record(last).data == BaselineRollback(service="web", by="ada")
    assert list(config.parent.glob("state/replay-*")) == []


def test_both_hosts_mine_the_lines_again_and_learn_the_same(kafka_settings, tmp_path):
    file, folder = tmp_path / "web.log", tmp_path / "data"
    at = [f"2026-05-04T10:{minute:02d}:{second:02d}Z" for minute in range(50) for second in range(0, 60, 4)]
    file.write_text("".join(f"{time} INFO request {number} done\n" for number, time in enumerate(at)))
    assert foreshock("run", "--once", "--input", file, "--data", folder).returncode == 0
    make_topics(kafka_settings, 1)
    store = SqliteStore(folder / "foreshock.db", read_only=True)
    copy_to_kafka(store, kafka_settings, ["logs"])  # and no counts
    store.close()
    config = write_config(tmp_path / "foreshock.yaml", kafka_settings, 1, tmp_path / "state")
    for place in (("--data", folder), ("--config", config)):
        said = run_cli("replay", "--topic", "logs", "--json", *place)
        assert said.code == 0, said.err
        assert [(row["service"], row["minutes"] > 45) for row in said.rows] == [("web", True)]
    log = KafkaLog(kafka_settings, "test")
    (found,) = [(r.key, r.value) for r in log.read("counts", 0, 0, 9)]
    log.close()
    assert found == [(r.key, r.value) for r in records(folder, "counts")][-1]


def begun(config: Path) -> Path:
    """A replay that has only made its plan; returns the file of its progress."""
    configuration = read_settings(config)
    place, request = KafkaPlace(configuration), Request(topic="counts")
    file = progress_file(configuration.data, place, request)
    file.parent.mkdir(exist_ok=True)
    Replay(place.log, make_plan(place, request), file).save()
    place.log.close()
    return file


def test_progress_is_of_one_topic_not_of_another_under_the_same_name(deployment, kafka_settings):
    _, log, config = deployment
    file = begun(config)
    assert "going on" in run_cli("replay", "--config", config, "--dry-run").err
    admin = KafkaAdminClient(bootstrap_servers=list(kafka_settings.bootstrap_servers))
    admin.delete_topics([kafka_settings.topic("counts")])
    while kafka_settings.topic("counts") in admin.list_topics():
        pass
    admin.close()
    make_topics(kafka_settings, 1, ["counts"])
    log.close()  # it remembers the topic that was
    log.append(fifty_minutes(), 1_800_000_000_000)
    said = run_cli("replay", "--config", config)
    assert said.code == 0, said.err
    assert "going on" not in said.err
    assert file.exists()


def test_what_detect_has_saved_in_its_changelog_is_compared_with_what_would_be_written(deployment, kafka_settings):
    _, log, config = deployment
    assert [row["series_known"] for row in run_cli("replay", "--config", config, "--dry-run", "--json").rows] == [None]
    place = KafkaPlace(read_settings(config))
    (learned,) = Replay(place.log, make_plan(place, Request(topic="counts", until="@200")), None).run(lambda _: None)
    place.log.close()
    states = KafkaStates(kafka_settings, "detect", log)
    states.take_over(0)
    states.save(UnitName("detect", 0), Checkpoint([Entry("web", 3, None, b"", learned.state.dump())], None, 4, 4))
    (row,) = run_cli("replay", "--config", config, "--dry-run", "--json").rows
    assert row["series_known"] == row["series"] == 2
    assert row["shifts"]


def test_without_a_broker_it_says_so_and_leaves_nothing(tmp_path):
    (port,) = free_ports(1)
    said = run_cli("replay", "--kafka", f"127.0.0.1:{port}", "--state", tmp_path / "state")
    assert said.code == 69
    assert f"127.0.0.1:{port}: nobody listens there" in said.err
    assert not (tmp_path / "state").exists()


def test_where_no_detect_runs_nobody_is_waited_for(deployment):
    _, _, config = deployment
    said = run_cli("replay", "--config", config)
    assert said.code == 0
    assert "no detect runs at Kafka at" in said.err
