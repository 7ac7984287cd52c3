"""What each known kind of EventBridge event means. One function a (source, detail-type), collected in `RULES`.

In: an `Envelope` whose outer fields are checked. Out: a `Finding` (the default is neutral). A detail
field that is missing or of another type reads as "", so that a strange detail is neutral and not an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from models.signal import InfraMeaning

__all__ = ["RULES", "Envelope", "Finding"]

ChangeKind = Literal["", "deploy", "config", "scale"]
_CHANGE_KINDS: dict[str, ChangeKind] = {"deploy": "deploy", "config": "config", "scale": "scale"}


class Envelope(NamedTuple):
    """An EventBridge envelope. `at` is its time in ms; `detail` is the sender's document as it came."""

    id: str
    source: str
    detail_type: str
    at: int
    region: str
    account: str
    resources: tuple[str, ...]
    detail: Mapping[str, Any]

    def text(self, *path: str) -> str:
        """The text at that path of the detail, "" where there is none."""
        value: Any = self.detail
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""

    def arn(self, service: str, rest: str) -> str:
        """An ARN of this envelope's region and account."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{rest}"


class Finding(NamedTuple):
    """What a rule makes of an envelope. `change` set: a Change of that kind; otherwise an InfraEvent."""

    meaning: InfraMeaning = InfraMeaning.NEUTRAL
    expected: bool = False
    resource: str = ""
    resource_type: str = ""
    actor: str = ""
    change: ChangeKind = ""
    before: str = ""
    after: str = ""


def _ec2_instance(event: Envelope) -> Finding:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-state-change-events.html. The passing states
    (`stopping`, `shutting-down`, `pending`) are neutral: their ends follow and count once.
    """
    meanings = {
        "terminated": InfraMeaning.FAILURE,
        "stopped": InfraMeaning.FAILURE,
        "running": InfraMeaning.RECOVERY,
    }
    meaning = meanings.get(event.text("state"), InfraMeaning.NEUTRAL)
    return Finding(meaning, resource=_instance(event, event.text("instance-id")), resource_type="ec2")


def _instance(event: Envelope, instance_id: str) -> str:
    named = next((arn for arn in event.resources if ":instance/" in arn), "")
    return named or (event.arn("ec2", f"instance/{instance_id}") if instance_id else "")


_UNPLANNED = re.compile(r"health check|unhealthy|system failure|interruption|impaired", re.IGNORECASE)


def _autoscaling_terminated(event: Envelope) -> Finding:
    """https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html. A scale-in is
    expected; its `Cause` says when a health check was the reason instead.
    """
    unplanned = _UNPLANNED.search(event.text("Cause")) is not None
    resource = _instance(event, event.text("EC2InstanceId"))
    return Finding(InfraMeaning.FAILURE, expected=not unplanned, resource=resource, resource_type="ec2")


def _autoscaling_launched(event: Envelope) -> Finding:
    return Finding(InfraMeaning.RECOVERY, resource=_instance(event, event.text("EC2InstanceId")), resource_type="ec2")


def _ecs_task(event: Envelope) -> Finding:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html. The resource is the task's
    service (`group`), which outlives its tasks.
    """
    cluster, group = event.text("clusterArn"), event.text("group")
    resource = ""
    if group.startswith("service:") and ":cluster/" in cluster:
        resource = f"{cluster.replace(':cluster/', ':service/', 1)}/{group.removeprefix('service:')}"
    last, code, reason = event.text("lastStatus"), event.text("stopCode"), event.text("stoppedReason")
    if last == "RUNNING":
        return Finding(InfraMeaning.RECOVERY, resource=resource, resource_type="ecs")
    if last != "STOPPED":
        return Finding(resource=resource, resource_type="ecs")
    planned = code == "UserInitiated" or (code == "ServiceSchedulerInitiated" and not _UNPLANNED.search(reason))
    return Finding(InfraMeaning.FAILURE, expected=planned, resource=resource, resource_type="ecs")


def _ecs_deployment(event: Envelope) -> Finding:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html."""
    name = event.text("eventName")
    resource = event.resources[0] if event.resources else ""
    after = event.text("deploymentId")
    if name == "SERVICE_DEPLOYMENT_FAILED":
        return Finding(InfraMeaning.FAILURE, resource=resource, resource_type="ecs")
    if name == "SERVICE_DEPLOYMENT_IN_PROGRESS":
        return Finding(change="deploy", resource=resource, after=after)
    return Finding(resource=resource, resource_type="ecs")


_RDS_IDS = {
    "RDS-EVENT-0004": InfraMeaning.FAILURE,  # shut down
    "RDS-EVENT-0022": InfraMeaning.FAILURE,  # error while restarting
    "RDS-EVENT-0013": InfraMeaning.FAILURE,  # Multi-AZ failover started: the primary is lost
    "RDS-EVENT-0006": InfraMeaning.RECOVERY,  # restarted
    "RDS-EVENT-0088": InfraMeaning.RECOVERY,  # started
    "RDS-EVENT-0015": InfraMeaning.RECOVERY,  # failover complete
    "RDS-EVENT-0049": InfraMeaning.RECOVERY,  # failover completed
    "RDS-EVENT-0021": InfraMeaning.RECOVERY,  # recovery complete
    "RDS-EVENT-0065": InfraMeaning.RECOVERY,  # recovered from a partial failover
}


def _rds(event: Envelope) -> Finding:
    """https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html."""
    listed = event.detail.get("EventCategories")
    categories = listed if isinstance(listed, list) else []
    resource = event.text("SourceArn")
    if "configuration change" in categories:
        return Finding(change="config", resource=resource, after=event.text("Message")[:200])
    meaning = _RDS_IDS.get(event.text("EventID"))
    if meaning is None:
        lost = any(name in categories for name in ("failure", "low storage", "deletion"))
        meaning = InfraMeaning.FAILURE if lost else InfraMeaning.NEUTRAL
    return Finding(meaning, expected="deletion" in categories, resource=resource, resource_type="rds")


def _alarm(event: Envelope) -> Finding:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html."""
    meanings = {"ALARM": InfraMeaning.FAILURE, "OK": InfraMeaning.RECOVERY}
    return Finding(meanings.get(event.text("state", "value"), InfraMeaning.NEUTRAL), resource_type="alarm")


def _codedeploy(event: Envelope) -> Finding:
    """https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html."""
    state = event.text("state")
    if state == "START":
        return Finding(change="deploy", after=event.text("deploymentId"))
    return Finding(InfraMeaning.FAILURE if state == "FAILURE" else InfraMeaning.NEUTRAL, resource_type="deployment")


def _deployment(event: Envelope) -> Finding:
    """A pipeline's own event: `source` foreshock.pipeline, `detail` {kind, resource, actor, before, after}."""
    return Finding(
        change=_CHANGE_KINDS.get(event.text("kind"), "deploy"),
        resource=event.text("resource"),
        actor=event.text("actor"),
        before=event.text("before"),
        after=event.text("after"),
    )


def _api_call(event: Envelope) -> Finding:
    """A call recorded by CloudTrail: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/. A refused call
    (`errorCode`) changed nothing; a call that CloudFormation or another service made is a planned one.
    """
    actor = _actor(event)
    if event.text("errorCode"):
        return Finding(actor=actor)
    # Lambda's event names carry the API's date: UpdateFunctionCode20150331v2.
    call = re.sub(r"\d{8}(v\d+)?$", "", event.text("eventName"))
    rule = _API_CALLS.get((event.text("eventSource").removesuffix(".amazonaws.com"), call))
    return rule(event, actor) if rule else Finding(actor=actor)


def _actor(event: Envelope) -> str:
    names = (("userName",), ("arn",), ("invokedBy",), ("principalId",), ("type",))
    return next((name for path in names if (name := event.text("userIdentity", *path))), "")


def _function(event: Envelope) -> str:
    name = event.text("requestParameters", "functionName")
    return name if name.startswith("arn:") else event.arn("lambda", f"function:{name}") if name else ""


def _function_deleted(event: Envelope, actor: str) -> Finding:
    planned = event.text("userIdentity", "invokedBy") != ""
    return Finding(InfraMeaning.FAILURE, planned, _function(event), "lambda", actor)


def _function_deployed(event: Envelope, actor: str) -> Finding:
    version = event.text("requestParameters", "functionVersion") or event.text("responseElements", "version")
    return Finding(change="deploy", resource=_function(event), actor=actor, after=version)


def _function_configured(event: Envelope, actor: str) -> Finding:
    return Finding(change="config", resource=_function(event), actor=actor)


def _ecs_service_updated(event: Envelope, actor: str) -> Finding:
    cluster = event.text("requestParameters", "cluster").rpartition("/")[2] or "default"
    service = event.text("requestParameters", "service")
    resource = service if service.startswith("arn:") else event.arn("ecs", f"service/{cluster}/{service}")
    definition = event.text("requestParameters", "taskDefinition")
    return Finding(change="deploy" if definition else "scale", resource=resource, actor=actor, after=definition)


def _database_modified(event: Envelope, actor: str) -> Finding:
    name, size = (event.text("requestParameters", key) for key in ("dBInstanceIdentifier", "dBInstanceClass"))
    return Finding(
        change="scale" if size else "config", resource=event.arn("rds", f"db:{name}"), actor=actor, after=size
    )


_API_CALLS: dict[tuple[str, str], Callable[[Envelope, str], Finding]] = {
    ("lambda", "DeleteFunction"): _function_deleted,
    ("lambda", "UpdateFunctionCode"): _function_deployed,
    ("lambda", "UpdateAlias"): _function_deployed,
    ("lambda", "UpdateFunctionConfiguration"): _function_configured,
    ("ecs", "UpdateService"): _ecs_service_updated,
    ("rds", "ModifyDBInstance"): _database_modified,
}

_BY_CLOUDTRAIL = "AWS API Call via CloudTrail"

RULES: dict[tuple[str, str], Callable[[Envelope], Finding]] = {
    ("aws.ec2", "EC2 Instance State-change Notification"): _ec2_instance,
    ("aws.autoscaling", "EC2 Instance Terminate Successful"): _autoscaling_terminated,
    ("aws.autoscaling", "EC2 Instance Launch Successful"): _autoscaling_launched,
    ("aws.ecs", "ECS Task State Change"): _ecs_task,
    ("aws.ecs", "ECS Deployment State Change"): _ecs_deployment,
    ("aws.rds", "RDS DB Instance Event"): _rds,
    ("aws.cloudwatch", "CloudWatch Alarm State Change"): _alarm,
    ("aws.codedeploy", "CodeDeploy Deployment State-change Notification"): _codedeploy,
    ("foreshock.pipeline", "Deployment"): _deployment,
    ("aws.lambda", _BY_CLOUDTRAIL): _api_call,
    ("aws.ecs", _BY_CLOUDTRAIL): _api_call,
    ("aws.rds", _BY_CLOUDTRAIL): _api_call,
}
