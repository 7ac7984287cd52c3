"""The laws, for the case: replay is byte-equal, a restart changes nothing, no wish stays behind."""

from __future__ import annotations

from itertools import pairwise

from case_rig import KEYS, CaseRig, anomaly, catalog, claiming, infra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.anomaly import Kind, Status, Tier
from models.command import Command
from models.decision import Alert, Decision, Verdict
from models.incident import Incident
from models.policy import Mode
from models.signal import Change, InfraMeaning, Review
from models.signing import sign, verify

MODES = [Mode.OBSERVE, Mode.SUGGEST, Mode.ACT]
anomalies = st.builds(
    lambda name, status, tier, kind, service, s: anomaly(
        name,
        status,
        tier=tier,
        kind=kind,
        service=service,
        log10_p=-s,
        sigma=s * 0.8,
        text=f"connection pool {name} exhausted",
    ),
    st.sampled_from(["a1", "a2", "a3"]),
    st.sampled_from(list(Status)),
    st.sampled_from(list(Tier)),
    st.sampled_from([Kind.SPIKE, Kind.SERVICE_SILENT, Kind.NOVELTY]),
    st.sampled_from(["checkout", "orders"]),
    st.sampled_from([3.7, 4.6, 5.5, 9.0]),
)
events = st.builds(
    lambda name, meaning, expected: infra(name, meaning, expected=expected),
    st.sampled_from(["e1", "e2", "e3", "e4"]),
    st.sampled_from(list(InfraMeaning)),
    st.booleans(),
)
changes = st.builds(
    lambda name: Change(change_id=name, source="ci", kind="deploy", resource="r", application="shop"),
    st.sampled_from(["c1", "c2"]),
)
waits = st.sampled_from([0.5, 6, 31, 120, 301, 901, 4_000])
people = st.sampled_from(["approve", "reject"])
results = st.sampled_from(["recovered", "rolled_back", "failed", "refused", "unknown"])
hands = st.sampled_from(["pause", "resume", "silence"])
beginnings = st.lists(st.sampled_from([anomaly("a1"), infra("e1"), anomaly("a2", service="orders"), 6]), max_size=3)
endings = st.sampled_from(
    [[anomaly("a1", Status.CLEARED), ("recovered",), 700], [("failed",), 301, anomaly("a1", Status.UPDATED)], []]
)
steps = st.one_of(anomalies, events, changes, waits, people, results.map(lambda r: (r,)), hands.map(lambda h: [h]))


scripts = st.builds(
    lambda *parts: [item for part in parts for item in part],
    beginnings,
    st.lists(steps, max_size=10),
    endings,
    beginnings,
    st.lists(steps, max_size=6),
)


def play(rig: CaseRig, script: list) -> None:
    for item in script:
        if isinstance(item, float | int):
            rig.wait(item)
        elif item in ("approve", "reject"):
            proposal = rig.state.decide.proposal
            digest = proposal.digest if proposal else "none"
            cid = proposal.correlation_id if proposal else "none"
            review = Review(correlation_id=cid, proposal_digest=digest, verdict=item, reviewer="bo", expires_at=10**14)
            rig.say(sign(review, KEYS))
        elif isinstance(item, tuple):
            if rig.of(Command):
                rig.outcome(item[0])
        elif isinstance(item, list):
            rig.control(item[0], scope="shop", until=rig.now + 200_000)
        else:
            rig.say(item)
        check(rig)


def check(rig: CaseRig) -> None:
    due = rig.unit.next_due()
    assert due is None or due > rig.now, "a wish that has come must be fulfilled, or ticks never end"
    assert len(rig.state.decide.in_flight) <= 1


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(mode=st.sampled_from(MODES), script=scripts)
def test_whatever_happens_the_case_keeps_its_laws(mode, script):
    rig = CaseRig(catalog(mode=mode))
    play(rig, script)

    assert rig.replayed() == rig.bytes

    restarted = CaseRig(catalog(mode=mode))
    for item in script:
        play(restarted, [item])
        restarted.restart()
    assert restarted.bytes == rig.bytes

    orders = {decision.command_id for decision in rig.of(Decision) if decision.verdict == Verdict.ACT}
    commands = rig.of(Command)
    assert len(commands) == len({command.command_id for command in commands})
    assert {command.command_id for command in commands} == orders
    assert mode != Mode.OBSERVE or not commands
    for command in commands:
        verify(command, KEYS)
    for cid in {incident.correlation_id for incident in rig.of(Incident)}:
        revisions = [incident.revision for incident in rig.of(Incident) if incident.correlation_id == cid]
        assert revisions == list(range(1, len(revisions) + 1))
        told = [alert.revision for alert in rig.of(Alert) if alert.correlation_id == cid]
        assert told == list(range(1, len(told) + 1))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(script=scripts)
def test_in_mode_act_and_sure_of_itself_it_still_never_acts_twice_within_a_cooldown(script):
    rig = CaseRig(ask=claiming(0.99))
    play(rig, script)
    issued = [(command.target, command.issued_at) for command in rig.of(Command)]
    for (target, first), (other, second) in pairwise(issued):
        assert target != other or second - first >= 300_000
