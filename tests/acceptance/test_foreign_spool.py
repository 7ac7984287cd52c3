"""`foreshock ingest` on a log that has fewer partitions than the one it began with, or its spool was filled for."""

from __future__ import annotations

import pytest
from kafka_broker import make_topics

from connectors.kafka_ingest import KafkaSender, close_producer, open_producer
from connectors.ports import Outbound
from connectors.settings import read_settings
from connectors.spool import Spool
from models.errors import BrokerError, DataFolderError
from streams.ingest import Ingest, IngestOptions


def test_a_spool_of_a_log_with_more_partitions_is_kept_and_named(kafka_settings, tmp_path):
    make_topics(kafka_settings, 1, ["logs", "dead-letters"])
    (tmp_path / "app.log").touch()
    folder = tmp_path / "ingest" / "spool"
    Spool(folder, 1 << 20).append([Outbound("logs", "3", b"{}", 3, 0)])
    given = {
        "kafka": kafka_settings.model_dump(),
        "inputs": [{"path": str(tmp_path / "app.log")}],
        "data": str(tmp_path),
    }
    with pytest.raises(DataFolderError, match=r"spool holds lines for logs/3, but `logs` has 1 partitions"):
        Ingest(read_settings(None, given), IngestOptions(name="here"), print)
    assert not Spool(folder, 1 << 20).empty


def test_a_log_made_anew_with_fewer_partitions_ends_it_with_69(kafka_settings, tmp_path):
    make_topics(kafka_settings, 1, ["logs", "dead-letters"])
    producer = open_producer(kafka_settings, 30)
    sender = KafkaSender(kafka_settings, producer, Spool(tmp_path / "spool", 1 << 20), {"logs": 4, "dead-letters": 4})
    try:
        with pytest.raises(BrokerError, match="has no partition 3 any more"):
            sender.accept([Outbound("logs", "3", b"{}", 3, 0)])
    finally:
        close_producer(producer)
