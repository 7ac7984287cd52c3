"""What there is to look after: applications, services, targets, with the runbooks and the policy that apply.

The catalog travels through the log (topic `catalog`, broadcast into each inbox), so a step needs nothing but its inbox
and what was decided can be decided again.
"""

from __future__ import annotations

from typing import ClassVar

from models.event import Contract, Model
from models.policy import DetectionPolicy, Policy
from models.runbook import Runbook

__all__ = ["Application", "Catalog", "Service", "Target"]


class Application(Model):
    """Services that fail together, the targets that may be acted on, the runbooks allowed there."""

    name: str
    services: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    runbooks: tuple[str, ...] = ()


class Service(Model):
    """A service and the sources its lines come from (informative; detect learns them from the batches)."""

    name: str
    sources: tuple[str, ...] = ()


class Target(Model):
    """A resource that may be acted on: an ARN (or a simulated one), its kind (`rds`, `ec2`, `ecs`, `lambda`)."""

    arn: str
    kind: str
    region: str = ""
    service: str = ""
    tags: dict[str, str] = {}


class Catalog(Contract):
    """The whole catalog; `version` is a digest of the rest. A service no application names is its own application,
    without targets: it can alert and suggest, not act.
    """

    TYPE: ClassVar[str] = "catalog"

    version: str = ""
    applications: tuple[Application, ...] = ()
    services: tuple[Service, ...] = ()
    targets: tuple[Target, ...] = ()
    runbooks: tuple[Runbook, ...] = ()
    policy: Policy = Policy()
    detection: DetectionPolicy = DetectionPolicy()

    def application_of(self, service: str) -> str:
        """The application a service belongs to (itself, where none names it)."""
        return next((app.name for app in self.applications if service in app.services), service)

    def application(self, name: str) -> Application:
        """The application of this name; an empty one where the catalog does not know it."""
        return next((app for app in self.applications if app.name == name), Application(name=name, services=(name,)))

    def target(self, arn: str) -> Target | None:
        """The target with this ARN, or None."""
        return next((target for target in self.targets if target.arn == arn), None)

    def runbook(self, runbook_id: str, version: int | None = None) -> Runbook | None:
        """The runbook of this id (and version, where given), or None."""
        return next((book for book in self.runbooks if book.id == runbook_id and version in (None, book.version)), None)
