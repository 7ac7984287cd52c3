"""The mine step in its Unit: one TemplateCounts a batch, the same after a crash, dead letters for what does not fit."""

from __future__ import annotations

import pytest

from connectors.codec import decode, encode
from connectors.ports import Outbound, Record
from models.audit import DeadLetter
from models.errors import ContractError
from models.event import Event
from models.log import LogBatch, SourceRange
from models.signal import Change
from models.template import TemplateCounts
from streams.mine import Mine
from streams.runtime import Unit

LINES = ("took 35 ms", "took 7 ms", "ERROR pool exhausted", "took 8 ms")


def batch(**changes) -> LogBatch:
    fields = {
        "sources": (SourceRange(source_id="f", cursor_from="0", cursor_to="9", covered_until=77),),
        "services": ("web",),
        "service_index": [0] * len(LINES),
        "timestamps": [1_000, 2_000, 3_000, 11_000],
        "severity": [0] * len(LINES),
        "messages": "\n".join(LINES),
    }
    return LogBatch(**(fields | changes))


def record(data, offset: int, partition: int = 2) -> Record:
    event = Event(id=f"e{offset}", at=50_000 + offset, key=str(partition), data=data)
    return Record("logs", partition, offset, str(partition), encode(event), 60_000)


def feed(unit: Unit, *data) -> list[Outbound]:
    return [out for item in data for out in unit.apply(record(item, unit.next_offset))]


def test_a_batch_becomes_one_count_under_its_partition():
    (out,) = feed(Unit(Mine(), 2), batch())
    event = decode(out.value)
    assert (out.topic, out.partition, event.key, event.at) == ("counts", 2, "2", 50_000)
    assert isinstance(event.data, TemplateCounts)
    assert event.data.input.model_dump() == {"topic": "logs", "partition": 2, "offset": 0}
    (section,) = event.data.sections
    assert [template.text for template in section.templates] == ["took <*>", "ERROR pool exhausted"]
    assert (section.template, section.bucket, section.n, section.first_line) == (
        [0, 1, 0],
        [0, 0, 1],
        [2, 1, 1],
        [0, 2, 3],
    )


def test_a_heartbeat_is_passed_on():
    empty = {"service_index": [], "timestamps": [], "severity": [], "messages": ""}
    (out,) = feed(Unit(Mine(), 2), batch(**empty))
    counts = decode(out.value).data
    assert (counts.sections, counts.sources[0].covered_until) == ((), 77)


def test_a_step_started_anew_says_the_same_bytes():
    inbox = [batch(), batch(messages="a 1\nb 2\nc\nc"), batch()]
    whole = [out.value for out in feed(Unit(Mine(), 2), *inbox)]
    restarted = Unit(Mine(max_bytes=0), 2)
    first = [out.value for out in feed(restarted, *inbox[:1])]
    saved = restarted.cut(force=True)
    assert saved is not None
    rest = feed(Unit(Mine(), 2, saved=saved.checkpoint), *inbox[1:])
    assert first + [out.value for out in rest] == whole


def test_what_does_not_fit_becomes_a_dead_letter_and_the_stream_goes_on():
    change = Change(change_id="c", source="s", kind="config", resource="r", application="a")
    outs = feed(Unit(Mine(), 2), batch(messages="too few"), change, batch())
    letters = [decode(out.value).data for out in outs]
    assert [letter.reason for letter in letters[:2] if isinstance(letter, DeadLetter)] == ["bad_columns", "wrong_topic"]
    assert [letter.offset for letter in letters[:2]] == [0, 1]
    assert isinstance(letters[2], TemplateCounts)


def test_the_step_itself_refuses_what_is_no_batch_of_the_log():
    change = Change(change_id="c", source="s", kind="config", resource="r", application="a")
    for data in (change, batch()):
        with pytest.raises(ContractError, match="wrong_type"):
            Mine().admit(None, Event(id="e", at=1, key="2", data=data))
