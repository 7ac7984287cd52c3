"""The canonical line: a message with every token that varies by a digit taken out. Equal canonical lines, one template.

In: messages as UTF-8 bytes joined by newlines. Out: their canonical lines. `canonical_line` is the definition;
`canonical_lines` is the same by numpy and long integers, a thousand lines at a time.

A *token* is a maximal run of bytes that are no delimiters. A token that holds an ASCII digit is a wildcard; digits of
other scripts are ordinary letters, here and there alike. The *canonical line* is the line with each wildcard written as
"0". No other "0" can stand in it, so it says exactly which tokens were wildcards, whatever the line held before.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

__all__ = ["DELIMITERS", "WILDCARD", "canonical_line", "canonical_lines"]

DELIMITERS: Final = " \t\r\n,;:()[]{}\"'=<>|"
"""What ends a token. U+2028 (a newline inside a message) ends one too: it is read as a carriage return."""
WILDCARD: Final = "0"

_WILD_TOKEN = re.compile(r"[^ \t\r\n,;:()\[\]{}\"'=<>|0-9]*[0-9][^ \t\r\n,;:()\[\]{}\"'=<>|]*")
_LINE_SEPARATOR: Final = "\u2028"

_LETTER: Final = 1
_KIND: Final = bytes(
    0 if chr(byte) in DELIMITERS else 2 if chr(byte) in "0123456789" else _LETTER for byte in range(256)
)
"""What each byte is: 0 a delimiter, else part of a token."""
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST: Final = 0xFE
_GONE: Final = 0xFF
"""These mark the first byte of a wildcard and its others; neither is in any UTF-8 text."""
_FIRST_TO_WILDCARD: Final = bytes.maketrans(bytes([_FIRST]), WILDCARD.encode())
_BLOCK_BYTES: Final = 80_000
"""Lines are read in blocks of about this size: arrays stay in the cache and under glibc's mmap threshold of 128 KB.
Blocks of 40 KB take a twentieth longer; whole batches of 145 KB gain nothing, and take a third longer (200 page faults
each) where that threshold has not grown yet."""


def canonical_line(line: str) -> str:
    """The line with every token that holds an ASCII digit replaced by "0", and U+2028 by a carriage return."""
    return _WILD_TOKEN.sub(WILDCARD, line.replace(_LINE_SEPARATOR, "\r"))


def canonical_lines(joined: bytes) -> list[bytes]:
    """The canonical line of each line of `joined` (UTF-8, separated by newlines: there is always at least one)."""
    if not joined.isascii():
        joined = joined.replace(_LINE_SEPARATOR.encode(), b"\r")
    lines: list[bytes] = []
    start = 0
    while start <= len(joined):
        end = joined.find(b"\n", start + _BLOCK_BYTES)
        end = len(joined) if end < 0 else end
        lines += _block_lines(joined[start:end])
        start = end + 1
    return lines


def _block_lines(block: bytes) -> list[bytes]:
    """A bit a byte: T says "in a token", D "is a digit" (so D is part of T).

    In the sum T + D the lowest digit of a token starts a carry that runs to the token's end and sets the bit of the
    delimiter after it, which is 0 in T; a token without a digit stays as it is, and further digits only leave bits
    inside the token. So the bits of T + D that are not in T mark the ends of the wildcards. The same with the bits in
    reverse order marks their beginnings, and an end minus a beginning is a run of ones over the token. A long integer
    takes 1 to 6 µs for each of these at 80 KB.
    """
    # A newline in front and up to eight behind: each token has a delimiter on both sides, and bits fill whole bytes.
    behind = 8 - (len(block) + 1) % 8
    buffer = b"\n" + block + b"\n" * behind
    size = len(buffer) // 8
    kind = np.frombuffer(buffer.translate(_KIND), np.uint8)
    digit = kind > _LETTER

    # (sum | T) ^ T is sum & ~T without the negative number, which would take another two passes.
    tokens = int.from_bytes(np.packbits(kind, bitorder="little").tobytes(), "little")
    digits = int.from_bytes(np.packbits(digit, bitorder="little").tobytes(), "little")
    after = ((tokens + digits) | tokens) ^ tokens
    tokens = int.from_bytes(np.packbits(kind).tobytes(), "big")
    digits = int.from_bytes(np.packbits(digit).tobytes(), "big")
    before = (((tokens + digits) | tokens) ^ tokens).to_bytes(size, "big").translate(_REVERSED)
    first = int.from_bytes(before, "little") << 1

    # _FIRST for a wildcard's first byte, _GONE for its others, 1 for the delimiter after it (no delimiter is below).
    wild = np.unpackbits(np.frombuffer((after - first).to_bytes(size, "little"), np.uint8), bitorder="little")
    mark = wild * np.uint8(_FIRST)
    mark[1:] += wild[:-1]
    canonical: bytes = np.maximum(mark, np.frombuffer(buffer, np.uint8), out=mark)[1:-behind].tobytes()
    return canonical.translate(_FIRST_TO_WILDCARD, bytes([_GONE])).split(b"\n")
