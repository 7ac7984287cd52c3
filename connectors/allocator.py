"""The C library's memory. In: nothing. Out: a process that keeps what it frees, for the next blocks of lines.

glibc gives every large block back to the kernel when it is freed, and each page of the next one is a page fault: of
blocks of 256 KB through a process, a quarter of its time. https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MEGABYTE: Final = 1024 * 1024
_WISHES: Final = ((_M_MMAP_THRESHOLD, 32), (_M_TRIM_THRESHOLD, 128), (_M_TOP_PAD, 16))
"""Megabytes. 32 is the most that glibc takes for the first: a larger block is the kernel's again."""


def keep_freed_memory() -> bool:
    """Keep up to 128 MB of what was freed. False where the C library knows no such wish (musl, macOS)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, size * _MEGABYTE) == 1 for name, size in _WISHES)
