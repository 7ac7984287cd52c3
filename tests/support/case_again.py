"""What the case has said on Kafka against what a Unit says now of the same signals: nothing missing, none double."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from topic_reading import read_all, unique

from connectors.kafka_log import KafkaLog
from connectors.keys import load_keys
from models.topics import TOPICS
from streams.case import CaseStep
from streams.inbox_guard import Shard
from streams.runtime import Unit

__all__ = ["Said", "case_again"]

Said = Counter[tuple[str, bytes]]
"""Messages by topic and bytes, without those of compacted topics: what is old there may be gone."""


def case_again(log: KafkaLog, keys_folder: Path, run: str) -> tuple[Said, Said]:
    """What is recorded, re-emissions apart, and what is said again; `keys_folder` has the deployment's keys."""
    keys, log_id = load_keys(keys_folder, {}), log.log_id("signals")
    inbox, again = read_all(log, "signals"), Said()
    partitions = log.partitions("signals")
    for partition in range(partitions):
        unit = Unit(CaseStep(keys, run), Shard(partition, partitions, run, log_id=log_id))
        mine = [record for record in inbox if record.partition == partition]
        again.update((out.topic, out.value) for record in mine for out in unit.apply(record))
    recorded = Said()
    for topic in TOPICS:
        records = [record for record in read_all(log, topic) if b'"cause":"case:' in record.value]
        recorded.update((topic, record.value) for record in unique(records))
    return _kept(recorded), _kept(again)


def _kept(said: Said) -> Said:
    return Said({key: count for key, count in said.items() if not TOPICS[key[0]].compacted})
