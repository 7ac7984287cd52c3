"""The launcher of local brokers: it answers when it says so, keeps what it acknowledged, and dies with its owner."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError
from kafka_broker import broker, cluster, make_topics, proxied_broker, require_broker
from tcp_proxy import TcpProxy

from connectors import local_kafka_jars
from connectors.local_kafka import LocalBroker, Security
from connectors.local_kafka_jars import kafka_jars, require_java
from models.errors import LocalKafkaError
from models.topics import TOPICS


def make_topic(bootstrap: str, name: str, **security: Any) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, **security)
    admin.create_topics({name: {"num_partitions": 1}}, wait_for_metadata=True)
    admin.close()


def write(bootstrap: str, topic: str, value: bytes, **security: Any) -> int:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", **security)
    try:
        return producer.send(topic, value, partition=0).get(timeout=30).offset
    finally:
        producer.close(timeout=5)


def read(bootstrap: str, topic: str, **security: Any) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, **security)
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end = consumer.end_offsets([place])[place]
    values: list[bytes] = []
    while consumer.position(place) < end:
        values += [record.value for records in consumer.poll(timeout_ms=1000).values() for record in records]
    consumer.close()
    return values


@pytest.fixture(scope="module")
def secured(tmp_path_factory) -> Iterator[LocalBroker]:
    """A broker with all listeners, ACLs on; alice has no rights."""
    security = Security(users={"alice": "wonder", "root": "r"}, acls=True, super_users=("root",))
    with broker(tmp_path_factory.mktemp("secured"), security=security) as own:
        yield own


def sasl(own: LocalBroker, user: str, password: str, mechanism: str = "SCRAM-SHA-512") -> Mapping[str, Any]:
    return {
        "security_protocol": "SASL_SSL",
        "ssl_cafile": str(own.ca_file),
        "sasl_mechanism": mechanism,
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }


@pytest.fixture(scope="module")
def proxied(tmp_path_factory) -> Iterator[tuple[LocalBroker, TcpProxy]]:
    with proxied_broker(tmp_path_factory.mktemp("proxied")) as both:
        yield both


def test_what_a_killed_broker_acknowledged_is_there_after_its_restart_on_the_same_address(proxied):
    own, _ = proxied
    address, pid = own.bootstrap, own.pid
    make_topic(address, "kept")
    assert write(address, "kept", b"one") == 0
    own.kill()
    assert own.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    own.start()
    assert own.bootstrap == address
    assert write(address, "kept", b"two") == 1
    assert read(address, "kept") == [b"one", b"two"]


def test_a_paused_broker_does_not_answer_and_a_resumed_one_does(proxied):
    own, _ = proxied
    make_topic(own.bootstrap, "held")
    own.pause()
    with pytest.raises(KafkaError):
        KafkaAdminClient(bootstrap_servers=own.bootstrap, bootstrap_timeout_ms=500)
    own.resume()
    assert write(own.bootstrap, "held", b"x") == 0


def test_clients_of_a_proxied_broker_come_through_the_proxy_only(proxied):
    own, proxy = proxied
    make_topic(own.bootstrap, "led")
    before = proxy.accepted
    write(own.bootstrap, "led", b"x")
    assert proxy.accepted >= before + 2  # to bootstrap, and to the advertised address
    proxy.cut()
    with pytest.raises(KafkaError):
        KafkaAdminClient(bootstrap_servers=own.bootstrap, bootstrap_timeout_ms=500)
    proxy.restore()
    assert read(own.bootstrap, "led") == [b"x"]


def test_the_command_says_where_its_broker_is_ends_in_order_on_sigterm_and_never_leaves_it_behind(tmp_path):
    require_broker()
    command = [sys.executable, "-m", "connectors.local_kafka", "--folder", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as owner:
        address = owner.stdout.readline().strip()
        make_topic(address, "there")
        written = (tmp_path / "server.properties").read_bytes()
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (second.returncode, second.stdout) == (1, "")
        assert f"{tmp_path} is held by process {owner.pid}, a broker at {address}. Use that one, " in second.stderr
        assert (tmp_path / "server.properties").read_bytes() == written
        make_topic(address, "still-there")
        owner.send_signal(signal.SIGTERM)
        assert owner.wait(30) == 0
        said = owner.stderr.read()
        for word in (f"ready at {address}", str(tmp_path), "Ctrl-C", f"foreshock up --kafka {address}"):
            assert word in said
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        admin = KafkaAdminClient(bootstrap_servers=owner.stdout.readline().strip())
        assert "there" in admin.list_topics()
        admin.close()
        ended = os.pidfd_open(java_below(tmp_path))
        owner.kill()
    assert select.select([ended], [], [], 20)[0], "the broker outlived its owner"
    os.close(ended)


def test_tls_clients_that_know_the_authority_come_in_and_others_do_not(secured):
    tls = {"security_protocol": "SSL", "ssl_cafile": str(secured.ca_file)}
    make_topic(secured.tls_bootstrap, "tls", **tls)
    assert write(secured.tls_bootstrap, "tls", b"x", **tls) == 0
    host, _, port = secured.tls_bootstrap.partition(":")
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.get_server_certificate((host, int(port)), ca_certs=ssl.get_default_verify_paths().cafile)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_scram_lets_in_who_knows_the_password(secured, mechanism):
    login = sasl(secured, "root", "r", mechanism)
    make_topic(secured.sasl_bootstrap, mechanism.lower(), **login)
    assert write(secured.sasl_bootstrap, mechanism.lower(), b"x", **login) == 0


def test_a_wrong_password_is_refused(secured):
    with pytest.raises(KafkaError):
        KafkaAdminClient(
            bootstrap_servers=secured.sasl_bootstrap, bootstrap_timeout_ms=2000, **sasl(secured, "root", "wrong")
        )
    deadline = time.monotonic() + 20
    while "invalid credentials" not in secured.log_file.read_text():  # what the client is told gets lost now and then
        assert time.monotonic() < deadline, "refused for another reason"
        time.sleep(0.05)


def test_with_acls_a_user_may_not_do_what_none_allows(secured):
    make_topic(secured.bootstrap, "private")
    with pytest.raises(TopicAuthorizationFailedError):
        write(secured.sasl_bootstrap, "private", b"x", **sasl(secured, "alice", "wonder"))


def test_of_three_nodes_one_may_die_and_writers_that_want_two_copies_go_on(tmp_path):
    with cluster(tmp_path) as three:
        make_topic(three.bootstrap, "copied")
        assert write(three.bootstrap, "copied", b"one") == 0
        three.nodes[0].kill()
        assert write(three.bootstrap, "copied", b"two") == 1
        three.nodes[0].start()
        assert read(three.bootstrap, "copied") == [b"one", b"two"]


def test_the_shared_broker_gets_every_topic_of_the_product(kafka_settings):
    make_topics(kafka_settings, 2)
    admin = KafkaAdminClient(bootstrap_servers=list(kafka_settings.bootstrap_servers))
    made = {name for name in admin.list_topics() if name.startswith(kafka_settings.prefix)}
    admin.close()
    assert {kafka_settings.topic(name) for name in TOPICS} < made
    assert kafka_settings.changelog("detect") in made


def test_processes_share_one_broker_until_the_last_of_them_is_gone_even_by_kill(tmp_path):
    require_broker()
    code = "import sys, kafka_broker, pathlib\nwith kafka_broker.shared_broker(pathlib.Path(sys.argv[1])) as address:\n"
    command = [sys.executable, "-c", code + " print(address, flush=True)\n sys.stdin.read()", str(tmp_path)]
    folders = os.pathsep.join(str(Path(__file__).parents[up] / part) for up, part in ((2, "."), (1, "support")))
    how: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    how["env"] = {**os.environ, "PYTHONPATH": folders}
    with subprocess.Popen(command, **how) as one, subprocess.Popen(command, **how) as other:
        address = one.stdout.readline().strip()
        assert other.stdout.readline().strip() == address
        ended = os.pidfd_open(java_below(tmp_path))
        one.kill()
        make_topic(address, "still-there")
        other.kill()
    assert select.select([ended], [], [], 20)[0], "the broker outlived its users"
    os.close(ended)


def java_below(folder: Path) -> int:
    """The process whose command line names this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"kafka.Kafka" in command and bytes(folder) in command:
            return int(process.name)
    raise AssertionError(f"no broker below {folder}")


def test_a_broker_that_does_not_start_says_why(tmp_path):
    with pytest.raises(LocalKafkaError, match=r"num\.io\.threads"):
        broker(tmp_path, properties={"num.io.threads": "none"}).start()


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalKafkaError, match=f"port {port} is taken"):
            broker(tmp_path, port=port).start()


def test_without_java_or_maven_the_error_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalKafkaError, match="apt-get install openjdk-17-jre-headless"):
        require_java()
    with pytest.raises(LocalKafkaError, match="apt-get install maven"):
        kafka_jars(tmp_path / "cache")


def test_an_old_java_is_refused(tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_412\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LocalKafkaError, match="not Java 17"):
        require_java()


def test_a_download_that_breaks_off_leaves_no_jars_behind_and_the_next_one_is_whole(tmp_path, monkeypatch):
    maven = tmp_path / "mvn"
    maven.write_text(
        '#!/bin/sh\nfor last; do :; done; part="${last#-DoutputDirectory=}"; mkdir -p "$part"\n'
        'touch "$part/kafka_2.13-9.jar"; [ -e "$0.works" ] || { echo "connection reset"; exit 1; }\n'
    )
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cache = tmp_path / "cache"
    with pytest.raises(LocalKafkaError, match=r"connection reset.*Maven Central"):
        kafka_jars(cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    (tmp_path / "mvn.works").touch()
    assert [path.name for path in kafka_jars(cache).iterdir()] == ["kafka_2.13-9.jar"]
    assert kafka_jars(cache).name == f"kafka-{local_kafka_jars.kafka_version()}"
