"""A secured broker: both clients get in by TLS, SCRAM and tokens; what is wrong is named; a role may do its own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import TopicAuthorizationFailedError
from kafka_broker import broker
from pydantic import SecretStr
from token_server import TokenServer

from connectors.kafka_acls import ROLES, create_acls, role_acls
from connectors.kafka_clients import client_options, consumer_options, faust_options, producer_options
from connectors.kafka_groups import committed_offsets
from connectors.kafka_probe import check_brokers
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_share import KafkaShare
from connectors.kafka_topics import apply, open_admin, plan
from connectors.local_kafka import LocalBroker, Security
from connectors.ports import Record
from connectors.shared_log import INSPECT
from models.errors import BrokerError, ConfigError
from models.topics import INSPECTED, TOPICS

PREFIX = "secured-"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """With the topics, a user for each role, and their ACLs."""
    users = {f"foreshock-{role}": f"password of {role}".replace(" ", "-") for role in ROLES}
    oauth = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl.oauthbearer.sasl.jaas.config": f'{OAUTH} unsecuredLoginStringClaim_sub="broker";',
    }
    security = Security(users=users, acls=True)
    with broker(tmp_path_factory.mktemp("secured"), security=security, properties=oauth) as own:
        settings = KafkaSettings(bootstrap_servers=(own.bootstrap,), prefix=PREFIX)
        admin = open_admin(settings)
        apply(admin, settings, plan(settings, 1))
        create_acls(admin, settings, role_acls(settings))
        create_acls(admin, settings, role_acls(settings))  # what is there stays
        admin.close()
        yield own


def by_tls(own: LocalBroker, **tls: Any) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap_servers": [own.tls_bootstrap],
            "prefix": PREFIX,
            "security_protocol": "SSL",
            "tls": {"ca_file": str(own.ca_file), **tls},
        }
    )


def by_scram(own: LocalBroker, role: str, password: str = "", mechanism: str = "SCRAM-SHA-512") -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap_servers": [own.sasl_bootstrap],
            "prefix": PREFIX,
            "security_protocol": "SASL_SSL",
            "tls": {"ca_file": str(own.ca_file)},
            "sasl": {"mechanism": mechanism, "username": f"foreshock-{role}"},
            "password": SecretStr(password or f"password-of-{role}"),
        }
    )


def by_oauth(own: LocalBroker, url: str, role: str) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap_servers": [own.sasl_bootstrap],
            "prefix": PREFIX,
            "security_protocol": "SASL_SSL",
            "tls": {"ca_file": str(own.ca_file)},
            "sasl": {"mechanism": "OAUTHBEARER", "token_url": url, "client_id": f"foreshock-{role}"},
            "client_secret": SecretStr("s3cret"),
        }
    )


def write(settings: KafkaSettings, topic: str, value: bytes = b"x") -> None:
    producer = KafkaProducer(**producer_options(settings, "test"), max_block_ms=20_000)
    try:
        producer.send(settings.topic(topic), key=b"k", value=value, partition=0).get(timeout=20)
    finally:
        producer.close(timeout=5)


def read(settings: KafkaSettings, topic: str, group: str | None = None) -> list[bytes]:
    """What stands on the topic, up to its end."""
    from kafka import TopicPartition

    options = consumer_options(settings, "test") | {"group_id": group}
    consumer = KafkaConsumer(**options)
    try:
        place = TopicPartition(settings.topic(topic), 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        end, found = consumer.end_offsets([place])[place], []
        while consumer.position(place) < end:
            found += [message.value for messages in consumer.poll(500).values() for message in messages]
        if group:
            consumer.commit()
        return found
    finally:
        consumer.close(autocommit=False)


def aiokafka_arguments(settings: KafkaSettings, role: str) -> dict[str, Any]:
    """What Faust gives to aiokafka, by Faust's own translation of credentials."""
    from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
    from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

    from connectors.kafka_tokens import async_provider

    options = faust_options(settings, role)
    security = options.security
    credentials: Any
    if security.tokens is not None:
        credentials = OAuthCredentials(oauth_cb=async_provider(security.tokens), ssl_context=security.context)
    elif security.mechanism:
        credentials = SASLCredentials(
            username=security.username,
            password=security.password,
            ssl_context=security.context,
            mechanism=security.mechanism,
        )
    else:
        credentials = SSLCredentials(security.context)
    servers = options.broker.removeprefix("kafka://").split(";")
    return {"bootstrap_servers": servers, **credentials_to_aiokafka_auth(credentials)}


async def write_as_faust(settings: KafkaSettings, role: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(**aiokafka_arguments(settings, role), enable_idempotence=True, compression_type="lz4")
    async with producer:
        await producer.send_and_wait(settings.topic(topic), value, b"k", 0)


def test_both_clients_get_in_by_tls(secured: LocalBroker) -> None:
    settings = by_tls(secured)
    check_brokers(settings)
    write(settings, "incidents", b"tls")
    asyncio.run(write_as_faust(settings, "mine", "incidents", b"tls, aiokafka"))
    assert read(settings, "incidents")[-2:] == [b"tls", b"tls, aiokafka"]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_both_clients_get_in_by_scram_over_tls(secured: LocalBroker, mechanism: str) -> None:
    settings = by_scram(secured, "respond", mechanism=mechanism)
    check_brokers(settings)
    write(settings, "signals", mechanism.encode())
    asyncio.run(write_as_faust(settings, "respond", "signals", b"aiokafka"))
    assert read(settings, "signals", settings.group("respond"))[-2:] == [mechanism.encode(), b"aiokafka"]


def test_both_clients_get_in_with_a_token_and_are_who_it_says(secured: LocalBroker) -> None:
    with TokenServer("foreshock-act", "s3cret") as server:
        settings = by_oauth(secured, server.url, "act")
        check_brokers(settings)
        write(settings, "journal", b"token")
        asyncio.run(write_as_faust(settings, "act", "journal", b"token, aiokafka"))
        assert read(settings, "journal")[-2:] == [b"token", b"token, aiokafka"]
        with pytest.raises(TopicAuthorizationFailedError):
            write(settings, "logs")


def test_a_wrong_password_is_named_with_the_variable_to_check(secured: LocalBroker) -> None:
    with pytest.raises(BrokerError, match="refuses 'foreshock-act' with FORESHOCK_KAFKA_PASSWORD") as caught:
        check_brokers(by_scram(secured, "act", "wrong"))
    assert caught.value.exit_code == 69
    assert "wrong" not in str(caught.value)


def test_a_certificate_of_another_authority_is_named(secured: LocalBroker, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the other authority; it is not here")
    other, key = tmp_path / "other.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-days", "1"]
    subprocess.run([*make, "-keyout", str(key), "-out", str(other)], check=True, capture_output=True)
    with pytest.raises(BrokerError, match=r"certificate is not trusted .* kafka.tls.ca_file"):
        open_admin(by_tls(secured, ca_file=str(other)))
    with pytest.raises(ConfigError, match=r"kafka.tls.cert_file: .* cannot be used"):
        check_brokers(by_tls(secured, cert_file=str(other)))


def test_a_listener_that_speaks_otherwise_is_named_with_the_setting(secured: LocalBroker) -> None:
    plain = KafkaSettings(bootstrap_servers=(secured.tls_bootstrap,))
    with pytest.raises(BrokerError, match=r"security_protocol PLAINTEXT. Check kafka.security_protocol"):
        check_brokers(plain)
    tls_to_sasl = by_tls(secured).model_copy(update={"bootstrap_servers": (secured.sasl_bootstrap,)})
    with pytest.raises(BrokerError, match=r"security_protocol SSL. Check kafka.security_protocol"):
        check_brokers(tls_to_sasl)
    nobody = KafkaSettings(bootstrap_servers=("127.0.0.1:1",))
    with pytest.raises(BrokerError, match=r"127.0.0.1:1: nobody listens there. Start a broker"):
        check_brokers(nobody)


def test_one_broker_that_answers_is_enough(secured: LocalBroker) -> None:
    settings = by_tls(secured)
    check_brokers(settings.model_copy(update={"bootstrap_servers": ("127.0.0.1:1", *settings.bootstrap_servers)}))


WRITES = {
    "ingest": {"logs", "signals"},
    "mine": {"counts"},
    "detect": {"counts", "anomalies", "health", "signals"},
    "respond": {"signals", "incidents", "predictions", "alerts", "commands", "history"},
    "act": {"signals", "commands", "journal"},
    "operator": {"logs", "counts", "signals", "commands", "catalog"},
    "subscriber": set(),
}
READS = {
    "ingest": {"logs", "signals"},
    "mine": {"logs"},
    "detect": {"counts"},
    "respond": {"signals", *INSPECTED},
    "act": {"commands", "health", "journal"},
    "operator": set(TOPICS),
    "subscriber": {"anomalies", "incidents", "predictions", "alerts", "audit"},
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_write_and_read_its_own_topics_and_no_other(secured: LocalBroker, role: str) -> None:
    admin = KafkaAdminClient(**client_options(by_scram(secured, role), "test"))
    try:
        names = {PREFIX + name: name for name in TOPICS}
        allowed = {
            names[t["name"]]: set(t["authorized_operations"]) for t in admin.describe_topics() if t["name"] in names
        }
    finally:
        admin.close()
    everyone = set() if role == "subscriber" else {"audit", "dead-letters"}
    assert {name for name, operations in allowed.items() if "WRITE" in operations} == WRITES[role] | everyone
    assert {name for name, operations in allowed.items() if "READ" in operations} == READS[role]
    others = set().union(*allowed.values()) - {"READ", "WRITE", "DESCRIBE"}
    assert others == ({"CREATE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"} if role == "operator" else set())


def test_act_reads_commands_and_writes_its_journal_but_cannot_forge_a_line(secured: LocalBroker) -> None:
    act = by_scram(secured, "act")
    write(act, "commands", b"answer")
    write(act, "journal", b"intent")
    write(act, "signals", b"outcome")
    assert b"answer" in read(act, "commands", act.group("act"))
    assert b"intent" in read(act, "journal")
    with pytest.raises(TopicAuthorizationFailedError):
        write(act, "logs")
    with pytest.raises(TopicAuthorizationFailedError):
        write(act, "catalog")
    asyncio.run(write_as_faust(act, "act", "foreshock-act-state", b"state"))


def test_respond_may_inspect_what_no_step_reads(secured: LocalBroker) -> None:
    respond = by_scram(secured, "respond")
    write(by_scram(secured, "act"), "journal", b"no entry")
    share = KafkaShare(respond, INSPECT, INSPECTED)
    found: list[Record] = []
    while not any(record.topic == "journal" for record in found):
        found += share.poll(1.0)
    share.commit(found)
    share.close()
    offsets = committed_offsets(respond, "test", INSPECT, "journal")
    assert offsets == {0: max(record.offset for record in found if record.topic == "journal") + 1}


def test_ingest_writes_lines_but_sees_no_command(secured: LocalBroker) -> None:
    ingest = by_scram(secured, "ingest")
    write(ingest, "logs", b"line")
    assert b"line" in read(ingest, "logs")
    with pytest.raises(TopicAuthorizationFailedError):
        read(ingest, "commands")
    with pytest.raises(TopicAuthorizationFailedError):
        write(ingest, "commands")


def test_a_client_without_the_right_is_told_which_list_to_look_at(secured: LocalBroker) -> None:
    ingest = by_scram(secured, "ingest")
    admin = open_admin(ingest)
    try:
        with pytest.raises(BrokerError, match="foreshock topics acls"):
            apply(admin, ingest, plan(ingest, 1))
        with pytest.raises(BrokerError, match=r"ClusterAuthorizationFailedError.*It needs Alter on the cluster"):
            create_acls(admin, ingest, role_acls(ingest))
    finally:
        admin.close()


def test_the_operator_needs_no_more_than_its_acls_for_topics(secured: LocalBroker) -> None:
    operator = by_scram(secured, "operator")
    admin = open_admin(operator)
    try:
        assert apply(admin, operator, plan(operator, 1)) == []
        shorter = operator.model_copy(update={"retention_days": {"logs": 1.0}})
        assert [item.name for item in apply(admin, shorter, plan(shorter, 1))] == [PREFIX + "logs"] * 2
    finally:
        admin.close()
