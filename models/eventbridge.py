"""EventBridge envelopes read as what they mean: an InfraEvent (failure, recovery, neutral) or a Change.

In: one envelope as a dict, and how to find a resource's application. Out: `Reading` (event time in ms, contract).
What cannot be an envelope raises ContractError; a detail type without a rule is a neutral InfraEvent, never dropped.
Envelope: https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import JsonValue

from models.catalog import Catalog
from models.errors import ContractError
from models.eventbridge_rules import RULES, Envelope, Finding
from models.signal import Change, InfraEvent

__all__ = ["Reading", "read_envelope", "resolver"]

_DETAIL_VALUES = 32
_DETAIL_CHARS = 256


class Reading(NamedTuple):
    """What an envelope says, and when (`at`: ms since the epoch, from its `time`)."""

    at: int
    data: InfraEvent | Change


def resolver(catalog: Catalog) -> Callable[[str], str]:
    """A resource's application: the one that names it as a target, else that of the target's service, else the
    resource is its own application (as a service no application names).
    """
    owners: dict[str, str] = {}
    for target in catalog.targets:
        if target.service:
            owners[target.arn] = catalog.application_of(target.service)
    for application in catalog.applications:
        owners.update(dict.fromkeys(application.targets, application.name))
    return lambda resource: owners.get(resource, resource)


def read_envelope(envelope: Mapping[str, Any], application_of: Callable[[str], str]) -> Reading:
    """Read one envelope. `application_of` gives the application of a resource's ARN (`resolver`, or an inventory).

    Raises ContractError: `not_an_envelope` (a field is missing or of the wrong type), `bad_time`.
    """
    event = _envelope(envelope)
    rule = RULES.get((event.source, event.detail_type))
    finding = rule(event) if rule else Finding()
    resource = finding.resource or (event.resources[0] if event.resources else event.source)
    application = application_of(resource)
    if finding.change:
        change = Change(
            change_id=event.id,
            source=event.source,
            kind=finding.change,
            resource=resource,
            application=application,
            actor=finding.actor,
            before=finding.before,
            after=finding.after,
        )
        return Reading(event.at, change)
    infra = InfraEvent(
        event_id=event.id,
        source=event.source,
        detail_type=event.detail_type,
        resource=resource,
        resource_type=finding.resource_type or _type_of(resource),
        application=application,
        actor=finding.actor,
        meaning=finding.meaning,
        expected=finding.expected,
        detail=_brief(event.detail),
    )
    return Reading(event.at, infra)


def _envelope(raw: Mapping[str, Any]) -> Envelope:
    texts = {}
    for name in ("id", "source", "detail-type", "time"):
        value = raw.get(name)
        if not isinstance(value, str) or not value:
            raise ContractError("not_an_envelope", f"`{name}` must be a non-empty string")
        texts[name] = value
    detail, resources = raw.get("detail"), raw.get("resources", [])
    if not isinstance(detail, dict):
        raise ContractError("not_an_envelope", "`detail` must be an object")
    if not isinstance(resources, list) or not all(isinstance(item, str) for item in resources):
        raise ContractError("not_an_envelope", "`resources` must be a list of strings")
    return Envelope(
        id=texts["id"],
        source=texts["source"],
        detail_type=texts["detail-type"],
        at=_milliseconds(texts["time"]),
        region=_text(raw.get("region")),
        account=_text(raw.get("account")),
        resources=tuple(resources),
        detail=detail,
    )


def _milliseconds(time: str) -> int:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise ContractError("bad_time", f"`time` must be ISO 8601, got {time[:40]!r}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _type_of(resource: str) -> str:
    """The service part of an ARN (`arn:aws:ec2:...` is `ec2`), or "" for what is none."""
    parts = resource.split(":", 5)
    return parts[2] if len(parts) == 6 and parts[0] == "arn" else ""


def _brief(detail: Mapping[str, Any]) -> dict[str, JsonValue]:
    """The plain values of the detail, short: nested documents (whole API calls, environments) stay at the sender."""
    plain: dict[str, JsonValue] = {}
    for name, value in detail.items():
        if isinstance(value, str):
            plain[name] = value[:_DETAIL_CHARS]
        elif isinstance(value, bool | int) or value is None:
            plain[name] = value
        if len(plain) == _DETAIL_VALUES:
            break
    return plain
