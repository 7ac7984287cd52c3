"""Loops as one writes them by hand: consume, work, produce. `python -m benchmarks.kafka.loops CLIENT WORK BROKER TOPIC
OUT WARM TOTAL` reads TOPIC once with aiokafka or confluent-kafka.

Work: `decode` (the floor), `miner` (the product's miner), `drain3` (with the masking of its example configuration) and
`drain3-bare` (without), `re` (one regular expression and a dict). Each writes a message of counts for each batch,
acknowledged by the broker before the end; none of them knows its place after a crash.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPlace

from benchmarks.kafka.lines import PARTITIONS
from models.log import LogBatch, SourceRange
from models.mining import Miner
from models.template import BatchPointer

__all__ = ["Marks"]

Work = Callable[[bytes], tuple[int, bytes | None]]
"""A message's value in; its lines and the message of its counts out."""
_FETCH_BYTES: Final = 4 * 1024 * 1024
_RECORDS: Final = 64


class Marks:
    """Tells the benchmark when the warm-up is over, and when everything is counted and delivered."""

    def __init__(self, warm: int, total: int) -> None:
        self.warm, self.total, self.seen = warm, total, 0

    def add(self, lines: int) -> bool:
        """Note lines that were counted; True when they were the last."""
        before, self.seen = self.seen, self.seen + lines
        if before < self.warm <= self.seen:
            print(f"warm {self.seen}", flush=True)
        return self.seen >= self.total

    def done(self) -> None:
        """Everything is delivered."""
        print(f"done {self.seen}", flush=True)


def decode() -> Work:
    """Only read."""

    def work(value: bytes) -> tuple[int, bytes | None]:
        return len(orjson.loads(value)["data"]["timestamps"]), None

    return work


def miner() -> Work:
    """The product's miner without the product."""
    own = Miner()
    pointer = BatchPointer(topic="logs", partition=0, offset=0)

    def work(value: bytes) -> tuple[int, bytes | None]:
        data = orjson.loads(value)["data"]
        for source in data["sources"]:
            source["services"] = tuple(source["services"])
        data["sources"] = tuple(SourceRange.model_construct(**source) for source in data["sources"])
        batch = LogBatch.model_construct(**data)
        return batch.lines, own.mine(batch, pointer).model_dump_json().encode()

    return work


def drain3(masks: bool) -> Work:
    """drain3: one miner a service."""
    from benchmarks.mining import drain

    mine = drain() if masks else drain(())

    def work(value: bytes) -> tuple[int, bytes | None]:
        batch = LogBatch.model_construct(**orjson.loads(value)["data"])
        return batch.lines, _rows(mine(batch))

    return work


def one_expression() -> Work:
    """A regular expression and a dict."""
    from benchmarks.mining import three_lines

    def work(value: bytes) -> tuple[int, bytes | None]:
        batch = LogBatch.model_construct(**orjson.loads(value)["data"])
        return batch.lines, _rows(three_lines(batch))

    return work


def _rows(counts: Any) -> bytes:
    assert isinstance(counts, Counter)
    return orjson.dumps([(*cell, n) for cell, n in counts.items()])


WORKS: Final[dict[str, Callable[[], Work]]] = {
    "decode": decode,
    "miner": miner,
    "drain3": lambda: drain3(True),
    "drain3-bare": lambda: drain3(False),
    "re": one_expression,
}


async def on_aiokafka(work: Work, broker: str, topic: str, out: str, marks: Marks) -> None:
    """The loop on aiokafka."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, max_partition_fetch_bytes=_FETCH_BYTES, auto_offset_reset="earliest", group_id=None
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, acks="all", compression_type="lz4", linger_ms=5, max_request_size=_FETCH_BYTES
    )
    await consumer.start()
    await producer.start()
    consumer.assign([AioPlace(topic, partition) for partition in range(PARTITIONS)])
    last = False
    while not last:
        for messages in (await consumer.getmany(timeout_ms=1_000, max_records=_RECORDS)).values():
            for message in messages:
                lines, counts = work(message.value)
                if counts is not None:
                    await producer.send(out, counts, partition=message.partition)
                last = marks.add(lines) or last
    await producer.flush()
    marks.done()
    await producer.stop()
    await consumer.stop()


def on_confluent(work: Work, broker: str, topic: str, out: str, marks: Marks) -> None:
    """The loop on confluent-kafka."""
    from confluent_kafka import Consumer, Producer
    from confluent_kafka import TopicPartition as Place

    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "bench-by-hand",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": _FETCH_BYTES,
            "fetch.queue.backoff.ms": 5,  # its default (1 s) stalls a consumer that is faster than its queue fills
        }
    )
    producer = Producer({"bootstrap.servers": broker, "acks": "all", "compression.type": "lz4", "linger.ms": 5,
                         "message.max.bytes": _FETCH_BYTES})  # fmt: skip
    consumer.assign([Place(topic, partition, 0) for partition in range(PARTITIONS)])
    last = False
    while not last:
        for message in consumer.consume(_RECORDS, 1.0):
            lines, counts = work(message.value())
            if counts is not None:
                producer.produce(out, counts, partition=message.partition())
            last = marks.add(lines) or last
        producer.poll(0)
    producer.flush()
    marks.done()
    consumer.close()


def main(words: list[str]) -> None:
    client, work, broker, topic, out, warm, total = words
    marks = Marks(int(warm), int(total))
    if client == "aiokafka":
        asyncio.run(on_aiokafka(WORKS[work](), broker, topic, out, marks))
    else:
        on_confluent(WORKS[work](), broker, topic, out, marks)


if __name__ == "__main__":
    main(sys.argv[1:])
