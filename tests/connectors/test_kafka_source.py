"""A stranger's topic as a source: every line once through restarts; what cannot be read is a dead letter, located."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import pytest
from kafka import KafkaProducer
from kafka_broker import make_topics

from connectors.codec import decode
from connectors.cursor import Cursor
from connectors.inputs import InputOptions, LineSource
from connectors.kafka_settings import KafkaSettings
from connectors.opening import open_inputs, source_ids
from connectors.ports import Outbound
from connectors.progress import Progress
from models.errors import BrokerError, ConfigError
from models.log import SourceRange
from models.topics import partition_of


def put(settings: KafkaSettings, values: Sequence[bytes | None], partition: int = 0) -> str:
    """Messages on a topic of the test's own; its input's name."""
    producer = KafkaProducer(bootstrap_servers=list(settings.bootstrap_servers))
    for value in values:
        producer.send(settings.topic("logs"), value, key=b"k", partition=partition)
    producer.flush()
    producer.close()
    return f"kafka:{settings.topic('logs')}"


def drain(source: LineSource) -> list[Outbound]:
    found: list[Outbound] = []
    while not source.ended:
        found += source.poll(0)
    source.close()
    return found


def lines(found: Sequence[Outbound]) -> list[tuple[str, str]]:
    """Service and message of each line."""
    batches = [decode(out.value).data for out in found if out.topic == "logs"]
    return [
        (batch.services[index], text)
        for batch in batches
        if batch.lines
        for index, text in zip(batch.service_index, batch.messages.split("\n"), strict=True)
    ]


def test_lines_and_json_of_all_partitions_come_once(kafka_settings: KafkaSettings) -> None:
    make_topics(kafka_settings, 2, ["logs"])
    name = put(
        kafka_settings, [b"plain one", json.dumps({"message": "two", "service": "pay"}).encode(), b"three\nfour"]
    )
    put(kafka_settings, [b"other"], 1)
    source = open_inputs([name], InputOptions(once=True, kafka=kafka_settings))
    found = drain(source)
    topic = kafka_settings.topic("logs")
    expected = [(topic, "plain one"), ("pay", "two"), (topic, "three"), (topic, "four"), (topic, "other")]
    assert sorted(lines(found)) == sorted(expected)
    assert source_ids([name], InputOptions(kafka=kafka_settings)) == [f"{name}/0", f"{name}/1"]
    put(kafka_settings, [b"five"], 1)
    again = open_inputs([name], InputOptions(once=True, kafka=kafka_settings), resume=source.cursors, service="mine")
    assert lines(drain(again)) == [("mine", "five")]


def test_a_record_that_was_given_in_part_goes_on_where_it_stopped(kafka_settings: KafkaSettings) -> None:
    make_topics(kafka_settings, 1, ["logs"])
    many = "\n".join(f"line {n}" for n in range(5_000)).encode()
    name = put(kafka_settings, [b"first", many, b"last"])
    options = InputOptions(once=True, kafka=kafka_settings)
    found = [out for out in drain(open_inputs([name], options)) if out.topic == "logs"]
    whole = [text for _, text in lines(found)]
    assert whole == ["first", *(f"line {n}" for n in range(5_000)), "last"]
    for count in range(1, len(found)):
        given = Progress(1)
        for out in found[:count]:
            given.note(0, decode(out.value).data.sources)
        rest = drain(open_inputs([name], InputOptions(once=True, kafka=kafka_settings, given=given)))
        assert [text for _, text in lines([*found[:count], *rest])] == whole


def test_a_topic_made_anew_since_is_read_from_its_beginning(kafka_settings: KafkaSettings) -> None:
    make_topics(kafka_settings, 1, ["logs"])
    name = put(kafka_settings, [b"one", b"two"])
    beyond = {f"{name}/0": str(Cursor(offset=500 << 20))}
    source = open_inputs([name], InputOptions(once=True, kafka=kafka_settings), resume=beyond)
    assert [text for _, text in lines(drain(source))] == ["one", "two"]
    assert Cursor.parse(source.cursors[f"{name}/0"])[:3] == (1, 0, 2 << 20), "further than before, for whoever compares"
    put(kafka_settings, [b"three"])
    again = open_inputs([name], InputOptions(once=True, kafka=kafka_settings), resume=source.cursors)
    assert [text for _, text in lines(drain(again))] == ["three"]
    given = Progress(2)  # one partition of ours has all of the old topic and some of the new, the other nothing yet
    cursor = str(Cursor(1, offset=1 << 20))
    given.note(0, [SourceRange(source_id=f"{name}/0", cursor_from=cursor, cursor_to=cursor, covered_until=0)])
    given.note(1, [SourceRange(source_id=f"{name}/0", cursor_from="", cursor_to=beyond[f"{name}/0"], covered_until=0)])
    rest = open_inputs([name], InputOptions(partitions=2, once=True, kafka=kafka_settings, given=given), service="a")
    home = partition_of("a", 2)
    assert [text for _, text in lines(drain(rest))] == ["one", "two", "three"][1 - home :]


def test_a_topic_made_anew_while_it_is_read_ends_the_reading_with_advice(kafka_settings: KafkaSettings) -> None:
    make_topics(kafka_settings, 1, ["logs"])
    source = open_inputs([put(kafka_settings, [b"one"])], InputOptions(kafka=kafka_settings))
    (feed,) = source.feeds
    feed.tail.position = 5 << 20
    with pytest.raises(BrokerError, match="was deleted and made anew"):
        while True:
            source.poll(0)
    source.close()


def test_what_is_no_text_is_a_dead_letter_with_its_place_and_nothing_is_blank(kafka_settings: KafkaSettings) -> None:
    make_topics(kafka_settings, 1, ["logs"])
    binary = bytes(range(32)) * 3
    name = put(kafka_settings, [b"good", binary, None, b"", b"\x00\x01\x02", b"fine"])
    source = open_inputs([name], InputOptions(once=True, kafka=kafka_settings))
    found = drain(source)
    assert [text for _, text in lines(found)] == ["good", "fine"]
    letters = [decode(out.value).data for out in found if out.topic == "dead-letters"]
    topic = kafka_settings.topic("logs")
    assert [(each.topic, each.partition, each.offset) for each in letters] == [(topic, 0, 1), (topic, 0, 4)]
    assert base64.b64decode(letters[0].raw).startswith(b"\0" + bytes(range(8)))
    assert source.counters["blank"] == 2
    assert source.counters["binary"] == 2


def test_a_live_topic_is_followed(kafka_settings: KafkaSettings) -> None:
    make_topics(kafka_settings, 1, ["logs"])
    name = put(kafka_settings, [b"one"])
    source = open_inputs([name], InputOptions(kafka=kafka_settings))
    found: list[Outbound] = []
    now = 1_800_000_000_000
    for number, more in enumerate((b"two", b"three"), 2):
        put(kafka_settings, [more])
        while len(lines(found)) < number:
            now += 100
            found += source.poll(now)
    assert [text for _, text in lines(found)] == ["one", "two", "three"]
    source.close()


def test_names_that_are_none_and_topics_that_are_not_there_are_told(kafka_settings: KafkaSettings) -> None:
    options = InputOptions(kafka=kafka_settings)
    with pytest.raises(ConfigError, match="kafka:TOPIC"):
        open_inputs(["kafka:a b"], options)
    with pytest.raises(BrokerError, match="does not exist"):
        open_inputs([f"kafka:{kafka_settings.topic('nothing')}"], options)
