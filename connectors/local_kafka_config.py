"""What a local broker is told: its listeners and ports, its place among the nodes, its users, its small sizes.

In: ports, seat, security. Out: server.properties and the arguments of `kafka.tools.StorageTool format`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from connectors.kafka_clients import MAX_MESSAGE_BYTES
from connectors.local_kafka_certificates import STORE_PASSWORD, Certificates
from models.errors import LocalKafkaError

__all__ = [
    "HOST",
    "LOG_CONFIG",
    "Ports",
    "Seat",
    "Security",
    "free_ports",
    "is_free",
    "scram_arguments",
    "server_properties",
]

HOST = "127.0.0.1"
_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
# Below what Linux gives to outgoing connections (32768 on), so that none of these takes a port between look and use.
_PORTS = range(20_000, 32_000)

LOG_CONFIG = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.lifecycle.name = kafka.server.KafkaRaftServer
logger.lifecycle.level = info
logger.groups.name = org.apache.kafka.coordinator.group
logger.groups.level = info
logger.logins.name = org.apache.kafka.common.network.Selector
logger.logins.level = info
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """One a listener. `client`, `tls` and `sasl` are for clients; the others are between brokers."""

    client: int
    internal: int
    controller: int
    tls: int
    sasl: int


@dataclass(frozen=True, slots=True)
class Seat:
    """A node's place in its cluster: `voters` are the controller ports of all nodes, by id."""

    cluster_id: str
    node_id: int
    voters: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Security:
    """Adds a TLS listener and a SASL_SSL one for `users` (name to password; SCRAM-SHA-256 and -512).

    `acls`: nobody may do what no ACL allows, but the `super_users` and whoever comes by the listeners without a login
    (plain and TLS: User:ANONYMOUS), which are the operator's door.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    acls: bool = False
    super_users: tuple[str, ...] = ()


def is_free(port: int) -> bool:
    """True when nobody listens on this port of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now. Raises LocalKafkaError where there are none."""
    found = list(islice(filter(is_free, random.sample(_PORTS, 1000)), count))
    if len(found) < count:
        raise LocalKafkaError(
            f"no {count} free ports on {HOST} from {_PORTS.start} to {_PORTS.stop}. Stop what holds them"
        )
    return found


def server_properties(
    data: Path,
    ports: Ports,
    seat: Seat,
    *,
    advertised: int = 0,
    security: Security | None,
    certificates: Certificates | None,
) -> dict[str, str]:
    """For a node that is broker and controller in one. `advertised`: the port that clients are told, if another."""
    listeners = {"CLIENT": ports.client, "INTERNAL": ports.internal}
    protocols = {"CLIENT": "PLAINTEXT", "INTERNAL": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    if security is not None:
        listeners |= {"TLS": ports.tls, "SASL": ports.sasl}
        protocols |= {"TLS": "SSL", "SASL": "SASL_SSL"}
    told = listeners | {"CLIENT": advertised or ports.client}
    nodes = len(seat.voters)
    replication, min_insync = (3, 2) if nodes >= 3 else (1, 1)
    return {
        "process.roles": "broker,controller",
        "node.id": str(seat.node_id),
        "log.dirs": str(data),
        "listeners": _addresses((listeners | {"CONTROLLER": ports.controller}).items()),
        "advertised.listeners": _addresses(told.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{node}@{HOST}:{port}" for node, port in seat.voters.items()),
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replication),
        "min.insync.replicas": str(min_insync),
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # A node that was killed may register again, and its partitions get other leaders, after 3 s instead of 9.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        **_internal_topics(replication, min_insync),
        # A small machine: few threads, and 8 MB instead of 128 MB for the cleaner's map.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
        **(_secured(security, certificates) if security and certificates else {}),
    }


def scram_arguments(security: Security | None) -> list[str]:
    """What makes `format` write the users into the first metadata."""
    users = security.users if security else {}
    pairs = [(mechanism, name, password) for name, password in users.items() for mechanism in _MECHANISMS]
    return [part for how, name, word in pairs for part in ("--add-scram", f"{how}=[name={name},password={word}]")]


def _internal_topics(replication: int, min_insync: int) -> dict[str, str]:
    """Four partitions instead of 50, so that a new cluster is ready at once."""
    return {
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": str(replication),
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": str(replication),
        "transaction.state.log.min.isr": str(min_insync),
    }


def _secured(security: Security, certificates: Certificates) -> dict[str, str]:
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties = {
        "ssl.keystore.location": str(certificates.keystore),
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.password": STORE_PASSWORD,
        "ssl.key.password": STORE_PASSWORD,
        "sasl.enabled.mechanisms": ",".join(_MECHANISMS),
        **{f"listener.name.sasl.{name.lower()}.sasl.jaas.config": login for name in _MECHANISMS},
    }
    if security.acls:
        properties["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        properties["super.users"] = ";".join(f"User:{name}" for name in ("ANONYMOUS", *security.super_users))
    return properties


def _addresses(listeners: Iterable[tuple[str, int]]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in listeners)
