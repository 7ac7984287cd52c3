"""The consumer groups of a deployment's roles: who is in them, and how far they have come.

In: the `kafka:` section. Out: one Group for each role that reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    NotCoordinatorError,
)

from connectors.kafka_clients import client_options
from connectors.kafka_errors import advising
from connectors.kafka_settings import KafkaSettings
from connectors.shared_log import INSPECT, READERS, Group
from models.topics import INSPECTED, TOPICS

__all__ = ["committed_offsets", "committed_places", "read_groups"]

_COORDINATOR_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.1


def read_groups(settings: KafkaSettings, client: str) -> Sequence[Group]:
    """The groups of READERS, in that order, then that of the inspectors once for each topic it reads, where this client
    may look at it; one that has never been is Dead. Raises BrokerError.
    """
    names = {reader.role: settings.group(reader.role) for reader in READERS}
    with advising(settings, "look up the consumer groups"):
        admin = KafkaAdminClient(**client_options(settings, client))
        try:
            described = _coordinated(lambda: admin.describe_groups(list(names.values())))
            offsets = _coordinated(lambda: admin.list_group_offsets(dict.fromkeys(names.values())))
            inspecting = _inspecting(admin, settings.group(INSPECT))
        finally:
            admin.close()
    groups = [
        _group(settings, reader.role, reader.inbox, described[names[reader.role]], offsets[names[reader.role]])
        for reader in READERS
    ]
    if inspecting is not None:
        groups += [_group(settings, INSPECT, topic, *inspecting) for topic in INSPECTED]
    return groups


def _inspecting(admin: Any, name: str) -> tuple[Mapping[str, Any], Mapping[Any, Any]] | None:
    """An operator's ACLs of before do not have this group."""
    try:
        described = _coordinated(lambda: admin.describe_groups([name]))
        return described[name], _coordinated(lambda: admin.list_group_offsets({name: None}))[name]
    except GroupAuthorizationFailedError:
        return None


def committed_offsets(settings: KafkaSettings, client: str, role: str, topic: str) -> Mapping[int, int]:
    """How far the role's group says it is on a topic, by partition; those it has said nothing of are not among them.

    Raises BrokerError.
    """
    return {part: offset for (at, part), offset in committed_places(settings, client, role).items() if at == topic}


def committed_places(settings: KafkaSettings, client: str, role: str) -> Mapping[tuple[str, int], int]:
    """The same for all topics of this deployment, by topic and partition. Raises BrokerError."""
    name = settings.group(role)
    with advising(settings, f"look up the offsets of {name}"):
        admin = KafkaAdminClient(**client_options(settings, client))
        try:
            offsets = admin.list_group_offsets({name: None})[name]
        finally:
            admin.close()
    names = {settings.topic(topic): topic for topic in TOPICS}
    return {
        (names[place.topic], place.partition): at.offset
        for place, at in offsets.items()
        if place.topic in names and at.offset >= 0
    }


def _coordinated(look: Callable[[], Any]) -> Any:
    """What `look` finds. The first question about a group on a new cluster makes the topic of their offsets: until that
    has leaders, for a second or two, there is no coordinator.
    """
    deadline = time.monotonic() + _COORDINATOR_SECONDS
    while True:
        try:
            return look()
        except (CoordinatorNotAvailableError, NotCoordinatorError, CoordinatorLoadInProgressError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_SECONDS)


def _group(
    settings: KafkaSettings, role: str, inbox: str, described: Mapping[str, Any], offsets: Mapping[Any, Any]
) -> Group:
    topic, name = settings.topic(inbox), settings.group(role)
    members = [(f"{member['client_id']} {member['client_host']}", member) for member in described["members"]]
    owners = {
        partition: who
        for who, member in members
        for assigned in _assignment(member)
        if assigned["topic"] == topic
        for partition in assigned["partitions"]
    }
    committed = {place.partition: at.offset for place, at in offsets.items() if place.topic == topic and at.offset >= 0}
    names = tuple(who for who, _ in members)
    return Group(role, name, described["group_state"], names, owners, committed, inbox)


def _assignment(member: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """None while the group rebalances."""
    assignment = member["member_assignment"]
    assigned: Sequence[Mapping[str, Any]] = assignment["assigned_partitions"] if isinstance(assignment, dict) else ()
    return assigned
