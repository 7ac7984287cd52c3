"""The agents' producer compresses fast, and what it writes is read by others."""

from __future__ import annotations

import subprocess
import sys

import lz4.frame
from aiokafka.codec import lz4_encode

from connectors.kafka_compression import LZ4_LEVEL

_WORDS = b"".join(b"Received block blk_%d of size %d from 10.0.0.%d " % (n * 7919, n * 31, n % 256) for n in range(900))

# In a process of its own: it changes how every producer of the process compresses.
_BUILD = """
import sys
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from connectors.kafka_compression import compress_fast
if sys.argv[1] == "fast":
    compress_fast()
builder = DefaultRecordBatchBuilder(2, 3, 0, -1, -1, -1, 1 << 20)
builder.append(0, 0, b"", sys.stdin.buffer.read(), [])
sys.stdout.buffer.write(builder.build())
"""


def _built(how: str) -> bytes:
    return subprocess.run([sys.executable, "-c", _BUILD, how], input=_WORDS, stdout=subprocess.PIPE, check=True).stdout


def test_a_batch_is_compressed_with_the_fast_search_and_read_by_another_lz4() -> None:
    fast, slow = _built("fast"), _built("as it comes")
    assert len(slow) < len(fast), "aiokafka no longer asks for the slow search: connectors/kafka_compression.py can go"
    frame = fast[fast.index(b"\x04\x22\x4d\x18") :]
    assert _WORDS in lz4.frame.decompress(frame)
    assert abs(len(frame) - len(lz4_encode(_WORDS, level=LZ4_LEVEL))) < 50
