"""Waiting between attempts: exponential backoff with full jitter, drawn from a digest instead of a random number.

Full jitter (try k waits uniform(0, min(cap, base * 2^k))) spreads retries best: Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog (2015). A digest of who waits and how often gives the same wait in a replay.
"""

from __future__ import annotations

from models.event import digest
from models.runbook import Retry

__all__ = ["full_jitter_ms"]


def full_jitter_ms(retry: Retry, failures: int, *identity: str) -> int:
    """How long to wait (ms) after the `failures`-th failure (1-based): in [0, min(cap, base * 2^(failures - 1))].

    `identity` names who waits; equal identities wait equally long.
    """
    longest = min(retry.cap_seconds, retry.base_seconds * 2.0 ** (failures - 1))
    share = int(digest("jitter", *identity, str(failures), size=8), 16) / 2**64
    return round(1_000 * longest * share)
