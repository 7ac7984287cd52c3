"""The topics of a deployment on Kafka: what they must be, what they are, what differs, and what can be done about it.

In: the `kafka:` section and the number of partitions. Out: created and altered topics; a ConfigError, before anything
is changed, where the change would break keys or lose what is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.kafka_clients import MAX_MESSAGE_BYTES, client_options
from connectors.kafka_errors import advising
from connectors.kafka_probe import check_brokers
from connectors.kafka_settings import KafkaSettings
from models.errors import BrokerError, ConfigError
from models.topics import TOPICS

__all__ = [
    "CHANGELOG_STEPS",
    "Difference",
    "TopicPlan",
    "TopicState",
    "apply",
    "describe",
    "diff",
    "open_admin",
    "plan",
]

CHANGELOG_STEPS: Final = tuple(topic.inbox_of for topic in TOPICS.values() if topic.inbox_of)
"""The steps that keep something in a changelog: their state; mine, which has none, only how far it has come."""

_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR
_SEEN_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05
_SEGMENTS_KEPT: Final = 12
"""Kafka deletes whole files: cut this often within its retention, a topic keeps at most a twelfth too much."""
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    # Kafka compacts all but the newest file, once a fifth of the rest is out of date (its defaults: files of 1 GB or
    # 7 days, and a half). So a topic is at most 1.25 times its state plus one file of 16 MB, which is also what a
    # recovery reads; each byte of state is copied about four times for each that is written over it.
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": str(_DAY),
    "min.cleanable.dirty.ratio": "0.2",
    # A deletion must be seen by whoever reads from the beginning: a day is far longer than any recovery.
    "delete.retention.ms": str(_DAY),
}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What a topic must be. `name` as on the cluster; `topic` its name in models.topics, "" for a changelog."""

    name: str
    topic: str
    partitions: int
    replication: int
    configs: Mapping[str, str]
    changelog_of: str = ""

    @property
    def compacted(self) -> bool:
        """True where the newest value of each key is kept for good."""
        return self.configs["cleanup.policy"] == "compact"


@dataclass(frozen=True, slots=True)
class TopicState:
    """What a topic is. `firsts` and `nexts` are offsets by partition; `size_bytes` of all replicas, None where this
    client may not ask.
    """

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str] = field(default_factory=dict)
    firsts: Mapping[int, int] = field(default_factory=dict)
    nexts: Mapping[int, int] = field(default_factory=dict)
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it must be. `setting` is "topic" for one that is missing. `remedy` "": `apply` mends it;
    else what a person has to do. `refused`: nothing is applied while it stands.
    """

    name: str
    setting: str
    is_now: str
    must_be: str
    remedy: str = ""
    refused: bool = False

    @property
    def text(self) -> str:
        """What differs, without the remedy."""
        if self.setting == "topic":
            return f"{self.name} is missing"
        return f"{self.name}: {self.setting} is {self.is_now}, must be {self.must_be}"

    def __str__(self) -> str:
        return f"{self.text}. {self.remedy}" if self.remedy else self.text


def open_admin(settings: KafkaSettings, client: str = "admin") -> Any:
    """A KafkaAdminClient, after a look whether the brokers let us in. Raises BrokerError, ConfigError."""
    from kafka import KafkaAdminClient

    options = client_options(settings, client)
    check_brokers(settings)
    with advising(settings, "connect"):
        return KafkaAdminClient(**options)


def plan(settings: KafkaSettings, partitions: int) -> Sequence[TopicPlan]:
    """Every topic of models.topics and every changelog, as this configuration wants them."""
    common = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "compression.type": "producer",
        "min.insync.replicas": str(settings.min_insync),
    }
    plans = []
    for topic in TOPICS.values():
        kept = topic.retention_ms
        if kept is not None:
            kept = round(settings.retention_days.get(topic.name, kept / _DAY) * _DAY)
        configs = common | (_COMPACTED if kept is None else _kept_by_time(kept))
        plans.append(TopicPlan(settings.topic(topic.name), topic.name, partitions, settings.replication, configs))
    for step in CHANGELOG_STEPS:
        name, configs = settings.changelog(step), common | _COMPACTED
        plans.append(TopicPlan(name, "", partitions, settings.replication, configs, changelog_of=step))
    return plans


def describe(admin: Any, settings: KafkaSettings, names: Sequence[str]) -> dict[str, TopicState]:
    """What those topics are now, by name; those that do not exist are left out. Raises BrokerError."""
    from kafka import TopicPartition
    from kafka.admin import ConfigResource, OffsetSpec

    with advising(settings, "describe the topics"):
        found = {topic["name"]: topic for topic in admin.describe_topics() if topic["name"] in set(names)}
        if not found:
            return {}
        asked = [ConfigResource("TOPIC", name) for name in found]
        configs = admin.describe_configs(asked, config_filter="all")["topic"]
        places = [TopicPartition(name, p["partition_index"]) for name in found for p in found[name]["partitions"]]
        firsts = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
        nexts = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
    sizes = _sizes(admin, settings)
    return {
        name: TopicState(
            name=name,
            partitions=len(topic["partitions"]),
            replication=min(len(p["replica_nodes"]) for p in topic["partitions"]),
            configs={key: str(entry["value"]) for key, entry in configs[name].items()},
            firsts={place.partition: at.offset for place, at in firsts.items() if place.topic == name},
            nexts={place.partition: at.offset for place, at in nexts.items() if place.topic == name},
            size_bytes=None if sizes is None else sizes.get(name, 0),
        )
        for name, topic in found.items()
    }


def diff(plans: Sequence[TopicPlan], found: Mapping[str, TopicState]) -> Sequence[Difference]:
    """Everything that is not as planned, in the plans' order."""
    differences: list[Difference] = []
    for wanted in plans:
        state = found.get(wanted.name)
        if state is None:
            differences.append(Difference(wanted.name, "topic", "missing", "there"))
            continue
        if state.partitions != wanted.partitions:
            differences.append(_other_partitions(wanted, state))
        if state.replication != wanted.replication:
            remedy = (
                "Kafka moves copies only when told where to: kafka-reassign-partitions.sh. Or set kafka.replication."
            )
            now, must = str(state.replication), str(wanted.replication)
            differences.append(Difference(wanted.name, "replication", now, must, remedy))
        for key, must in wanted.configs.items():
            now = state.configs.get(key, "")
            if not _same(key, now, must):
                differences.append(_other_config(wanted, key, now, must))
    return differences


def apply(admin: Any, settings: KafkaSettings, plans: Sequence[TopicPlan]) -> Sequence[Difference]:
    """Create what is missing and alter what differs; returns what was changed. Applied twice, or by two processes at
    once, it is the same.

    Raises ConfigError, before anything is changed, when a difference is refused; BrokerError.
    """
    differences = diff(plans, describe(admin, settings, [wanted.name for wanted in plans]))
    refused = [difference for difference in differences if difference.refused]
    if refused:
        more = f" (and {len(refused) - 1} more: `foreshock topics diff`)" if len(refused) > 1 else ""
        raise ConfigError(f"nothing was changed: {refused[0]}{more}")
    _create(admin, settings, plans, {item.name for item in differences if item.setting == "topic"})
    _alter(admin, settings, [item for item in differences if item.setting != "topic" and not item.remedy])
    changed = [difference for difference in differences if not difference.remedy]
    if changed:
        _wait_until_seen(admin, settings, plans)
    return changed


def _create(admin: Any, settings: KafkaSettings, plans: Sequence[TopicPlan], missing: set[str]) -> None:
    if not missing:
        return
    from kafka.errors import TopicAlreadyExistsError

    wanted = {
        plan.name: {
            "num_partitions": plan.partitions,
            "replication_factor": plan.replication,
            "configs": dict(plan.configs),
        }
        for plan in plans
        if plan.name in missing
    }
    with advising(settings, "create topics"):
        answers = admin.create_topics(wanted, raise_errors=False)["topics"]
        for answer in answers:
            # Another process was first: it wanted the same.
            if answer["error_code"] not in (0, TopicAlreadyExistsError.errno):
                raise _refusal(answer["name"], answer["error_code"], answer["error_message"])
        admin.wait_for_topics(list(wanted))


def _alter(admin: Any, settings: KafkaSettings, differences: Sequence[Difference]) -> None:
    from kafka.admin import ConfigResource

    changes: dict[str, dict[str, str]] = {}
    for difference in differences:
        changes.setdefault(difference.name, {})[difference.setting] = difference.must_be
    if not changes:
        return
    with advising(settings, "alter topics"):
        answers = admin.alter_configs([ConfigResource("TOPIC", name, configs) for name, configs in changes.items()])
    for name, said in answers["topic"].items():
        if said != "OK":
            raise BrokerError(f"{name} cannot be altered: {said}. `foreshock topics diff` shows what is left.")


def _wait_until_seen(admin: Any, settings: KafkaSettings, plans: Sequence[TopicPlan]) -> None:
    """What the controller has taken, the brokers tell a moment later."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while left := [item for item in diff(plans, describe(admin, settings, [p.name for p in plans])) if not item.remedy]:
        if time.monotonic() > deadline:
            raise BrokerError(f"the brokers do not show what was changed: {left[0]}. Look at `foreshock topics diff`.")
        time.sleep(_POLL_SECONDS)


def _refusal(name: str, code: int, message: str | None) -> BrokerError:
    from kafka.errors import AuthorizationError, InvalidReplicationFactorError, for_code

    kind = for_code(code)
    advice = "Look at the brokers' logs."
    if issubclass(kind, AuthorizationError):
        advice = "Run it as the operator: `foreshock topics acls` lists what each principal needs."
    elif kind is InvalidReplicationFactorError:
        advice = "Set kafka.replication and kafka.min_insync to what the cluster has."
    return BrokerError(f"{name} cannot be created: {message or kind.__name__} {advice}")


def _sizes(admin: Any, settings: KafkaSettings) -> dict[str, int] | None:
    """Bytes by topic, of all replicas; None where this client may not ask."""
    from kafka.errors import AuthorizationError, for_code

    sizes: dict[str, int] = {}
    with advising(settings, "look up the sizes of topics"):
        folders = [folder for broker in admin.describe_log_dirs() for folder in broker["log_dirs"]]
    if any(issubclass(for_code(folder["error_code"]), AuthorizationError) for folder in folders) or not folders:
        return None
    for folder in folders:
        for topic in folder["topics"]:
            sizes[topic["name"]] = sizes.get(topic["name"], 0) + sum(p["partition_size"] for p in topic["partitions"])
    return sizes


def _kept_by_time(kept: int) -> dict[str, str]:
    segment = min(max(kept // _SEGMENTS_KEPT, _HOUR), 7 * _DAY)
    return {"cleanup.policy": "delete", "retention.ms": str(kept), "segment.ms": str(segment)}


def _same(key: str, now: str, must: str) -> bool:
    number: Callable[[str], object] = float if key == "min.cleanable.dirty.ratio" else str
    return now != "" and number(now) == number(must)


def _other_partitions(wanted: TopicPlan, state: TopicState) -> Difference:
    remedy = (
        "Kafka would leave what is kept where it is, and put new records of the same keys elsewhere: order and state "
        f"break. Write `partitions: {state.partitions}`, or move: write a new kafka.prefix, `foreshock topics apply`; "
        "stop ingest, wait until `foreshock lag` is 0, stop the roles; start all with the new prefix. Cursors, "
        "baselines and statistics are of one prefix: ingest begins where its inputs do, baselines are learnt anew (or "
        "with `foreshock replay`). Delete the old topics when nobody reads them any more."
    )
    return Difference(wanted.name, "partitions", str(state.partitions), str(wanted.partitions), remedy, refused=True)


def _other_config(wanted: TopicPlan, key: str, now: str, must: str) -> Difference:
    if key == "cleanup.policy" and "compact" in now and must == "delete":
        remedy = (
            "It keeps the newest value of each key for good; with `delete` that would be lost. If it is another "
            "program's topic, write a kafka.prefix of this deployment's own; if nobody needs what it keeps, "
            f"`kafka-configs.sh --alter --entity-type topics --entity-name {wanted.name} --add-config "
            "cleanup.policy=delete` first."
        )
        return Difference(wanted.name, key, now, must, remedy, refused=True)
    return Difference(wanted.name, key, now, must)
