"""Detection: points a second, the cost of a batch and of a bucket's border, and the memory of many services.

A *point* is one series at one 10 s tick: a sliding window moved, compared and, where it stands out, judged exactly;
with learning and predicting once a minute. The peer does the same with scipy: the exact negative binomial tail of every
point, `scipy.stats.nbinom.logsf`, which is what one writes without a guard.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Final

import numpy as np
from scipy import stats

from benchmarks.table import Row, median_seconds
from models.catalog import Catalog
from models.event import Event
from models.policy import DetectionPolicy
from models.service_state import OpenBucket, ServiceState
from models.template import BUCKET_MS, BatchPointer, CoveredSource, Section, Template, TemplateCounts
from streams.detect import Detect
from streams.detect_buckets import close_until
from streams.detect_judge import Judge

NAME: Final = "detection"

_START: Final = 170_000_004
_POLICY: Final = DetectionPolicy(max_templates=10_000)


def run(repeats: int = 5) -> list[Row]:
    """All claims."""
    return [*_points(repeats), *_batches(repeats), *_borders(repeats), _memory()]


def _table(series: int, buckets: int, seed: int = 1) -> np.ndarray:
    means = np.exp(np.random.default_rng(0).uniform(np.log(0.02), np.log(200), series)) / 6
    return np.random.default_rng(seed).poisson(means, (buckets, series)).astype(np.int32)


def _points(repeats: int) -> list[Row]:
    series, buckets = 10_000, 60
    state = _service("bench", series, _table(series, 240))
    table, scipy_table = _table(series, buckets, 2), _table(series, 6, 3)
    mean = np.maximum(table.mean(axis=0) * 6.0, 0.01)

    def ours() -> None:
        for row in table:
            _close(state, row)

    def scipy_every_point() -> None:
        r = 1.0 / 0.3
        for row in scipy_table:
            stats.nbinom.logsf(row * 6 - 1, r, r / (r + mean))

    seconds = median_seconds({"ours": ours, "scipy": scipy_every_point}, repeats)
    rate = series * buckets / seconds["ours"]
    peer = series * len(scipy_table) / seconds["scipy"]
    return [
        Row(
            f"points a second, {series:,} series, learning included",
            f"{rate / 1e6:.1f} M/s",
            f"scipy's exact tail of every point, no learning: {peer / 1e6:.2f} M/s",
            rate / peer,
            2.0,
        )
    ]


def _batches(repeats: int) -> list[Row]:
    """The step on TemplateCounts of one service with 100 templates, twenty batches a bucket."""
    step, many = Detect(), 1_000
    table = _table(100, many // 20)
    events = [_event(at, {"web": table[at // 20]}, _START + at // 20) for at in range(many)]

    def feed() -> None:
        shared, state = step.shared.initial(""), step.state.initial("web")
        for event in events:
            shared, parts = step.admit(shared, event)
            for part in parts:
                state = step.advance(shared, state, part).state

    seconds = median_seconds({"feed": feed}, repeats)["feed"] / many
    return [Row("a batch of 100 templates, admitted and taken", f"{seconds * 1e6:.0f} µs", "1 ms", 1e-3 / seconds, 1.0)]


def _borders(repeats: int) -> list[Row]:
    """One border of a bucket, and of a minute, for 1,000 services of 100 templates."""
    raw = _service("web", 100, _table(100, 240)).dump()
    services = [ServiceState.load(raw) for _ in range(1_000)]
    table = _table(100, 6, 11)
    begin = services[0].next_bucket

    def minute() -> None:
        for state in services:
            for row in table:
                _close(state, row)

    seconds = median_seconds({"minute": minute}, repeats)["minute"]
    assert services[0].next_bucket > begin
    each = seconds / len(table)
    return [
        Row(
            "a 10 s border of 1,000 services of 100 templates (mean of a minute, learning included)",
            f"{each * 1e3:.0f} ms",
            "300 ms",
            0.3 / each,
            1.0,
        )
    ]


def _memory() -> Row:
    """What 1,000 services of 100 templates add to a process, read in one of its own."""
    program = (
        "import benchmarks.detection as d, resource, gc\n"
        "gc.collect(); before = d.resident()\n"
        "kept = d.many_services(1_000, 100)\n"
        "gc.collect(); print(d.resident() - before, d.resident())"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    added, whole = int(out[0]) / 1e6, int(out[1]) / 1e6
    return Row(
        "memory of 1,000 services of 100 templates",
        f"{added:.0f} MB (process {whole:.0f} MB)",
        "150 MB",
        150 / added,
        1.0,
    )


def many_services(services: int, templates: int) -> list[ServiceState]:
    """Services that have closed two minutes, each with texts of its own."""
    return [_service(f"s{k}", templates, _table(templates, 12, k)) for k in range(services)]


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4_096


def _service(name: str, templates: int, table: np.ndarray) -> ServiceState:
    step = Detect()
    shared, state = step.shared.initial(""), step.state.initial(name)
    event = _event(0, {name: np.ones(templates, np.int32)}, _START)
    shared.catalog = Catalog(detection=_POLICY)
    shared, parts = step.admit(shared, event)
    state = step.advance(shared, state, parts[0]).state
    _close(state, None)
    for row in table:
        _close(state, row)
    return state


def _close(state: ServiceState, counts: np.ndarray | None) -> None:
    if counts is not None:
        opened = OpenBucket.empty(state.series.capacity)
        opened.counts[3 : 3 + len(counts)] = counts
        opened.counts[0] = counts.sum()
        state.pending[state.next_bucket] = opened
    close_until(state, state.next_bucket + 1, True, _POLICY, Judge(state, lambda: "app"))


def _text(service: str, template: int) -> str:
    return f"{service}: request <*> from <*> to upstream {template} took <*> ms, answered <*> in <*> tries"


def _event(offset: int, services: dict[str, np.ndarray], bucket: int) -> Event[TemplateCounts]:
    sections = []
    for name, counts in services.items():
        seen = np.flatnonzero(counts).tolist()
        sections.append(
            Section(
                service=name,
                **Section.columns_of(
                    Template(id=f"{k:020x}", text=f"{name}: request <*> to <*> took <*> ms ({k})", severity=2)
                    for k in seen
                ),
                template=list(range(len(seen))),
                bucket=[bucket] * len(seen),
                n=counts[seen].tolist(),
                first_line=list(range(len(seen))),
                lines=int(counts.sum()),
            )
        )
    source = CoveredSource(source_id="s", covered_until=bucket * BUCKET_MS, services=tuple(services))
    data = TemplateCounts(
        rules_version=1,
        input=BatchPointer(topic="logs", partition=0, offset=offset),
        sources=(source,),
        sections=tuple(sections),
    )
    return Event("id", bucket * BUCKET_MS, "", data)
