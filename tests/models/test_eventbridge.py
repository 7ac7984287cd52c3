"""EventBridge envelopes in the shapes AWS documents, and what they must mean."""

from __future__ import annotations

from typing import Any

import pytest

from models.catalog import Application, Catalog, Target
from models.errors import ContractError
from models.eventbridge import read_envelope, resolver
from models.signal import Change, InfraEvent, InfraMeaning

INSTANCE = "arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"
SERVICE = "arn:aws:ecs:us-east-1:123456789012:service/shop/checkout"
DATABASE = "arn:aws:rds:us-east-1:123456789012:db:orders"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:payments"
CATALOG = Catalog(
    applications=(Application(name="shop", services=("checkout", "orders-db"), targets=(INSTANCE, SERVICE, FUNCTION)),),
    targets=(
        Target(arn=INSTANCE, kind="ec2"),
        Target(arn=SERVICE, kind="ecs"),
        Target(arn=FUNCTION, kind="lambda"),
        Target(arn=DATABASE, kind="rds", service="orders-db"),
    ),
)


def envelope(
    source: str, detail_type: str, detail: dict[str, Any], resources: list[str] | None = None
) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": detail_type,
        "source": source,
        "account": "123456789012",
        "time": "2026-01-05T21:29:54Z",
        "region": "us-east-1",
        "resources": resources or [],
        "detail": detail,
    }


def read(source: str, detail_type: str, detail: dict[str, Any], resources: list[str] | None = None) -> Any:
    return read_envelope(envelope(source, detail_type, detail, resources), resolver(CATALOG)).data


def ec2(state: str) -> Any:
    detail = {"instance-id": "i-abcd1111", "state": state}
    return read("aws.ec2", "EC2 Instance State-change Notification", detail, [INSTANCE])


def test_a_terminated_instance_is_an_unexpected_failure_of_its_application() -> None:
    reading = read_envelope(
        envelope(
            "aws.ec2",
            "EC2 Instance State-change Notification",
            {"instance-id": "i-abcd1111", "state": "terminated"},
            [INSTANCE],
        ),
        resolver(CATALOG),
    )
    assert reading.at == 1_767_648_594_000
    assert reading.data == InfraEvent(
        event_id="7bf73129-1428-4cd3-a780-95db273d1602",
        source="aws.ec2",
        detail_type="EC2 Instance State-change Notification",
        resource=INSTANCE,
        resource_type="ec2",
        application="shop",
        meaning=InfraMeaning.FAILURE,
        expected=False,
        detail={"instance-id": "i-abcd1111", "state": "terminated"},
    )


@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        ("running", "recovery"),
        ("stopped", "failure"),
        ("pending", "neutral"),
        ("shutting-down", "neutral"),
        ("x", "neutral"),
    ],
)
def test_an_instance_counts_when_its_state_is_reached_not_on_the_way(state: str, meaning: str) -> None:
    assert ec2(state).meaning == meaning


def test_a_scale_in_is_expected_and_an_unhealthy_instance_is_not() -> None:
    detail = {
        "EC2InstanceId": "i-abcd1111",
        "AutoScalingGroupName": "shop",
        "StatusCode": "InProgress",
        "Cause": "At 2026-01-05T21:29:00Z a monitor alarm changed the desired capacity from 3 to 2. At "
        "2026-01-05T21:29:10Z an instance was taken out of service in response to a difference between desired and "
        "actual capacity, shrinking the capacity from 3 to 2.",
        "Details": {"Availability Zone": "us-east-1b"},
    }
    scale_in = read("aws.autoscaling", "EC2 Instance Terminate Successful", detail, ["arn:aws:autoscaling:x", INSTANCE])
    assert (scale_in.meaning, scale_in.expected, scale_in.resource) == (InfraMeaning.FAILURE, True, INSTANCE)
    detail["Cause"] = (
        "At 2026-01-05T21:29:10Z an instance was taken out of service in response to an ELB health check failure."
    )
    unhealthy = read(
        "aws.autoscaling", "EC2 Instance Terminate Successful", detail, ["arn:aws:autoscaling:x", INSTANCE]
    )
    assert (unhealthy.meaning, unhealthy.expected) == (InfraMeaning.FAILURE, False)


def ecs_task(stop_code: str, reason: str, last: str = "STOPPED") -> Any:
    detail = {
        "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/shop",
        "group": "service:checkout",
        "lastStatus": last,
        "desiredStatus": "STOPPED",
        "stopCode": stop_code,
        "stoppedReason": reason,
        "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/shop/c13b4cb40f1f4fe4a2971f76ae5a47ad",
        "containers": [{"exitCode": 137, "lastStatus": "STOPPED", "name": "checkout"}],
        "version": 5,
    }
    task = "arn:aws:ecs:us-east-1:123456789012:task/shop/c13b4cb40f1f4fe4a2971f76ae5a47ad"
    return read("aws.ecs", "ECS Task State Change", detail, [task])


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("EssentialContainerExited", "Essential container in task exited", False),
        ("ServiceSchedulerInitiated", "Task failed ELB health checks in (target-group arn:aws:x)", False),
        ("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1)", True),
        ("UserInitiated", "Task stopped by user", True),
        ("SpotInterruption", "Your Spot Task was interrupted.", False),
    ],
)
def test_a_stopped_task_is_a_failure_of_its_service_unless_someone_wanted_it(
    code: str, reason: str, expected: bool
) -> None:
    event = ecs_task(code, reason)
    assert (event.meaning, event.expected) == (InfraMeaning.FAILURE, expected)
    assert (event.resource, event.application) == (SERVICE, "shop")


def test_a_running_task_is_a_recovery_of_its_service() -> None:
    assert ecs_task("", "", last="RUNNING").meaning is InfraMeaning.RECOVERY
    assert ecs_task("", "", last="PENDING").meaning is InfraMeaning.NEUTRAL


@pytest.mark.parametrize(
    ("event_id", "category", "meaning"),
    [
        ("RDS-EVENT-0031", "failure", "failure"),
        ("RDS-EVENT-0007", "low storage", "failure"),
        ("RDS-EVENT-0013", "failover", "failure"),
        ("RDS-EVENT-0049", "failover", "recovery"),
        ("RDS-EVENT-0006", "availability", "recovery"),
        ("RDS-EVENT-0001", "backup", "neutral"),
    ],
)
def test_an_rds_event_means_what_its_id_or_category_says(event_id: str, category: str, meaning: str) -> None:
    detail = {
        "EventCategories": [category],
        "SourceType": "DB_INSTANCE",
        "SourceArn": DATABASE,
        "Date": "2026-01-05T21:29:54.000Z",
        "SourceIdentifier": "orders",
        "Message": "as AWS words it",
        "EventID": event_id,
    }
    event = read("aws.rds", "RDS DB Instance Event", detail, [DATABASE])
    assert (event.meaning, event.resource, event.application) == (meaning, DATABASE, "shop")


def api_call(source: str, name: str, parameters: dict[str, Any], **more: Any) -> Any:
    detail = {
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice", "userName": "alice"},
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "requestParameters": parameters,
        "responseElements": None,
        **more,
    }
    return read(f"aws.{source}", "AWS API Call via CloudTrail", detail)


def test_a_function_deleted_by_hand_is_a_failure_and_one_deleted_by_cloudformation_is_planned() -> None:
    deleted = api_call("lambda", "DeleteFunction20150331", {"functionName": "payments"})
    assert (deleted.meaning, deleted.expected, deleted.actor) == (InfraMeaning.FAILURE, False, "alice")
    assert (deleted.resource, deleted.application) == (FUNCTION, "shop")
    planned = api_call(
        "lambda",
        "DeleteFunction20150331",
        {"functionName": "payments"},
        userIdentity={"type": "AssumedRole", "invokedBy": "cloudformation.amazonaws.com"},
    )
    assert planned.expected


def test_a_refused_call_changed_nothing() -> None:
    refused = api_call("lambda", "DeleteFunction20150331", {"functionName": "payments"}, errorCode="AccessDenied")
    assert (type(refused), refused.meaning) == (InfraEvent, InfraMeaning.NEUTRAL)


@pytest.mark.parametrize(
    ("source", "name", "parameters", "kind", "resource", "after"),
    [
        (
            "lambda",
            "UpdateAlias20150331",
            {"functionName": "payments", "functionVersion": "42"},
            "deploy",
            FUNCTION,
            "42",
        ),
        ("lambda", "UpdateFunctionConfiguration20150331v2", {"functionName": FUNCTION}, "config", FUNCTION, ""),
        (
            "ecs",
            "UpdateService",
            {"cluster": "shop", "service": "checkout", "taskDefinition": "c:7"},
            "deploy",
            SERVICE,
            "c:7",
        ),
        ("ecs", "UpdateService", {"cluster": "shop", "service": "checkout", "desiredCount": 4}, "scale", SERVICE, ""),
        ("rds", "ModifyDBInstance", {"dBInstanceIdentifier": "orders"}, "config", DATABASE, ""),
    ],
)
def test_calls_that_change_something_are_changes(
    source: str, name: str, parameters: dict[str, Any], kind: str, resource: str, after: str
) -> None:
    change = api_call(source, name, parameters)
    assert isinstance(change, Change)
    assert (change.kind, change.resource, change.after, change.actor) == (kind, resource, after, "alice")
    assert change.application == "shop"


def test_a_pipelines_own_event_is_a_change_with_before_and_after() -> None:
    detail = {"kind": "deploy", "resource": FUNCTION, "actor": "ci", "before": "41", "after": "42"}
    change = read("foreshock.pipeline", "Deployment", detail)
    assert (change.kind, change.before, change.after, change.application) == ("deploy", "41", "42", "shop")


def test_an_alarm_in_alarm_is_a_failure_and_ok_a_recovery() -> None:
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors"
    for value, meaning in (("ALARM", "failure"), ("OK", "recovery"), ("INSUFFICIENT_DATA", "neutral")):
        event = read("aws.cloudwatch", "CloudWatch Alarm State Change", {"state": {"value": value}}, [arn])
        assert event.meaning == meaning


def test_what_no_rule_knows_is_neutral_and_its_own_application() -> None:
    event = read("aws.glue", "Glue Job State Change", {"state": "FAILED", "deep": {"a": 1}}, ["arn:aws:glue:r:1:job/x"])
    assert (event.meaning, event.application, event.resource_type) == ("neutral", "arn:aws:glue:r:1:job/x", "glue")
    assert event.detail == {"state": "FAILED"}, "nested documents stay at the sender"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "not_an_envelope"),
        ({"detail": "text"}, "not_an_envelope"),
        ({"resources": [1]}, "not_an_envelope"),
        ({"time": "yesterday"}, "bad_time"),
    ],
)
def test_what_is_no_envelope_is_refused_with_a_reason(change: dict[str, Any], reason: str) -> None:
    broken = {**envelope("aws.ec2", "x", {}), **change}
    with pytest.raises(ContractError) as caught:
        read_envelope(broken, resolver(CATALOG))
    assert caught.value.reason == reason


@pytest.mark.parametrize("detail", [{}, {"state": 7}, {"state": None, "instance-id": []}])
def test_a_strange_detail_is_neutral_not_an_error(detail: dict[str, Any]) -> None:
    for source, detail_type in (
        ("aws.ec2", "EC2 Instance State-change Notification"),
        ("aws.ecs", "ECS Task State Change"),
        ("aws.rds", "RDS DB Instance Event"),
        ("aws.lambda", "AWS API Call via CloudTrail"),
        ("aws.cloudwatch", "CloudWatch Alarm State Change"),
    ):
        assert read(source, detail_type, detail).meaning == "neutral"
