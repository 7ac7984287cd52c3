"""Who may do what on Kafka: the least that each role needs, as ACLs.

In: the `kafka:` section (prefix, principals). Out: ACLs, as data, as lines of kafka-acls.sh, or created. They follow
from models/topics.py: who is said there to write and read a topic may, and nobody else.

They are what makes the records of an inbox that nobody signs trustworthy. They end at the topic: who may write to an
inbox may write any type of record there. So `signals` is open to ingest, detect, respond, act and the operator,
`commands` to respond, act and the operator; commands, reviews and controls are signed on top.

No role needs IDEMPOTENT_WRITE on the cluster: since Kafka 2.8 the right to write to any topic implies it
(https://cwiki.apache.org/confluence/display/KAFKA/KIP-679).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from connectors.kafka_errors import advising
from connectors.kafka_fence import transactional_id
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_topics import CHANGELOG_STEPS
from connectors.shared_log import INSPECT, READERS
from models.errors import BrokerError
from models.topics import INSPECTED, TOPICS, Topic

__all__ = ["ROLES", "Acl", "acl_lines", "create_acls", "readers_of", "role_acls", "role_of", "writers_of"]

ROLES: Final = ("ingest", "mine", "detect", "respond", "act", "operator", "subscriber")
"""What a principal is made for. The operator is a person's tools: reviews, pause, catalog, topics, tap, replay."""

_WRITERS: Final = ("ingest", "mine", "detect", "respond", "act")
_MEANT: Final[dict[str, tuple[str, ...]]] = {
    "connectors": ("ingest",),
    "mine": ("mine",),
    "detect": ("detect",),
    "case": ("respond",),
    "the case": ("respond",),
    "decide": ("respond",),
    "learn": ("respond",),
    "history tables": ("respond",),
    "act": ("act",),
    "people": ("operator",),
    "operator": ("operator",),
    "replay": ("operator",),
    "the page": ("operator",),
    "subscribers": ("subscriber",),
    "all": (*_WRITERS, "operator"),
    "anyone": ("operator", "subscriber"),
    "all, as broadcasts into each inbox": (),
}
"""The words of models/topics.py in `written_by` and `read_by`. "host" is whoever runs the step whose inbox it is."""
_ROLE_OF: Final = {reader.step: reader.role for reader in READERS}
"""Which role runs a step."""
_INSPECTOR: Final = "respond"
"""Which role also reads the topics that no step reads, for what does not belong there."""


Resource = Literal["topic", "group", "cluster", "transactional-id"]
"""As kafka-acls.sh names them."""


class Acl(NamedTuple):
    """One permission. `role` is not part of it: it says what it is for."""

    role: str
    principal: str
    resource: Resource
    name: str
    pattern: Literal["literal", "prefixed"]
    operation: str


def role_of(step: str) -> str:
    """The role that runs a step: the case is respond's."""
    return _ROLE_OF[step]


def writers_of(topic: Topic) -> list[str]:
    """The roles whose work it is to write there (what else they may, `role_acls` says)."""
    return [role for role in ROLES if role in _roles(topic.written_by, topic)]


def readers_of(topic: Topic) -> list[str]:
    """The roles whose work it is to read there."""
    return [role for role in ROLES if role in _roles(topic.read_by, topic)]


def role_acls(settings: KafkaSettings) -> Sequence[Acl]:
    """Everything all roles need, by role and resource, without doubles."""
    return list(dict.fromkeys(acl for role in ROLES for acl in _acls_of(role, settings)))


def acl_lines(settings: KafkaSettings, acls: Iterable[Acl]) -> list[str]:
    """kafka-acls.sh commands that create them, one for each principal and resource."""
    operations: dict[tuple[str, str, str, str], list[str]] = {}
    for acl in acls:
        operations.setdefault((acl.principal, acl.resource, acl.name, acl.pattern), []).append(acl.operation)
    servers = ",".join(settings.bootstrap_servers) or "localhost:9092"
    lines = []
    for (principal, resource, name, pattern), allowed in operations.items():
        what = ["--cluster"] if resource == "cluster" else [f"--{resource}", name, "--resource-pattern-type", pattern]
        words = ["kafka-acls.sh", "--bootstrap-server", servers, "--add", "--allow-principal", principal, *what]
        words += [word for operation in allowed for word in ("--operation", operation)]
        lines.append(shlex.join(words))
    return lines


def create_acls(admin: Any, settings: KafkaSettings, acls: Sequence[Acl]) -> None:
    """Create them; what is there already stays as it is. Raises BrokerError: no authorizer, or not allowed."""
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

    wanted = [
        ACL(
            principal=acl.principal,
            host="*",
            operation=ACLOperation[_upper(acl.operation)],
            permission_type=ACLPermissionType.ALLOW,
            resource_pattern=ResourcePattern(
                ResourceType[_upper(acl.resource)], acl.name, ACLResourcePatternType[acl.pattern.upper()]
            ),
        )
        for acl in acls
    ]
    with advising(settings, "create ACLs"):
        failed = admin.create_acls(wanted)["failed"]
    if failed:
        reasons = ", ".join(sorted({kind.__name__ for kind in failed}))
        advice = "It needs Alter on the cluster, and brokers with an authorizer (authorizer.class.name)."
        raise BrokerError(f"{len(failed)} of {len(wanted)} ACLs were not created ({reasons}). {advice}")


def _acls_of(role: str, settings: KafkaSettings) -> list[Acl]:
    principal = settings.principal.replace("{role}", role)

    def allow(resource: Resource, name: str, *operations: str, prefixed: bool = False) -> list[Acl]:
        pattern: Literal["literal", "prefixed"] = "prefixed" if prefixed else "literal"
        return [Acl(role, principal, resource, name, pattern, operation) for operation in operations]

    found: list[Acl] = []
    for topic in TOPICS.values():
        found += allow("topic", settings.topic(topic.name), *_operations(role, topic))
    for step in CHANGELOG_STEPS:
        if _ROLE_OF[step] == role:
            found += allow("topic", settings.changelog(step), "Describe", "Read", "Write")
    if role in _ROLE_OF.values():
        found += allow("group", settings.group(role), "Describe", "Read")
    if role == _INSPECTOR:
        found += allow("group", settings.group(INSPECT), "Describe", "Read")
    if role == "ingest":  # not for transactions: whoever starts under a name shuts out who had it before
        found += allow("transactional-id", transactional_id(settings, ""), "Describe", "Write", prefixed=True)
    if role == "subscriber":  # each has a group of its own
        found += allow("group", settings.group(role), "Describe", "Read", prefixed=True)
    if role == "operator":
        for step in CHANGELOG_STEPS:
            found += allow("topic", settings.changelog(step), *_MANAGE, "Read")
        for group in (*dict.fromkeys(_ROLE_OF.values()), INSPECT):
            found += allow("group", settings.group(group), "Describe")
        found.append(Acl(role, principal, "cluster", "kafka-cluster", "literal", "Describe"))
    return found


_MANAGE: Final = ("Create", "Describe", "DescribeConfigs", "AlterConfigs")


def _operations(role: str, topic: Topic) -> list[str]:
    """In the order in which they are read."""
    reads, writes = _reads(role, topic), _writes(role, topic)
    if role == "operator":
        return [*_MANAGE, "Read", *(["Write"] if writes else [])]
    # A step that is told of a record asks how far that inbox really goes.
    looks = reads or writes or (role in _ROLE_OF.values() and bool(topic.inbox_of))
    return [name for name, given in (("Describe", looks), ("Read", reads), ("Write", writes)) if given]


def _reads(role: str, topic: Topic) -> bool:
    # The log is ingest's checkpoint, and that of the others' infrastructure events.
    resumes = role == "ingest" and "connectors" in _words(topic.written_by)
    inspects = role == _INSPECTOR and topic.name in INSPECTED
    return resumes or inspects or role in _roles(topic.read_by, topic)


def _writes(role: str, topic: Topic) -> bool:
    # An operator publishes the catalog into every inbox, and puts dead letters back to where they came from.
    return role in _roles(topic.written_by, topic) or (role == "operator" and bool(topic.inbox_of))


def _roles(said: str, topic: Topic) -> set[str]:
    found: set[str] = set()
    for word in _words(said):
        found |= {_ROLE_OF[topic.inbox_of]} if word == "host" else set(_MEANT[word])
    return found


def _words(said: str) -> list[str]:
    return [said] if said in _MEANT else said.split(", ")


def _upper(operation: str) -> str:
    """As kafka-python names it: DescribeConfigs is DESCRIBE_CONFIGS."""
    return (
        "".join(f"_{char}" if char.isupper() and at else char for at, char in enumerate(operation))
        .upper()
        .replace("-", "_")
    )
