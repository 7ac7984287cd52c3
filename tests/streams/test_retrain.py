"""Offline learning takes what detect takes, record by record: nothing twice, nothing broken, fast or not."""

from __future__ import annotations

import json

import pytest

from connectors.codec import encode
from connectors.ports import Record
from models.baseline import Baselines
from models.catalog import Catalog
from models.event import Event
from models.retraining import LeftOut
from models.signal import Tick
from models.snapshot import Span
from models.template import BUCKET_MS, BatchPointer, CoveredSource, Section, Template, TemplateCounts
from streams.retrain import Trainer

FIRST = 170_000_004


def counts(offset: int, rules_version: int = 1, **templates: int) -> TemplateCounts:
    """A batch of one bucket: lines by template."""
    names = tuple(templates or {"t0": 3 + offset % 4, "t1 failed": 1})
    section = Section(
        service="web",
        **Section.columns_of(Template(id=name, text=f"text of {name}", severity=2) for name in names),
        template=list(range(len(names))),
        bucket=[FIRST + offset] * len(names),
        n=list(templates.values()) or [3 + offset % 4, 1],
        first_line=list(range(len(names))),
        lines=9,
    )
    source = CoveredSource(source_id="s", covered_until=(FIRST + offset + 1) * BUCKET_MS, services=("web",))
    return TemplateCounts(
        rules_version=rules_version,
        input=BatchPointer(topic="logs", partition=0, offset=offset),
        sources=(source,),
        sections=(section,),
    )


def record(offset: int, data=None, cause: str | None = None, key: str = "0") -> Record:
    at = (FIRST + offset + 1) * BUCKET_MS
    cause = f"mine:logs/0@{offset}#0.0" if cause is None else cause
    return Record("counts", 0, offset, key, encode(Event(f"e{offset}", at, key, data or counts(offset), cause)), at)


def trained(records: list[Record], **options) -> Trainer:
    trainer = Trainer(0, 1, Catalog(), **options)
    for each in records:
        trainer.take(each)
    return trainer


def learnt(trainer: Trainer) -> dict[str, list[float]]:
    state = trainer.states["web"]
    return {name: getattr(state.base, name)[: state.series.used].tolist() for name in Baselines.LEARNT}


PLAIN = [record(offset) for offset in range(300)]

STRANGE = record(9, cause="")

BROKEN = {
    "not_json": Record("counts", 0, 9, "0", b"\xff", 0),
    "bad_envelope": Record("counts", 0, 9, "0", b"[1]", 0),
    "unknown_type": Record("counts", 0, 9, "0", PLAIN[9].value.replace(b"template_counts", b"template"), 0),
    "unknown_version": Record("counts", 0, 9, "0", PLAIN[9].value.replace(b'"v":2', b'"v":70'), 0),
    "bad_payload": Record("counts", 0, 9, "0", STRANGE.value.replace(b'"n":[4', b'"n":[4.5'), 0),
    "row_invalid": Record("counts", 0, 9, "0", STRANGE.value.replace(b'"n":[4', b'"n":[-4'), 0),
    "wrong_partition": record(9, key="5", cause=""),
    "wrong_key": record(9, cause="")._replace(key="x"),
    "rules_version": record(9, counts(9, rules_version=2), cause=""),
    "duplicate": PLAIN[0],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_what_detect_would_not_take_teaches_nothing_and_is_counted_by_reason(reason):
    disturbed = trained([*PLAIN[:150], BROKEN[reason], *PLAIN[150:]])
    assert disturbed.skipped == {reason: 1}
    assert learnt(disturbed) == learnt(trained(PLAIN))


def test_ticks_and_catalogs_and_generations_teach_nothing():
    other = record(10, Tick(step="detect", due_at=4), cause="", key="web")
    assert learnt(trained([*PLAIN[:99], other, *PLAIN[99:]])) == learnt(trained(PLAIN))


def test_minutes_left_out_are_not_learnt_neither_at_once_nor_ten_minutes_late():
    noisy = [record(o, counts(o, **{"t0": 900, "t1 failed": 700})) if 120 <= o < 150 else PLAIN[o] for o in range(300)]
    span = Span(start=(FIRST + 120) * BUCKET_MS, end=(FIRST + 150) * BUCKET_MS)
    left_out = {"web": LeftOut([span])}
    clean, same = trained(noisy, left_out=left_out), trained(PLAIN, left_out=left_out)
    assert learnt(clean) == learnt(same)
    assert learnt(clean) != learnt(trained(PLAIN))
    assert learnt(trained(noisy)) != learnt(trained(PLAIN))
    assert clean.states["web"].base.n[0] == trained(PLAIN).states["web"].base.n[0] - 5


def test_learning_goes_on_from_what_was_saved():
    half = trained(PLAIN[:151])
    again = Trainer(0, 1, Catalog())
    again.load(json.loads(json.dumps(half.dump())))
    for each in PLAIN[140:]:  # some are redelivered
        again.take(each)
    assert learnt(again) == learnt(trained(PLAIN))
    assert again.skipped == {"duplicate": 11}
    assert again.lines == trained(PLAIN).lines
