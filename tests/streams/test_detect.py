"""The step detect, fed with counts as its host would: what it finds, when, and that delivery does not matter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from detect_driver import Driver, Row, section_of

from models.anomaly import Kind, Status, Tier
from models.catalog import Application, Catalog
from models.errors import ContractError
from models.policy import DetectionPolicy
from models.service_state import OpenBucket
from models.template import BUCKET_MS
from models.window import learning_delay
from streams.detect_buckets import close_until
from streams.detect_judge import Judge

START = 170_000_004  # a bucket that begins a minute; event time of the first line of each world
MINUTE = 6


@dataclasses.dataclass
class World:
    """A service's lines as a table of rows, bucket by bucket; `means` a minute by template."""

    means: dict[str, float]
    seed: int = 1
    rows: dict[int, list[Row]] = dataclasses.field(default_factory=dict)
    end: int = START

    def live(self, buckets: int, **changed: float) -> World:
        rng = np.random.default_rng((self.seed, self.end))
        means = self.means | changed
        table = rng.poisson([mean / MINUTE for mean in means.values()], (buckets, len(means)))
        for bucket, counts in zip(range(self.end, self.end + buckets), table.tolist(), strict=True):
            self.rows[bucket] = [(bucket, name, n) for name, n in zip(means, counts, strict=True) if n]
        self.end += buckets
        return self

    def between(self, start: int, end: int) -> list[Row]:
        return [row for bucket in range(start, end) for row in self.rows.get(bucket, ())]


STORY = {"exhausted": 4.2, "login": 30.0, "query": 60.0, "tick": 6.0}
TEXTS = {"exhausted": "connection pool <*> exhausted, request failed", "fresh": "write failed on <*>"}


def feed(
    driver: Driver, world: World, start: int, end: int, step: int = 1, texts: dict[str, str] | None = None
) -> None:
    for at in range(start, end, step):
        stop = min(at + step, end)
        driver.counts({"s": stop * BUCKET_MS}, {"web": world.between(at, stop)}, texts=TEXTS)


def spikes(driver: Driver, name: str) -> list:
    return [told for told in driver.told if told.kind is Kind.SPIKE and told.template_id == name]


@pytest.fixture(scope="module")
def warm_story() -> tuple[bytes, World]:
    """300 quiet minutes, and the state after them."""
    world, driver = World(STORY).live(300 * MINUTE), Driver()
    feed(driver, world, START, world.end, 6)
    return driver.states["web"].dump(), world


def resume(warm_story: tuple[bytes, World]) -> tuple[Driver, World]:
    raw, world = warm_story
    driver = Driver()
    driver.states["web"] = driver.step.state.load(raw)
    driver.counts({"s": world.end * BUCKET_MS}, {}, of={"s": ["web"]})
    return driver, World(STORY, world.seed, dict(world.rows), world.end)


def test_a_surge_to_forty_five_a_minute_is_an_alarm_within_a_minute_and_ends_when_it_ends(
    warm_story: tuple[bytes, World],
) -> None:
    driver, world = resume(warm_story)
    onset = world.end
    world.live(6 * MINUTE, exhausted=45.0).live(6 * MINUTE)
    feed(driver, world, onset, world.end)
    told = spikes(driver, "exhausted")
    alarm = next(one for one in told if one.tier is Tier.ALARM)
    assert (alarm.window.end // BUCKET_MS - onset) * 10 <= 60
    assert alarm.expected == pytest.approx(4.2, rel=0.3)
    assert alarm.observed > 15
    assert alarm.sigma >= 3.5
    assert alarm.text == TEXTS["exhausted"]
    assert alarm.baseline.warm
    assert 1 <= len(alarm.evidence) <= 5
    assert told[0].status is Status.OPENED
    assert told[-1].status is Status.CLEARED
    assert [one.revision for one in told] == list(range(1, len(told) + 1))
    assert len({one.anomaly_id for one in told}) == 1
    assert told[-1].window.end // BUCKET_MS <= onset + 6 * MINUTE + 9


def test_while_an_alarm_is_open_its_series_learns_nothing(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    onset = world.end
    world.live(60 * MINUTE, exhausted=45.0)
    feed(driver, world, onset, onset + 3 * MINUTE)
    state = driver.states["web"]
    slot = state.series.slot_of["exhausted"]
    before, other = int(state.base.n[slot]), int(state.base.n[state.series.slot_of["login"]])
    feed(driver, world, onset + 3 * MINUTE, world.end)
    assert int(state.base.n[slot]) == before
    assert int(state.base.n[state.series.slot_of["login"]]) == other + 57


def test_a_spike_is_told_before_its_window_closes_and_confirmed_at_closing(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    now = world.end
    driver.counts({"s": now * BUCKET_MS}, {"web": [(now, "exhausted", 30)]}, texts=TEXTS)
    early = driver.told[-1]
    assert (early.status, early.tier, early.window.closed) == (Status.OPENED, Tier.ALARM, False)
    driver.counts({"s": (now + 1) * BUCKET_MS}, {"web": [(now, "exhausted", 1)]}, texts=TEXTS)
    closed = driver.told[-1]
    assert (closed.status, closed.window.closed, closed.anomaly_id) == (Status.UPDATED, True, early.anomaly_id)
    assert closed.observed == early.observed + 1
    assert closed.log10_p < early.log10_p


def test_an_anomaly_told_early_keeps_its_id_when_an_older_window_closes_first(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    now = world.end
    driver.counts({"s": now * BUCKET_MS}, {"web": [(now, "exhausted", 1), (now + 1, "exhausted", 30)]}, texts=TEXTS)
    assert [one.window.end for one in driver.told] == [(now + 2) * BUCKET_MS]
    driver.counts({"s": (now + 1) * BUCKET_MS}, {"web": [(now, "exhausted", 30)]}, texts=TEXTS)
    told = spikes(driver, "exhausted")
    assert [one.window.end for one in told] == [(now + 2) * BUCKET_MS, (now + 1) * BUCKET_MS]
    assert told[0].anomaly_id == told[1].anomaly_id
    assert [one.revision for one in told] == [1, 2]


def test_what_is_told_of_closed_windows_does_not_depend_on_delivery() -> None:
    world = World(STORY).live(150 * MINUTE).live(3 * MINUTE, exhausted=45.0).live(20 * MINUTE)
    world.live(4 * MINUTE, exhausted=0, login=0, query=0, tick=0).live(30 * MINUTE)
    world.live(20 * MINUTE, login=1.0).live(10 * MINUTE)
    answers, states = [], []
    for step, dump_every, ahead in ((1, 0, 0), (1, 50, 2), (17, 0, 1), (999, 0, 0)):
        driver = Driver(dump_every)
        for at in range(START, world.end, step):
            # `ahead`: lines come before the source says that they are complete.
            stop = min(at + step, world.end)
            covered = max(stop - ahead, START) if stop < world.end else stop
            driver.counts({"s": covered * BUCKET_MS}, {"web": world.between(at, stop)}, texts=TEXTS)
        answers.append([told.digest_view() for told in driver.told if told.window.closed])
        states.append(
            [getattr(driver.states["web"].base, name)[:7].tolist() for name in ("n", "mean", "excess", "fast")]
        )
    assert {view["kind"] for view in answers[0]} >= {"spike", "service_silent", "drop"}
    for other in answers[1:]:
        assert other == answers[0]
    assert states.count(states[0]) == len(states)


def test_equal_inputs_give_equal_bytes() -> None:
    world = World(STORY).live(40 * MINUTE).live(MINUTE, exhausted=90.0)
    dumps = []
    for _ in range(2):
        driver = Driver()
        feed(driver, world, START, world.end, 2)
        dumps.append((driver.states["web"].dump(), [told.model_dump_json() for told in driver.told]))
    assert dumps[0] == dumps[1]


def test_a_failure_never_seen_before_is_an_alarm_once_the_service_is_warm(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    now = world.end
    world.live(10 * MINUTE)
    rows = [(now, "fresh", 3)]
    driver.counts({"s": now * BUCKET_MS}, {"web": rows}, texts=TEXTS)
    assert not driver.told
    driver.counts({"s": (now + 1) * BUCKET_MS}, {"web": [(now + 1, "fresh", 3), (now + 1, "plain", 50)]}, texts=TEXTS)
    early = driver.told[-1]
    assert (early.kind, early.tier, early.template_id) == (Kind.NOVELTY, Tier.ALARM, "fresh")
    assert (early.status, early.window.closed, early.observed) == (Status.OPENED, False, 6)
    assert len(early.evidence) == 1
    feed(driver, world, now + 2, world.end)
    mine = [told for told in driver.told if told.kind is Kind.NOVELTY]
    assert [told.status for told in mine] == [Status.OPENED, Status.UPDATED, Status.CLEARED]
    assert not [told for told in driver.told if told.template_id == "plain"]


def test_services_of_one_clock_learn_the_same_minutes_but_not_all_in_the_same_bucket() -> None:
    names = ["checkout", "cart", "worker", "app", "login", "web"]
    driver, learnt_at = Driver(), {}
    assert [learning_delay(name) for name in names] == [0, 1, 2, 3, 4, 5]
    for bucket in range(START, START + 3 * MINUTE):
        rows = [(bucket, "tick", bucket % MINUTE + 1)]
        before = {name: int(state.base.n[0]) for name, state in driver.states.items()}
        driver.counts({"s": (bucket + 1) * BUCKET_MS}, dict.fromkeys(names, rows))
        for name, state in driver.states.items():
            if state.base.n[0] > before.get(name, 0):
                learnt_at.setdefault(name, bucket - START)
                assert state.base.mean[0] == 1 + 2 + 3 + 4 + 5 + 6
    assert learnt_at == {name: 2 * MINUTE - 1 + delay for delay, name in enumerate(names)}
    for delay, name in enumerate(names):
        marks = [health.watermark // BUCKET_MS - START for health in driver.health if health.service == name]
        assert [mark for mark in marks if mark > MINUTE] == list(
            range(MINUTE + (delay or MINUTE), 3 * MINUTE + 1, MINUTE)
        )


def test_services_with_the_same_templates_hold_their_words_once_also_when_read_back() -> None:
    driver = Driver(dump_every=30)
    for bucket in range(START, START + 50):
        for name in ("web", "shop"):  # of two messages: the words of each are strings of their own
            text = "".join(["tick of ", "all"])
            rows = [(bucket, "".join(["ti", "ck"]), 1)]
            driver.counts({name: (bucket + 1) * BUCKET_MS}, {name: rows}, texts={"tick": text}, of={name: [name]})
        if bucket in (START + 10, START + 49):
            one, other = (driver.states[name].series for name in ("web", "shop"))
            assert one.ids[-1] is other.ids[-1]
            assert one.texts[-1] is other.texts[-1]


def test_novelty_is_silent_in_a_service_that_is_not_warm() -> None:
    driver, world = Driver(), World(STORY).live(100 * MINUTE)
    world.rows[START + 500].append((START + 500, "fresh", 40))
    feed(driver, world, START, world.end)
    assert not [told for told in driver.told if told.kind is Kind.NOVELTY]


def test_a_service_gone_quiet_is_told_while_its_source_lives_and_cleared_when_it_speaks(
    warm_story: tuple[bytes, World],
) -> None:
    driver, world = resume(warm_story)
    quiet = world.end
    for bucket in range(quiet, quiet + 5 * MINUTE):
        driver.counts({"s": (bucket + 1) * BUCKET_MS}, {}, of={"s": ["web"]})
    told = [one for one in driver.told if one.kind is Kind.SERVICE_SILENT]
    assert told[-1].tier is Tier.ALARM
    assert told[-1].window.start == quiet * BUCKET_MS
    assert told[-1].window.end <= (quiet + MINUTE) * BUCKET_MS
    assert not driver.health[-1].alive
    world.end = quiet + 5 * MINUTE
    world.live(3 * MINUTE)
    feed(driver, world, quiet + 5 * MINUTE, world.end)
    assert [one for one in driver.told if one.kind is Kind.SERVICE_SILENT][-1].status is Status.CLEARED
    assert driver.health[-1].alive
    assert {one.kind for one in driver.told} == {Kind.SERVICE_SILENT}


def test_a_stalled_source_is_told_as_such_and_its_service_is_not_called_silent(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    covered = world.end * BUCKET_MS
    for second in range(1, 400):
        driver.counts({"s": covered}, {}, at=covered + second * 1_000, of={"s": ["web"]})
    assert [(one.kind, one.status, one.source_id) for one in driver.told] == [(Kind.SOURCE_STALLED, Status.OPENED, "s")]
    assert driver.told[0].tier is Tier.ALARM
    stalled_at = driver.told[0].window.end
    assert covered + 60_000 <= stalled_at <= covered + 80_000
    driver.counts({"s": covered + 395_000}, {}, at=covered + 400_000, of={"s": ["web"]})
    stall = [one for one in driver.told if one.kind is Kind.SOURCE_STALLED]
    assert [one.status for one in stall] == [Status.OPENED, Status.CLEARED]
    assert len({one.anomaly_id for one in stall}) == 1


def test_a_source_that_reads_old_lines_is_late_not_stalled() -> None:
    driver, world = Driver(), World(STORY).live(20 * MINUTE)
    years = 20 * 365 * 86_400_000
    for bucket in range(START, world.end):
        at = bucket * BUCKET_MS + years + bucket * 50
        driver.counts({"s": (bucket + 1) * BUCKET_MS}, {"web": world.rows[bucket]}, at=at)
    assert driver.told == []
    assert int(driver.states["web"].base.n[0]) >= 18


def test_a_stalled_source_does_not_hold_its_service_back_for_ever() -> None:
    driver, world = Driver(), World(STORY).live(40 * MINUTE)
    half = START + 20 * MINUTE
    for bucket in range(START, world.end):
        until = (bucket + 1) * BUCKET_MS
        covered = {"a": until, "b": min(until, half * BUCKET_MS)}
        driver.counts(covered, {"web": world.rows[bucket]})
    state = driver.states["web"]
    assert state.next_bucket == world.end
    assert [one.source_id for one in driver.told] == ["b"]
    learnt = int(state.base.n[0])
    assert 18 <= learnt <= 20  # nothing is learnt of time that one of its sources has not covered


def test_a_source_that_is_no_longer_listed_holds_nothing_back() -> None:
    driver, world = Driver(), World(STORY).live(10 * MINUTE)
    driver.counts({"gone": START * BUCKET_MS, "s": START * BUCKET_MS}, {"web": world.rows[START]})
    covered = (START + 1) * BUCKET_MS
    driver.counts({"s": covered}, {}, at=START * BUCKET_MS + 2_500, of={"s": ["web"]})
    assert driver.states["web"].next_bucket == START
    driver.counts({"s": covered}, {}, at=START * BUCKET_MS + 3_500, of={"s": ["web"]})
    assert driver.states["web"].next_bucket == START + 1
    assert not driver.told


def test_days_with_a_stalled_source_are_closed_at_one_stroke_and_are_no_silence(
    warm_story: tuple[bytes, World],
) -> None:
    driver, world = resume(warm_story)
    end, of = world.end * BUCKET_MS, {"s": ["web"], "b": ["web"]}
    for second in range(0, 90, 10):
        driver.counts({"s": end + second * 1_000, "b": end}, {}, at=end + second * 1_000, of=of)
    learnt = int(driver.states["web"].base.n[0])
    later = end + 400 * 86_400_000
    driver.counts({"s": later, "b": end}, {}, at=later, of=of)
    state = driver.states["web"]
    assert state.next_bucket == later // BUCKET_MS
    assert int(state.base.n[0]) == learnt
    assert Kind.SERVICE_SILENT not in {one.kind for one in driver.told}


def test_a_drop_of_a_template_is_told_while_others_go_on(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    onset = world.end
    world.live(10 * MINUTE, login=0.0).live(10 * MINUTE)
    feed(driver, world, onset, world.end)
    drops = [one for one in driver.told if one.kind is Kind.DROP and one.template_id == "login"]
    assert drops[0].status is Status.OPENED
    assert (drops[0].window.end // BUCKET_MS - onset) <= 3 * MINUTE
    assert drops[0].observed < drops[0].expected
    assert drops[-1].status is Status.CLEARED


def test_late_lines_are_counted_and_change_nothing_that_has_closed(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    late = [(world.end - 3, "exhausted", 500)]
    driver.counts({"s": (world.end + 6) * BUCKET_MS}, {"web": late}, texts=TEXTS)
    assert driver.states["web"].lost == {"late": 500}
    assert driver.health[-1].lost == {"late": 500}
    assert not driver.states["web"].pending
    assert spikes(driver, "exhausted") == []


def test_lines_from_the_future_are_counted_not_kept(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    rows = [(world.end, "login", 1), (world.end + 10_000_000, "login", 7)]
    driver.counts({"s": world.end * BUCKET_MS}, {"web": rows})
    assert driver.states["web"].lost == {"future": 7}
    assert len(driver.states["web"].pending) == 1


def test_a_source_complete_to_the_future_is_a_dead_letter_and_changes_nothing() -> None:
    driver = Driver()
    with pytest.raises(ContractError, match="correct that clock"):
        driver.counts({"s": START * BUCKET_MS}, {"web": [(START, "login", 1)]}, at=START * BUCKET_MS - 3_600_001)
    assert driver.shared.sources == {}


def test_years_without_a_line_are_closed_at_one_stroke(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    gap = 3 * 365 * 8_640
    back = World(STORY, 9, end=world.end + gap).live(40 * MINUTE)
    closings = 0
    state = driver.states["web"]
    push = state.ring.push

    def counting(bucket: int, counts: np.ndarray | None) -> None:
        nonlocal closings
        closings += 1
        push(bucket, counts)

    state.ring.push = counting
    driver.counts({"s": (world.end + gap) * BUCKET_MS}, {}, of={"s": ["web"]})
    assert closings <= 100
    assert [(one.kind, one.tier) for one in driver.told] == [
        (Kind.SERVICE_SILENT, Tier.ALARM),
    ]
    feed(driver, back, world.end + gap, back.end)
    assert driver.told[-1].status is Status.CLEARED
    assert not [one for one in driver.told if one.tier is Tier.ALARM and one.kind is Kind.DROP]


def test_templates_beyond_the_cap_are_counted_as_overflow_whatever_order_they_come_in() -> None:
    catalog = Catalog(detection=DetectionPolicy(max_templates=10))
    seen = []
    for order in (1, -1):
        driver = Driver()
        driver.give(catalog, 0)
        rows = [(START, f"t{k:02d}", 2) for k in range(40)][::order]
        driver.counts({"s": START * BUCKET_MS}, {"web": rows[:25]})
        driver.counts({"s": (START + 1) * BUCKET_MS}, {"web": rows[25:]})
        state = driver.states["web"]
        seen.append((state.series.ids, int(state.ring.minute[2]), int(state.ring.minute[0])))
        assert not state.unborn
    assert seen[0] == seen[1]
    assert seen[0][0][3:] == [f"t{k:02d}" for k in range(10)]
    assert seen[0][1:] == (60, 80)


def test_a_busier_newcomer_takes_the_slot_of_a_template_forgotten_but_never_of_an_error() -> None:
    driver = Driver()
    driver.give(Catalog(detection=DetectionPolicy(max_templates=10)), 0)
    rows = [(START, f"t{k}", 1) for k in range(10)]
    driver.counts({"s": (START + 1) * BUCKET_MS}, {"web": rows}, severity={"t0": 4})
    for bucket in range(START + 1, START + 15 * MINUTE):
        driver.counts({"s": (bucket + 1) * BUCKET_MS}, {"web": [(bucket, f"t{k}", 1) for k in range(2, 10)]})
    bucket = START + 15 * MINUTE
    driver.counts({"s": (bucket + 1) * BUCKET_MS}, {"web": [(bucket, "new", 5), (bucket, "other", 1)]})
    ids = driver.states["web"].series.ids[3:]
    assert ids == ["t0", "new", *(f"t{k}" for k in range(2, 10))]
    assert int(driver.states["web"].ring.minute[2]) == 1


def test_heartbeats_inside_a_bucket_cost_no_parts_and_each_border_one_a_service() -> None:
    driver = Driver()
    names = [f"svc{k}" for k in range(50)]
    own = {name: [name] for name in names}
    driver.counts(dict.fromkeys(names, START * BUCKET_MS), {name: [(START, "a", 1)] for name in names}, of=own)
    assert driver.parts == 50
    for second in range(1, 10):
        covered = START * BUCKET_MS + second * 1_000
        driver.counts(dict.fromkeys(names, covered), {}, of=own)
    assert driver.parts == 50
    driver.counts(dict.fromkeys(names, (START + 1) * BUCKET_MS), {}, of=own)
    assert driver.parts == 100
    assert {state.next_bucket for state in driver.states.values()} == {START + 1}


def test_health_shows_what_is_open_and_for_fifteen_minutes_what_was(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    onset = world.end
    world.live(2 * MINUTE, exhausted=60.0).live(25 * MINUTE)
    feed(driver, world, onset, onset + 2 * MINUTE)
    series = next(one for one in driver.health[-1].open if one.template_id == "exhausted")
    assert series.kinds == (Kind.SPIKE,)
    assert sum(series.observed) == sum(n for _, name, n in world.between(onset + 6, onset + 12) if name == "exhausted")
    assert max(series.observed) > series.upper >= 1
    assert driver.health[-1].watermark == (onset + 2 * MINUTE) * BUCKET_MS
    driver.health.clear()
    feed(driver, world, onset + 2 * MINUTE, onset + 10 * MINUTE)
    assert len(driver.health) == 8 * MINUTE  # each bucket: an alarm was open within 15 minutes
    series = next(one for one in driver.health[-1].open if one.template_id == "exhausted")
    assert series.kinds == ()
    assert max(series.observed) <= series.upper
    feed(driver, world, onset + 10 * MINUTE, world.end)
    assert "exhausted" not in [one.template_id for one in driver.health[-1].open]


def test_anomalies_go_to_their_service_and_to_the_signals_of_its_application(warm_story: tuple[bytes, World]) -> None:
    driver, world = resume(warm_story)
    driver.give(Catalog(applications=(Application(name="shop", services=("web",)),)), 0)
    emitted = []
    advance = driver.step.advance

    def keeping(*args: object) -> object:
        turn = advance(*args)
        emitted.extend(turn.emits)
        return turn

    driver.step.advance = keeping
    driver.counts({"s": world.end * BUCKET_MS}, {"web": [(world.end, "exhausted", 60)]}, texts=TEXTS)
    assert [(emit.topic, emit.key) for emit in emitted] == [("anomalies", "web"), ("signals", "shop")]
    assert emitted[0].data == emitted[1].data
    assert emitted[0].data.application == "shop"


def test_columns_that_do_not_fit_are_a_dead_letter_before_anything_changes() -> None:
    driver = Driver()
    driver.counts({"s": START * BUCKET_MS}, {"web": [(START, "a", 1)]})
    before = driver.shared.model_dump_json()
    broken = section_of("web", [(START, "a", 1)], {}, {}).model_copy(update={"n": [1, 2]})
    data = driver.batch({"s": (START + 1) * BUCKET_MS}, (broken,))
    with pytest.raises(ContractError, match="columns"):
        driver.give(data, (START + 1) * BUCKET_MS)
    assert driver.shared.model_dump_json() == before


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_a_surge_is_found_as_fast_as_the_method_says(spread: float) -> None:
    """4.2 to 45 a minute with failure words, 25 onsets: median 25 s (Poisson) and 48 s (a = 0.3), all within 120 s."""
    delays = []
    rng = np.random.default_rng(8)
    names, means = list(STORY), np.array(list(STORY.values()))

    def rows(bucket: int, mean: np.ndarray, level: np.ndarray) -> list[Row]:
        return [(bucket, name, n) for name, n in zip(names, rng.poisson(mean / 6 * level).tolist(), strict=True) if n]

    def level() -> np.ndarray:
        return rng.gamma(1 / spread, spread, 4) if spread else np.ones(4)

    warm, bucket = Driver(), START
    for _ in range(320):
        high = level()
        for _ in range(6):
            warm.counts({"s": (bucket + 1) * BUCKET_MS}, {"web": rows(bucket, means, high)}, texts=TEXTS)
            bucket += 1
    raw, surge = warm.states["web"].dump(), means * [45 / 4.2, 1, 1, 1]
    for _ in range(25):
        driver = Driver()
        driver.states["web"], high = driver.step.state.load(raw), level()
        for after in range(12):
            high = level() if after % 6 == 0 else high
            covered = {"s": (bucket + after + 1) * BUCKET_MS}
            driver.counts(covered, {"web": rows(bucket + after, surge, high)}, texts=TEXTS)
            if any(one.tier is Tier.ALARM for one in spikes(driver, "exhausted")):
                delays.append((after + 1) * 10)
                break
    assert len(delays) >= 24
    assert float(np.median(delays)) <= (70 if spread else 40)


def test_a_stationary_service_stays_within_its_budget_of_alarms() -> None:
    """100 templates, Poisson and bursty by turns, a day and a bit: one alarm a day is the budget, 0.4 are expected."""
    rng = np.random.default_rng(4)
    names = [f"t{k:02d}" for k in range(100)]
    means = np.exp(rng.uniform(np.log(0.02), np.log(200), 100)) / 6
    told, first = [], Driver()
    first.counts({"s": (START + MINUTE) * BUCKET_MS}, {"web": [(START, name, 1) for name in names]})
    state = first.states["web"]
    for _ in range(1_600):
        high = np.where(np.arange(100) % 2, rng.gamma(1 / 0.3, 0.3, 100), 1.0)
        for counts in rng.poisson(means * high, (6, 100)).astype(np.int32):
            opened = state.pending.setdefault(state.next_bucket, OpenBucket.empty(state.series.capacity))
            opened.counts[3:103] += counts
            opened.counts[0] += counts.sum()
            judge = Judge(state, lambda: "web")
            close_until(state, state.next_bucket + 1, True, DetectionPolicy(), judge)
            told += judge.told
    assert len([one for one in told if one.tier is Tier.ALARM and one.status is not Status.CLEARED]) <= 3
    watches = len([one for one in told if one.tier is Tier.WATCH and one.status is Status.OPENED])
    assert 20 <= watches <= 250
