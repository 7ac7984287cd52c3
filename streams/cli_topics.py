"""`foreshock topics` and `foreshock catalog`: a deployment's topics, permissions and catalog on Kafka.

In: the configuration and the cluster. Out: tables and JSON lines on stdout, what was changed, exit code 1 where
something differs that is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors import kafka_topics
from connectors.clock import PacedClock, WallClock
from connectors.kafka_acls import ROLES, acl_lines, create_acls, readers_of, role_acls, role_of, writers_of
from connectors.kafka_log import KafkaLog
from connectors.kafka_probe import check_brokers
from connectors.kafka_settings import KafkaSettings, kafka_options
from connectors.kafka_topics import Difference, TopicPlan, TopicState
from connectors.settings import Configuration, read_settings
from models.errors import UsageError
from models.topics import TOPICS
from streams.catalog import publish_catalog
from streams.rendering import note, put, put_json, put_table, shown

__all__ = ["apply_catalog", "apply_topics", "describe_topics", "diff_topics", "list_acls"]

_DAY = 86_400_000
_NEWEST = "newest of each key"
_APPLY = "`foreshock topics apply` makes it so"


def apply_topics(config: Path | None, kafka: str, *, as_json: bool) -> None:
    """Create and alter; exit 1 when something is left that only a person can change."""
    settings, plans = _planned(config, kafka)
    with _admin(settings) as admin:
        changed = kafka_topics.apply(admin, settings, plans)
        left = kafka_topics.diff(plans, kafka_topics.describe(admin, settings, [plan.name for plan in plans]))
    for difference in changed:
        if as_json:
            put_json({"changed": _row(difference)})
        elif difference.setting == "topic":
            put(shown(f"{difference.name}: created"))
        else:
            put(shown(f"{difference.name}: {difference.setting} {difference.is_now} -> {difference.must_be}"))
    note(f"{len(plans)} topics; {len(changed) or 'nothing'} changed" + (f"; {len(left)} left:" if left else ""))
    for line in _lines(left):
        note(f"  {line}")
    if left:
        sys.exit(1)


def diff_topics(config: Path | None, kafka: str, *, as_json: bool) -> None:
    """What differs; exit 1 when something does."""
    settings, plans = _planned(config, kafka)
    with _admin(settings) as admin:
        found = kafka_topics.describe(admin, settings, [plan.name for plan in plans])
    differences = kafka_topics.diff(plans, found)
    if as_json:
        for difference in differences:
            put_json(_row(difference))
    else:
        for line in _lines(differences):
            put(shown(line))
    if not differences:
        note(f"{len(plans)} topics are as configured")
        return
    if not all(difference.remedy for difference in differences):
        note("`foreshock topics apply` changes what is said without advice" if _advised(differences) else _APPLY)
    sys.exit(1)


def describe_topics(config: Path | None, kafka: str, *, as_json: bool) -> None:
    """A table of what there is."""
    settings, plans = _planned(config, kafka)
    with _admin(settings) as admin:
        found = kafka_topics.describe(admin, settings, [plan.name for plan in plans])
    rows = [_description(plan, found.get(plan.name)) for plan in plans]
    if as_json:
        for row in rows:
            put_json(row)
        return
    columns = ("topic", "key", "partitions", "kept", "records", "size", "written by", "read by")
    put_table(columns, [[_cell(column, row[column]) for column in columns] for row in rows])


def list_acls(config: Path | None, kafka: str, *, role: str, create: bool, as_json: bool) -> None:
    """The ACLs, of one role or all; `create` makes them on the cluster instead of listing them."""
    settings = read_settings(config, kafka_options(kafka)).settings.kafka
    if role and role not in ROLES:
        raise UsageError(f"--role: there is no role {role!r}. Known: {', '.join(ROLES)}.")
    acls = [acl for acl in role_acls(settings) if role in ("", acl.role)]
    if create:
        with _admin(settings) as admin:
            create_acls(admin, settings, acls)
        note(f"{len(acls)} ACLs are on the cluster")
    elif as_json:
        for acl in acls:
            put_json(acl._asdict())
    else:
        for line in acl_lines(settings, acls):
            put(shown(line))


def apply_catalog(config: Path | None, kafka: str, *, as_json: bool) -> None:
    """Publish the configured catalog, unless it stands there."""
    configuration = read_settings(config, kafka_options(kafka))
    settings = configuration.settings.kafka
    check_brokers(settings)
    clock = PacedClock(settings.clock) if settings.clock else WallClock()
    log = KafkaLog(settings, "catalog", virtual=bool(settings.clock))
    try:
        published = publish_catalog(log, configuration.catalog, clock.now(), at_once=False, run=settings.run)
    finally:
        log.close()
    if as_json:
        put_json({"published": published, **_summary(configuration)})
        return
    parts = ", ".join(f"{count} {name}" for name, count in _summary(configuration).items())
    note(f"catalog {'published' if published else 'stands there already'}: {parts}")


@contextmanager
def _admin(settings: KafkaSettings) -> Iterator[Any]:
    admin = kafka_topics.open_admin(settings)
    try:
        yield admin
    finally:
        admin.close()


def _planned(config: Path | None, kafka: str) -> tuple[KafkaSettings, Sequence[TopicPlan]]:
    settings = read_settings(config, kafka_options(kafka)).settings
    return settings.kafka, kafka_topics.plan(settings.kafka, settings.partitions)


def _lines(differences: Sequence[Difference]) -> Iterator[str]:
    """One line a difference; what a person has to do stands once, below those it mends."""
    remedies: dict[str, list[Difference]] = {}
    for difference in differences:
        remedies.setdefault(difference.remedy, []).append(difference)
    for remedy, mended in remedies.items():
        yield from (item.text for item in mended)
        if remedy:
            yield f"  {remedy}"


def _advised(differences: Sequence[Difference]) -> bool:
    return any(difference.remedy for difference in differences)


def _row(difference: Difference) -> dict[str, Any]:
    return {
        "topic": difference.name,
        "setting": difference.setting,
        "is": difference.is_now,
        "must_be": difference.must_be,
        "remedy": difference.remedy,
        "refused": difference.refused,
    }


def _description(plan: TopicPlan, state: TopicState | None) -> dict[str, Any]:
    topic = TOPICS.get(plan.topic)
    configs = state.configs if state else plan.configs
    kept = f"{int(configs['retention.ms']) / _DAY:g} d" if configs["cleanup.policy"] == "delete" else _NEWEST
    return {
        "topic": plan.name,
        "key": topic.key if topic else "the state's key",
        "partitions": state.partitions if state else None,
        "kept": kept,
        "records": sum(state.nexts.values()) - sum(state.firsts.values()) if state else None,
        "size": state.size_bytes if state else None,
        "written by": ", ".join(writers_of(topic) if topic else [role_of(plan.changelog_of)]),
        "read by": ", ".join(readers_of(topic) if topic else [role_of(plan.changelog_of)]),
        "offsets": {part: [state.firsts[part], end] for part, end in sorted(state.nexts.items())} if state else {},
        "replication": state.replication if state else None,
    }


def _cell(column: str, value: Any) -> str:
    if value in (None, ""):
        return "missing" if column == "partitions" else "-"
    return f"{value / 1_000_000:.1f} MB" if column == "size" else str(value)


def _summary(configuration: Configuration) -> dict[str, int]:
    catalog = configuration.catalog
    return {
        "applications": len(catalog.applications),
        "services": len(catalog.services),
        "targets": len(catalog.targets),
        "runbooks": len(catalog.runbooks),
    }
