"""A Unit alone: ticks, answers, dead letters, poison and quarantine, and when a checkpoint is worth it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy_pipeline import Split, Total, batch

from connectors.codec import decode, encode
from connectors.ports import Checkpoint, Crash, Outbound, Record
from models.errors import GapError, PoisonError, UpgradeError
from models.event import Event
from models.signal import Change, EffectAnswered, Tick
from streams.runtime import Shard, Unit


def change(after: str, key: str = "app1") -> Event:
    return Event(
        id=f"c{after}",
        at=100,
        key=key,
        data=Change(change_id=after, source="toy", kind="config", resource="r", application=key, after=after),
    )


def feed(unit: Unit, *items: Event | bytes | Outbound, logged_at: int = 1_000) -> list[Event]:
    emitted = []
    for item in items:
        value = item.value if isinstance(item, Outbound) else item if isinstance(item, bytes) else encode(item)
        key = "app1" if isinstance(item, bytes) else item.key
        record = Record(unit.step.inbox, unit.partition, unit.next_offset, key, value, logged_at)
        emitted += [decode(out.value) for out in unit.apply(record)]
    return emitted


def test_a_wish_becomes_one_tick_and_only_the_current_one_counts():
    unit = Unit(Total(), 0)
    feed(unit, change("1"), logged_at=1_000)
    feed(unit, change("1"), logged_at=2_000)  # the wish moves from 6,000 to 7,000
    assert unit.next_due() == 7_000
    assert unit.due(6_999) == []
    (tick,) = unit.due(7_000)
    assert unit.due(7_000) == []
    stale = Event(id="t", at=6_000, key="app1", data=Tick(step="total", due_at=6_000))
    assert feed(unit, stale) == []
    (woken,) = feed(unit, tick)
    assert woken.data.facts == {"tick": 7_000}
    assert feed(unit, tick) == []
    assert unit.counters["stale_tick"] == 2


def test_the_first_answer_while_pending_wins():
    unit = Unit(Total(), 0)
    feed(unit, change("3"))
    cut = unit.cut()
    assert [started.effect.id for started in cut.effects] == ["app1:3"]
    answer = Event(id="a", at=1, key="app1", data=EffectAnswered(effect_id="app1:3", kind="ask", ok=False))
    again = Event(id="b", at=1, key="app1", data=EffectAnswered(effect_id="app1:3", kind="ask", ok=True))
    other = Event(id="c", at=1, key="app2", data=EffectAnswered(effect_id="app1:3", kind="ask", ok=True))
    assert feed(unit, other) == []
    (taken,) = feed(unit, answer)
    assert taken.data.facts == {"answer": "app1:3", "ok": False}
    assert feed(unit, again) == []
    assert unit.pending() == []


def test_pending_effects_and_wishes_survive_a_restart():
    unit = Unit(Total(), 0)
    feed(unit, change("3"))
    checkpoint = unit.cut().checkpoint
    reborn = Unit(Total(), 0, saved=checkpoint, entries=checkpoint.entries)
    assert [(s.key, s.effect.id) for s in reborn.pending()] == [("app1", "app1:3")]
    assert reborn.next_due() == 6_000
    assert reborn.next_offset == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"garbage", "not_json"), (encode(change("bad")), "refused"), (batch(0).value, "wrong_topic")],
)
def test_a_broken_contract_is_a_dead_letter_with_its_place_and_the_stream_goes_on(value, reason):
    unit = Unit(Total(), 0)
    letter, after = feed(unit, value, change("1"))
    assert (letter.data.reason, letter.data.topic, letter.data.offset) == (reason, "signals", 0)
    assert after.data.facts == {"total": 1}


def test_a_defect_stops_with_its_place_and_the_third_time_is_quarantined():
    step = Total()
    step.fails_at = "13"
    with pytest.raises(PoisonError, match="total/0 failed at signals/0@0"):
        feed(Unit(step, 0), change("13"))
    twice = Unit(step, 0, crashes={0: Crash(0, 2, "RuntimeError()")})
    with pytest.raises(PoisonError):
        feed(twice, change("13"))
    thrice = Unit(step, 0, crashes={0: Crash(0, 3, "RuntimeError('a defect')")})
    letter, after = feed(thrice, change("13"), change("1"))
    assert (letter.data.reason, letter.data.detail) == ("quarantined", "RuntimeError('a defect')")
    assert after.data.facts == {"total": 1}


def test_a_gap_names_what_is_wanted_and_a_redelivery_is_skipped():
    unit = Unit(Split(), 0)
    with pytest.raises(GapError) as gap:
        unit.apply(Record("logs", 0, 4, "0", batch(0).value, 1))
    assert gap.value.want == 0
    feed(unit, batch(0))
    assert unit.apply(Record("logs", 0, 0, "0", batch(0).value, 1)) == ()


def test_saving_waits_until_it_is_cheap_unless_forced_or_urgent():
    lazy, urgent = Unit(Split(), 0), Unit(Total(), 0)
    feed(lazy, batch(0, lines=50))
    assert lazy.cut() is None
    assert lazy.cut(force=True) is not None
    assert lazy.cut(force=True) is None
    for number in range(60):
        feed(lazy, batch(number * 2, lines=50))
    assert lazy.cut() is not None
    feed(urgent, change("1"))
    assert urgent.cut() is not None


def test_emissions_that_the_log_already_has_are_not_emitted_again():
    unit = Unit(Split(), 0)
    first = feed(unit, batch(0))
    assert first
    saved = Unit(Split(), 0).cut()
    assert saved is None
    from connectors.ports import Checkpoint

    reborn = Unit(Split(), 0, saved=Checkpoint((), None, 0, 1))
    assert feed(reborn, batch(0)) == []
    assert [event.id for event in feed(reborn, batch(2))] == [event.id for event in feed(unit, batch(2))]


@pytest.mark.parametrize("offset", ["9" * 5_000, "9" * 30, "\u0663"])
def test_a_cause_that_no_step_could_have_written_is_read_past_and_saved_without_harm(offset):
    unit = Unit(Total(), 0)
    first = replace(change("1"), cause=f"split:logs/0@{offset}#0.0")
    assert len(feed(unit, first, replace(first, id="again"))) == 2
    assert unit.cut() is not None


def test_strangers_who_call_themselves_steps_do_not_make_a_unit_grow():
    unit = Unit(Total(), 0)
    feed(unit, *(replace(change("1"), cause=f"x:nowhere/{number}@1#0.0") for number in range(100)))
    assert unit.cut().checkpoint.shared.startswith(b"\0\0\0\2{}")
    feed(unit, *(replace(change("1"), cause=f"x:logs/{number}@1#0.0") for number in range(10_100)))
    assert unit.cut().checkpoint.shared.count(b"x:logs/") == 10_000


def test_wishes_that_were_moved_are_forgotten():
    unit = Unit(Total(), 0)
    for number in range(2_000):
        feed(unit, change("1"), logged_at=1_000 + number)  # each moves the wish
    assert len(unit._wishes) < 100
    assert [tick.at for tick in unit.due(10_000)] == [7_999]


def test_a_checkpoint_on_the_way_back_to_where_it_was_keeps_what_the_log_already_has():
    saved = Checkpoint((), None, 0, 5)
    unit = Unit(Total(), 0, saved=saved)
    feed(unit, change("1"), change("1"))
    assert unit.cut().checkpoint.emitted == 5


def of_version(version: object, run: str) -> bytes:
    value = encode(replace(change("3"), run=run))
    return value.replace(b'"v":1', b'"v":%d' % version if type(version) is int else b'"v":"x"')


def test_what_a_newer_program_of_the_same_deployment_wrote_stops_the_older_and_is_not_lost():
    unit = Unit(Total(), Shard(0, run="ours"))
    feed(unit, change("3"))
    with pytest.raises(UpgradeError, match=r"signals/0@1.*v2.*Upgrade this worker"):
        feed(unit, of_version(2, "ours"))
    assert (unit.next_offset, unit.counters["dead_letter"]) == (1, 0)


@pytest.mark.parametrize(
    ("version", "run"), [(2, "theirs"), (2, ""), (999, "ours"), (0, "ours"), (-1, "ours"), ("x", "ours")]
)
def test_a_version_that_no_upgrade_of_this_deployment_led_to_is_a_dead_letter(version, run):
    unit = Unit(Total(), Shard(0, run="ours"))
    (letter,) = feed(unit, of_version(version, run))
    assert letter.data.reason == "unknown_version"
    assert feed(unit, change("3"))


def test_who_does_not_know_its_deployment_stops_for_nobody():
    (letter,) = feed(Unit(Total(), 0), of_version(2, ""))
    assert letter.data.reason == "unknown_version"
