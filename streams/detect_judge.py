"""What the closed windows of a service say: spikes, new failures, drops, silence; and what the open ones say early.

In: a service's state whose newest bucket has just closed (or, early, has got lines). Out: anomalies told, in order of
kind and slot; series frozen while an alarm is open on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.anomaly import Anomaly, Kind, LinePointer, Status, Tier
from models.baseline import TESTABLE, WARM, Ints
from models.count_tail import LN10, log_upper_tail
from models.habit import HABIT_RATIO
from models.open_anomaly import Finding, OpenAnomaly, name_of
from models.series import FIRST_TEMPLATE, TOTAL
from models.service_state import Recent, ServiceState
from models.silence import MIN_EXPECTED, SILENCE_ALARM, SILENCE_WATCH, log_drop, service_factor
from models.verdict import COLD, FEW, HABIT, LOG_WATCH, Verdict, common_factor, judge_counts
from models.window import BUCKETS_A_MINUTE, PAIR_BUCKETS

__all__ = ["NOVEL_COUNT", "Judge"]

NOVEL_COUNT = 5
"""Lines in 60 s, in two buckets at least, that make a template never seen before a failure of its own."""
_NOVEL_BURST = 20  # or so many in one bucket
_NOVEL_DISPERSION = 2.0  # of the predictive count of what was never seen: Jeffreys' Gamma(1/2, n), shape 1/2
_CALM_BUCKETS = 2
_RECENT_BUCKETS = 90
_DROP_MINUTES = (5, 15)


class Judge:
    """Judges one service in one turn, and keeps what it has to tell in `told`."""

    def __init__(self, state: ServiceState, application: Callable[[], str]) -> None:
        self.state = state
        self.told: list[Anomaly] = []
        self._application = application

    # -- closed windows ------------------------------------------------------------------------------------------------

    def spikes(self, bucket: int) -> None:
        """Judge the 60 s and 120 s windows that end with the closed `bucket`."""
        state = self.state
        used = state.series.used
        minute, pair = state.ring.minute[:used], state.ring.pair[:used]
        over = np.flatnonzero((minute > state.base.guard[:used]) | (pair > state.base.pair_guard[:used]))
        if not len(over):
            return
        for verdict in self._verdicts(over, minute, state.ring.pair[over], bucket):
            if verdict.rule not in (HABIT, FEW):
                state.tail.note(state.series.ids[verdict.slot], bucket, verdict.surprisal)
            self._confirm(verdict.slot, self._spike(verdict, bucket))

    def novelties(self, bucket: int) -> None:
        """Judge the templates that are too new for a baseline: failures nobody has seen before."""
        state = self.state
        slots = np.flatnonzero(state.series.new[: state.series.used] & state.series.failing[: state.series.used])
        if not len(slots):
            return
        six = state.ring.last_six(bucket, slots)
        for slot, counts in zip(slots.tolist(), six.T, strict=True):
            if _is_novel(counts):
                self._confirm(slot, self._novelty(int(counts.sum()), bucket))

    def drops(self, minute: int, bucket: int) -> None:
        """Judge the last 5 and 15 minutes, at the close of `minute`, whose last bucket is `bucket`."""
        state, used = self.state, self.state.series.used
        best: dict[int, Finding] = {}
        if name_of("", Kind.SERVICE_SILENT) in state.open:
            return  # one anomaly, of the total
        for minutes in _DROP_MINUTES:
            if self._cleared_within(TOTAL, Kind.SERVICE_SILENT, bucket, minutes * BUCKETS_A_MINUTE):
                continue
            counted, expected = (values[:used] for values in state.minutes.stretch(minute, minutes))
            if not (expected >= MIN_EXPECTED).any():
                continue
            factor = service_factor(counted, expected, FIRST_TEMPLATE)
            dispersion = state.base.stretch_dispersion(minutes, slice(0, used))
            log_p = log_drop(counted, expected * factor, dispersion)
            for slot in np.flatnonzero(log_p <= LOG_WATCH).tolist():
                if slot == TOTAL and counted[slot] == 0:
                    continue  # a silence, judged over its gap
                if self._cleared_within(slot, Kind.DROP, bucket, minutes * BUCKETS_A_MINUTE):
                    continue
                if slot in best and best[slot].log_p <= log_p[slot]:
                    continue
                surprisal = -float(log_p[slot]) / LN10
                lack = float(expected[slot] * factor[slot] - counted[slot]) / minutes
                usual = state.habits.usual(name_of(state.series.ids[slot], Kind.DROP), bucket)
                beyond = surprisal >= max(state.limits.budget, SILENCE_ALARM)
                alarm = beyond and lack > HABIT_RATIO * usual
                best[slot] = self._finding(
                    Kind.DROP,
                    Tier.ALARM if alarm else Tier.WATCH,
                    HABIT if beyond and not alarm else "drop",
                    (bucket - minutes * BUCKETS_A_MINUTE + 1, bucket),
                    (float(counted[slot]), float(expected[slot] * factor[slot]), float(dispersion[slot])),
                    float(log_p[slot]),
                    slot,
                )
        for slot in sorted(best):
            self._confirm(slot, best[slot])

    def silence(self, start: int, end: int) -> None:
        """Judge the gap in the service's total at each bucket of [start, end), all of them empty."""
        state = self.state
        if state.base.n[TOTAL] < TESTABLE:
            return
        low = float(state.base.low[TOTAL])
        held = state.open.get(name_of("", Kind.SERVICE_SILENT))
        for tier, limit in ((Tier.WATCH, SILENCE_WATCH), (Tier.ALARM, SILENCE_ALARM)):
            if held is not None and (tier is Tier.WATCH or held.finding.tier is Tier.ALARM):
                continue
            at = state.gap.first_at(limit, start, end, low, self._total_dispersion)
            if at is None:
                return
            if tier is Tier.WATCH and state.gap.surprisal(at, low, self._total_dispersion) >= SILENCE_ALARM:
                continue
            surprisal = state.gap.surprisal(at, low, self._total_dispersion)
            figures = (0.0, state.gap.expected(at, low), self._total_dispersion(state.gap.length(at) / 6.0))
            span = (state.gap.since, at)
            self._confirm(
                TOTAL, self._finding(Kind.SERVICE_SILENT, tier, "silence", span, figures, -surprisal * LN10, TOTAL)
            )

    def settle(self, bucket: int) -> None:
        """Clear what has been back under its bound for two closed buckets; take back what was told early in vain."""
        state = self.state
        for name in list(state.open):
            held = state.open[name]
            if self._is_back(held):
                held.calm += 1
            else:
                held.calm = 0
            if held.calm >= _CALM_BUCKETS:
                self._clear(name, held, bucket)
        for name in [name for name, early in state.early.items() if early.finding.last <= bucket]:
            self._take_back(name, state.early.pop(name))
        for name in [name for name, kept in state.recent.items() if bucket - kept.cleared > _RECENT_BUCKETS]:
            del state.recent[name]

    # -- open windows --------------------------------------------------------------------------------------------------

    def early(self, bucket: int) -> None:
        """Judge the window that ends with the open `bucket` on the counts so far: they can only grow, so what passes
        the threshold of the full window now passes it at closing, too.
        """
        state, used = self.state, self.state.series.used
        if not self._may_tell(bucket):
            return
        minute = self._partial(bucket, BUCKETS_A_MINUTE)[:used]
        over = np.flatnonzero(minute > state.base.guard[:used])
        if len(over):
            pair = self._partial(bucket, PAIR_BUCKETS)[over]
            for verdict in self._verdicts(over, minute, pair, bucket):
                pointers = self._pointers(verdict.slot, bucket)
                self._tell_early(verdict.slot, "", self._spike(verdict, bucket), pointers)
            self._wait_for_more(bucket, over, minute[over])
        new = np.flatnonzero(state.series.new[:used] & state.series.failing[:used] & (minute >= NOVEL_COUNT))
        for slot in new.tolist():
            counts = np.array([self._open_count(at, slot) for at in range(bucket - 5, bucket + 1)])
            if _is_novel(counts):
                finding = self._novelty(int(counts.sum()), bucket)
                self._tell_early(slot, "", finding, self._pointers(slot, bucket))

    def _may_tell(self, bucket: int) -> bool:
        """Whether a series has so many lines in the open `bucket` that `early` may find something. Of ten thousand
        batches a second hardly one has: what the rest of the window holds is summed once, not with each of them.
        """
        state, opened = self.state, self.state.pending[bucket]
        if opened.room is None:
            used = state.series.used
            room = np.full(state.series.capacity, np.inf)
            # Counts are whole: more than the guard is more than its floor.
            room[:used] = np.floor(state.base.guard[:used])
            new = np.flatnonzero(state.series.new[:used] & state.series.failing[:used])
            room[new] = np.minimum(room[new], NOVEL_COUNT - 1)
            opened.room = room - (self._partial(bucket, BUCKETS_A_MINUTE) - opened.counts)
        return bool(np.logical_or.reduce(opened.counts > opened.room))

    def _wait_for_more(self, bucket: int, over: NDArray[np.intp], minute: Ints) -> None:
        """Judge what was told only when its window has 3% more: for a minute after a burst every batch asks, and to
        judge it each time took a tenth of detect's time. The closed window is judged whatever was told early.
        """
        state, opened = self.state, self.state.pending[bucket]
        for slot, count in zip(over.tolist(), minute.tolist(), strict=True):
            name = name_of(state.series.ids[slot], Kind.SPIKE)
            if opened.room is not None and (name in state.early or name in state.open):
                opened.room[slot] = int(opened.counts[slot]) + (count >> 5)

    def early_unborn(self, bucket: int, names: list[tuple[str, LinePointer]]) -> None:
        """The same for templates that no closed bucket has shown; `names` with a pointer to a line of each."""
        state = self.state
        if state.base.n[TOTAL] < WARM:
            return
        for name, pointer in names:
            counts = np.array(
                [
                    state.pending[at].fresh.get(name, (0, 0))[0] if at in state.pending else 0
                    for at in range(bucket - 5, bucket + 1)
                ]
            )
            if _is_novel(counts):
                self._tell_early(-1, name, self._novelty(int(counts.sum()), bucket), (pointer,))

    # -- findings ------------------------------------------------------------------------------------------------------

    def _verdicts(self, over: NDArray[np.intp], minute: Ints, pair: Ints, bucket: int) -> list[Verdict]:
        state = self.state
        scale = np.ones(len(over))
        if np.count_nonzero(over >= FIRST_TEMPLATE) >= 3:
            tested = np.isfinite(state.base.guard[FIRST_TEMPLATE : len(minute)])
            factor = common_factor(
                minute[FIRST_TEMPLATE:][tested], state.base.expected[FIRST_TEMPLATE : len(minute)][tested]
            )
            scale[over >= FIRST_TEMPLATE] = factor
        for i, slot in enumerate(over.tolist()):
            # Of a series cleared lately the 120 s window still holds what was cleared.
            if self._cleared_within(slot, Kind.SPIKE, bucket, PAIR_BUCKETS):
                pair[i] = 0
        usual = np.array([state.habits.usual(state.series.ids[slot], bucket) for slot in over.tolist()])
        found = judge_counts(
            over, minute[over], pair, scale, state.base, state.series.failing[over], usual, state.limits
        )
        return [self._weigh(verdict, bucket) for verdict in found]

    def _weigh(self, verdict: Verdict, bucket: int) -> Verdict:
        """An alarm must be more than a surprise: of a failure, a few lines at least, in more than one bucket; of
        anything else, a series that is known by now.
        """
        if verdict.tier is not Tier.ALARM:
            return verdict
        state, slot = self.state, verdict.slot
        if not state.series.failing[slot]:
            return verdict if state.base.n[slot] >= WARM else verdict._replace(tier=Tier.WATCH, rule=COLD)
        counts = [self._open_count(at, slot) for at in range(bucket - PAIR_BUCKETS + 1, bucket + 1)]
        return verdict if _is_novel(np.array(counts)) else verdict._replace(tier=Tier.WATCH, rule=FEW)

    def _spike(self, verdict: Verdict, bucket: int) -> Finding:
        length = PAIR_BUCKETS if verdict.pair else BUCKETS_A_MINUTE
        figures = (float(verdict.observed), verdict.expected, verdict.dispersion)
        span = (bucket - length + 1, bucket)
        return self._finding(Kind.SPIKE, verdict.tier, verdict.rule, span, figures, verdict.log_p, verdict.slot)

    def _novelty(self, count: int, bucket: int) -> Finding:
        learnt = max(int(self.state.base.n[TOTAL]), 1)
        expected = 0.5 / learnt
        here, _ = log_upper_tail(np.array([float(count)]), np.array([expected]), np.array([_NOVEL_DISPERSION]))
        figures = (float(count), expected, _NOVEL_DISPERSION)
        span = (bucket - BUCKETS_A_MINUTE + 1, bucket)
        return self._finding(Kind.NOVELTY, Tier.ALARM, "new failure", span, figures, float(here[0]), TOTAL)

    def _finding(
        self, kind: Kind, tier: Tier, rule: str, span: tuple[int, int], figures: tuple[float, float, float],
        log_p: float, slot: int,
    ) -> Finding:  # fmt: skip
        """`figures` are observed, expected, dispersion; `slot` is the series whose baseline they rest on."""
        learnt, generation = int(self.state.base.n[slot]), self.state.generations.running.number
        return Finding(kind, tier, rule, *span, *figures, log_p, learnt, learnt >= WARM, generation)

    # -- the life of an anomaly ----------------------------------------------------------------------------------------

    def _confirm(self, slot: int, finding: Finding) -> None:
        """A closed window says so: open the anomaly, or raise its tier."""
        state = self.state
        series_id = state.series.ids[slot]
        name = name_of(series_id, finding.kind)
        held = state.open.get(name)
        if held is not None:
            held.peak = max(held.peak, abs(finding.excess))
        if finding.tier is Tier.ALARM and finding.kind is not Kind.NOVELTY:
            state.series.frozen[slot] = True  # a novelty has no baseline to protect
        if held is not None and (finding.tier is held.finding.tier or held.finding.tier is Tier.ALARM):
            return
        early = state.early.pop(name, None)
        status = Status.OPENED if held is None and early is None else Status.UPDATED
        if held is None:
            held = state.open[name] = OpenAnomaly.begin(state.service, slot, series_id, finding)
            held.peak = abs(finding.excess)
            if early is not None:
                held.anomaly_id = early.anomaly_id
        held.finding, held.evidence = finding, self._pointers(slot, finding.last)
        held.revision = max(held.revision, early.revision if early else 0)
        self._tell(held, status, True)

    def _tell_early(self, slot: int, series_id: str, finding: Finding, evidence: tuple[LinePointer, ...]) -> None:
        state = self.state
        series_id = state.series.ids[slot] if slot >= 0 else series_id
        name = name_of(series_id, finding.kind)
        held, told = state.open.get(name), state.early.get(name)
        last = told or held
        if last is not None and (finding.tier is last.finding.tier or last.finding.tier is Tier.ALARM):
            return
        early = OpenAnomaly.begin(state.service, slot, series_id, finding)
        if last is not None:
            early.anomaly_id, early.revision = last.anomaly_id, last.revision
        if held is not None:
            early.opened_at = held.opened_at
        early.evidence = evidence
        state.early[name] = early
        self._tell(early, Status.OPENED if last is None else Status.UPDATED, False)

    def _take_back(self, name: str, early: OpenAnomaly) -> None:
        """What was told of an open window did not hold at its closing."""
        held = self.state.open.get(name)
        if held is None:
            self._tell(early, Status.CLEARED, False)
            return
        held.revision = max(held.revision, early.revision)
        if early.finding.tier is not held.finding.tier:
            self._tell(held, Status.UPDATED, False)

    def _is_back(self, held: OpenAnomaly) -> bool:
        state, slot, finding = self.state, held.slot, held.finding
        minute = int(state.ring.minute[slot])
        if finding.kind is Kind.SPIKE:
            return minute <= float(state.base.guard[slot])
        if finding.kind is Kind.NOVELTY:
            return minute < NOVEL_COUNT or not state.series.new[slot]
        if finding.kind is Kind.DROP:
            # Half of what was expected a minute: a drop to half is the least that fifteen minutes can show.
            return minute >= 0.5 * finding.expected * BUCKETS_A_MINUTE / (finding.last - finding.first + 1)
        return state.gap.since != finding.first and minute > 0

    def _clear(self, name: str, held: OpenAnomaly, bucket: int) -> None:
        state, slot, kind = self.state, held.slot, held.finding.kind
        del state.open[name]
        # What failed twice while the service was being got to know is its nature; what fails later is not.
        if kind is Kind.SPIKE and (not state.series.failing[slot] or state.base.n[TOTAL] < WARM):
            state.habits.note(held.series_id, bucket, held.peak)
        elif kind is Kind.DROP:
            state.habits.note(name, bucket, held.peak)
        state.recent[name] = Recent(slot, bucket, held.finding.tier is Tier.ALARM)
        if state.series.frozen[slot]:
            state.series.thaw[slot] = bucket // BUCKETS_A_MINUTE
        state.series.frozen[slot] = any(
            other.slot == slot and other.finding.tier is Tier.ALARM and other.finding.kind is not Kind.NOVELTY
            for other in state.open.values()
        )
        count = float(state.ring.minute[slot])
        expected, dispersion = held.finding.expected, held.finding.dispersion
        if kind is not Kind.NOVELTY and state.base.n[slot] > 0:  # a rollback may have taken its baseline
            expected, dispersion = float(state.base.expected[slot]), float(state.base.dispersion[slot])
        figures, span = (count, expected, dispersion), (bucket - BUCKETS_A_MINUTE + 1, bucket)
        here, _ = log_upper_tail(*(np.array([figure]) for figure in figures))
        held.finding = self._finding(kind, held.finding.tier, held.finding.rule, span, figures, float(here[0]), slot)
        self._tell(held, Status.CLEARED, True)

    def _tell(self, held: OpenAnomaly, status: Status, closed: bool) -> None:
        series = self.state.series
        if held.slot >= 0:
            text, severity = series.texts[held.slot], int(series.severity[held.slot])
        else:
            unborn = self.state.unborn.get(held.series_id)
            text, severity = unborn.text if unborn else "", 0
        told = held.tell(self.state.service, self._application(), text, severity, status, closed)
        self.told.append(told)

    # -- small readings ------------------------------------------------------------------------------------------------

    def _cleared_within(self, slot: int, kind: Kind, bucket: int, buckets: int) -> bool:
        if not self.state.recent:
            return False
        kept = self.state.recent.get(name_of(self.state.series.ids[slot], kind))
        return kept is not None and bucket - kept.cleared < buckets

    def _pointers(self, slot: int, bucket: int) -> tuple[LinePointer, ...]:
        return self.state.series.pointers(slot, self.state.partition, range(bucket - PAIR_BUCKETS + 1, bucket + 1))

    def _total_dispersion(self, minutes: float) -> float:
        return float(self.state.base.stretch_dispersion(minutes, slice(TOTAL, TOTAL + 1))[0])

    def _partial(self, bucket: int, buckets: int) -> Ints:
        """Counts of the window of so many buckets that ends with the open `bucket`, as far as they are known."""
        state = self.state
        first = bucket - buckets + 1
        start = max(first, state.next_bucket - PAIR_BUCKETS)
        counts = state.ring.recent(range(start, state.next_bucket)) if start < state.next_bucket else None
        for at in range(max(first, state.next_bucket), bucket + 1):
            opened = state.pending.get(at)
            if opened is not None:
                counts = opened.counts if counts is None else counts + opened.counts
        return counts if counts is not None else np.zeros(state.series.capacity, np.int32)

    def _open_count(self, bucket: int, slot: int) -> int:
        state = self.state
        if bucket >= state.next_bucket:
            opened = state.pending.get(bucket)
            return int(opened.counts[slot]) if opened else 0
        return int(state.ring.counts[bucket % PAIR_BUCKETS, slot]) if bucket >= state.next_bucket - PAIR_BUCKETS else 0


def _is_novel(counts: NDArray[Any]) -> bool:
    return bool(counts.max() >= _NOVEL_BURST or (counts.sum() >= NOVEL_COUNT and np.count_nonzero(counts) >= 2))
