"""The exact canonical line of a message and its 64-bit key.

In: messages as UTF-8 bytes joined by newlines. Out: one key a line, so that equal canonical lines have equal keys, and
different ones have different keys but for a 64-bit chance. `canonical_line` is the definition; `line_keys` is the same
thing by numpy, a thousand lines at a time.

A *token* is a maximal run of bytes that are no delimiters. A token that holds an ASCII digit is a wildcard; digits of
other scripts are ordinary letters, here and there alike. The *canonical line* is the line with each wildcard written as
"0". No other "0" can stand in it, so it says exactly which tokens were wildcards, whatever the line held before.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_SEED", "DELIMITERS", "WILDCARD", "canonical_line", "line_keys"]

DELIMITERS: Final = " \t\r\n,;:()[]{}\"'=<>|"
"""What ends a token. U+2028 (a newline inside a message) ends one too: it counts as a carriage return."""
WILDCARD: Final = "0"
DEFAULT_SEED: Final = 0x5DEECE66D2B79F1B

_WILD_TOKEN = re.compile(r"[^ \t\r\n,;:()\[\]{}\"'=<>|0-9]*[0-9][^ \t\r\n,;:()\[\]{}\"'=<>|]*")
_LINE_SEPARATOR: Final = "\u2028"
_LINE_SEPARATOR_BYTES: Final = _LINE_SEPARATOR.encode()

_NEWLINE: Final = 10
_SPECIAL: Final = bytes(chr(byte) in DELIMITERS or 48 <= byte <= 57 for byte in range(256))
"""1 for delimiters and digits, else 0."""

_BLOCK_BYTES: Final = 40_000
"""Lines are hashed in blocks of about this size: its arrays stay under glibc's 128 KB mmap threshold and in the second
level cache. In blocks of 40 KB: 2.2 M lines/s; a whole batch of 145 KB at once: 1.1 M (half of it page faults)."""

_U64 = NDArray[np.uint64]
_I64 = NDArray[np.int64]

# Odd constants of 64 bits: the first two are MurmurHash3's fmix64, the third is 2^64 / golden ratio, the last is from
# xxHash64. Any odd constants with their bits well spread would do.
_MIX_A = np.uint64(0xFF51AFD7ED558CCD)
_MIX_B = np.uint64(0xC4CEB9FE1A85EC53)
_POSITION = np.uint64(0x9E3779B97F4A7C15)
_SHAPE = np.uint64(0xC2B2AE3D27D4EB4F)
_SHIFT = np.uint64(32)
_WILD_SHAPE: Final = 1 << 40


def canonical_line(line: str) -> str:
    """The line with every token that holds an ASCII digit replaced by "0", and U+2028 by a carriage return."""
    return _WILD_TOKEN.sub(WILDCARD, line.replace(_LINE_SEPARATOR, "\r"))


def line_keys(joined: bytes, seed: int = DEFAULT_SEED) -> _U64:
    """One key for each line of `joined` (lines are separated by newlines, so there is always at least one).

    A line is read as segments, each a token with the delimiter that ends it; a wildcard token gives only its delimiter
    and a mark. A segment is hashed 8 bytes at a time (bytes, length, mark), then mixed together with its place in the
    line, and the line's key is the sum over its segments. The mixing between is not linear, so the weak spots of a
    polynomial hash modulo 2^64 (Thue-Morse strings, swapped words) are not weak here.

    What collisions mean: with 65,536 cached keys the chance of any equal pair is 1.2e-10 (n²/2^65). The hash is not
    cryptographic: who knows the seed can construct lines with one key (a generalised birthday attack on sums). What
    that buys is to have his own line counted as another line that he could have written instead; but which of the two
    names both then depends on which came first. Where untrusted lines are mined, pass a secret seed: answers do not
    depend on it.
    """
    joined = joined.replace(_LINE_SEPARATOR_BYTES, b"\r")
    key_seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    blocks, start = [], 0
    while start <= len(joined):
        end = joined.find(b"\n", start + _BLOCK_BYTES)
        end = len(joined) if end < 0 else end
        blocks.append(_block_keys(joined[start:end], key_seed))
        start = end + 1
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _block_keys(block: bytes, seed: np.uint64) -> _U64:
    # The newline ends the last line; 8 zero bytes let a word be read at every byte.
    buffer = block + b"\n\0\0\0\0\0\0\0\0"
    starts, ends, wild = _segments(buffer)
    last_of_line = np.flatnonzero(np.frombuffer(buffer, np.uint8)[ends] == _NEWLINE)
    first_of_line = np.zeros_like(last_of_line)
    first_of_line[1:] = last_of_line[:-1] + 1

    hashes = _segment_hashes(buffer, starts, ends, wild, seed)
    place = np.arange(len(ends))
    place -= np.repeat(first_of_line, last_of_line - first_of_line + 1)
    hashes += place.view(np.uint64) * _POSITION
    return np.add.reduceat(_mix(hashes), first_of_line)


def _segments(buffer: bytes) -> tuple[_I64, _I64, NDArray[np.bool_]]:
    """First byte, delimiter and wildcard mark of each segment. A wildcard's first byte is its delimiter.

    A token holds a digit exactly when, of all delimiters and digits in order, the one before its delimiter is a digit.
    """
    special = np.flatnonzero(np.frombuffer(buffer.translate(_SPECIAL), np.bool_))
    # uint8 wraps around, so one comparison tells delimiters from "0".."9".
    is_delimiter = np.frombuffer(buffer, np.uint8)[special] - np.uint8(48) > 9
    order = np.flatnonzero(is_delimiter)
    ends = special[order]
    wild = np.empty(len(ends), np.bool_)
    wild[0] = order[0] > 0
    np.greater(order[1:] - order[:-1], 1, out=wild[1:])
    starts = np.zeros_like(ends)
    np.add(ends[:-1], 1, out=starts[1:])
    np.copyto(starts, ends, where=wild)
    return starts, ends, wild


def _segment_hashes(buffer: bytes, starts: _I64, ends: _I64, wild: NDArray[np.bool_], seed: np.uint64) -> _U64:
    words: _U64 = np.ndarray((len(buffer) - 8,), "<u8", buffer=buffer, strides=(1,))
    length = ends - starts
    hashes = _read(words, starts, ends) ^ seed
    # Bytes are shifted to the top of their word, so NUL bytes at the start of a token look like none: the length tells.
    hashes += (length + wild * _WILD_SHAPE).view(np.uint64) * _SHAPE
    long = np.flatnonzero(length > 7)
    if len(long):
        more = length[long] >> 3
        after = np.cumsum(more)
        segment = np.repeat(long, more)
        word = np.arange(1, after[-1] + 1) - np.repeat(after - more, more)
        extra = _read(words, starts[segment] + (word << 3), ends[segment]) ^ seed
        extra += word.view(np.uint64) * _POSITION
        hashes[long] += np.add.reduceat(_mix(extra), after - more)
    return _mix(hashes)


def _read(words: _U64, at: _I64, ends: _I64) -> _U64:
    """The up to 8 bytes at `at`, none after `ends`, in the upper part of a word."""
    spare = np.minimum(ends - at, 7)
    np.subtract(7, spare, out=spare)
    spare <<= 3
    found: _U64 = words[at]
    found <<= spare.view(np.uint64)
    return found


def _mix(values: _U64) -> _U64:
    """Spread every bit over the word, in place (xor-shift and multiply, twice: the finisher of MurmurHash3)."""
    values *= _MIX_A
    values ^= values >> _SHIFT
    values *= _MIX_B
    values ^= values >> _SHIFT
    return values
