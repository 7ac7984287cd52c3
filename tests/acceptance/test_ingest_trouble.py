"""`foreshock ingest` while the broker is killed, away, slow, full of refusals: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fork_server import fork_server
from ingest_rig import (
    PATTERN,
    WAIT,
    Line,
    Process,
    Writer,
    arguments,
    assert_exactly_once,
    batches,
    be_ingest,
    lines_of,
    logged_lines,
    make_ingest_topics,
    wait_until,
    writing,
)
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import InvalidProducerEpochError
from kafka_broker import broker, proxied_broker

from connectors.kafka_fence import take_over
from connectors.kafka_ingest import SendLimits, open_producer
from connectors.kafka_settings import KafkaSettings
from connectors.local_kafka_config import free_ports
from connectors.settings import read_settings
from models.errors import BrokerError, DataFolderError
from streams.ingest import Ingest, IngestOptions

HASTY = SendLimits(memory_bytes=100_000, stall_seconds=0.3)


def settings_of(address: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=(address,), prefix="t-")


@contextmanager
def ingesting(settings: KafkaSettings, data: Path, *inputs: object, **more: object) -> Iterator[Ingest]:
    """The role in a thread of this process, stopped as SIGTERM does. Its failure is raised at the end."""
    paths = [{"path": str(path), "service_pattern": PATTERN} for path in inputs]
    given = {"kafka": settings.model_dump(), "inputs": paths, "data": str(data)}
    options = IngestOptions(name="here", **{"limits": HASTY, **more})  # type: ignore[arg-type]
    stop, failure = threading.Event(), []

    def run(role: Ingest) -> None:
        try:
            role.run(stop)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failure.append(error)

    with Ingest(read_settings(None, given), options, print) as role:
        thread = threading.Thread(target=run, args=(role,))
        thread.start()
        try:
            yield role
        finally:
            stop.set()
            thread.join(WAIT)
            assert not thread.is_alive()
    if failure:
        raise failure[0]


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def finish(writers: list[Writer]) -> int:
    return sum(len(writer.finish()) for writer in writers)


def test_a_broker_that_is_away_costs_no_line_whether_ingest_goes_on_or_is_killed_meanwhile(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as own, writing(tmp_path) as writers, fork_server() as server:
        settings = settings_of(own.bootstrap)
        make_ingest_topics(settings)
        paths = [str(writer.path) for writer in writers]
        with ingesting(settings, tmp_path / "data", *paths) as role:
            wait_until(lambda: role.sender.acknowledged > 10, "nothing was acknowledged")
            own.kill()
            wait_until(lambda: role.spool.bytes > 100_000, "nothing was spooled")
            assert role.sender.memory_bytes < 2 * HASTY.memory_bytes + 1_000_000
            own.start()
            wait_until(lambda: role.spool.empty and not role.sender.stalled, "the spool was not sent")
        process = Process(
            server, settings, tmp_path / "data", paths, IngestOptions(name="here", limits=HASTY), target=be_ingest
        )
        process.wait_for(b"foreshock: reading")
        own.kill()
        spool = tmp_path / "data" / "ingest" / "spool"
        wait_until(lambda: size_of(spool) > 100_000, "nothing was spooled")
        process.kill()
        own.start()
        written = finish(writers)
        with ingesting(settings, tmp_path / "data", *paths) as role:
            wait_until(lambda: role.sender.settled and logged_lines(settings) >= written, "not all lines came")
        assert_exactly_once(settings, writers)


def test_with_a_full_spool_ingest_stops_reading_until_the_broker_is_back(tmp_path: Path) -> None:
    path, total, most = tmp_path / "app.log", 120_000, 300_000
    with broker(tmp_path / "broker") as own:
        settings = settings_of(own.bootstrap)
        make_ingest_topics(settings)
        path.write_text("2026-05-04T10:00:00Z line 0\n")
        with ingesting(settings, tmp_path / "data", path, spool_bytes=most) as role:
            wait_until(lambda: role.sender.acknowledged > 0, "nothing was acknowledged")
            own.kill()
            with path.open("a") as file:
                file.writelines(
                    f"2026-05-04T10:00:00Z line {n} {n * 7919}{os.urandom(20).hex()}\n" for n in range(1, total)
                )
            wait_until(lambda: role.spool.full and not role.sender.ready, "the spool is not full")
            read = role.source.counters["lines"]
            assert read < total
            assert role.spool.bytes < most + 4_000_000  # what was under way, and one poll
            own.start()
            wait_until(lambda: logged_lines(settings) == total, "not all lines came")
        assert [line.text.split()[1] for line in lines_of(batches(settings))["app"]] == [str(n) for n in range(total)]


def test_on_sigterm_without_a_broker_what_a_pipe_brought_stays_in_the_spool(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with broker(tmp_path / "broker") as own, fork_server() as server:
        settings = settings_of(own.bootstrap)
        make_ingest_topics(settings)
        options = IngestOptions(name="here", drain_seconds=0.2, limits=HASTY)
        spool = tmp_path / "data" / "ingest" / "spool"
        inputs = [f"{tmp_path / 'pipe'}|"]
        for turn, size in enumerate((3_000, 10)):
            process = Process(server, settings, tmp_path / "data", inputs, options, target=be_ingest)
            with (tmp_path / "pipe").open("w") as pipe:
                assert b"reading" in process.wait_for(b"foreshock: reading")
                if turn == 0:
                    own.kill()
                pipe.write("".join(f"2026-05-04T10:00:0{turn}Z turn {turn} line {n}\n" for n in range(size)))
                pipe.flush()
                if turn == 0:
                    wait_until(lambda: size_of(spool) > 0, "nothing was spooled")
                else:
                    wait_until(lambda: logged_lines(settings) == 3_010, "not all lines came")
                assert process.stop() == 0, process.wait_for(b"all that it said")
            own.start()
        got = [line.text for line in lines_of(batches(settings))["stdin"]]
    assert got == [f"turn {turn} line {n}" for turn, size in ((0, 3_000), (1, 10)) for n in range(size)]


def test_a_slow_broker_makes_ingest_wait_in_bounded_memory_and_without_the_spool(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    total = 60_000
    path.write_text("".join(f"2026-05-04T10:00:00Z line {n} {'x' * (n % 50)} {n * 7919}\n" for n in range(total)))
    limits = SendLimits(memory_bytes=1_000_000, stall_seconds=10)
    with proxied_broker(tmp_path / "broker") as (own, proxy):
        settings = settings_of(own.bootstrap)
        make_ingest_topics(settings)
        proxy.slow(bytes_per_second=100_000)
        with ingesting(settings, tmp_path / "data", path, limits=limits) as role:
            wait_until(lambda: not role.sender.ready, "it never waited")
            wait_until(lambda: role.sender.acknowledged > 1, "nothing was acknowledged")
            assert role.sender.memory_bytes < limits.memory_bytes + 1_000_000
            assert role.source.counters["lines"] < total
            assert role.spool.empty
            proxy.restore()
            wait_until(lambda: logged_lines(settings) == total, "not all lines came")
        assert [line.text.split()[1] for line in lines_of(batches(settings))["app"]] == [str(n) for n in range(total)]


def test_connections_that_are_cut_and_frozen_cost_no_line(tmp_path: Path) -> None:
    with proxied_broker(tmp_path / "broker") as (own, proxy), writing(tmp_path) as writers:
        settings = settings_of(own.bootstrap)
        make_ingest_topics(settings)
        with ingesting(settings, tmp_path / "data", *(writer.path for writer in writers)) as role:
            for trouble in (proxy.cut, proxy.freeze, proxy.cut):
                before = role.sender.acknowledged
                wait_until(lambda: role.sender.acknowledged > before + 10, "nothing was acknowledged")  # noqa: B023
                trouble()
                wait_until(lambda: role.sender.stalled, "it did not notice")
                proxy.restore()
            written = finish(writers)
            wait_until(lambda: role.sender.settled and logged_lines(settings) >= written, "not all lines came")
        assert_exactly_once(settings, writers)


def test_behind_a_refused_message_nothing_is_sent_and_the_reason_is_told(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    make_ingest_topics(kafka_settings)
    path = tmp_path / "app.log"
    big = "".join(f"2026-05-04T10:00:01Z big {n} {os.urandom(400).hex()}\n" for n in range(300))
    path.write_text("2026-05-04T10:00:00Z small\n" + big + "2026-05-04T10:00:02Z after\n")
    set_largest(kafka_settings, 20_000)
    with (
        pytest.raises(BrokerError, match=r"max\.message\.bytes"),
        ingesting(kafka_settings, tmp_path / "data", path) as role,
    ):
        wait_until(lambda: role._stack is None or bool(role.sender._failure), "it was not refused")
    assert logged_lines(kafka_settings) < 302
    set_largest(kafka_settings, 4_000_000)
    with path.open("a") as file:
        file.write("2026-05-04T10:00:03Z last\n")
    with ingesting(kafka_settings, tmp_path / "data", path):
        wait_until(lambda: logged_lines(kafka_settings) >= 303, "not all lines came")
    texts = [line.text.split()[:2] for line in lines_of(batches(kafka_settings))["app"]]
    assert texts == [["small"], *(["big", str(n)] for n in range(300)), ["after"], ["last"]]


def set_largest(settings: KafkaSettings, size: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=list(settings.bootstrap_servers))
    topic = ConfigResource(ConfigResourceType.TOPIC, settings.topic("logs"), {"max.message.bytes": str(size)})
    admin.alter_configs([topic])
    admin.close()


def test_a_predecessor_cannot_write_any_more(kafka_settings: KafkaSettings) -> None:
    make_ingest_topics(kafka_settings)
    first, second = open_producer(kafka_settings, 10), open_producer(kafka_settings, 10)
    topic = kafka_settings.topic("logs")
    assert take_over(kafka_settings, first, "web-1", 4)
    first.send(topic, b"{}", key=b"1", partition=1).get(WAIT)
    assert not take_over(kafka_settings, second, "web-1", 4)
    with pytest.raises(InvalidProducerEpochError):
        first.send(topic, b"{}", key=b"1", partition=1).get(WAIT)
    second.send(topic, b"{}", key=b"1", partition=1).get(WAIT)
    other = open_producer(kafka_settings, 10)
    assert take_over(kafka_settings, other, "web-2", 4)
    second.send(topic, b"{}", key=b"1", partition=1).get(WAIT)
    for producer in (first, second, other):
        producer.close(timeout=5)


def test_a_second_ingest_of_a_name_takes_over_and_the_first_ends_with_75_and_says_so(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    make_ingest_topics(kafka_settings)
    path = tmp_path / "app.log"
    path.touch()
    with fork_server() as server:
        first = Process(server, arguments(kafka_settings, tmp_path / "one", "--name", "twin", path))
        first.wait_for(b"foreshock: reading")
        second = Process(server, arguments(kafka_settings, tmp_path / "two", "--name", "twin", path))
        first.process.join(WAIT)
        assert first.process.exitcode == 75
        assert b"give each a --name" in first.wait_for(b"another ingest of the name 'twin' has taken over, and")
        assert second.stop() == 0


def test_ingest_says_soon_that_it_waits_for_a_broker_and_its_clients_say_little(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.touch()
    nobody = settings_of(f"127.0.0.1:{free_ports(1)[0]}")
    with fork_server() as server:
        process = Process(server, arguments(nobody, tmp_path / "data", path))
        words = f"no broker answers at {nobody.bootstrap_servers[0]}: waiting for one".encode()
        said = process.wait_for(words)
        process.kill()
    assert words in said
    lines = said.decode().splitlines()
    assert len(lines) == len({re.sub(r"\d+", "", line) for line in lines}) < 10, lines


def test_a_second_process_on_the_folder_is_refused(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    make_ingest_topics(kafka_settings)
    path = tmp_path / "app.log"
    path.write_text("2026-05-04T10:00:00Z one\n")
    with ingesting(kafka_settings, tmp_path / "data", path):
        with (
            pytest.raises(DataFolderError, match="is held by process"),
            ingesting(kafka_settings, tmp_path / "data", path),
        ):
            pass
        wait_until(lambda: logged_lines(kafka_settings) == 1, "the line did not come")
    assert lines_of(batches(kafka_settings)) == {"app": [Line("app", 1_777_888_800_000, "one")]}
