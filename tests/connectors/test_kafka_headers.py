"""Headers of Kafka messages: CloudEvents, correlation id, virtual time."""

from __future__ import annotations

import pytest

from connectors.codec import encode
from connectors.kafka_headers import kafka_headers, logged_at_of
from models.event import Event
from models.signal import Tick

AT = 1_700_000_000_123


def event(**changes):
    fields = {"id": "e1", "at": AT, "key": "checkout", "data": Tick(step="act", due_at=5), "run": "r1", **changes}
    return encode(Event(**fields))


def test_a_message_wears_the_attributes_of_its_event():
    assert dict(kafka_headers(event(cid="fs-1"))) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e1",
        "ce_source": b"foreshock/r1",
        "ce_type": b"foreshock.tick.v1",
        "ce_time": b"2023-11-14T22:13:20.123Z",
        "ce_subject": b"checkout",
        "content-type": b"application/json",
        "correlation-id": b"fs-1",
    }


def test_an_attribute_that_would_be_empty_or_impossible_is_left_out():
    headers = dict(kafka_headers(event(key="", run="", at=10**18)))
    assert headers.keys() == {"ce_specversion", "ce_id", "ce_source", "ce_type", "content-type"}
    assert headers["ce_source"] == b"foreshock"


def test_a_key_that_looks_like_the_end_of_the_envelope_is_no_end():
    headers = dict(kafka_headers(event(key='x,"data":{}')))
    assert headers["ce_subject"] == b'x,"data":{}'


@pytest.mark.parametrize("value", [b"", b"garbage", b'{"a":1,"data":{}}', b'[1,"data":', b'{"id":1,"data":{}}'])
def test_what_is_no_event_has_no_attributes(value):
    assert kafka_headers(value) == []
    assert kafka_headers(value, 7) == [("logged-at", b"7")]


def test_the_header_counts_only_on_a_virtual_clock():
    headers = kafka_headers(event(), 7)
    assert logged_at_of(headers, 99, virtual=True) == 7
    assert logged_at_of(headers, 99, virtual=False) == 99


@pytest.mark.parametrize("text", [None, b"", b"-5", b"1e3", b"9" * 40])
def test_a_time_nobody_can_have_written_is_not_believed(text):
    assert logged_at_of([("logged-at", text)], 99, virtual=True) == 99
