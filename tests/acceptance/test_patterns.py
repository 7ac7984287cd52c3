"""Inputs that are patterns, as a person runs them: files that come while `run` and `ingest` read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from fork_server import fork_server
from ingest_rig import PARTITIONS, Process, arguments, batches, lines_of, logged_lines, make_ingest_topics, wait_until
from run_rig import foreshock, line_counts

from connectors.codec import encode
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Outbound
from models.event import Event
from models.log import LogBatch

EMPTY = LogBatch(sources=())


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def fill(settings: KafkaSettings, count: int) -> None:
    """Batches without lines, as other connectors write."""
    batch = [
        Outbound("logs", str(partition), encode(Event(id=f"{number}", at=0, key=str(partition), data=EMPTY)), partition)
        for partition in range(PARTITIONS)
        for number in range(count)
    ]
    with closing(KafkaLog(settings, "test")) as log:
        log.append(batch, 0)


def test_run_waits_for_a_file_that_matches_and_follows_each_that_comes(tmp_path: Path) -> None:
    data, logs = tmp_path / "data", tmp_path / "logs"
    logs.mkdir()
    with fork_server() as server:
        process = Process(server, ["run", "--data", str(data), "--input", f"{logs}/*.log"])
        process.wait_for(b"matches no file yet")
        write(logs / "a.log", "one\n")
        process.wait_for(b"1 new file: file:" + str(logs).encode() + b"/a.log")
        write(logs / "b.log", "two\n")
        process.wait_for(b"1 new file: file:" + str(logs).encode() + b"/b.log")
        write(logs / "a.log", "three\n")
        wait_until(lambda: sum(line_counts(data).values()) == 3, "not all lines came")
        assert process.stop() == 0
    said = foreshock("run", "--once", "--data", str(tmp_path / "other"), "--input", f"{logs}/*.txt")
    assert (said.returncode, said.stdout) == (78, "")
    assert "no file matches this pattern" in said.stderr


def test_ingest_reads_what_comes_to_match_once_also_when_it_comes_back_after_a_start(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    make_ingest_topics(kafka_settings)
    logs = tmp_path / "logs"
    logs.mkdir()
    args = arguments(kafka_settings, tmp_path / "data", "--name", "me", f"{logs}/*.log")
    with fork_server() as server:
        process = Process(server, args)
        process.wait_for(b"matches no file yet")
        write(logs / "a.log", "one\n")
        write(logs / "b.log", "two\n")
        wait_until(lambda: logged_lines(kafka_settings) == 2, "not all lines came")
        assert process.stop() == 0
        logs.rename(tmp_path / "away")
        fill(kafka_settings, 111)  # the next start must not happen to read what the last one said of them
        process = Process(server, args)
        process.wait_for(b"matches no file yet")
        write(tmp_path / "away" / "a.log", "three\n")
        (tmp_path / "away").rename(logs)
        wait_until(lambda: logged_lines(kafka_settings) >= 3, "the file that came back was not read on")
        assert process.stop() == 0
    assert {name: [line.text for line in lines] for name, lines in lines_of(batches(kafka_settings)).items()} == {
        "a": ["one", "three"],
        "b": ["two"],
    }
