"""Topics: every type has a home, and a key goes where Kafka's own clients put it."""

from __future__ import annotations

import pytest

from models.contracts import CONTRACTS
from models.topics import TOPICS, _murmur2, partition_of


@pytest.mark.parametrize(  # from Apache Kafka's UtilsTest
    ("key", "expected"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_murmur2_is_kafkas(key, expected):
    assert _murmur2(key.encode()) == expected % 2**32


def test_partitions_are_in_range():
    assert {partition_of(f"service-{n}", 4) for n in range(100)} == {0, 1, 2, 3}


def test_every_type_has_a_topic_and_every_topic_known_types():
    homes = {kind for topic in TOPICS.values() for kind in topic.types}
    assert homes == set(CONTRACTS)
