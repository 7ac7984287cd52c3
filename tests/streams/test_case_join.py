"""join, through a real Unit: what opens, joins, clears and closes an incident."""

from __future__ import annotations

from case_rig import T0, CaseRig, anomaly, catalog, failing, infra

from models.anomaly import Kind, Status, Tier
from models.audit import AuditEntry, DeadLetter, Stage
from models.catalog import Catalog
from models.decision import Alert
from models.history import HistoryRecord
from models.incident import Incident, IncidentStatus
from models.policy import Mode
from models.prediction import Prediction
from models.signal import Change, InfraMeaning

OBSERVE = catalog(mode=Mode.OBSERVE)


def watching(given: Catalog = OBSERVE) -> CaseRig:
    return CaseRig(given)


def change(name: str = "c1", **changes) -> Change:
    fields = {"change_id": name, "source": "ci", "kind": "deploy", "resource": "svc", "application": "shop"}
    return Change(**fields | changes)


def test_an_alarm_opens_one_incident_in_the_same_turn_with_its_alert():
    rig = watching()
    rig.say(anomaly())
    first = rig.of(Incident)[0]
    assert (first.revision, first.status, first.pattern_id) == (1, IncidentStatus.OPEN, first.pattern_id)
    assert first.correlation_id.startswith("fs-20260921T1413-")
    opened = rig.of(Alert)[0]
    assert (opened.revision, opened.stage, opened.correlation_id) == (1, "opened", first.correlation_id)
    assert opened.title.endswith("45 in the last minute, expected 4.2, 5.1σ")
    before_any_answer = [event.type for event in rig.out].index("alert")
    assert before_any_answer < [event.type for event in rig.out].index("prediction")
    assert rig.of(AuditEntry)[0].stage == Stage.DETECTED


def test_a_second_alarm_of_the_application_joins_the_open_incident():
    rig = watching()
    rig.say(anomaly("a1"))
    rig.wait(30)
    rig.say(anomaly("a2", service="orders", text="query slow"))
    assert len({incident.correlation_id for incident in rig.of(Incident)}) == 1
    assert [signal.anomaly_id for signal in rig.last(Incident).signals] == ["a1", "a2"]


def test_an_update_renews_its_signal_and_keeps_the_peak():
    rig = watching()
    rig.say(anomaly())
    rig.say(anomaly(status=Status.UPDATED, sigma=9.0, observed=90))
    rig.say(anomaly(status=Status.UPDATED, sigma=6.0, observed=60))
    (signal,) = rig.last(Incident).signals
    assert (signal.observed, signal.sigma, signal.peak_sigma) == (60, 6.0, 9.0)


def test_a_watch_alone_opens_nothing():
    rig = watching()
    rig.say(anomaly(tier=Tier.WATCH))
    rig.say(anomaly(tier=Tier.WATCH, status=Status.CLEARED))
    assert rig.out == []


def test_two_watches_in_two_services_within_two_minutes_are_an_incident():
    rig = watching()
    strong = {"tier": Tier.WATCH, "log10_p": -5.2}
    rig.say(anomaly("a1", service="checkout", **strong))
    rig.wait(100)
    rig.say(anomaly("a2", service="orders", **strong))
    assert {(s.service, s.rule, s.tier) for s in rig.last(Incident).signals} == {
        ("orders", "second service", "alarm"),
        ("checkout", "second service", "alarm"),
    }


def test_two_watches_too_far_apart_are_none():
    rig = watching()
    strong = {"tier": Tier.WATCH, "log10_p": -5.2}
    rig.say(anomaly("a1", service="checkout", **strong))
    rig.wait(121)
    rig.say(anomaly("a2", service="orders", **strong))
    assert rig.of(Incident) == []


def test_a_watch_before_an_infra_failure_joins_its_incident():
    rig = watching()
    rig.say(anomaly(tier=Tier.WATCH, log10_p=-4.6))
    rig.wait(200)
    rig.say(infra())
    assert [signal.rule for signal in rig.last(Incident).signals] == ["infra event"]


def test_a_watch_that_becomes_an_alarm_opens_an_incident():
    rig = watching()
    rig.say(anomaly(tier=Tier.WATCH))
    rig.say(anomaly(status=Status.UPDATED))
    assert len(rig.last(Incident).signals) == 1
    assert rig.state.join.watches == []


def test_an_unexpected_termination_opens_an_incident_that_has_failed():
    rig = watching()
    rig.say(infra())
    incident = rig.of(Incident)[0]
    assert (incident.failed, incident.severity, incident.primary) == (True, 5, "EC2 Instance State-change Notification")
    assert (incident.resource, incident.resource_type) == ("arn:sim:ec2:instance/i-1", "ec2")
    assert rig.last(Prediction).question == "diagnose"


def test_a_termination_by_scale_in_or_deploy_is_no_failure():
    rig = watching()
    rig.say(infra("e1", expected=True))
    rig.wait(20)
    rig.say(infra("e2"))  # the plain state change of the same, planned, end
    assert rig.of(Incident) == []
    assert rig.state.join.ignored == {"expected infra event": 2}
    rig.wait(301)
    rig.say(infra("e3"))
    assert len(rig.of(Incident)) > 0


def test_a_plan_that_is_told_late_clears_what_looked_like_a_failure():
    rig = watching()
    rig.say(infra("e1"))
    rig.wait(10)
    rig.say(infra("e2", expected=True))
    assert all(event.cleared_at for event in rig.last(Incident).events)


def test_duplicates_are_ignored_and_counted():
    rig = watching()
    for item in (infra("e1"), infra("e1"), change("c1"), change("c1")):
        rig.say(item)
    incident = rig.last(Incident)
    assert (len(incident.events), len(incident.changes)) == (1, 1)
    assert rig.state.join.ignored == {"duplicate infra event": 1, "duplicate change": 1}


def test_what_changed_in_the_half_hour_before_is_shown_and_nothing_older():
    rig = watching()
    rig.say(change("old"))
    rig.wait(20 * 60)
    rig.say(change("new", kind="config"))
    rig.wait(11 * 60)
    rig.say(anomaly())
    assert [item.change_id for item in rig.last(Incident).changes] == ["new"]
    rig.say(change("during"))
    assert [item.change_id for item in rig.last(Incident).changes] == ["new", "during"]


def test_it_closes_300_seconds_after_everything_is_clear_and_not_before():
    rig = watching()
    rig.say(anomaly("a1"))
    rig.say(anomaly("a2", service="orders"))
    rig.say(anomaly("a1", Status.CLEARED))
    rig.wait(400)
    assert rig.last(Incident).status == IncidentStatus.OPEN
    rig.say(anomaly("a2", Status.CLEARED, service="orders"))
    rig.wait(299)
    assert rig.last(Incident).status == IncidentStatus.OPEN
    rig.wait(1)
    closed = rig.last(Incident)
    assert (closed.status, closed.closed_at) == (IncidentStatus.CLOSED, T0 + 700_000)
    assert rig.last(Alert).stage == "resolved"
    assert rig.unit.next_due() is None


def test_a_signal_within_the_quiet_time_starts_it_again():
    rig = watching()
    rig.say(anomaly("a1"))
    rig.say(anomaly("a1", Status.CLEARED))
    rig.wait(200)
    rig.say(anomaly("a2"))
    rig.wait(10)
    rig.say(anomaly("a2", Status.CLEARED))
    rig.wait(299)
    assert rig.last(Incident).status == IncidentStatus.OPEN
    rig.wait(1)
    assert rig.last(Incident).status == IncidentStatus.CLOSED


def test_an_infra_event_clears_by_its_counterpart_by_an_outcome_or_after_15_minutes():
    by_counterpart = watching()
    by_counterpart.say(infra("e1"))
    by_counterpart.say(infra("e2", InfraMeaning.RECOVERY))
    assert all(event.cleared_at for event in by_counterpart.last(Incident).events)

    by_other_resource = watching()
    by_other_resource.say(infra("e1"))
    by_other_resource.say(infra("e2", InfraMeaning.RECOVERY, resource="arn:other"))
    assert by_other_resource.last(Incident).events[0].cleared_at == 0

    by_time = watching()
    by_time.say(infra("e1"))
    by_time.wait(899)
    assert by_time.last(Incident).events[0].cleared_at == 0
    by_time.wait(1)
    assert by_time.last(Incident).events[0].cleared_at == T0 + 900_000

    by_outcome = CaseRig()
    by_outcome.say(infra("e1"))
    by_outcome.outcome("recovered")
    assert by_outcome.last(Incident).events[0].cleared_at > 0


def test_an_outcome_of_another_incident_clears_nothing():
    rig = CaseRig()
    rig.say(infra("e1"))
    rig.outcome("recovered", correlation_id="fs-other", command_id="other")
    assert rig.last(Incident).events[0].cleared_at == 0
    assert rig.state.join.ignored == {"outcome of no command under way": 1}


def test_closing_waits_for_the_outcome_of_what_was_ordered():
    rig = CaseRig()
    rig.say(anomaly())
    rig.say(anomaly(status=Status.CLEARED))
    rig.wait(400)
    rig.say(change())
    assert rig.last(Incident).status == IncidentStatus.OPEN
    rig.outcome("recovered")
    rig.wait(1)
    assert rig.last(Incident).status == IncidentStatus.CLOSED
    assert rig.last(HistoryRecord).result == "recovered"


def test_an_application_the_catalog_does_not_know_is_its_own_and_is_only_told():
    rig = CaseRig()
    rig.say(anomaly(service="lonely", application="lonely"), key="lonely")
    assert rig.last(Incident).application == "lonely"
    assert {alert.verdict for alert in rig.of(Alert)} == {"", "alert"}


def test_history_that_cannot_be_read_is_noted_and_stops_nothing():
    rig = watching()
    rig.performers["recall_history"] = failing
    rig.say(anomaly())
    checked = [entry for entry in rig.of(AuditEntry) if entry.stage == Stage.HISTORY_CHECKED]
    assert checked[0].facts == {"error": "connection refused"}
    assert not rig.last(Incident).history_recalled
    assert len(rig.of(Prediction)) == 1


def test_similar_incidents_come_back_with_the_next_one():
    rig = watching()
    rig.say(anomaly("a1"))
    rig.say(anomaly("a1", Status.CLEARED))
    rig.wait(400)
    rig.say(anomaly("a2"))
    (similar,) = rig.last(Incident).similar
    assert similar.similarity == 1.0
    assert similar.record.correlation_id == rig.of(Incident)[0].correlation_id


def test_history_is_asked_again_when_the_incident_has_grown_at_most_once_a_minute_and_four_times():
    rig = watching()
    rig.say(anomaly("a0", text="text 0"))
    recalled = []
    for n in range(1, 14):
        rig.wait(30)
        rig.say(anomaly(f"a{n}", text=f"text {n}"))
        recalled.append(sum(effect.kind == "recall_history" for effect in rig.asked))
    assert recalled == [1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4]
    last = [effect for effect in rig.asked if effect.kind == "recall_history"][-1]
    assert len(last.args["texts"]) == 7
    rig.say(anomaly("a0", Status.UPDATED, text="text 0"))
    assert len({effect.id for effect in rig.asked}) == len(rig.asked)


def test_an_incident_that_has_not_grown_asks_history_once():
    rig = watching()
    rig.say(anomaly())
    for _ in range(5):
        rig.wait(100)
        rig.say(anomaly(status=Status.UPDATED))
    assert sum(effect.kind == "recall_history" for effect in rig.asked) == 1


def test_a_time_that_no_calendar_has_is_a_dead_letter():
    rig = watching()
    rig.say(anomaly(), at=10**17)
    rig.say(anomaly(), at=-1)
    assert [letter.reason for letter in rig.of(DeadLetter)] == ["time out of range"] * 2
    assert rig.of(Incident) == []


def test_a_silent_service_has_failed():
    rig = watching()
    rig.say(anomaly(kind=Kind.SERVICE_SILENT, text="", expected=60, observed=0))
    assert rig.last(Incident).failed
    assert rig.last(Prediction).question == "diagnose"


def test_a_signal_too_large_to_be_kept_is_a_dead_letter():
    rig = watching()
    rig.say(infra("e" * 70_000))
    rig.say(infra(), key="k" * 600)
    assert [letter.reason for letter in rig.of(DeadLetter)] == ["too large", "too large"]
    rig.say(infra("e" * 60_000))
    assert len(rig.of(Incident)) == 2  # with the history recalled


def test_a_detail_nested_too_deeply_to_be_written_down_again_is_a_dead_letter():
    rig = watching()
    detail: dict = {}
    for _ in range(200):
        detail = {"in": detail}
    rig.say(infra(detail=detail))
    assert [letter.reason for letter in rig.of(DeadLetter)] == ["too large"]
