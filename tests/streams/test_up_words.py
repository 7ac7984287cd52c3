"""What `foreshock up` tells a person besides what happens to its processes."""

from __future__ import annotations

import queue

import pytest

from connectors.codec import encode
from connectors.kafka_settings import KafkaSettings
from connectors.ports import Record
from connectors.settings import read_settings
from connectors.world_shop import simulated_catalog
from models.catalog import Application, Catalog
from models.errors import BrokerError, ConfigError, ForeshockError
from models.event import Event
from streams.broker_watch import BrokerWatch
from streams.cli import _complain
from streams.simulate import refuse_replacing
from streams.up import remarks

ROLES = ("mine", "detect", "respond", "act")


def test_what_a_person_may_not_expect_is_said_at_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bare = read_settings(None, {})
    (no_inputs, one_partition, idle) = remarks(bare, ROLES, {"mine": 2, "detect": 1}, without_ingest=False, made=True)
    assert "ingest is not started" in no_inputs
    assert "`inputs: [{path:" in no_inputs
    assert "`partitions: 4`" in one_partition
    assert idle.startswith("mine=2: more workers than partitions (1)")
    wide = read_settings(None, {"partitions": 4, "inputs": [{"path": "app.log"}]})
    assert remarks(wide, ("ingest", *ROLES), {"mine": 2}, without_ingest=False, made=True) == []
    assert remarks(bare, ROLES, {}, without_ingest=True, made=False) == []


def test_a_broker_that_does_not_answer_is_told_of_once_and_again_when_it_does():
    turns = [True, False, True, False, False, False, True]
    told, over = [], queue.SimpleQueue()

    def check(settings):
        if not turns:
            over.put(None)
        elif not turns.pop(0):
            raise BrokerError("nobody there")

    with BrokerWatch(KafkaSettings(bootstrap_servers=("here:9092",)), told.append, check=check, look_seconds=0.001):
        over.get(timeout=20)
    first, second = told
    assert first.startswith("here:9092 does not answer since ")
    assert second.startswith("here:9092 answers again, after ")


class Standing:
    """A log on which that catalog stands."""

    def __init__(self, catalog):
        value = encode(Event(id="c", at=0, key="catalog", data=catalog))
        self.record = Record("catalog", 0, 0, "catalog", value, 0)

    def newest(self, topic, key):
        return self.record


def test_a_simulated_world_does_not_replace_the_catalog_of_something_else():
    world = simulated_catalog(7)
    refuse_replacing(Standing(simulated_catalog(8)), world)
    refuse_replacing(Standing(Catalog()), world)
    with pytest.raises(ConfigError, match=r"the catalog of bank is published here.*kafka\.prefix"):
        refuse_replacing(Standing(Catalog(applications=(Application(name="bank"),))), world)


def test_an_error_of_several_lines_is_shown_as_lines_and_without_control_characters(capsys):
    _complain(str(ForeshockError("mine cannot run. It said:\nwrite act\x1b[2J")))
    assert capsys.readouterr().err.splitlines() == [
        "foreshock: mine cannot run. It said:",
        "write act\\x1b[2J",
    ]
