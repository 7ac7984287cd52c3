"""Which target an action would touch: one the application owns, of the runbook's kind, nearest to the trouble.

In: the catalog, the incident, a runbook. Out: the choice, and whether it is beyond doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.catalog import Catalog, Target
from models.incident import Incident
from models.runbook import Runbook

__all__ = ["TargetChoice", "choose_target", "names_resource"]


class TargetChoice(NamedTuple):
    """The target's ARN ("" = none), whether it is the only sensible one, and why, in words."""

    arn: str
    certain: bool
    why: str


def choose_target(catalog: Catalog, incident: Incident, runbook: Runbook) -> TargetChoice:
    """The resource the incident names; else the one that was just changed; else the one target of an anomalous
    service; else the only one of its kind.

    Several that fit equally well: the first by ARN, not certain, so a person decides.
    """
    owned = _owned(catalog, incident.application, runbook.target_kind)
    if not owned:
        return TargetChoice("", False, f"{incident.application} has no target of kind {runbook.target_kind}")
    named = [target for target in owned if names_resource(target.arn, incident.resource)]
    if named:
        return TargetChoice(named[0].arn, True, f"{named[0].arn} is the resource of the event")
    changed = [
        target for target in owned if any(names_resource(target.arn, item.resource) for item in incident.changes)
    ]
    if len(changed) == 1:
        return TargetChoice(changed[0].arn, True, f"{changed[0].arn} was changed just before")
    services = {signal.service for signal in incident.signals}
    serving = [target for target in owned if target.service and target.service in services]
    if len(serving) == 1:
        return TargetChoice(serving[0].arn, True, f"{serving[0].arn} serves {serving[0].service}")
    if len(owned) == 1:
        return TargetChoice(owned[0].arn, True, f"{owned[0].arn} is the only target of kind {runbook.target_kind}")
    candidates = serving or owned
    listed = ", ".join(target.arn for target in candidates[:5])
    return TargetChoice(candidates[0].arn, False, f"{len(candidates)} targets fit equally well: {listed}")


def _owned(catalog: Catalog, application: str, kind: str) -> Sequence[Target]:
    arns = catalog.application(application).targets
    found = [target for target in catalog.targets if target.arn in arns and target.kind == kind]
    return sorted(found, key=lambda target: target.arn)


def names_resource(arn: str, resource: str) -> bool:
    """Whether `resource` is this target: an event names it by ARN or by the ARN's last part."""
    return bool(resource) and (arn == resource or arn.endswith((f"/{resource}", f":{resource}")))
