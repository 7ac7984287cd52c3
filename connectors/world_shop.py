"""The simulated application "shop": its services, what runs them, who calls whom, and its catalog.

Data and lookups only. ARNs are those of a real account's shape; instance ids are drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from connectors.world_random import hex_text
from models.catalog import Application, Catalog, Service, Target
from models.event import digest
from models.policy import DetectionPolicy, Policy
from models.runbook import Runbook

__all__ = [
    "ACCOUNT",
    "APPLICATION",
    "DATABASE",
    "DATABASE_ARN",
    "REGION",
    "SHOP",
    "Hosting",
    "first_instances",
    "instance_arn",
    "service_arn",
    "simulated_catalog",
    "source_of",
]

APPLICATION = "shop"
REGION = "eu-central-1"
ACCOUNT = "123456789012"
DATABASE = "orders-db"
DATABASE_ARN = f"arn:aws:rds:{REGION}:{ACCOUNT}:db:shop-orders"


@dataclass(frozen=True, slots=True)
class Hosting:
    """How a service runs: `kind`, how many tasks or instances, its first release; `stamina`: how many minutes of full
    failure it survives before it stops serving; `needs`: share of its requests lost when that service fails.
    """

    kind: Literal["ecs", "lambda", "ec2", "rds"]
    count: int
    release: int
    stamina: float
    needs: dict[str, float]


SHOP: dict[str, Hosting] = {
    "orders-db": Hosting("rds", 1, 14, 1e9, {}),
    "payments": Hosting("lambda", 1, 41, 15, {}),
    "inventory": Hosting("ec2", 2, 12, 6, {}),
    "search": Hosting("ecs", 2, 77, 15, {}),
    "orders": Hosting("ecs", 2, 118, 15, {}),
    "notify": Hosting("ecs", 1, 23, 15, {}),
    "checkout": Hosting("ecs", 2, 305, 15, {"payments": 0.9, "orders": 0.6, "inventory": 0.4}),
    "web": Hosting("ecs", 2, 52, 1e9, {"checkout": 0.15, "inventory": 0.3, "search": 0.2}),
}
"""In the order in which failures travel: a service comes after those it needs. Web and the database never stop."""


def instance_arn(instance: str) -> str:
    """The ARN of an EC2 instance of the shop's account."""
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance}"


def service_arn(service: str) -> str:
    """The ARN of what runs a service: an ECS service, a function or the database. Raises KeyError for EC2 services."""
    return {
        "ecs": f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{APPLICATION}/{service}",
        "lambda": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{APPLICATION}-{service}",
        "rds": DATABASE_ARN,
    }[SHOP[service].kind]


def first_instances(seed: int, service: str) -> tuple[str, ...]:
    """The EC2 instance ids a service starts with."""
    return tuple(f"i-0{hex_text(seed, 16, 'instance', service, number)}" for number in range(SHOP[service].count))


def source_of(service: str) -> str:
    """The id of the source (log shipper) that a service's lines come from."""
    return f"sim:{service}"


def simulated_catalog(
    seed: int,
    runbooks: Sequence[Runbook] = (),
    policy: Policy | None = None,
    detection: DetectionPolicy | None = None,
) -> Catalog:
    """The catalog of the world of that seed: the application, its services and targets, with the operator's runbooks
    and policies. `version` is a digest of the rest.
    """
    targets = []
    for name, hosting in SHOP.items():
        arns = [service_arn(name)] if hosting.kind != "ec2" else map(instance_arn, first_instances(seed, name))
        targets += [Target(arn=arn, kind=hosting.kind, region=REGION, service=name) for arn in arns]
    catalog = Catalog(
        applications=(
            Application(
                name=APPLICATION,
                services=tuple(SHOP),
                targets=tuple(target.arn for target in targets),
                runbooks=tuple(book.id for book in runbooks),
            ),
        ),
        services=tuple(Service(name=name, sources=(source_of(name),)) for name in SHOP),
        targets=tuple(targets),
        runbooks=tuple(runbooks),
        policy=policy or Policy(),
        detection=detection or DetectionPolicy(),
    )
    return catalog.model_copy(update={"version": digest(catalog.model_dump_json())})
