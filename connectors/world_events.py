"""The EventBridge envelopes that AWS would send about the simulated shop, in the shapes AWS documents.

In: what happened, when (ms). Out: envelopes as dicts; their ids are drawn from the seed, so the same world sends the
same bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.world_random import hex_text
from connectors.world_shop import ACCOUNT, APPLICATION, DATABASE_ARN, REGION, SHOP, instance_arn

__all__ = ["EventWriter"]

Envelope = dict[str, Any]

_DEPLOYER = {"type": "AssumedRole", "principalId": "AROA4EXAMPLE:pipeline", "userName": "deploy-pipeline"}
_OPERATOR = {"type": "AssumedRole", "principalId": "AROA5EXAMPLE:foreshock", "userName": "foreshock"}


class EventWriter:
    """Writes envelopes for the world of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def instance(self, at: int, instance: str, state: str) -> Envelope:
        """An EC2 instance has reached a state."""
        detail = {"instance-id": instance, "state": state}
        arns = [instance_arn(instance)]
        return self._envelope(at, "aws.ec2", "EC2 Instance State-change Notification", detail, arns)

    def task(self, at: int, service: str, status: str, code: str = "", reason: str = "") -> Envelope:
        """A task of an ECS service is running or was stopped."""
        task_id = hex_text(self._seed, 32, "task", service, at)
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{APPLICATION}/{task_id}"
        detail: dict[str, Any] = {
            "clusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{APPLICATION}",
            "group": f"service:{service}",
            "lastStatus": status,
            "desiredStatus": status,
            "taskArn": arn,
            "version": 4,
        }
        if code:
            detail |= {"stopCode": code, "stoppedReason": reason}
        return self._envelope(at, "aws.ecs", "ECS Task State Change", detail, [arn])

    def alarm(self, at: int, service: str, value: str) -> Envelope:
        """The alarm on a service's errors has changed its state."""
        name = f"{APPLICATION}-{service}-errors"
        detail = {"alarmName": name, "state": {"value": value, "timestamp": _iso(at)}}
        arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}"
        return self._envelope(at, "aws.cloudwatch", "CloudWatch Alarm State Change", detail, [arn])

    def deploy(self, at: int, service: str, release: int, *, by_operator: bool = False) -> Envelope:
        """A release of a service was put live (or back live): the API call, as CloudTrail records it."""
        if SHOP[service].kind == "lambda":
            name = f"{APPLICATION}-{service}"
            parameters = {"functionName": name, "name": "live", "functionVersion": str(release)}
            return self._call(at, "lambda", "UpdateAlias20150331", parameters, by_operator)
        parameters = {"cluster": APPLICATION, "service": service, "taskDefinition": f"{service}:{release}"}
        return self._call(at, "ecs", "UpdateService", parameters, by_operator)

    def tasks_wanted(self, at: int, service: str, count: int) -> Envelope:
        """An ECS service's desired count was changed."""
        parameters = {"cluster": APPLICATION, "service": service, "desiredCount": count}
        return self._call(at, "ecs", "UpdateService", parameters, True)

    def database_modified(self, at: int, max_connections: int) -> Envelope:
        """The database's size was changed."""
        parameters = {
            "dBInstanceIdentifier": DATABASE_ARN.rpartition(":")[2],
            "dBInstanceClass": "db.r6g.2xlarge" if max_connections > 100 else "db.r6g.large",
            "applyImmediately": True,
        }
        return self._call(at, "rds", "ModifyDBInstance", parameters, True)

    def database(self, at: int, event_id: str, category: str, message: str) -> Envelope:
        """RDS tells of the database."""
        detail = {
            "EventCategories": [category],
            "SourceType": "DB_INSTANCE",
            "SourceArn": DATABASE_ARN,
            "Date": _iso(at),
            "Message": message,
            "SourceIdentifier": DATABASE_ARN.rpartition(":")[2],
            "EventID": event_id,
        }
        return self._envelope(at, "aws.rds", "RDS DB Instance Event", detail, [DATABASE_ARN])

    def down(self, at: int, service: str) -> Envelope:
        """A service has stopped serving, as its platform tells it."""
        if SHOP[service].kind != "ecs":
            return self.alarm(at, service, "ALARM")
        group = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{service}/6d0ecf831eec9f09"
        reason = f"Task failed ELB health checks in (target-group {group})"
        return self.task(at, service, "STOPPED", "ServiceSchedulerInitiated", reason)

    def back(self, at: int, service: str) -> Envelope:
        """A service that had stopped serves again."""
        return self.task(at, service, "RUNNING") if SHOP[service].kind == "ecs" else self.alarm(at, service, "OK")

    def _call(self, at: int, source: str, name: str, parameters: dict[str, Any], by_operator: bool) -> Envelope:
        detail = {
            "eventVersion": "1.08",
            "userIdentity": _OPERATOR if by_operator else _DEPLOYER,
            "eventTime": _iso(at),
            "eventSource": f"{source}.amazonaws.com",
            "eventName": name,
            "awsRegion": REGION,
            "requestParameters": parameters,
            "eventType": "AwsApiCall",
        }
        return self._envelope(at, f"aws.{source}", "AWS API Call via CloudTrail", detail, [])

    def _envelope(self, at: int, source: str, kind: str, detail: dict[str, Any], resources: list[str]) -> Envelope:
        digits = hex_text(self._seed, 32, "envelope", at, kind, *resources, repr(detail))
        return {
            "version": "0",
            "id": "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])),
            "detail-type": kind,
            "source": source,
            "account": ACCOUNT,
            "time": _iso(at),
            "region": REGION,
            "resources": resources,
            "detail": detail,
        }


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
