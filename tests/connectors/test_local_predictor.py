"""The local predictor: the two stories it must tell apart, what it recommends, and that it answers in the one shape."""

from __future__ import annotations

import pytest
from case_rig import RESTART, T0, anomaly, infra, runbook

from connectors.local_predictor import GRAVE_WORDS, WEIGHTS, answer_locally
from models.anomaly import Kind, Status, Tier
from models.answer import read_answer
from models.casefile import event_of, signal_of, with_change, with_event, with_signal
from models.correlation import create_incident_record
from models.evidence import gather_evidence, offered_runbooks
from models.history import HistoryRecord, SimilarIncident
from models.incident import Incident, IncidentChange
from models.vocabulary import FAILURE_WORDS
from streams.step import Effect

DEPLOY = runbook("rollback", failure_modes=("bad_deploy",), target_kind="ecs")
BOOKS = (runbook(), RESTART, DEPLOY)


def ask(incident: Incident, question: str = "predict", books=BOOKS):
    args = {
        "correlation_id": incident.correlation_id,
        "question": question,
        "evidence": gather_evidence(incident, books).model_dump(mode="json"),
        "runbooks": [book.model_dump(mode="json") for book in offered_runbooks(books)],
        "horizons": [15, 30, 60, 240],
    }
    answered = answer_locally(Effect("e1", "ask_model", args))
    assert answered.effect_id == "e1"
    return read_answer(answered, [book.id for book in books])


def empty() -> Incident:
    return create_incident_record("shop", T0, "x", kind="spike", text="t")


def seen(**changes) -> Incident:
    return with_signal(empty(), signal_of(anomaly(**changes), T0))


BENIGN = {"tier": Tier.WATCH, "text": "GET /health <*>", "severity": 2, "sigma": 3.6, "log10_p": -3.8}


def test_the_connection_pool_story_is_a_likely_failure_and_names_its_runbook():
    answer = ask(seen())
    assert answer.failure_probability > 0.75
    assert (answer.runbook_id, answer.failure_mode) == ("scale-db", "connection_pool_exhausted")


def test_it_stays_likely_where_the_line_does_not_say_its_severity():
    assert ask(seen(severity=0, text="connection pool exhausted")).failure_probability > 0.72


def test_a_lone_benign_watch_is_unlikely_to_be_one():
    answer = ask(seen(**BENIGN))
    assert answer.failure_probability < 0.25
    assert answer.runbook_id == ""


def test_an_alarm_without_failure_words_is_about_even_and_never_enough_to_act():
    answer = ask(seen(text="order placed <*>", severity=2, sigma=9.0))
    assert 0.4 < answer.failure_probability < 0.7


def test_more_sigma_is_never_less_likely_and_a_passing_one_is():
    found = [ask(seen(sigma=sigma)).failure_probability for sigma in (3.5, 4.5, 6.0, 9.0, 38.0)]
    assert found == sorted(found)
    assert ask(seen(status=Status.CLEARED)).failure_probability < ask(seen()).failure_probability


def test_errors_after_a_deploy_point_at_the_deploy():
    change = IncidentChange(change_id="c", kind="deploy", resource="r", actor="ci", at=T0)
    case = with_change(seen(text="unhandled exception in checkout", sigma=8.0), change)
    answer = ask(case)
    assert answer.failure_probability > 0.70
    assert answer.runbook_id == "rollback"


def test_a_terminated_instance_is_diagnosed_with_certainty():
    answer = ask(with_event(empty(), event_of(infra(), T0)), "diagnose")
    assert (answer.runbook_id, answer.failure_mode) == ("replace-instance", "instance_terminated")
    assert answer.failure_probability > 0.80


def test_a_stalled_source_alone_is_unlikely_to_be_a_failure():
    assert ask(seen(kind=Kind.SOURCE_STALLED, text="", severity=0)).failure_probability < 0.5


def remembered(**changes) -> SimilarIncident:
    fields = {"correlation_id": "fs-0", "application": "shop", "pattern_id": "p", "primary": "x", "texts": ()}
    fields |= {"opened_at": 0, "closed_at": 1, "failed": False, "acted": False}
    return SimilarIncident(record=HistoryRecord(**fields | changes), similarity=0.9)


def test_what_became_of_similar_incidents_counts():
    plain = ask(seen()).failure_probability
    healed = seen().model_copy(update={"similar": (remembered(recovered_without_acting=True),)})
    failed = seen().model_copy(update={"similar": (remembered(failed=True),)})
    assert ask(healed).failure_probability < plain < ask(failed).failure_probability


SHIPPED = (
    runbook("restart-service", failure_modes=("service_down", "unknown"), target_kind="ecs"),
    runbook("rollback-function", failure_modes=("bad_deploy",), target_kind="lambda"),
    runbook("rollback-service", failure_modes=("bad_deploy",), target_kind="ecs"),
    runbook("scale-database"),
    runbook("replace-instance", failure_modes=("instance_lost",), target_kind="ec2"),
)


def deployed(resource: str) -> IncidentChange:
    return IncidentChange(change_id="c", kind="deploy", resource=resource, actor="ci", at=T0)


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        (seen(), "scale-database"),
        (with_event(empty(), event_of(infra(), T0)), "replace-instance"),
        (
            with_change(seen(text="KeyError raised"), deployed("arn:aws:lambda:eu-west-1:1:function:f")),
            "rollback-function",
        ),
        (
            with_change(seen(text="KeyError raised"), deployed("arn:aws:ecs:eu-west-1:1:service/c/s")),
            "rollback-service",
        ),
        (with_change(seen(), deployed("arn:aws:ecs:eu-west-1:1:service/c/s")), "scale-database"),
        (seen(kind=Kind.SERVICE_SILENT, text="", severity=0), "restart-service"),
        (seen(text="frobnication refused by gizmo"), "restart-service"),
    ],
)
def test_each_trouble_finds_its_runbook_among_many(case, wanted):
    assert ask(case, "diagnose" if case.failed else "predict", SHIPPED).runbook_id == wanted


def test_an_unknown_failure_mode_without_a_runbook_for_it_recommends_nothing():
    assert ask(seen(text="frobnication refused by gizmo")).runbook_id == ""


def test_every_weight_has_a_reason_and_grave_words_are_failure_words():
    assert all(weight.reason for weight in WEIGHTS.values())
    assert GRAVE_WORDS <= FAILURE_WORDS


@pytest.mark.parametrize("args", [{}, {"correlation_id": "c", "question": "guess", "evidence": {}, "runbooks": []}])
def test_what_is_no_question_is_refused(args):
    with pytest.raises(ValueError):
        answer_locally(Effect("e", "ask_model", args))
