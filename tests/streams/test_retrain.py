"""Offline learning takes what detect takes, record by record: nothing twice, nothing broken, fast or not."""

from __future__ import annotations

import json
import random

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
from streams.gather import Gathered
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


def fleet(offset: int) -> TemplateCounts:
    """A batch of some of three services; the third speaks seldom, and of templates in no order."""
    chance = random.Random(offset)
    sections = []
    for service in ("web", "api", "cron")[: 3 if offset % 4 == 0 else 2]:
        names = chance.sample([f"{service}{k}" for k in range(9)], 6)
        template = [*range(6), 2, 0] if service == "cron" else list(range(6))
        bucket = FIRST + offset // 3
        sections.append(
            Section(
                service=service,
                **Section.columns_of(Template(id=name, text=f"{name} of it", severity=2) for name in names),
                template=template,
                bucket=[bucket + (row == 5) for row in range(len(template))],
                n=[1 + chance.randrange(5) for _ in template],
                first_line=list(range(len(template))),
                lines=9,
            )
        )
    end = (FIRST + offset // 3) * BUCKET_MS + 1_000
    return TemplateCounts(
        rules_version=1,
        input=BatchPointer(topic="logs", partition=0, offset=offset),
        sources=(CoveredSource(source_id="s", covered_until=end, services=("web", "api")),),
        sections=tuple(sections),
    )


def test_what_waits_for_others_like_it_teaches_what_detect_alone_teaches(monkeypatch):
    given = [record(offset, fleet(offset)) for offset in range(900)]
    every = trained(given)
    monkeypatch.setattr(Gathered, "takes", lambda *_: False)
    alone = trained(given)
    assert every.lines == alone.lines
    assert every.dump()["shared"] == alone.dump()["shared"]
    for trainer in (every, alone):
        for state in trainer.states.values():
            for name in ("offsets", "lines", "buckets"):  # pointers to lines are of no use to baselines
                getattr(state.series, name)[:] = 0
    assert every.dump()["states"].keys() == {"web", "api", "cron"}
    assert every.dump() == alone.dump()


def test_learning_goes_on_from_what_was_saved():
    half = trained(PLAIN[:151])
    again = Trainer(0, 1, Catalog())
    again.load(json.loads(json.dumps(half.dump())))
    for each in PLAIN[140:]:  # some are redelivered
        again.take(each)
    assert learnt(again) == learnt(trained(PLAIN))
    assert again.skipped == {"duplicate": 11}
    assert again.lines == trained(PLAIN).lines
