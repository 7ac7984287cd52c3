"""One input for every host: a simulated shop with faults, and real lines as further services, as records to append.

In: a folder to work in. Out: what connectors put on `logs` and `signals`, in order of time, and the answers of a host.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from real_lines import MINUTE, START, cycled, systems, write
from run_rig import foreshock
from topic_reading import unique

from benchmarks.moving import Line
from connectors.clock import VirtualClock
from connectors.codec import decode_record
from connectors.data_folder import DataFolder, open_reader
from connectors.history import recall_history
from connectors.inputs import InputOptions
from connectors.keys import load_keys
from connectors.local_predictor import answer_locally
from connectors.opening import open_inputs
from connectors.ports import Outbound, Record
from connectors.sqlite_readers import SqliteReaders
from connectors.world_shop import simulated_catalog
from models.catalog import Catalog
from models.decision import Decision
from models.incident import Incident
from streams.case import CaseStep
from streams.catalog import publish_catalog
from streams.detect import Detect
from streams.embedded import EmbeddedHost
from streams.mine import Mine

__all__ = ["Answers", "answers_of", "embedded_answers", "one_input", "shop_catalog"]

PARTITIONS = 4
SEED = 7
_BEGIN = "2026-01-05T08:00"
_REAL = ("Apache", "HDFS", "Hadoop", "Linux", "Mac", "OpenSSH", "OpenStack", "Proxifier", "Spark", "Thunderbird")
_A_MINUTE = 40.0


@dataclass(frozen=True)
class Answers:
    """What must be equal: closed anomalies as JSON; incidents as (application, series with kinds, events, verdicts)."""

    closed: Sequence[str]
    incidents: frozenset[Any]


def one_input(folder: Path, hours: float, faults: str) -> list[Outbound]:
    """About twenty services: the shop's, and a file of real lines for each of ten systems, at the same times."""
    spec = f"sim:{SEED}?hours={hours}&start={_BEGIN}&faults={faults}"
    done = foreshock("run", "--once", "--input", spec, "--data", folder / "sim", "--partitions", PARTITIONS)
    assert done.returncode == 0, done.stderr
    simulated = [out for topic in ("logs", "signals") for out in _given(folder / "sim", topic)]
    begin = min(out.at for out in simulated) // MINUTE * MINUTE
    known = systems()
    names = [name for name in _REAL if name in known] + [name for name in known if name not in _REAL][:2]
    files = [write(folder / f"{name}.log", _moved(cycled(known[name], hours * 60, _A_MINUTE), begin)) for name in names]
    source = open_inputs([str(file) for file in files], InputOptions(once=True, span_ms=10_000, partitions=PARTITIONS))
    real: list[Outbound] = []
    while not source.ended:
        real += source.poll(0)
    return sorted([*simulated, *real], key=lambda out: out.at)


def _moved(lines: Iterable[Line], begin: int) -> Iterator[Line]:
    return (line._replace(at=line.at - START + begin) for line in lines)


def _given(folder: Path, topic: str) -> Iterator[Outbound]:
    """What no step has emitted and no host has added: a connector's."""
    log = open_reader(folder)
    for partition in range(log.partitions(topic)):
        for record in log.read(topic, partition, 0, 10_000_000):
            event = decode_record(record)
            if event.type in ("log_batch", "infra_event", "change"):
                yield Outbound(topic, record.key, record.value, partition, record.logged_at)
    log.close()


def shop_catalog() -> Catalog:
    """The shop's services belong to one application; the others are their own."""
    return simulated_catalog(SEED)


class _Given:
    """The port Source over records that are there already."""

    cursors: Mapping[str, str] = {}

    def __init__(self, batch: Sequence[Outbound]) -> None:
        self._batch, self._at = batch, 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._batch)

    def poll(self, now: int) -> Sequence[Outbound]:
        self._at += 1
        return self._batch[self._at - 1 : self._at]

    def close(self) -> None:
        return


def embedded_answers(folder: Path, batch: Sequence[Outbound]) -> Answers:
    """By the embedded host, in the input's own time."""
    with DataFolder(folder, partitions=PARTITIONS, durable=False) as data:
        publish_catalog(data.store, shop_catalog(), batch[0].at)
        readers = SqliteReaders(data.store.path)
        performers = {"recall_history": recall_history(readers), "ask_model": answer_locally}
        steps = [Mine(), Detect(), CaseStep(load_keys(folder, {}), "one-input")]
        host = EmbeddedHost(data.store, steps, performers, clock=VirtualClock(batch[0].at))
        host.run_lockstep([_Given(batch)], threading.Event())
    log = open_reader(folder)
    topics = {
        topic: [record for part in range(PARTITIONS) for record in log.read(topic, part, 0, 10_000_000)]
        for topic in ("anomalies", "incidents", "predictions")
    }
    return answers_of(topics["anomalies"], topics["incidents"], topics["predictions"])


def answers_of(anomalies: Iterable[Record], incidents: Iterable[Record], predictions: Iterable[Record]) -> Answers:
    """Of the records of those topics; re-emissions are dropped as a subscriber does."""
    closed = sorted(
        json.dumps(event.data.digest_view(), sort_keys=True)
        for event in map(decode_record, unique(anomalies))
        if event.data.window.closed
    )
    last: dict[str, Incident] = {}
    for record in unique(incidents):
        data = decode_record(record).data
        last[data.correlation_id] = data
    verdicts: dict[str, set[str]] = defaultdict(set)
    for record in unique(predictions):
        data = decode_record(record).data
        if isinstance(data, Decision):
            verdicts[data.correlation_id].add(str(data.verdict))
    return Answers(closed, frozenset(_in_short(each, verdicts[each.correlation_id]) for each in last.values()))


def _in_short(incident: Incident, verdicts: set[str]) -> tuple[Any, ...]:
    """Without what depends on which of two signals came first: the primary series, and what is named after it."""
    series = frozenset((signal.service, signal.series, str(signal.kind)) for signal in incident.signals)
    events = frozenset((event.detail_type, event.resource) for event in incident.events)
    return (incident.application, series, events, frozenset(verdicts))
