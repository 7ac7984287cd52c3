"""act as a step of the runtime: what it admits, replays and survives, driven through a real Unit."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from workflow_rig import RESTART, RUN, T0, command, runbook, switch_step

from connectors.codec import decode, encode
from connectors.ports import Checkpoint, Entry, Outbound, Record
from models.anomaly import Kind, SeriesHealth, ServiceHealth
from models.audit import DeadLetter
from models.catalog import Application, Catalog, Target
from models.command import Command, JournalEntry, Outcome
from models.event import Contract, Event
from models.runbook import Reversibility, Runbook
from models.signal import Change, Control, EffectAnswered
from models.signing import KeyRing, sign
from models.workflow import TargetState
from streams.act import ActStep
from streams.runtime import Shard, Started, Unit

KEYS = KeyRing({"k1": b"0123456789abcdef0123456789abcdef"}, "k1")
TARGETS = ("db", "db2")
BOOK = runbook(switch_step("a", "g"), switch_step("b", "g"), switch_step("c"), require_state={})

_STEPS = tuple(step.model_copy(update={"expect": {"b": 0}}) for step in BOOK.steps)
BLIND = BOOK.model_copy(update={"steps": _STEPS})
"""Its targets' state can never show whether a call took effect."""
RISKY = BLIND.model_copy(update={"reversibility": Reversibility.IRREVERSIBLE, "steps": (*_STEPS, RESTART)})


def catalog(book: Runbook = BOOK) -> Catalog:
    app = Application(name="shop", services=("checkout",), targets=TARGETS)
    targets = tuple(Target(arn=arn, kind="rds") for arn in TARGETS)
    return Catalog(applications=(app,), targets=targets, runbooks=(book,))


def event(data: Contract, key: str, at: int, name: str = "") -> Event[Any]:
    return Event(id=name or f"{data.TYPE}-{key}-{at}", at=at, key=key, data=data)


def health(now: int, sick: bool = False) -> dict[str, Any]:
    quiet = SeriesHealth(template_id="", kinds=(), observed=(1.0,) * 6, expected=1, upper=5)
    spike = SeriesHealth(template_id="t1", kinds=(Kind.SPIKE,), observed=(50.0,) * 6, expected=1, upper=5)
    seen = ServiceHealth(
        service="checkout",
        application="shop",
        alive=True,
        watermark=now,
        total=quiet,
        errors=quiet,
        open=(spike,) if sick else (),
    )
    return seen.model_dump(mode="json")


class Host:
    """The least that drives a Unit: a log in memory, a checkpoint after each record, effects held until answered."""

    def __init__(self) -> None:
        self.now = T0
        self.log: list[Record] = []
        self.saved: Checkpoint | None = None
        self.entries: dict[str, Entry] = {}
        self.out: dict[str, Event[Any]] = {}
        self.bytes: list[bytes] = []
        self.running: dict[str, Started] = {}
        self.unit = self._unit()
        self.append(event(catalog(), "catalog", T0))

    def _unit(self) -> Unit:
        return Unit(ActStep(KEYS, RUN), Shard(0, run=RUN), saved=self.saved, entries=self.entries.values())

    def append(self, item: Event[Any] | Outbound, *, crash_before_save: bool = False) -> None:
        key, value = (item.key, item.value) if isinstance(item, Outbound) else (item.key, encode(item))
        record = Record("commands", 0, len(self.log), key, value, self.now)
        self.log.append(record)
        self._apply(record)
        if crash_before_save:
            self.unit = self._unit()
            self._apply(record)
        cut = self.unit.cut()
        if cut is not None:
            self.saved = cut.checkpoint
            self.entries |= {entry.key: entry for entry in cut.checkpoint.entries}
            self.running |= {started.effect.id: started for started in cut.effects}

    def _apply(self, record: Record) -> None:
        for outbound in self.unit.apply(record):
            emitted = decode(outbound.value)
            known = self.out.setdefault(emitted.id, emitted)
            assert known == emitted, "a re-emission differs"
            self.bytes.append(outbound.value)

    def crash(self) -> None:
        self.unit = self._unit()
        self.running = {started.effect.id: started for started in self.unit.pending()}

    def tick(self, until: int) -> bool:
        ticks = self.unit.due(until)
        for item in ticks:
            self.append(item)
        return bool(ticks)

    def answer(self, started: Started, ok: bool, result: dict[str, Any], error: str = "") -> Event[Any]:
        effect = started.effect
        self.running.pop(effect.id, None)
        data = EffectAnswered(effect_id=effect.id, kind=effect.kind, ok=ok, result=result, error=error)
        answered = event(data, started.key, self.now, f"answer-{effect.id}-{len(self.log)}")
        self.append(answered)
        return answered

    def states(self) -> list[tuple[Entry, TargetState]]:
        return [(entry, TargetState.model_validate_json(entry.state)) for entry in self.entries.values()]

    def of(self, kind: type[Contract]) -> list[Any]:
        return [item.data for item in self.out.values() if isinstance(item.data, kind)]


class Targets:
    """Targets whose calls may be lost before or after they took effect."""

    def __init__(self) -> None:
        self.state: dict[str, dict[str, Any]] = {arn: {"a": 0, "b": 0, "c": 0} for arn in TARGETS}
        self.sick = False

    def result(self, host: Host, started: Started) -> dict[str, Any]:
        args: Any = started.effect.args
        if started.effect.kind == "read_state":
            return {"state": dict(self.state[args["target"]])}
        if started.effect.kind == "probe_health":
            return {"health": health(host.now, self.sick)}
        self.state[args["target"]].update(args["params"])
        return {"reply": {}}


def finish(host: Host, targets: Targets) -> None:
    """Answer everything with success and let time pass until nothing is wished for."""
    for _ in range(2_000):
        if host.running:
            started = next(iter(host.running.values()))
            host.answer(started, True, targets.result(host, started))
        elif (due := host.unit.next_due()) is not None:
            host.now = max(host.now, due)
            host.tick(host.now)
        else:
            return
    raise AssertionError("it never ends")


def order(host: Host, name: str, target: str = "db", **changes: Any) -> Event[Any]:
    fields = {"issued_at": host.now, "expires_at": host.now + 300_000, "target": target, **changes}
    return event(sign(command(name, **fields), KEYS), target, host.now, f"order-{name}-{len(host.log)}")


HOWS = ("ok", "refused", "lost", "lost after effect")


class ActUnderChaos(RuleBasedStateMachine):
    """Any interleaving of orders, answers (good, refused, lost, late, doubled), ticks, pauses and crashes."""

    @initialize(sick=st.booleans(), book=st.sampled_from([BOOK, BLIND, RISKY]))
    def start(self, sick: bool, book: Runbook) -> None:
        self.host, self.targets = Host(), Targets()
        self.targets.sick = sick
        self.host.append(event(catalog(book), "catalog", T0, "book"))
        self.names: dict[str, Event[Any]] = {}
        self.answers: list[Event[Any]] = []
        self.crash_next = False

    def _append(self, item: Event[Any]) -> None:
        self.host.append(item, crash_before_save=self.crash_next)
        self.crash_next = False

    @precondition(lambda self: len(self.names) < 5)
    @rule(arn=st.sampled_from(TARGETS))
    def order(self, arn: str) -> None:
        name = f"c{len(self.names)}"
        self.names[name] = order(self.host, name, arn)
        self._append(self.names[name])

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def order_again(self, data: st.DataObject) -> None:
        again = self.names[data.draw(st.sampled_from(sorted(self.names)))]
        self._append(replace(again, id=f"again-{len(self.host.log)}"))

    @precondition(lambda self: self.host.running)
    @rule(data=st.data(), how=st.sampled_from(HOWS))
    def answer(self, data: st.DataObject, how: str) -> None:
        self._answer(self.host.running[data.draw(st.sampled_from(sorted(self.host.running)))], how)

    @rule(hows=st.lists(st.sampled_from(["ok", "ok", "ok", *HOWS]), min_size=1, max_size=12))
    def go_on(self, hows: list[str]) -> None:
        for how in hows:
            if self.host.running:
                self._answer(next(iter(self.host.running.values())), how)
            else:
                self.time_passes(0)

    def _answer(self, started: Started, how: str) -> None:
        took_effect = how in ("ok", "lost after effect")
        result = self.targets.result(self.host, started) if took_effect else {}
        error = {"ok": "", "refused": "throttled"}.get(how, "unknown outcome: connection reset")
        result = {"applied": False} if how == "refused" else result if how == "ok" else {}
        self.answers.append(self.host.answer(started, how == "ok", result, error))

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def answer_again(self, data: st.DataObject) -> None:
        late = self.answers[data.draw(st.integers(0, len(self.answers) - 1))]
        self._append(replace(late, id=f"late-{len(self.host.log)}"))

    @rule(seconds=st.sampled_from([0, 1, 10, 45, 130]))
    def time_passes(self, seconds: int) -> None:
        due = self.host.unit.next_due()
        self.host.now = max(self.host.now, due or 0) if seconds == 0 else self.host.now + seconds * 1_000
        self.host.tick(self.host.now)

    @precondition(lambda self: self.host.running)
    @rule(seconds=st.sampled_from([1, 20]))
    def pause(self, seconds: int) -> None:
        control = sign(Control(kind="pause", by="me", until=self.host.now + seconds * 1_000), KEYS)
        self._append(event(control, "*", self.host.now, f"control-{len(self.host.log)}"))

    @rule()
    def crash(self) -> None:
        self.host.crash()

    @rule()
    def crash_before_the_next_save(self) -> None:
        self.crash_next = True

    @invariant()
    def nothing_is_stuck(self) -> None:
        for entry, state in self.host.states() if hasattr(self, "host") else ():
            if state.workflow is not None or state.queue:
                ticking = entry.wake_at is not None or self.host.unit.next_due() is not None
                assert ticking or json.loads(entry.pending)

    def teardown(self) -> None:
        if not hasattr(self, "host"):
            return
        finish(self.host, self.targets)
        outcomes = Counter(outcome.command_id for outcome in self.host.of(Outcome))
        assert outcomes == dict.fromkeys(self.names, 1)
        assert all(state.workflow is None and not state.queue for _, state in self.host.states())
        no_repetition_without_a_probe(self.host.of(JournalEntry))


def no_repetition_without_a_probe(journal: list[JournalEntry]) -> None:
    probed: dict[tuple[str, str, str], bool] = {}
    for entry in journal:
        step = (entry.command_id, entry.state, entry.step)
        if entry.call == "read_state" and entry.entry == "answer" and entry.ok and entry.step:
            probed[step] = True
        elif entry.call == "call_action" and entry.entry == "intent":
            assert probed.get(step, True), f"{step} was repeated without a probe"
            probed[step] = False


ActUnderChaos.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestActUnderChaos = ActUnderChaos.TestCase


def played() -> Host:
    host, targets = Host(), Targets()
    host.append(order(host, "c1"))
    host.append(order(host, "c2"))
    finish(host, targets)
    return host


def test_replaying_the_inbox_gives_the_same_bytes() -> None:
    host = played()
    fresh = Unit(ActStep(KEYS, RUN), Shard(0, run=RUN))
    assert [out.value for record in host.log for out in fresh.apply(record)] == host.bytes
    assert {"recovered", "refused"} == {outcome.result for outcome in host.of(Outcome)}


def test_each_contract_goes_to_its_topic_and_key() -> None:
    host = played()
    fresh = Unit(ActStep(KEYS, RUN), Shard(0, run=RUN))
    places = {(out.topic, out.key) for record in host.log for out in fresh.apply(record)}
    assert places == {("journal", "db"), ("signals", "shop"), ("audit", "fs-1")}


def forged(host: Host) -> list[Event[Any]]:
    signed: Command = order(host, "c1").data
    stranger = KeyRing({"k9": b"f" * 32}, "k9")
    return [
        event(signed.model_copy(update={"params": {"max_connections": 9_999}}), "db", T0, "changed"),
        event(sign(command("c1"), stranger), "db", T0, "stranger"),
        event(command("c1"), "db", T0, "unsigned"),
        event(Control(kind="resume", by="mallory"), "*", T0, "control"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_what_no_known_key_has_signed_is_a_dead_letter_and_no_outcome(number: int) -> None:
    host = Host()
    host.append(forged(host)[number])
    (letter,) = host.out.values()
    assert letter.type == "dead_letter"
    assert letter.data.reason in ("bad signature", "unknown signing key")
    assert host.unit.counters["dead_letter"] == 1
    assert not host.running


def test_a_command_under_another_key_or_a_stranger_on_the_topic_is_a_dead_letter() -> None:
    host = Host()
    host.append(replace(order(host, "c1"), key="db2"))
    change = Change(change_id="1", source="s", kind="config", resource="r", application="shop")
    host.append(event(change, "db", T0))
    assert [letter.data.reason for letter in host.out.values()] == ["wrong_key", "wrong_topic"]


def test_a_paused_application_is_refused_until_everything_is_resumed() -> None:
    host = Host()
    for number, (kind, scope) in enumerate((("pause", "shop"), ("pause", "*"), ("resume", "shop"))):
        host.append(event(sign(Control(kind=kind, scope=scope, by="me"), KEYS), scope, T0, f"control-{number}"))
    host.append(order(host, "c1"))
    host.append(event(sign(Control(kind="resume", by="me"), KEYS), "*", T0, "all"))
    host.append(order(host, "c2"))
    (refused,) = host.of(Outcome)
    assert (refused.command_id, refused.reason) == ("c1", "paused by a person")
    assert host.running


def test_a_resume_written_again_after_its_time_by_whoever_has_read_it_does_not_end_a_later_pause() -> None:
    host = Host()
    resume = event(sign(Control(kind="resume", by="me", until=T0 + 600_000), KEYS), "*", T0, "resume")
    host.append(event(sign(Control(kind="pause", by="me"), KEYS), "*", T0, "pause"))
    host.append(resume)
    host.append(order(host, "c1"))
    assert host.of(Outcome) == []
    host.append(event(sign(Control(kind="pause", by="me"), KEYS), "*", T0, "pause again"))
    host.now = T0 + 600_001
    host.append(replace(resume, id="copied"))
    host.append(order(host, "c2"))
    assert [letter.data.reason for letter in host.out.values() if isinstance(letter.data, DeadLetter)] == ["stale"]
    assert host.of(Outcome)[-1].reason == "paused by a person"


def test_before_any_catalog_every_command_is_refused_with_a_reason() -> None:
    host = Host()
    host.append(event(Catalog(), "catalog", T0, "empty"))
    host.append(order(host, "c1"))
    (outcome,) = host.of(Outcome)
    assert outcome.reason == "unknown runbook scale-db version 1"


def test_the_answer_to_a_call_that_timed_out_no_longer_reaches_the_workflow() -> None:
    host, targets = Host(), Targets()
    host.append(order(host, "c1"))
    while next(iter(host.running.values())).effect.kind != "call_action":
        started = next(iter(host.running.values()))
        host.answer(started, True, targets.result(host, started))
    late = next(iter(host.running.values()))
    host.now += 30_000
    host.tick(host.now)
    host.answer(late, True, {"reply": {}})
    assert host.unit.counters["late_answer"] == 1


def test_cooldown_holds_across_a_crash() -> None:
    host = played()
    host.crash()
    host.append(order(host, "c3"))
    assert "cooldown: rds.scale" in host.of(Outcome)[-1].reason
