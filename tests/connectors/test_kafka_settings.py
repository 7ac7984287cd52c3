"""The `kafka:` section: what does not fit together is named with what to write; secrets stay out of the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connectors.kafka_clients import client_options
from connectors.kafka_settings import KafkaSettings, kafka_options
from connectors.settings import read_settings, starter_config
from models.errors import ConfigError
from models.topics import TOPICS

SCRAM = """\
kafka:
  bootstrap_servers: [kafka-1:9096, kafka-2:9096]
  security_protocol: SASL_SSL
  tls: {ca_file: certs/ca.pem}
  sasl: {mechanism: SCRAM-SHA-512, username: foreshock-act}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("FORESHOCK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, text: str, where: str = "foreshock.yaml"):
    file = folder / where
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return read_settings(file).settings.kafka


def test_the_password_comes_from_the_environment_and_is_shown_nowhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_KAFKA_PASSWORD", "s3cret")
    kafka = read(folder, SCRAM)
    assert kafka.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(kafka) + repr(read_settings()) + kafka.model_dump_json()


def test_the_password_may_be_a_file_in_the_secrets_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "foreshock_kafka_password").write_text("from-a-file")
    monkeypatch.setenv("FORESHOCK_SECRETS_DIR", str(folder / "secrets"))
    assert read(folder, SCRAM).password.get_secret_value() == "from-a-file"


@pytest.mark.parametrize(
    ("text", "key", "variable"),
    [
        ("kafka_password: x\n", "kafka_password", "FORESHOCK_KAFKA_PASSWORD"),
        ("kafka:\n  password: x\n", "kafka.password", "FORESHOCK_KAFKA_PASSWORD"),
        ("kafka:\n  sasl:\n    password: x\n", "kafka.sasl.password", "FORESHOCK_KAFKA_PASSWORD"),
        ("kafka:\n  sasl: {client_secret: x}\n", "kafka.sasl.client_secret", "FORESHOCK_KAFKA_CLIENT_SECRET"),
        ("kafka:\n  tls: {key_password: x}\n", "kafka.tls.key_password", "FORESHOCK_KAFKA_KEY_PASSWORD"),
    ],
)
def test_a_secret_in_the_file_is_refused_with_the_variable_to_set(
    folder: Path, text: str, key: str, variable: str
) -> None:
    with pytest.raises(ConfigError, match="a secret does not belong in this file") as caught:
        read(folder, text)
    assert caught.value.key == key
    assert variable in caught.value.advice


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        ("bootstrap_servers: [kafka-1]", "kafka.bootstrap_servers", "Write host:port"),
        ("bootstrap_servers: ['kafka-1:99999']", "kafka.bootstrap_servers", "Write host:port"),
        ("security_protocol: TLS", "kafka.security_protocol", "Write one of 'PLAINTEXT', 'SSL'"),
        ("security_protocol: SASL_SSL", "kafka", "Write sasl.mechanism"),
        ("sasl: {mechanism: SCRAM-SHA-512, username: x}", "kafka", "Write security_protocol: SASL_SSL"),
        ("tls: {ca_file: x}", "kafka", "Write security_protocol: SSL or SASL_SSL"),
        ("security_protocol: SASL_SSL\n  sasl: {mechanism: SCRAM-SHA-256}", "kafka.sasl", "Write username, too"),
        ("security_protocol: SASL_SSL\n  sasl: {mechanism: OAUTHBEARER}", "kafka.sasl", "token_url and client_id"),
        ("security_protocol: SASL_SSL\n  sasl: {mechanism: AWS_MSK_IAM}", "kafka.sasl", "Write region, too"),
        ("security_protocol: SASL_SSL\n  sasl: {mechanism: PLAIN}", "kafka.sasl.mechanism", "Write one of"),
        ("security_protocol: SASL_PLAINTEXT\n  sasl: {mechanism: AWS_MSK_IAM, region: eu-west-1}", "kafka", "SASL_SSL"),
        ("sasl: {token_url: 'http://login.example.org/t'}", "kafka.sasl.token_url", "Write an https URL"),
        ("sasl: {region: Frankfurt}", "kafka.sasl.region", "pattern"),
        ("tls: {key_file: x}", "kafka.tls", "Write cert_file, too"),
        ("min_insync: 2", "kafka", "min_insync of at most replication"),
        ("retention_days: {lgos: 1}", "kafka.retention_days", "'lgos' is no topic kept by time; those are logs"),
        ("retention_days: {health: 1}", "kafka.retention_days", "no topic kept by time"),
        ("principal: foreshock", "kafka.principal", "pattern"),
        ("sasl: {user: x}", "kafka.sasl.user", "Known here: client_id, mechanism"),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_write(folder: Path, section: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(folder, f"kafka:\n  {section}\n")
    assert caught.value.key == key
    assert words in str(caught.value)


def test_files_are_relative_to_the_configuration_unless_a_variable_names_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(folder, SCRAM, "etc/foreshock.yaml").tls.ca_file == str(folder / "etc" / "certs" / "ca.pem")
    monkeypatch.setenv("FORESHOCK_KAFKA__TLS__CA_FILE", "here.pem")
    assert read(folder, SCRAM, "etc/foreshock.yaml").tls.ca_file == "here.pem"


def test_an_option_replaces_the_configured_brokers_and_nothing_else(folder: Path) -> None:
    read(folder, SCRAM)
    found = read_settings(None, kafka_options("other:1, another:2")).settings.kafka
    assert found.bootstrap_servers == ("other:1", "another:2")
    assert found.sasl.username == "foreshock-act"
    assert read_settings(None, kafka_options("")).settings.kafka.bootstrap_servers == ("kafka-1:9096", "kafka-2:9096")
    with pytest.raises(ConfigError, match="--kafka: 'other' is no address"):
        kafka_options("other")


def test_brokers_may_be_one_variable_with_commas(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_KAFKA__BOOTSTRAP_SERVERS", "a:1,[::1]:2")
    assert read(folder, "").bootstrap_servers == ("a:1", "[::1]:2")


def test_what_a_connection_needs_is_asked_for_only_when_one_is_made(folder: Path) -> None:
    kafka = read(folder, SCRAM)
    with pytest.raises(ConfigError, match=r"kafka.tls.ca_file: there is no file .*ca.pem"):
        client_options(kafka, "test")
    with pytest.raises(ConfigError, match="FORESHOCK_KAFKA_PASSWORD: is not set"):
        client_options(read(folder, SCRAM.replace("  tls: {ca_file: certs/ca.pem}\n", "")), "test")
    with pytest.raises(ConfigError, match=r"kafka.bootstrap_servers: no broker is named.*--kafka"):
        client_options(read(folder, ""), "test")
    (folder / "certs").mkdir()
    (folder / "certs" / "ca.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"kafka.tls.ca_file: .* cannot be used"):
        client_options(kafka, "test")


def test_what_the_starter_file_shows_of_kafka_can_be_used(folder: Path) -> None:
    lines = [line[2:] for line in starter_config().splitlines() if line.startswith(("# kafka:", "#   "))]
    section = lines[lines.index("kafka:") :]
    section = section[: next(at for at, line in enumerate(section) if "principal" in line) + 1]
    sasl = [line for line in section if line.startswith("  sasl:")]
    rest = [line.replace("PLAINTEXT ", "SASL_SSL ", 1) for line in section if line not in sasl]
    assert len(sasl) == 3
    found = [read(folder, "\n".join([*rest, line])) for line in sasl]
    assert [kafka.sasl.mechanism for kafka in found] == ["SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]
    default = KafkaSettings()
    for name in ("prefix", "replication", "min_insync", "principal"):
        assert getattr(found[0], name) == getattr(default, name)
    assert found[0].retention_days["logs"] * 86_400_000 == TOPICS["logs"].retention_ms
