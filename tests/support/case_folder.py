"""A data folder with a real case in it: the steps mine and case over SQLite, driven in lockstep up to a proposal."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from case_rig import anomaly, catalog

from connectors.clock import VirtualClock, WallClock
from connectors.codec import encode
from connectors.data_folder import DataFolder
from connectors.history import recall_history
from connectors.keys import load_keys
from connectors.local_predictor import answer_locally
from connectors.ports import Outbound
from connectors.sqlite import SqliteStore
from models.anomaly import LinePointer, Window
from models.event import Contract, Event, digest
from models.history import HistoryRecord, PatternStats
from models.log import LogBatch, SourceRange
from models.mining import Miner
from models.policy import Mode
from models.template import BatchPointer
from streams.case import CaseStep
from streams.embedded import EmbeddedHost
from streams.mine import Mine
from streams.step import AnyStep

HOSTILE = "\x1b[2J\x1b]0;owned\x07connection pool exhausted \u202eevil\u0085 user=7 password=hunter2"
LINES = ("GET /cart 200 in 12 ms", HOSTILE, "GET /pay 500 token: abc123secret")
PARTITIONS = 2


@dataclass(frozen=True)
class Story:
    """What stands in the folder."""

    cid: str
    anomaly_id: str
    template_id: str
    pointer: str


class NoHistory:
    def records(self, application: str) -> Sequence[HistoryRecord]:
        return ()

    def stats(self, application: str) -> Sequence[PatternStats]:
        return ()


PERFORMERS = {"recall_history": recall_history(NoHistory()), "ask_model": answer_locally}


def steps(folder: Path, run: str) -> list[AnyStep]:
    return [Mine(), CaseStep(load_keys(folder, {}), run)]


def put(store: SqliteStore, topic: str, key: str, data: Contract, at: int, cid: str = "", partition: int | None = None):
    """Append an event by hand."""
    return store.append([message(topic, key, data, at, cid, partition)], at)[0]


def message(topic: str, key: str, data: Contract, at: int, cid: str = "", partition: int | None = None) -> Outbound:
    name = digest(topic, key, data.model_dump_json(), str(at))
    return Outbound(topic, key, encode(Event(id=name, at=at, key=key, data=data, cid=cid)), partition, at)


def batch(at: int, lines: Sequence[str] = LINES) -> LogBatch:
    return LogBatch(
        sources=(SourceRange(source_id="app.log", cursor_from="0", cursor_to="9", covered_until=at),),
        services=("checkout",),
        service_index=[0] * len(lines),
        timestamps=[at] * len(lines),
        severity=[0] * len(lines),
        messages="\n".join(lines),
    )


def build(folder: Path, *, begin: int | None = None) -> Story:
    """Lines, an alarm on one of them, and the case up to a proposal; from `begin` (ms; default: a minute ago)."""
    at = begin if begin is not None else time.time_ns() // 1_000_000 - 60_000
    with DataFolder(folder, partitions=PARTITIONS) as data:
        given = catalog(mode=Mode.SUGGEST)
        host = EmbeddedHost(data.store, steps(folder, data.run), PERFORMERS, clock=VirtualClock(at), run=data.run)
        both = range(PARTITIONS)
        host.take([message("catalog", "catalog", given, at)])
        host.take([message("signals", "*", given, at, partition=part) for part in both])
        lines = batch(at)
        host.take([message("logs", "0", lines, at, partition=0)])
        counts = Miner().mine(lines, BatchPointer(topic="logs", partition=0, offset=0))
        mined = counts.sections[0].templates[1]
        alarm = anomaly(
            window=Window(start=at - 55_000, end=at + 5_000, closed=False),
            template_id=mined.id,
            text=mined.text,
            opened_at=at,
            evidence=(LinePointer(partition=0, offset=0, line=1),),
        )
        host.take([message("anomalies", "checkout", alarm, at, partition=0), message("signals", "shop", alarm, at)])
        host.finish()
        cid = next(
            record.value.split(b'"correlation_id":"')[1].split(b'"')[0].decode()
            for part in both
            for record in data.store.read("incidents", part, 0, 1)
        )
    return Story(cid, alarm.anomaly_id, mined.id, "logs/0@0:1")


def hold(folder: Path) -> None:
    """A live run of the same steps, until SIGTERM; says `live` on stdout once it holds the folder."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with DataFolder(folder) as data:
        clock = WallClock(int(data.store.meta("clock") or 0))
        host = EmbeddedHost(data.store, steps(folder, data.run), PERFORMERS, clock=clock, run=data.run)
        sys.stdout.write("live\n")
        sys.stdout.flush()
        host.run([], stop)


if __name__ == "__main__":
    hold(Path(sys.argv[1]))
