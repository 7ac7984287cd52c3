"""The doctor's look at a deployment on Kafka: configuration, brokers, versions, topics, catalog, groups, clocks.

In: a configuration with a `kafka:` section. Out: Findings, in the order in which one thing needs the other; when no
broker answers, nothing after it can be looked at. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from connectors import kafka_topics
from connectors.cluster_log import ClusterLog
from connectors.kafka_errors import advising
from connectors.kafka_probe import check_brokers
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_topics import Difference
from connectors.settings import Configuration
from models.errors import ForeshockError
from models.topics import TOPICS
from streams.doctor import (
    Finding,
    check_catalog,
    check_clock,
    check_dead_letters,
    check_keys,
    check_lag,
    check_watermarks,
)

__all__ = ["examine_cluster"]

_CLIENTS: Final = ("kafka-python", "faust-streaming", "aiokafka")
_SPEED: Final = {
    "crc32c": "kafka-python computes checksums in Python without it, ten times slower",
    "lz4": "kafka-python cannot read or write what is compressed without it",
    "cramjam": "aiokafka cannot read what is compressed without it",
}
_LEAST_BROKER: Final = (3, 3)
"""The first version in which a cluster of KRaft controllers is said to be ready for production."""
_RECENT_MS: Final = 60_000


def examine_cluster(configuration: Configuration, options: str) -> Iterator[Finding]:
    """Every check, one after the other. `options`: those that lead a command to this cluster."""
    kafka = configuration.settings.kafka
    brokers = _check_addresses(kafka)
    yield from brokers
    yield from _check_clients()
    if all(finding.level == "fail" for finding in brokers):
        return
    try:
        admin = kafka_topics.open_admin(_reachable(kafka, brokers), "doctor")
        try:
            yield _check_version(admin, kafka)
            differences = _differences(admin, configuration)
        finally:
            admin.close()
        yield from _check_topics(differences, len(TOPICS) + len(kafka_topics.CHANGELOG_STEPS), options)
        if not any(item.setting == "topic" for item in differences):
            yield from _check_log(configuration, options)
    except ForeshockError as error:
        yield Finding("kafka", "fail", "it does not let this client look further", str(error))


def _check_addresses(kafka: KafkaSettings) -> list[Finding]:
    findings = []
    for address in kafka.bootstrap_servers:
        name = f"broker {address}"
        try:
            check_brokers(kafka.model_copy(update={"bootstrap_servers": (address,)}))
            findings.append(Finding(name, "ok", "answers"))
        except ForeshockError as error:
            findings.append(Finding(name, "fail", "cannot be used", str(error)))
    if any(finding.level == "ok" for finding in findings):
        return [item._replace(level="warn") if item.level == "fail" else item for item in findings]
    return findings


def _reachable(kafka: KafkaSettings, brokers: Sequence[Finding]) -> KafkaSettings:
    """The addresses that answer first, so that none that does not holds up what follows."""
    answering = tuple(
        address for address, finding in zip(kafka.bootstrap_servers, brokers, strict=True) if finding.level == "ok"
    )
    return kafka.model_copy(update={"bootstrap_servers": answering})


def _check_clients() -> Iterator[Finding]:
    found = {name: _version(name) for name in (*_CLIENTS, *_SPEED)}
    missing = [name for name, number in found.items() if not number]
    if not missing:
        yield Finding("clients", "ok", ", ".join(f"{name} {number}" for name, number in found.items()))
    for name in missing:
        why = _SPEED.get(name, "it comes with Foreshock")
        level: Any = "warn" if name == "crc32c" else "fail"
        yield Finding("clients", level, f"{name} is not installed: {why}", "Install Foreshock with its dependencies.")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _check_version(admin: Any, kafka: KafkaSettings) -> Finding:
    with advising(kafka, "ask the brokers for their versions"):
        brokers = admin.describe_cluster()["brokers"]
        versions = {
            broker["broker_id"]: tuple(admin.get_broker_version_data(broker["broker_id"]).broker_version)
            for broker in brokers
        }
    said = ", ".join(f"{number}: {'.'.join(map(str, found))}" for number, found in sorted(versions.items()))
    if len(versions) < kafka.replication:
        advice = "Start the brokers that are down, or set kafka.replication to what the cluster has."
        return Finding("brokers", "fail", f"{len(versions)} for {kafka.replication} copies ({said})", advice)
    if min(versions.values()) < _LEAST_BROKER:
        least = ".".join(map(str, _LEAST_BROKER))
        return Finding(
            "brokers", "warn", f"an old version ({said})", f"Foreshock is tested with 4.1; use {least} or newer."
        )
    return Finding("brokers", "ok", f"{len(versions)}, Kafka by number: {said} or newer")


def _differences(admin: Any, configuration: Configuration) -> Sequence[Difference]:
    kafka = configuration.settings.kafka
    plans = kafka_topics.plan(kafka, configuration.settings.partitions)
    return kafka_topics.diff(plans, kafka_topics.describe(admin, kafka, [plan.name for plan in plans]))


def _check_topics(differences: Sequence[Difference], planned: int, options: str) -> Iterator[Finding]:
    apply = f"`foreshock topics apply{options}` makes it so."
    missing = [item.name for item in differences if item.setting == "topic"]
    if missing:
        yield Finding("topics", "fail", f"{len(missing)} of {planned} are missing: {', '.join(missing)}", apply)
    alike: dict[Difference, list[str]] = {}
    for item in differences:
        if item.setting != "topic":
            alike.setdefault(replace(item, name=""), []).append(item.name)
    for item, names in alike.items():
        said = replace(item, name=", ".join(names)).text
        yield Finding("topics", "fail" if item.refused else "warn", said, item.remedy or apply)
    if not differences:
        yield Finding("topics", "ok", f"{planned} are as configured")


def _check_log(configuration: Configuration, options: str) -> Iterator[Finding]:
    log = ClusterLog(configuration)
    try:
        yield check_catalog(log, configuration, f"`foreshock catalog apply{options}` publishes the configured one.")
        yield from check_lag(log, log.groups(), start=f"Start `foreshock run --role {{role}}{options}`.")
        yield check_watermarks(log)
        yield check_dead_letters(log, options)
        yield _check_clock(log, configuration)
        yield check_keys(log)
    finally:
        log.close()


def _check_clock(log: ClusterLog, configuration: Configuration) -> Finding:
    if configuration.settings.kafka.clock:
        return Finding("clock", "ok", "virtual (kafka.clock): not compared")
    now = time.time_ns() // 1_000_000
    stamps = [
        record.logged_at
        for partition, end in log.ends("logs").items()
        if end
        for record in log.read("logs", partition, max(log.offset_at("logs", partition, now - _RECENT_MS), end - 1), 1)
    ]
    return check_clock(max(stamps, default=0), now)
