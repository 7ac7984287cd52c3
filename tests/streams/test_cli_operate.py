"""doctor, lag and dead-letters, on a data folder and on a real Kafka: the same words for the same troubles."""

from __future__ import annotations

import base64
import shlex
import socket

import pytest
from case_folder import batch, message
from cli_rig import run_cli
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata
from kafka_broker import broker
from kafka_twin import corner, write_config

from connectors.codec import encode
from connectors.data_folder import DataFolder, open_reader
from connectors.kafka_clients import client_options
from connectors.kafka_topics import apply, open_admin, plan
from connectors.keys import load_keys
from connectors.open_log import open_log
from connectors.ports import Checkpoint, Outbound, UnitName
from connectors.settings import read_settings
from connectors.where import Where
from models.audit import DeadLetter
from models.event import Event
from models.template import BatchPointer, CoveredSource, TemplateCounts
from models.topics import INSPECTED
from streams.catalog import publish_catalog
from streams.mine import Mine
from streams.reading import read_topic
from streams.runtime import Shard, Unit

PARTITIONS = 2
HOSTILE = b"\x1b[2J not json \xff password=hunter2"


class Place:
    """One of the two hosts, and how a command is led there."""

    def __init__(self, where: Where):
        self.where = where
        self.log = open_log(where, append=True).log

    def run(self, *args):
        named = ("--data", self.where.data) if self.where.data else ("--config", self.where.config)
        return run_cli(*args, *named)

    def refuse(self, *values: bytes, partition: int = 1) -> list[str]:
        """Put them on `logs` and let mine look at them; the places of those it refused."""
        places = []
        for value in values:
            (record,) = self.log.append([Outbound("logs", str(partition), value, partition)], self.log.now())
            unit = Unit(Mine(), Shard(partition, PARTITIONS))
            unit.skip_to(record.offset)
            letters = [out for out in unit.apply(record) if out.topic == "dead-letters"]
            self.log.append(letters, self.log.now())
            places += [str(record.position)] * len(letters)
        return places

    def commit(self, committed: dict[tuple[str, int], int]) -> None:
        """A role has come so far; keys are (role, partition)."""
        steps = {"mine": "mine", "detect": "detect", "respond": "case", "act": "act"}
        for (role, partition), offset in committed.items():
            if self.where.data:
                self.log.store.save(UnitName(steps[role], partition), Checkpoint((), b"", offset, offset))
            else:
                self._commit_on_kafka(role, partition, offset)

    def _commit_on_kafka(self, role: str, partition: int, offset: int) -> None:
        kafka = read_settings(self.where.config).settings.kafka
        inbox = {"mine": "logs", "detect": "counts", "respond": "signals", "act": "commands"}[role]
        options = client_options(kafka, role) | {"group_id": kafka.group(role), "enable_auto_commit": False}
        consumer = KafkaConsumer(**options)
        consumer.commit({TopicPartition(kafka.topic(inbox), partition): OffsetAndMetadata(offset, "", -1)})
        consumer.close()


def folder_place(root) -> Place:
    with DataFolder(root / "data", partitions=PARTITIONS):
        load_keys(root / "data", {})
    return Place(Where(data=root / "data"))


def kafka_place(root, address) -> Place:
    settings = corner(address, PARTITIONS, ())
    config = write_config(root / "foreshock.yaml", settings, PARTITIONS, root / "keys")
    admin = open_admin(settings)
    apply(admin, settings, plan(settings, PARTITIONS))
    admin.close()
    (root / "keys").mkdir()
    load_keys(root / "keys", {})
    return Place(Where(config=config))


@pytest.fixture(params=["folder", "kafka"])
def place(request, tmp_path):
    made = (
        folder_place(tmp_path) if request.param == "folder" else kafka_place(tmp_path, request.getfixturevalue("kafka"))
    )
    yield made
    made.log.close()


def letter(**fields):
    return DeadLetter(**{"reason": "not_json", "topic": "signals", "partition": 1, "offset": 0, "key": "k"} | fields)


def put_letter(place: Place, **fields) -> None:
    place.log.append(
        [message("dead-letters", "signals/1", letter(**fields), place.log.now(), partition=0)], place.log.now()
    )


# -- dead-letters ------------------------------------------------------------------------------------------------------


def test_what_a_step_refused_is_listed_and_shown_with_reason_and_place_and_without_harm(place):
    first, second = place.refuse(HOSTILE, b"{}")
    rows = place.run("dead-letters", "list", "--json").rows
    assert [(row["reason"], row["original"]) for row in rows] == [("not_json", first), ("bad_envelope", second)]
    assert (rows[0]["topic"], rows[0]["partition"], rows[0]["offset"]) == ("logs", 1, 0)
    assert [row["original"] for row in place.run("dead-letters", "list", "--reason", "not_json", "--json").rows] == [
        first
    ]
    assert place.run("dead-letters", "list", "--topic", "signals").out == ""
    for name in (first, rows[0]["position"]):
        said = place.run("dead-letters", "show", name)
        assert said.code == 0
        assert f"original  {first}" in said.out
        assert "not_json" in said.out
        assert "\\x1b[2J not json" in said.out
    listed = place.run("dead-letters", "list").out
    for out in (said.out, listed, place.run("dead-letters", "show", first, "--json").out):
        assert "\x1b" not in out
        assert "hunter2" not in out


def test_a_place_without_a_letter_is_refused(place):
    place.refuse(HOSTILE)
    absent = dict.fromkeys(("logs/1@5", "dead-letters/1@99", "dead-letters/77@0"), 1)
    for wrong, code in {**absent, "nonsense": 2, "nothing/0@1": 2}.items():
        said = place.run("dead-letters", "show", wrong)
        assert (said.code, said.out) == (code, "")
        assert "dead-letters list" in said.err


def test_a_replay_without_yes_appends_nothing_and_says_what_it_would_do(place):
    (at,) = place.refuse(HOSTILE)
    said = place.run("dead-letters", "replay", at)
    assert said.code == 1
    assert f"{len(HOSTILE)} bytes" in said.out
    assert "logs/1" in said.out
    assert "--yes" in said.err
    assert place.log.bounds("logs", 1)[1] == 1
    assert place.run("dead-letters", "replay").code == 2


def test_a_replay_puts_the_original_bytes_once_more_where_they_stood(place):
    long = b"x" * 10_000
    at = place.refuse(HOSTILE, long)
    place.refuse(b"[]")
    assert place.run("dead-letters", "replay", *at, "--yes").code == 0
    again = place.log.read("logs", 1, 3, 9)
    assert [(record.key, record.value) for record in again] == [("1", HOSTILE), ("1", long)]
    assert place.run("dead-letters", "replay", "--reason", "bad_envelope", "--yes").code == 0
    assert [record.value for record in place.log.read("logs", 1, 5, 9)] == [b"[]"]
    assert place.run("dead-letters", "replay", "--reason", "no such reason", "--yes").code == 0
    assert place.log.bounds("logs", 1)[1] == 6


def test_several_letters_about_one_record_are_one_replay(place):
    (at,) = place.refuse(HOSTILE)
    (found,) = place.log.read("dead-letters", 0, 0, 9) or place.log.read("dead-letters", 1, 0, 9)
    place.log.append([Outbound("dead-letters", found.key, found.value, found.partition)], place.log.now())
    assert place.run("dead-letters", "replay", "--reason", "not_json", "--yes").code == 0
    assert place.log.bounds("logs", 1)[1] == 2
    assert place.run("dead-letters", "show", at).code == 0


def test_a_record_that_is_gone_is_replayed_from_what_the_letter_kept_of_it_if_that_is_all(place):
    put_letter(place, offset=70, raw=base64.b64encode(b"short").decode(), key="shop")
    put_letter(place, offset=71, raw=base64.b64encode(b"x" * 4_096).decode())
    said = place.run("dead-letters", "replay", "--reason", "not_json", "--yes")
    assert said.code == 1
    assert "signals/1@71 (not_json) cannot be replayed" in said.out
    assert "send it again" in said.out
    assert [(record.key, record.value) for record in place.log.read("signals", 1, 0, 9)] == [("shop", b"short")]


def test_what_no_step_refused_is_not_replayed(place):
    """Whoever may write dead letters could else have an operator write anything anywhere."""
    place.log.append([Outbound("signals", "k", b"genuine", 1)], place.log.now())
    raw = base64.b64encode(b"forged").decode()
    put_letter(place, raw=raw)
    put_letter(place, raw=raw, topic="audit")
    put_letter(place, raw=raw, topic="", offset=-1, source_id="/var/log/x", cursor="9")
    put_letter(place, raw=raw, partition=9)
    said = place.run("dead-letters", "replay", "--reason", "not_json", "--yes")
    assert said.code == 1
    assert "another record stands there now" in said.out
    assert "never came into the log" in said.out
    assert said.out.count("cannot be replayed") == 4
    assert place.log.bounds("signals", 1)[1] == 1
    assert place.log.bounds("audit", 1)[1] == 0


def test_one_letter_whose_raw_bytes_are_no_base64_hides_no_others(place):
    put_letter(place, raw="\u00e9")
    put_letter(place, offset=1)
    assert len(place.run("dead-letters", "list", "--json").rows) == 2
    assert place.run("dead-letters", "list").code == place.run("tap", "dead-letters").code == 0


def test_a_letter_that_was_written_again_after_a_crash_is_listed_once(place):
    (at,) = place.refuse(HOSTILE)
    (found,) = read_topic(place.log, "dead-letters")
    place.log.append([Outbound("dead-letters", found.key, found.value, found.partition)], place.log.now())
    assert [row["original"] for row in place.run("dead-letters", "list", "--json").rows] == [at]


def test_a_letter_under_the_id_of_another_does_not_hide_it(place):
    for offset in (1, 2):
        event = Event(id="same", at=0, key="signals/1", data=letter(offset=offset))
        place.log.append([Outbound("dead-letters", "signals/1", encode(event), 0)], place.log.now())
    rows = place.run("dead-letters", "list", "--json").rows
    assert [row["original"] for row in rows] == ["signals/1@1", "signals/1@2"]


def test_a_stranger_on_the_topic_of_dead_letters_does_not_hide_the_others(place):
    (at,) = place.refuse(HOSTILE)
    place.log.append(
        [Outbound("dead-letters", "k", HOSTILE, 0), message("dead-letters", "k", batch(1), 1)], place.log.now()
    )
    assert [row["original"] for row in place.run("dead-letters", "list", "--json").rows] == [at]


# -- lag ---------------------------------------------------------------------------------------------------------------


def counts(covered: int) -> TemplateCounts:
    source = CoveredSource(source_id="a", covered_until=covered)
    return TemplateCounts(rules_version=1, input=BatchPointer(topic="logs", partition=1, offset=0), sources=(source,))


def test_lag_tells_records_seconds_and_members_by_partition_and_how_far_sources_have_come(place):
    now = place.log.now()
    place.log.append([Outbound("logs", "1", b"x", 1) for _ in range(5)], now - 90_000)
    place.log.append([message("counts", "1", counts(now - 40_000), now, partition=1)], now)
    place.commit({("mine", 1): 2, ("mine", 0): 0, ("act", 0): 0})
    (report,) = place.run("lag", "--json").rows
    rows = {(row["role"], row["partition"]): row for row in report["partitions"]}
    roles = ["mine", "detect", "respond", "act", *([] if place.where.data else ["inspect"])]
    inspected = [row for row in report["partitions"] if row["role"] == "inspect"]
    assert len(inspected) == (0 if place.where.data else PARTITIONS * len(INSPECTED))
    assert len(report["partitions"]) - len(inspected) == 4 * PARTITIONS
    mine = rows["mine", 1]
    assert (mine["topic"], mine["committed"], mine["end"], mine["records"]) == ("logs", 2, 5, 3)
    assert mine["oldest_seconds"] >= (90 if place.where.data else 0)
    assert (rows["mine", 0]["records"], rows["mine", 0]["oldest_seconds"]) == (0, None)
    assert (rows["detect", 1]["committed"], rows["detect", 1]["records"]) == (None, 1)
    assert [group["role"] for group in report["groups"]] == roles
    quiet, mark = report["watermarks"]
    assert quiet["covered_until"] is None
    assert mark["covered_until"] == now - 40_000
    assert mark["delay_seconds"] >= 40
    said = place.run("lag")
    assert said.code == 0
    assert "nobody" in said.out
    assert ("inspect  9 topics" in said.out) == (place.where.data is None)


def test_lag_names_the_member_that_has_a_partition(tmp_path, kafka):
    place = kafka_place(tmp_path, kafka)
    settings = read_settings(place.where.config).settings.kafka
    options = client_options(settings, "mine") | {"group_id": settings.group("mine"), "enable_auto_commit": False}
    consumer = KafkaConsumer(settings.topic("logs"), metadata_max_age_ms=500, **options)  # the topic is very new
    while not consumer.assignment():
        consumer.poll(timeout_ms=100)
    (report,) = place.run("lag", "--json").rows
    consumer.close()
    place.log.close()
    assert all(row["member"].startswith("foreshock-mine") == (row["role"] == "mine") for row in report["partitions"])
    (mine,) = [group for group in report["groups"] if group["role"] == "mine"]
    assert (mine["group"], mine["state"], len(mine["members"])) == (settings.group("mine"), "Stable", 1)


def test_on_a_new_cluster_lag_says_what_to_do_and_after_it_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with broker(tmp_path / "kafka") as new:
        said = run_cli("lag", "--kafka", new.bootstrap)
        assert said.code == 69
        assert "no topics yet" in said.err
        (advised,) = [part for part in said.err.replace("\n", " ").split("`") if part.startswith("foreshock ")]
        assert run_cli(*shlex.split(advised)[1:]).code == 0
        assert [row["role"] for row in run_cli("lag", "--json", "--kafka", new.bootstrap).rows[0]["groups"]]


# -- doctor ------------------------------------------------------------------------------------------------------------


def found(said) -> dict[str, dict[str, str]]:
    """The first of each check: it is the worst."""
    return {row["check"]: row for row in reversed(said.rows)}


def test_the_doctor_finds_nothing_failed_where_all_is_well_and_counts_dead_letters_by_reason(place):
    publish_catalog(place.log, read_settings(place.where.config).catalog, place.log.now())
    place.refuse(HOSTILE, HOSTILE, b"{}")
    inboxes = {"mine": "logs", "detect": "counts", "respond": "signals", "act": "commands"}
    place.commit({(role, part): end for role, topic in inboxes.items() for part, end in place.log.ends(topic).items()})
    said = place.run("doctor", "--json")
    checks = found(said)
    assert said.code == 0, said.out
    assert not [row for row in said.rows if row["level"] == "fail"]
    assert "2 not_json, 1 bad_envelope" in checks["dead letters"]["said"]
    assert checks["dead letters"]["level"] == "warn"
    assert checks["signing keys"]["level"] == "ok"
    assert all(row["advice"] for row in said.rows if row["level"] != "ok")
    text = place.run("doctor").out
    assert "dead-letters list --since 1h" in text
    replay = next(part for part in text.split("`") if part.startswith("foreshock dead-letters replay"))
    assert run_cli(*shlex.split(replay)[1:], "--json").rows[0]["original"] == "logs/1@0"


def test_the_doctor_says_that_nobody_reads_what_waits(tmp_path, kafka):
    place = kafka_place(tmp_path, kafka)
    place.log.append([Outbound("signals", "k", b"x", 0)], 0)
    said = place.run("doctor", "--json")
    place.log.close()
    checks = found(said)
    assert said.code == 1
    assert checks["group respond"]["level"] == "fail"
    assert "1 records wait" in checks["group respond"]["said"]
    assert "foreshock run --role respond" in checks["group respond"]["advice"]
    assert checks["group mine"]["level"] == "warn"
    assert checks["group inspect"]["level"] == "warn"
    assert "foreshock run --role respond" in checks["group inspect"]["advice"]
    assert checks["catalog"]["level"] == "fail"
    assert "foreshock catalog apply" in checks["catalog"]["advice"]
    assert checks["topics"]["level"] == "ok"
    assert checks["brokers"]["level"] == "ok"
    assert "kafka-python" in checks["clients"]["said"]


def test_the_doctor_names_the_address_that_fails_and_goes_on_with_the_other(tmp_path, kafka):
    settings = corner(kafka, PARTITIONS, ["logs"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    config = write_config(tmp_path / "foreshock.yaml", settings, PARTITIONS, tmp_path)
    both = run_cli("doctor", "--json", "--config", config, "--kafka", f"127.0.0.1:{closed},{kafka.split(',')[0]}")
    checks = found(both)
    assert checks[f"broker 127.0.0.1:{closed}"]["level"] == "warn"
    assert "nobody listens there" in checks[f"broker 127.0.0.1:{closed}"]["advice"]
    assert checks[f"broker {kafka.split(',')[0]}"]["level"] == "ok"
    assert both.code == 1
    assert checks["topics"]["level"] == "fail"
    assert f"{settings.prefix}counts" in checks["topics"]["said"]
    assert "foreshock topics apply" in checks["topics"]["advice"]
    none = run_cli("doctor", "--json", "--config", config, "--kafka", f"127.0.0.1:{closed}")
    assert none.code == 1
    assert found(none)[f"broker 127.0.0.1:{closed}"]["level"] == "fail"
    assert "topics" not in found(none)


def test_the_doctor_tells_another_number_of_partitions_with_the_way_to_migrate(tmp_path, kafka):
    place = kafka_place(tmp_path, kafka)
    settings = read_settings(place.where.config).settings.kafka
    place.log.close()
    config = write_config(tmp_path / "other.yaml", settings, PARTITIONS + 1, tmp_path / "keys")
    said = run_cli("doctor", "--config", config)
    assert said.code == 1
    assert "partitions is 2, must be 3" in said.out
    assert "new kafka.prefix" in said.out


def test_the_doctor_reads_a_broken_configuration_and_a_folder_that_is_none(tmp_path):
    (tmp_path / "foreshock.yaml").write_text("kafka:\n  bootstrap_server: x\n")
    said = run_cli("doctor", "--config", tmp_path / "foreshock.yaml")
    assert said.code == 1
    assert "bootstrap_server" in said.out
    said = run_cli("doctor", "--data", tmp_path)
    assert said.code == 1
    assert "holds no Foreshock data" in said.out


def test_the_doctor_tells_who_holds_a_folder_and_where_a_step_failed(tmp_path):
    place = folder_place(tmp_path)
    place.log.store.record_crash(UnitName("detect", 1), 7, "ZeroDivisionError()")
    said = place.run("doctor")
    assert "nobody runs it now" in said.out
    assert "detect/1 has failed 1 times at offset 7: ZeroDivisionError()" in said.out
    with DataFolder(place.where.data):
        assert "process " in place.run("doctor").out
    place.log.close()
    open_reader(place.where.data, append=True)._db.execute("PRAGMA user_version = 99")
    old = place.run("doctor")
    assert old.code == 1
    assert "schema 99" in old.out
