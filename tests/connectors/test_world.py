"""The simulated world: the same bytes for the same seed and actions; faults fail unless the right thing is done."""

from __future__ import annotations

import ast
import hashlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.world import DEFAULT_START, World, WorldTick
from connectors.world_faults import Fault
from connectors.world_shop import DATABASE_ARN, SHOP, first_instances, instance_arn, service_arn
from connectors.world_state import Shop
from models.errors import ActionError, ConfigError

MINUTE = 60_000
HOUR = 60 * MINUTE
MORNING = DEFAULT_START + 8 * HOUR
"""08:00: traffic is near its average."""

Deed = tuple[int, str, str, dict[str, Any]]
"""At which minute, action, target, parameters."""


def leak(at: int = 10) -> tuple[Fault, ...]:
    return (Fault("pool_leak", at * MINUTE),)


def run(world: World, minutes: int, deeds: Sequence[Deed] = (), cut: int = MINUTE) -> list[WorldTick]:
    """Let the world run to that minute, cut in pieces, with the deeds at their minutes."""
    ticks, waiting = [], sorted(deeds, key=lambda deed: deed[0])
    while world.now < world.start + minutes * MINUTE:
        while waiting and world.now - world.start >= waiting[0][0] * MINUTE:
            number, (_, action, target, params) = len(waiting), waiting.pop(0)
            world.act(action, target, params, key=f"{action}-{number}")
        ticks.append(world.advance(min(world.now + cut, world.start + minutes * MINUTE)))
    return ticks


def fingerprint(ticks: Sequence[WorldTick]) -> str:
    """A digest of all lines, envelopes and failures that does not depend on where the time was cut."""
    lines: dict[str, list[Any]] = {}
    for tick in ticks:
        for service, column in tick.lines.items():
            lines.setdefault(service, []).extend(zip(column.times, column.severity, column.texts, strict=True))
    envelopes = [sent for tick in ticks for sent in tick.envelopes]
    failures = [failure for tick in ticks for failure in tick.failures]
    return hashlib.sha256(repr((sorted(lines.items()), envelopes, failures)).encode()).hexdigest()


def count(ticks: Sequence[WorldTick], service: str, pattern: str) -> list[int]:
    """Lines of the service that match, by tick."""
    wanted = re.compile(pattern)
    empty: list[str] = []
    return [
        sum(wanted.search(text) is not None for text in (tick.lines[service].texts if service in tick.lines else empty))
        for tick in ticks
    ]


def downs(world: World) -> list[tuple[str, int]]:
    """(service, minute) of every service that stopped serving."""
    found = [one for one in world.failures if one.kind == "service_down"]
    return [(failure.service, (failure.at - world.start) // MINUTE) for failure in found]


# -- determinism -----------------------------------------------------------------------------------------------------


def eventful(seed: int = 7) -> World:
    """All that can happen within forty minutes."""
    faults = (
        Fault("pool_leak", 2 * MINUTE),
        Fault("instance_terminated", 18 * MINUTE),
        Fault("bad_deploy", 26 * MINUTE),
    )
    return World(seed, faults, start=MORNING)


DEEDS: tuple[Deed, ...] = (
    (17, "rds.scale", DATABASE_ARN, {"max_connections": 200}),
    (22, "rds.failover", DATABASE_ARN, {}),
    (32, "lambda.rollback_alias", service_arn("payments"), {}),
)


def test_the_same_seed_and_actions_give_the_same_bytes_and_another_seed_others() -> None:
    first, second, other = (fingerprint(run(eventful(seed), 45, DEEDS)) for seed in (7, 7, 8))
    assert first == second
    assert first != other


def test_where_time_is_cut_changes_nothing() -> None:
    # The deed happens between two pieces, so it is given at a moment that every cut reaches.
    def told(cut: int) -> str:
        world = eventful()
        first = run(world, 17, cut=cut)
        world.act("rds.scale", DATABASE_ARN, {"max_connections": 200}, "k")
        return fingerprint([*first, *run(world, 40, cut=cut)])

    assert len({told(cut) for cut in (1_000, 7_000, 10_000, MINUTE, 13 * MINUTE)}) == 1


def test_the_order_of_one_moment_does_not_depend_on_when_things_were_planned() -> None:
    first, second = Shop(7), Shop(7)
    for what in ("resized", "deploy", "terminated"):
        first.plan(5_000, what, "x")
    for what in ("terminated", "resized", "deploy"):
        second.plan(5_000, what, "x")
    assert first.agenda == second.agenda


def test_an_action_changes_what_follows_and_nothing_before() -> None:
    idle, acted = run(eventful(), 25), run(eventful(), 25, DEEDS)
    assert fingerprint(idle[:17]) == fingerprint(acted[:17])
    assert fingerprint(idle[17:]) != fingerprint(acted[17:])


def test_a_restored_world_goes_on_as_the_undisturbed_one() -> None:
    undisturbed = eventful()
    ticks = run(undisturbed, 40, DEEDS)
    for until in (0, 3, 17, 18, 23, 33):
        restored = eventful()
        restored.restore(undisturbed.actions, restored.start + until * MINUTE)
        assert fingerprint(run(restored, 40)) == fingerprint(ticks[until:]), until
        assert restored.actions == undisturbed.actions
        assert restored.failures == undisturbed.failures


def test_recorded_actions_of_another_world_are_refused_with_advice() -> None:
    world = eventful(7)
    run(world, 62, [(61, "ecs.restart", service_arn("checkout"), {})])
    with pytest.raises(ConfigError, match="another data folder"):
        eventful(8).restore(world.actions, MORNING + 70 * MINUTE)


# -- everyday --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def day() -> list[WorldTick]:
    """A day without faults, by minute."""
    return run(World(3), 24 * 60)


def test_a_quiet_world_has_no_failure_and_every_service_logs_each_minute_or_so(day: list[WorldTick]) -> None:
    assert not [failure for tick in day for failure in tick.failures]
    for service in SHOP:
        silent = sum(service not in tick.lines for tick in day)
        assert silent < 10, service
    total = sum(len(column.times) for tick in day for column in tick.lines.values())
    assert 5 < total / 86_400 < 20


def test_cron_jobs_can_be_scaled_down_to_none() -> None:
    def digests(jobs: float) -> int:
        return sum(count(run(World(3, jobs=jobs), 75), "notify", "digest"))

    assert digests(0) == 0
    assert 0 < digests(0.3) < digests(1.0)


def test_traffic_follows_the_hour_of_day(day: list[WorldTick]) -> None:
    lines = np.array([len(tick.lines["web"].times) for tick in day]).reshape(24, 60).sum(axis=1)
    assert lines[18:22].mean() > 1.3 * lines[1:5].mean()


@pytest.mark.parametrize(
    ("service", "pattern", "least"),
    [
        ("web", '"GET /products/.* 200', 1.5),
        ("web", r"\.php", 3.0),
        ("notify", "digest", 10.0),
        ("search", "slow query", 3.0),
    ],
)
def test_counts_are_overdispersed(day: list[WorldTick], service: str, pattern: str, least: float) -> None:
    counts = np.array(count(day, service, pattern))
    assert counts.var() / counts.mean() > least


def test_noise_is_correlated_in_time_across_services_and_heavy_tailed(day: list[WorldTick]) -> None:
    def residual(service: str) -> np.ndarray[Any, Any]:
        counts = np.array([len(tick.lines[service].times) if service in tick.lines else 0 for tick in day], float)
        smooth = np.convolve(np.pad(counts, 60, mode="edge"), np.ones(121) / 121, mode="valid")
        return np.asarray(counts / smooth - 1)

    web, checkout = residual("web"), residual("checkout")
    assert np.corrcoef(web[:-1], web[1:])[0, 1] > 0.3, "slow noise"
    assert np.corrcoef(web, checkout)[0, 1] > 0.1, "services share their load"
    static, products = (np.array(count(day, "web", text)) + 1.0 for text in ("static", "GET /products"))
    ratio = np.log(static / products)
    assert np.corrcoef(ratio[:-1], ratio[1:])[0, 1] > 0.2, "lines of one service drift apart for a while"
    bots = np.array(count(day, "web", r"\.php"))
    assert bots.max() > 8 * bots.mean(), "clumps"


def test_timers_are_more_regular_than_chance(day: list[WorldTick]) -> None:
    counts = np.array(count(day, "web", "healthz"))
    assert counts.var() / counts.mean() < 0.3


def test_releases_bring_lines_never_seen_before(day: list[WorldTick]) -> None:
    calls = [sent for tick in day for at, sent in tick.envelopes if sent["source"] == "aws.ecs"]
    first = next(sent["detail"] for sent in calls if sent["detail"]["eventName"] == "UpdateService")
    service = first["requestParameters"]["service"]

    def shapes(ticks: Sequence[WorldTick]) -> Counter[str]:
        texts = [text for tick in ticks if service in tick.lines for text in tick.lines[service].texts]
        return Counter(re.sub(r"\S*\d\S*", "#", text) for text in texts)

    deployed = next(
        number for number, tick in enumerate(day) if any(sent["detail"] == first for _, sent in tick.envelopes)
    )
    before, after = shapes(day[:deployed]), shapes(day[deployed : deployed + 180])
    assert any(after[shape] > 100 and shape not in before for shape in after)


# -- faults and actions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_an_unhealed_leak_errs_first_rarely_then_tens_a_minute_and_fails_20_to_40_minutes_later(seed: int) -> None:
    world = World(seed, leak(), start=DEFAULT_START + (3 * seed) * HOUR)
    errors = count(run(world, 75), "checkout", "connection pool exhausted")
    begins = next(at for at in range(10, 75) if sum(errors[at : at + 2]) >= 3)
    assert sum(errors[:10]) <= 8
    assert max(errors[begins : begins + 2]) < 25, "rare at first"
    assert sorted(errors[begins + 5 : begins + 15])[5] >= 20, "then tens a minute"
    service, down = downs(world)[0]
    assert service == "checkout"
    assert 15 <= down - begins <= 40
    assert world.failures[0].cause == "connection_pool_exhausted"
    assert sum(errors[down + 1 :]) == 0, "what is down does not log"


def test_scaling_the_database_heals_the_leak_for_good() -> None:
    world = World(7, leak(), start=MORNING)
    errors = count(
        run(world, 240, [(30, "rds.scale", DATABASE_ARN, {"max_connections": 200})]), "checkout", "pool exhausted"
    )
    assert max(errors[26:31]) >= 20
    assert max(errors[33:]) <= 5
    assert not world.failures


def test_people_mend_the_leak_with_a_new_release_and_start_what_is_down() -> None:
    world = World(7, (*leak(), Fault("hotfix", 50 * MINUTE)), start=MORNING)
    ticks = run(world, 120)
    errors = count(ticks, "checkout", "pool exhausted")
    assert [service for service, _ in downs(world)] == ["checkout"]
    assert downs(world)[0][1] < 50
    assert max(errors[51:]) <= 5
    assert min(len(tick.lines["checkout"].times) for tick in ticks[52:]) > 20, "it serves again"
    assert world.state(service_arn("checkout"))["release"] == SHOP["checkout"].release + 1


def test_restarting_checkout_helps_for_a_while() -> None:
    world = World(7, leak(), start=MORNING)
    errors = count(run(world, 75, [(30, "ecs.restart", service_arn("checkout"), {})]), "checkout", "pool exhausted")
    assert max(errors[32:38]) <= 5
    assert downs(world), "and then it leaks again"
    unhealed = World(7, leak(), start=MORNING)
    run(unhealed, 75)
    assert downs(world)[0][1] > downs(unhealed)[0][1] + 5


def test_scaling_web_is_useless_and_failing_the_database_over_does_harm() -> None:
    def story(deeds: Sequence[Deed]) -> tuple[int, int, int]:
        world = World(7, leak(), start=MORNING)
        errors = count(run(world, 60, deeds), "checkout", "pool exhausted|connection to orders-db lost")
        return errors[21], errors[22], downs(world)[0][1]

    nothing = story([])
    assert story([(21, "ecs.scale", service_arn("web"), {"desired": 5})]) == nothing
    at_once, later, down = story([(21, "rds.failover", DATABASE_ARN, {})])
    assert at_once > 2 * nothing[0]
    assert later > 1.5 * nothing[1], "everyone connects anew"
    assert down < nothing[2]


def test_more_tasks_of_checkout_want_more_connections() -> None:
    def down(deeds: Sequence[Deed]) -> int:
        world = World(7, leak(), start=MORNING)
        run(world, 60, deeds)
        return downs(world)[0][1]

    assert down([(12, "ecs.scale", service_arn("checkout"), {"desired": 6})]) < down([])


@pytest.mark.parametrize(
    ("service", "right", "wrong"),
    [
        ("payments", "lambda.rollback_alias", ("ecs.restart", "checkout")),
        ("orders", "ecs.rollback", ("ecs.restart", "orders")),
    ],
)
def test_a_bad_deploy_is_healed_by_rolling_back_and_not_by_restarting(
    service: str, right: str, wrong: tuple[str, str]
) -> None:
    def story(deeds: Sequence[Deed]) -> tuple[list[int], World]:
        world = World(7, (Fault("bad_deploy", 10 * MINUTE, service),), start=MORNING)
        ticks = run(world, 75, deeds)
        return count(ticks, service, "KeyError|cannot decode"), world

    errors, world = story([])
    assert sum(errors[:10]) == 0
    assert min(errors[11:20]) > 10
    assert (service, world.failures[0].cause) == (downs(world)[0][0], "bad_deploy")
    errors, world = story([(20, right, service_arn(service), {})])
    assert sum(errors[21:]) == 0
    assert not world.failures
    errors, world = story([(20, wrong[0], service_arn(wrong[1]), {})])
    assert min(errors[21:24]) > 10
    assert downs(world)


def test_a_lost_instance_overloads_the_rest_until_it_is_replaced() -> None:
    def story(deeds: Sequence[Deed]) -> tuple[list[WorldTick], World]:
        world = World(7, (Fault("instance_terminated", 10 * MINUTE),), start=MORNING)
        return run(world, 60, deeds), world

    ticks, world = story([])
    lost, down = world.failures[0], world.failures[1]
    assert (lost.kind, lost.service, down.kind, down.service) == (
        "instance_lost",
        "inventory",
        "service_down",
        "inventory",
    )
    sent = [envelope for tick in ticks for _, envelope in tick.envelopes if envelope["source"] == "aws.ec2"]
    assert [envelope["detail"]["state"] for envelope in sent] == ["shutting-down", "terminated"]
    target = instance_arn(lost.resource)
    assert world.state(target)["status"] == "terminated"

    ticks, world = story([(12, "ec2.replace", target, {})])
    assert [failure.kind for failure in world.failures] == ["instance_lost"]
    state = world.state(target)
    assert (state["replaced"], state["replacement_status"]) == (True, "running")
    running = [at for tick in ticks for at, sent in tick.envelopes if sent["detail"].get("state") == "running"]
    assert 40_000 <= running[0] - (world.start + 12 * MINUTE) <= 60_000
    errors = count(ticks, "inventory", "queue full")
    assert min(errors[11], errors[12]) > 3
    assert sum(errors[14:]) <= 3


def test_replacing_a_healthy_instance_costs_its_capacity_for_a_while() -> None:
    world = World(7, start=MORNING)
    target = instance_arn(first_instances(7, "inventory")[0])
    errors = count(run(world, 10, [(3, "ec2.replace", target, {})]), "inventory", "queue full")
    assert errors[3] > 3
    assert sum(errors[:3]) == sum(errors[5:]) == 0


# -- the actuator's manners ------------------------------------------------------------------------------------------


def test_the_same_key_acts_once_and_answers_the_same() -> None:
    world = World(7, start=MORNING)
    run(world, 1)
    first = world.act("ecs.restart", service_arn("web"), {}, "k")
    run(world, 3)
    assert world.act("ecs.restart", service_arn("web"), {}, "k") == first
    assert world.state(service_arn("web"))["restarts"] == 1


@pytest.mark.parametrize(
    ("action", "target", "params", "words"),
    [
        ("rds.drop", DATABASE_ARN, {}, "The simulator knows: ecs.restart"),
        ("rds.scale", "arn:aws:rds:x", {"max_connections": 200}, "no database"),
        ("rds.scale", DATABASE_ARN, {"max_connections": "many"}, "whole number from 10 to 5000"),
        ("ecs.restart", "web", {}, "catalog lists"),
        ("ecs.restart", service_arn("payments"), {}, "unknown ecs"),
        ("ec2.reboot", "i-1", {}, "unknown instance"),
        ("ecs.rollback", service_arn("web"), {"release": 10_000}, "whole number from 1 to"),
    ],
)
def test_what_cannot_be_done_is_refused_with_words_and_leaves_no_trace(
    action: str, target: str, params: dict[str, Any], words: str
) -> None:
    world = World(7, start=MORNING)
    with pytest.raises(ActionError, match=words) as caught:
        world.act(action, target, params, "k")
    assert not caught.value.transient
    assert world.actions == []
    assert fingerprint(run(world, 5)) == fingerprint(run(World(7, start=MORNING), 5))


def test_a_busy_database_and_a_throttled_provider_say_try_again() -> None:
    world = World(7, (Fault("api_throttled", 5 * MINUTE),), start=MORNING)
    world.act("rds.scale", DATABASE_ARN, {"max_connections": 200}, "a")
    assert world.state(DATABASE_ARN) == {"status": "modifying", "max_connections": 100, "multi_az": True}
    with pytest.raises(ActionError) as caught:
        world.act("rds.scale", DATABASE_ARN, {"max_connections": 300}, "b")
    assert caught.value.transient
    run(world, 1)
    assert world.state(DATABASE_ARN) == {"status": "available", "max_connections": 200, "multi_az": True}
    run(world, 5)
    world.advance(world.now + 1_000)
    with pytest.raises(ActionError, match="Throttling") as caught:
        world.act("ecs.restart", service_arn("web"), {}, "c")
    assert caught.value.transient
    run(world, 7)
    world.act("ecs.restart", service_arn("web"), {}, "c")


def test_the_world_goes_forwards_in_whole_seconds() -> None:
    world = World(7)
    for to in (world.now - 1_000, world.now + 500):
        with pytest.raises(ConfigError, match="whole seconds, forwards"):
            world.advance(to)


# -- what it may know ------------------------------------------------------------------------------------------------


def test_the_world_knows_nothing_of_who_watches_it() -> None:
    allowed = {"catalog", "errors", "event", "eventbridge", "log", "policy", "runbook", "topics"}
    folder = Path(__file__).parents[2] / "connectors"
    files = [*folder.glob("world*.py"), *folder.glob("simulator*.py")]
    assert len(files) >= 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("models", "streams")):
                assert node.module.removeprefix("models.") in allowed, f"{file.name} imports {node.module}"


@pytest.mark.bench
def test_a_world_runs_hundreds_of_times_faster_than_time() -> None:
    world = World(7, leak(), start=MORNING)
    begun = time.process_time()
    run(world, 60, cut=10_000)
    assert time.process_time() - begun < 3_600 / 300
