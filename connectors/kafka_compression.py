"""lz4 at the speed of lz4. aiokafka always asks for level 9, the slow search: 720 µs for the counts of a batch (44 KB)
against 66 µs at level 1, for a tenth fewer bytes; a sixth of all that the mine role does. It has no option for it
(aiokafka/codec.py, `lz4_encode(payload, level=9)`), so its record builder is given the same function at level 1.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from aiokafka.codec import lz4_encode
from aiokafka.record import default_records as in_python

__all__ = ["LZ4_LEVEL", "compress_fast"]

LZ4_LEVEL: Final = 1
"""Below 3 lz4 is the fast search of its reference implementation; kafka-python and librdkafka use it, too."""


def compress_fast() -> None:
    """From now on aiokafka's producers of this process compress lz4 at LZ4_LEVEL. What they write is lz4 as before."""
    fast = functools.partial(lz4_encode, level=LZ4_LEVEL)
    for builder in (in_python, _compiled()):
        if builder is not None:
            builder.lz4_encode = fast


def _compiled() -> Any:
    """aiokafka's builder in C, None where it was not built."""
    try:
        from aiokafka.record._crecords import default_records as in_c
    except ImportError:
        return None
    return in_c
