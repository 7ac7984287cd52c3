"""A deployment is brought to its next version while it runs: workers are replaced one by one, readers before writers.

The next version (tests/support/toy_upgrade.py) has changed the message that `split` writes and `total` reads, and what
`total` keeps. An operator who takes the other order, or whose old worker gets a partition that a new one has saved,
loses nothing: the old worker stops, and says that it must be upgraded.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from contextlib import contextmanager

import pytest
from cli_rig import run_cli
from kafka_rig import WAIT, Members, expected_totals, feed, make_toy_topics, totals_of, wait_until
from kafka_twin import write_config
from topic_reading import read_all, unique
from toy_pipeline import PARTITIONS
from toy_upgrade import NumberedChange, be_upgraded_agents

from connectors.changelog import decode_kept
from connectors.codec import decode_record, encode
from connectors.kafka_log import KafkaLog
from connectors.ports import Outbound
from models.event import Event

ROLES = ("total", "total", "split", "split")
"""Two workers each, the readers first: the order of an upgrade."""


@pytest.fixture
def log(kafka_settings):
    make_toy_topics(kafka_settings)
    made = KafkaLog(kafka_settings, "test")
    yield made
    made.close()


def told(log):
    return totals_of(unique(read_all(log, "audit")))


def versions(log):
    """Of the messages of type `change`, in whichever program's words."""
    read = (json.loads(record.value) for record in read_all(log, "signals"))
    return [message["v"] for message in read if message["type"] == "change"]


def kept_versions(settings, log):
    """Of what `total` has saved of each key, in order: 1 is bare JSON."""
    found = defaultdict(list)
    for record in read_all(log, settings.changelog("total").removeprefix(settings.prefix)):
        entry = decode_kept(record.key.encode(), record.value).entry
        if entry is not None:
            found[entry.key].append(2 if entry.state.startswith(b"2{") else 1)
    return found


class Feeder:
    """Lines all the time, until the block ends."""

    def __init__(self, settings):
        self.batches = 0
        self._settings, self._ended = settings, threading.Event()

    @contextmanager
    def feeding(self):
        thread = threading.Thread(target=self._feed)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _feed(self):
        log = KafkaLog(self._settings, "feeder")
        while not self._ended.wait(0.3):
            feed(log, range(self.batches, self.batches + 4))
            self.batches += 4
        log.close()

    def catch_up(self, log):
        """Wait until all that was fed by now is told, as an operator waits for `foreshock lag` to be small."""
        lines = expected_totals(self.batches + 4).total()
        wait_until(lambda: told(log).total() >= lines, "what was fed is told")


def join(members, role, said):
    """Start one of the former version, and wait until it (or the group, anew) has its partitions."""
    words = f'"step": "{role}", "partitions": '
    before = said.read_text().count(words) if said.exists() else 0
    process = members.start(role)
    wait_until(lambda: said.exists() and said.read_text().count(words) > before, f"{role} has partitions")
    return process


def replace(members, process, role):
    """Stop one of the former version, start one of the next."""
    assert members.stop(process) == 0
    members.start(role, program=be_upgraded_agents)


def test_workers_are_replaced_one_by_one_while_lines_come_and_every_line_is_told_once(kafka_settings, log, tmp_path):
    feeder = Feeder(kafka_settings)
    with Members.of(kafka_settings, tmp_path / "log") as members:
        former = [join(members, role, tmp_path / "log") for role in ROLES]
        with feeder.feeding():
            feeder.catch_up(log)
            for process, role in zip(former, ROLES, strict=True):
                replace(members, process, role)
                feeder.catch_up(log)
                if role == "total":
                    assert set(versions(log)) == {1}
        wait_until(lambda: told(log) == expected_totals(feeder.batches), "all lines told once")
        assert [members.stop(process) for process in list(members.running)] == [0] * 4
    seen = versions(log)
    assert set(seen) == {1, 2}
    for kept in kept_versions(kafka_settings, log).values():
        assert (kept[0], kept[-1]) == (1, 2)
        assert kept == sorted(kept)  # no former worker has written over what a new one kept
    assert read_all(log, "dead-letters") == []


def test_a_reader_that_was_forgotten_stops_before_the_first_new_message_and_its_successor_goes_on_there(
    kafka_settings, log, tmp_path
):
    feeder = Feeder(kafka_settings)
    with Members.of(kafka_settings, tmp_path / "log") as members:
        forgotten, writer = members.start("total"), members.start("split")
        with feeder.feeding():
            feeder.catch_up(log)
            replace(members, writer, "split")
            forgotten.join(WAIT)
            assert forgotten.exitcode == 78
        assert "Upgrade this worker" in (tmp_path / "log").read_text()
        members.start("total", program=be_upgraded_agents)
        wait_until(lambda: told(log) == expected_totals(feeder.batches), "all lines told once")
    assert read_all(log, "dead-letters") == []


def test_a_stranger_s_new_message_stops_nobody_and_is_replayed_after_the_upgrade(kafka_settings, log, tmp_path):
    data = NumberedChange(change_id="c", source="stranger", application="app0", number=1_000_000)
    event = Event(id="s", at=1, key="app0", data=data, run="somebody-else")
    with Members.of(kafka_settings, tmp_path / "log") as members:
        process = members.start()
        feed(log, range(5))
        wait_until(lambda: told(log) == expected_totals(5), "the first lines are told")
        (sent,) = log.append([Outbound("signals", "app0", encode(event))], 0)
        feed(log, range(5, 10))
        wait_until(lambda: told(log) == expected_totals(10), "the stream has gone on")
        (letter,) = map(decode_record, read_all(log, "dead-letters"))
        assert (letter.data.reason, letter.data.topic) == ("unknown_version", "signals")
        assert (letter.data.partition, letter.data.offset) == (sent.partition, sent.offset)
        assert members.stop(process) == 0
        members.start(program=be_upgraded_agents)
        config = write_config(tmp_path / "f.yaml", kafka_settings, PARTITIONS, tmp_path)
        said = run_cli("dead-letters", "replay", "--reason", "unknown_version", "--yes", "--config", config)
        assert said.code == 0, said.err
        last = max(total for application, total in expected_totals(10) if application == "app0")
        wait_until(lambda: told(log)["app0", last + 1_000_000] == 1, "the stranger's change is told")
