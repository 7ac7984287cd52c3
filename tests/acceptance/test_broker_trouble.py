"""The product's roles while their broker is killed, full, cut off, slow, or has lost a topic or a node."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from aiokafka.errors import CoordinatorNotAvailableError
from fork_server import fork_server
from kafka import KafkaAdminClient
from kafka_broker import broker, cluster, proxied_broker
from kafka_rig import Members, expected_totals, feed, make_toy_topics, totals_of, wait_until
from run_rig import foreshock
from tcp_proxy import TcpProxy
from topic_reading import read_all, unique
from trouble_rig import Answers, be_agents_that_stop, deploying, fill, lines, mounted, reference

from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.local_kafka import LocalBroker
from connectors.local_kafka_config import free_ports
from streams.liveness import STALL_SECONDS, WATCH_SECONDS

SLICES = lines(5)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    found = reference(tmp_path_factory.mktemp("reference") / "calm", SLICES)
    assert len(found.closed) > 10
    return found


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalBroker, TcpProxy]]:
    with proxied_broker(tmp_path_factory.mktemp("broker")) as found:
        yield found


def settings_of(broker: LocalBroker, prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=(broker.bootstrap,), prefix=prefix)


@pytest.mark.parametrize("away", [8.0, pytest.param(60.0, marks=pytest.mark.chaos)])
def test_a_broker_that_is_killed_cut_off_and_slow_costs_nothing(proxied, expected, tmp_path, prefix, away) -> None:
    broker, proxy = proxied
    with deploying(tmp_path / "d", settings_of(broker, prefix)) as deployment:
        deployment.feed(SLICES[0])
        deployment.await_counted()
        broker.kill()
        deployment.feed(SLICES[1])
        time.sleep(away)
        broker.start()
        deployment.await_counted()
        proxy.cut()
        deployment.feed(SLICES[2])
        time.sleep(4)
        proxy.restore()
        deployment.feed(SLICES[3])
        deployment.await_counted()
        proxy.slow(bytes_per_second=200_000, delay=0.05)
        deployment.feed(SLICES[4])
        deployment.await_counted()
        proxy.restore()
        deployment.await_answers(expected, len(SLICES))


def test_a_full_disk_of_the_broker_costs_nothing(expected, tmp_path, prefix) -> None:
    with (
        mounted(tmp_path / "disk", "400m") as disk,
        broker(disk / "broker") as own,
        deploying(tmp_path / "d", settings_of(own, prefix)) as deployment,
    ):
        deployment.feed(*SLICES[:2])
        deployment.await_counted()
        fill(disk / "filler")
        deployment.feed(SLICES[2])
        deployment.wait_until(lambda: own.pid is None, "the broker did not mind")
        (disk / "filler").unlink()
        own.kill()
        own.start()
        deployment.feed(*SLICES[3:])
        deployment.await_answers(expected, len(SLICES))


def test_a_topic_that_is_deleted_is_told_and_all_goes_on_when_it_is_made_anew(proxied, expected, tmp_path, prefix):
    own, _ = proxied
    settings = settings_of(own, prefix)
    with deploying(tmp_path / "d", settings, (("ingest",), ("mine",), ("detect",))) as deployment:
        deployment.feed(*SLICES[:3])
        deployment.await_counted()
        deployment.await_taken(3)
        deployment.before = deployment.events("counts")
        delete_topic(settings, "counts")
        deployment.wait_until(lambda: any(left.name == "detect" for left in deployment.exits), "detect did not notice")
        deployment.apply_topics()
        deployment.feed(*SLICES[3:])
        deployment.await_answers(expected, len(SLICES))
    assert {left.code for left in deployment.exits} == {69}
    for left in deployment.exits:
        assert f"{prefix}counts" in left.said
        assert "Traceback" not in left.said
    assert any("foreshock topics apply" in left.said for left in deployment.exits)


def delete_topic(settings: KafkaSettings, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=list(settings.bootstrap_servers))
    admin.delete_topics([settings.topic(topic)])
    admin.close()


@pytest.mark.chaos
def test_of_three_brokers_one_may_be_killed_and_with_two_gone_all_waits(expected, tmp_path, prefix) -> None:
    with cluster(tmp_path / "cluster") as three:
        servers = tuple(three.bootstrap.split(","))
        settings = KafkaSettings(bootstrap_servers=servers, prefix=prefix, replication=3, min_insync=2)
        with deploying(tmp_path / "d", settings) as deployment:
            deployment.feed(SLICES[0])
            deployment.await_counted()
            first, second, _ = three.nodes
            first.kill()
            deployment.feed(*SLICES[1:3])
            deployment.await_counted()
            second.kill()
            deployment.feed(SLICES[3])
            time.sleep(5)
            three.start()
            deployment.feed(SLICES[4])
            deployment.await_answers(expected, len(SLICES))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 75, "split has not moved on partitions"),
        (CoordinatorNotAvailableError(), 69, "cannot be a member of"),
        (RuntimeError("a defect"), 70, "a defect"),
    ],
)
def test_a_consumer_that_stops_ends_its_process_with_the_reason_and_another_goes_on(
    kafka_settings, tmp_path, error, code, said
) -> None:
    make_toy_topics(kafka_settings)
    log = KafkaLog(kafka_settings, "test")
    feed(log, range(20))
    with fork_server() as server:
        process = server.Process(target=be_agents_that_stop, args=(kafka_settings, tmp_path / "log", 20, error))
        process.start()
        if error is None:
            wait_until(lambda: len(read_all(log, "signals")) > 20, "nothing was taken")
            feed(log, range(20, 60))
        process.join(60)
        assert process.exitcode == code
    assert said in (tmp_path / "log").read_text()
    if error is None:
        with Members.of(kafka_settings, tmp_path / "log") as members:
            members.start()
            wait_until(lambda: told(log) == expected_totals(60), "all lines counted once")
    log.close()


def test_a_stopped_consumer_is_noticed_within_30_seconds() -> None:
    assert STALL_SECONDS + WATCH_SECONDS <= 30


def told(log: KafkaLog):
    return totals_of(unique(read_all(log, "audit")))


@pytest.mark.parametrize(
    "role", ["mine", pytest.param("act", marks=pytest.mark.chaos), pytest.param("ingest", marks=pytest.mark.chaos)]
)
def test_a_role_without_a_broker_ends_with_the_reason_in_a_sentence(role, tmp_path) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    (tmp_path / "app.txt").write_text("")
    done = foreshock(
        *("run", "--role", role, "--kafka", address, "--data", tmp_path / "data"),
        *(("--input", tmp_path / "app.txt") if role == "ingest" else ()),
        timeout=150,
    )
    assert done.returncode == 69
    assert f"Check that a broker runs at {address}" in done.stderr
    assert "Traceback" not in done.stderr
