"""The data folder stays within its bytes, and nothing that a step needs is forgotten."""

from __future__ import annotations

import threading

from toy_pipeline import PARTITIONS, Split, Total, ToySource, ask

from connectors.clock import VirtualClock
from connectors.data_folder import DataFolder
from streams.embedded import EmbeddedHost

KEEP = 20_000


def test_every_topic_keeps_about_its_bytes_and_reading_goes_on(tmp_path):
    with DataFolder(tmp_path, partitions=PARTITIONS) as data:
        limits = dict.fromkeys(("logs", "signals", "audit"), KEEP)
        host = EmbeddedHost(data.store, [Split(), Total()], {"ask": ask}, clock=VirtualClock(), retention=limits)
        host.run_lockstep([ToySource(data.store, 1_600)], threading.Event())
        for topic in limits:
            for partition in range(PARTITIONS):
                first, end = data.store.bounds(topic, partition)
                kept = data.store.read(topic, partition, first, end)
                # It is looked at every 256 micro-batches: what came since then stands on top.
                assert sum(len(record.value) for record in kept) < 15 * KEEP
                assert first > 0
    with DataFolder(tmp_path, partitions=PARTITIONS) as data:
        host = EmbeddedHost(data.store, [Split(), Total()], {"ask": ask}, clock=VirtualClock(), retention=limits)
        host.run_lockstep([ToySource(data.store, 1_700)], threading.Event())
        assert data.store.cursors() == {"toy": "1700"}
