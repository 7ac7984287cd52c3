"""A replay on Kafka writes, byte for byte, what it writes on a data folder that holds the same records."""

from __future__ import annotations

import numpy as np
import pytest
from cli_rig import run_cli
from detect_driver import Driver, section_of
from kafka_broker import make_topics
from run_rig import records

from connectors.codec import decode_record, encode
from connectors.data_folder import DataFolder
from connectors.kafka_log import KafkaLog
from connectors.ports import Outbound
from models.event import Event
from models.snapshot import BaselineRollback
from models.template import BUCKET_MS

START = 170_000_004


def load() -> list[Outbound]:
    """Fifty minutes of one service."""
    driver, chance = Driver(), np.random.default_rng(3)
    batch = []
    for number in range(300):
        driver._offset, bucket = number, START + number
        rows = [(bucket, f"t{k}", int(n) + 1) for k, n in enumerate(chance.poisson([3, 9]))]
        end = (bucket + 1) * BUCKET_MS
        data = driver.batch({"s": end}, (section_of("web", rows, {}, {}),), {"s": ["web"]})
        event = Event(f"e{number}", end, "0", data, f"mine:logs/0@{number}#0.0")
        batch.append(Outbound("counts", "0", encode(event), 0, end))
    return batch


@pytest.fixture
def deployment(kafka_settings, tmp_path):
    """The same records on both hosts: a data folder, a cluster's topics, and the configuration of the second."""
    make_topics(kafka_settings, 1)
    batch = load()
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
    assert (row["service"], row["minutes"]) == ("web", 49)
    (written,) = [(r.key, r.value) for r in records(folder, "counts")][300:]
    (found,) = [(r.key, r.value) for r in log.read("counts", 0, 300, 9)]
    assert found == written
    assert run_cli("replay", "--config", config, "--rollback", "--service", "web", "--by", "ada").code == 0
    (last,) = log.read("counts", 0, 301, 9)
    assert decode_record(last).data == BaselineRollback(service="web", by="ada")
    assert list(config.parent.glob("state/replay-*")) == []
