"""The simulator's doors: specs, batches, signals, restarts, the actuator, the catalog and its runbooks."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.codec import decode
from connectors.ports import Outbound
from connectors.simulator import (
    SimulatedActuator,
    Simulation,
    Tail,
    open_simulation,
    recorded_actions,
)
from connectors.simulator_spec import SimulatorSpec, parse_simulator_spec
from connectors.world import World
from connectors.world_shop import (
    APPLICATION,
    DATABASE_ARN,
    SHOP,
    first_instances,
    instance_arn,
    service_arn,
    simulated_catalog,
)
from models.errors import ActionError, ConfigError
from models.log import MAX_BATCH_BYTES, MAX_BATCH_LINES, LogBatch
from models.runbook import Runbook
from models.signal import Change, InfraEvent
from models.topics import partition_of

MINUTE = 60_000
RUNBOOKS = Path(__file__).parents[2] / "infra" / "runbooks"

Line = tuple[int, int, str]


def drain(simulation: Simulation, polls: int = 10**9) -> list[Outbound]:
    out: list[Outbound] = []
    while not simulation.source.ended and polls > 0:
        out += simulation.source.poll(0)
        polls -= 1
    return out


def batches(out: Sequence[Outbound]) -> list[LogBatch]:
    return [decode(one.value).data for one in out if one.topic == "logs"]


def lines(found: Sequence[LogBatch]) -> dict[str, list[Line]]:
    """Every service's lines in the order they came."""
    by_service: dict[str, list[Line]] = {}
    for batch in found:
        texts = batch.messages.split("\n") if batch.lines else []
        for index, at, severity, text in zip(batch.service_index, batch.timestamps, batch.severity, texts, strict=True):
            by_service.setdefault(batch.services[index], []).append((at, severity, text))
    return by_service


def cursors(out: Sequence[Outbound]) -> dict[str, str]:
    """What a host finds in its log: each source's last cursor."""
    return {source.source_id: source.cursor_to for batch in batches(out) for source in batch.sources}


# -- specs -----------------------------------------------------------------------------------------------------------


def test_a_bare_seed_is_a_whole_story() -> None:
    spec = parse_simulator_spec("sim:7")
    assert (spec.seed, spec.chunk_ms, spec.speed) == (7, 10_000, 0)
    assert {fault.kind for fault in spec.faults} == {
        "pool_leak",
        "bad_deploy",
        "instance_terminated",
        "log_source_stalled",
    }
    assert all(fault.at < spec.end - spec.start for fault in spec.faults)


def test_every_option_is_read() -> None:
    spec = parse_simulator_spec(
        "sim:12?hours=2.5&faults=pool_leak@01:00,bad_deploy:orders@01:30:30&start=2026-02-01T08:00&volume=2&jobs=0&chunk=1&speed=60"
    )
    assert (spec.seed, spec.hours, spec.volume, spec.jobs, spec.chunk_ms, spec.speed) == (12, 2.5, 2.0, 0, 1_000, 60.0)
    assert [(fault.kind, fault.at, fault.service) for fault in spec.faults] == [
        ("pool_leak", 60 * MINUTE, ""),
        ("bad_deploy", 90 * MINUTE + 30_000, "orders"),
    ]
    assert spec.start == 1_769_932_800_000
    assert spec.end - spec.start == 150 * MINUTE
    assert parse_simulator_spec("sim:1?faults=none").faults == ()


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("sim:", "Write sim:SEED"),
        ("sim:seven", "such as sim:7"),
        ("sim:7?days=2", "Known options: hours=..., faults=..."),
        ("sim:7?hours", "Known options"),
        ("sim:7?hours=nan", "number of hours from 0.01 to 744"),
        ("sim:7?hours=-1", "number of hours"),
        ("sim:7?faults=pool_leak", "KIND@HH:MM"),
        ("sim:7?faults=meteor@01:00", "Known faults: pool_leak, "),
        ("sim:7?faults=bad_deploy:web@01:00", "can strike payments, orders"),
        ("sim:7?hours=1&faults=pool_leak@01:00", "raise hours="),
        ("sim:7?start=tomorrow", "such as 2026-01-05T08:00"),
        ("sim:7?chunk=0", "whole seconds from 1 to 60"),
        ("sim:7?volume=1e9", "times the usual traffic"),
    ],
)
def test_a_wrong_spec_says_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_simulator_spec(text)
    assert advice in str(caught.value)
    assert caught.value.exit_code == 78


# -- what the source gives -------------------------------------------------------------------------------------------

BUSY = SimulatorSpec(5, hours=0.5, faults=parse_simulator_spec("sim:5?faults=bad_deploy@00:10").faults)


@pytest.mark.parametrize("partitions", [1, 4])
def test_every_line_of_the_world_comes_once_in_order_on_its_services_partition(partitions: int) -> None:
    out = drain(open_simulation(BUSY, partitions=partitions))
    world = World(5, BUSY.faults, start=BUSY.start).advance(BUSY.end)
    found = lines(batches(out))
    assert found == {name: list(zip(*column, strict=True)) for name, column in world.lines.items()}
    for one in out:
        if one.topic == "logs":
            batch = decode(one.value).data
            assert {partition_of(name, partitions) for name in batch.services} <= {one.partition}
            assert one.key == str(one.partition)


def test_batches_keep_their_limits_and_cursors_join_without_a_hole() -> None:
    spec = SimulatorSpec(5, hours=0.1, volume=60, chunk_ms=30_000)
    found = batches(drain(open_simulation(spec)))
    last: dict[str, str] = {}
    for batch in found:
        assert batch.lines <= MAX_BATCH_LINES
        assert len(batch.messages.encode()) <= MAX_BATCH_BYTES
        for source in batch.sources:
            assert source.cursor_from == last.get(source.source_id, source.cursor_from)
            last[source.source_id] = source.cursor_to
            given = [
                at
                for index, at in zip(batch.service_index, batch.timestamps, strict=True)
                if source.source_id == f"sim:{batch.services[index]}"
            ]
            assert all(at < source.covered_until for at in given)
    assert max(batch.lines for batch in found) > MAX_BATCH_LINES // 3, "the limit was put to work"
    assert {source.covered_until for source in found[-1].sources} == {spec.end}


def test_events_have_unique_ids_and_times_within_the_chunk() -> None:
    out = drain(open_simulation(BUSY))
    events = [decode(one.value) for one in out]
    assert len({event.id for event in events}) == len(events)
    assert all(BUSY.start <= one.at <= BUSY.end and one.at == event.at for one, event in zip(out, events, strict=True))
    assert [event.at for event in events if event.data.TYPE == "log_batch"] == list(
        range(BUSY.start + 10_000, BUSY.end + 1, 10_000)
    )


def test_envelopes_become_infra_events_and_changes_of_the_application() -> None:
    spec = parse_simulator_spec(
        "sim:5?hours=1&start=2026-01-05T08:00&faults=instance_terminated@00:10,bad_deploy@00:20"
    )
    signals = [decode(one.value).data for one in drain(open_simulation(spec)) if one.topic == "signals"]
    assert {signal.application for signal in signals} == {APPLICATION}
    lost = [one for one in signals if isinstance(one, InfraEvent) and one.resource_type == "ec2"]
    assert [(one.detail["state"], one.meaning, one.expected) for one in lost] == [
        ("shutting-down", "neutral", False),
        ("terminated", "failure", False),
    ]
    assert lost[1].resource in [instance_arn(name) for name in first_instances(5, "inventory")]
    deploys = [one for one in signals if isinstance(one, Change) and one.resource == service_arn("payments")]
    assert [(one.kind, one.after, one.actor) for one in deploys if one.after == "42"] == [
        ("deploy", "42", "deploy-pipeline")
    ]


def test_a_stalled_shipper_stands_still_while_others_go_on_and_then_gives_all_late_but_in_order() -> None:
    spec = parse_simulator_spec("sim:5?hours=0.5&faults=log_source_stalled@00:05")
    simulation = open_simulation(spec)
    covered: list[int] = []
    out: list[Outbound] = []
    while not simulation.source.ended:
        polled = simulation.source.poll(0)
        out += polled
        sources = [source for batch in batches(polled) for source in batch.sources]
        assert {source.source_id for source in sources} == {f"sim:{name}" for name in SHOP}, "heartbeats go on"
        by_id = {source.source_id: source.covered_until - spec.start for source in sources}
        assert by_id["sim:web"] == (len(covered) + 1) * 10_000
        covered.append(by_id["sim:search"])
    stalled = [at for at in covered if at == 5 * MINUTE]
    assert len(stalled) == pytest.approx(72, abs=2), "twelve minutes"
    assert covered[-1] == 30 * MINUTE
    quiet = drain(open_simulation(parse_simulator_spec("sim:5?hours=0.5&faults=none")))
    assert lines(batches(out))["search"] == lines(batches(quiet))["search"]


def test_a_paced_world_does_not_run_ahead_of_the_clock() -> None:
    source = open_simulation(parse_simulator_spec("sim:5?hours=1&faults=none&speed=20")).source
    assert source.poll(1_000) == []
    assert source.poll(1_400) == []
    assert source.poll(1_500)
    assert source.poll(1_500) == []
    assert source.poll(2_000)


# -- restarts --------------------------------------------------------------------------------------------------------

STORY = (
    "sim:9?hours=0.6&start=2026-01-05T08:00&faults=pool_leak@00:01,log_source_stalled@00:10,instance_terminated@00:22"
)
DEEDS: Mapping[int, tuple[str, str, dict[str, Any]]] = {
    96: ("rds.scale", DATABASE_ARN, {"max_connections": 200}),
    150: ("ec2.replace", instance_arn(first_instances(9, "inventory")[0]), {}),
}
"""After which poll, what is done."""


def act(simulation: Simulation, poll: int) -> list[dict[str, Any]]:
    if poll not in DEEDS:
        return []
    action, target, params = DEEDS[poll]
    return [simulation.actuator.call(action, target, params, f"key-{poll}")]


def test_a_source_killed_at_any_poll_goes_on_with_the_same_bytes() -> None:
    spec = parse_simulator_spec(STORY)
    undisturbed = open_simulation(spec, partitions=2)
    whole: list[list[Outbound]] = []
    while not undisturbed.source.ended:
        whole.append(list(undisturbed.source.poll(0)))
        act(undisturbed, len(whole))

    chance = random.Random(1)
    simulation, log, answers = open_simulation(spec, partitions=2), list[Outbound](), list[dict[str, Any]]()
    kills = sorted({*chance.sample(range(len(whole)), 8), 70, 95, 96, 97, 150})
    polls = 0
    while not simulation.source.ended:
        if polls in kills:
            kills.remove(polls)
            tail = Tail(cursors(log), recorded_actions(answers))
            simulation = open_simulation(spec, partitions=2, tail=tail)
        log += simulation.source.poll(0)
        polls += 1
        answers += act(simulation, polls)
    assert not kills
    assert log == [one for polled in whole for one in polled]
    assert simulation.world.failures == undisturbed.world.failures
    assert simulation.world.actions == undisturbed.world.actions


def test_an_action_taken_after_a_poll_that_was_never_appended_finds_the_world_where_it_was() -> None:
    spec = parse_simulator_spec(STORY)
    first = open_simulation(spec)
    log = drain(first, polls=95)
    lost = first.source.poll(0)
    answer = act(first, 96)[0]
    due = spec.start + 95 * 10_000 + 4_000  # the log's last record: a tick that came due within the lost chunk
    again = open_simulation(spec, tail=Tail(cursors(log), recorded_actions([answer]), due))
    assert again.world.now == first.world.now
    assert again.actuator.state(DATABASE_ARN) == first.actuator.state(DATABASE_ARN)
    assert again.source.poll(0) == lost
    assert drain(again) == drain(first)


def test_a_log_of_another_world_is_refused_with_advice() -> None:
    log = drain(open_simulation(parse_simulator_spec("sim:7?hours=1&faults=none")), polls=3)
    for other in ("sim:8?hours=1&faults=none", "sim:7?hours=1&faults=pool_leak@00:10"):
        with pytest.raises(ConfigError, match="another data folder"):
            open_simulation(parse_simulator_spec(other), tail=Tail(cursors(log)))
    longer = open_simulation(parse_simulator_spec("sim:7?hours=2&faults=none"), tail=Tail(cursors(log)))
    assert longer.world.now == longer.world.start + 30_000


# -- actuator, catalog, runbooks -------------------------------------------------------------------------------------


def test_an_answer_holds_all_that_a_restart_needs() -> None:
    simulation = open_simulation(parse_simulator_spec("sim:7"))
    simulation.source.poll(0)
    answer = simulation.actuator.call("rds.scale", DATABASE_ARN, {"max_connections": 150}, "k1")
    assert answer == {
        "at": simulation.world.now,
        "key": "k1",
        "action": "rds.scale",
        "target": DATABASE_ARN,
        "params": {"max_connections": 150},
        "result": {"status": "modifying", "pending": {"max_connections": 150}},
    }
    simulation.source.poll(0)
    assert simulation.actuator.call("rds.scale", DATABASE_ARN, {"max_connections": 150}, "k1") == answer
    assert recorded_actions([answer, answer]) == simulation.world.actions


def test_throttled_calls_are_transient_and_then_work() -> None:
    world = World(7)
    actuator = SimulatedActuator(world, throttled_calls=1)
    with pytest.raises(ActionError) as caught:
        actuator.call("ecs.restart", service_arn("web"), {}, "k")
    assert caught.value.transient
    assert actuator.call("ecs.restart", service_arn("web"), {}, "k")["result"]["status"] == "PRIMARY"


def test_the_catalog_names_every_service_and_only_targets_that_have_a_state() -> None:
    catalog = simulated_catalog(7)
    assert set(catalog.application(APPLICATION).services) == set(SHOP)
    actuator = SimulatedActuator(World(7))
    for target in catalog.targets:
        assert actuator.state(target.arn)["status"] in ("available", "ACTIVE", "Active", "running")
        assert target.service in SHOP
    assert catalog.application(APPLICATION).targets == tuple(target.arn for target in catalog.targets)
    assert catalog.version != simulated_catalog(8).version
    assert catalog == simulated_catalog(7)


def shipped() -> dict[str, Runbook]:
    books = [Runbook.model_validate(yaml.safe_load(file.read_text())) for file in sorted(RUNBOOKS.glob("*.yaml"))]
    return {book.id: book for book in books}


@pytest.mark.parametrize(
    ("runbook", "fault", "target"),
    [
        ("scale-database", "pool_leak", DATABASE_ARN),
        ("restart-service", "pool_leak", service_arn("checkout")),
        ("rollback-function", "bad_deploy", service_arn("payments")),
        ("rollback-service", "bad_deploy:orders", service_arn("orders")),
        ("replace-instance", "instance_terminated", ""),
    ],
)
def test_every_shipped_runbook_can_be_carried_out_reaches_its_state_and_can_be_undone(
    runbook: str, fault: str, target: str
) -> None:
    book = shipped()[runbook]
    simulation = open_simulation(parse_simulator_spec(f"sim:7?hours=1&faults={fault}@00:01"))
    drain(simulation, polls=100)
    target = target or instance_arn(simulation.world.failures[0].resource)
    before = simulation.actuator.state(target)
    assert book.require_state.items() <= before.items()
    assert {one.kind for one in simulated_catalog(7).targets if one.arn == target} == {book.target_kind}

    def known(params: Mapping[str, Any]) -> dict[str, Any]:
        prefix = "$snapshot."
        return {k: before[v.removeprefix(prefix)] if str(v).startswith(prefix) else v for k, v in params.items()}

    for number, step in enumerate(book.steps):
        simulation.actuator.call(step.call.action, target, known(step.call.params), f"do-{number}")
    drain(simulation, polls=int(book.verify.settle_seconds / 10) + 1)
    after = simulation.actuator.state(target)
    if runbook != "replace-instance":  # a new instance takes longer to boot than its errors take to settle
        assert known(book.verify.target_state).items() <= after.items()
    drain(simulation, polls=6)
    assert known(book.verify.target_state).items() <= simulation.actuator.state(target).items()
    assert all(known(step.expect).items() <= after.items() for step in book.steps)
    for number, step in enumerate(book.steps):
        if step.inverse is not None:
            simulation.actuator.call(step.inverse.action, target, known(step.inverse.params), f"undo-{number}")
            drain(simulation, polls=6)
            assert simulation.actuator.state(target) == before


def test_each_failure_mode_of_the_shop_has_a_runbook() -> None:
    modes = {mode for book in shipped().values() for mode in book.failure_modes}
    assert {"connection_pool_exhausted", "bad_deploy", "instance_lost", "service_down"} <= modes
