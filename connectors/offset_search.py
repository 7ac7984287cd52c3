"""Where a time is in a log: for logs that keep no index of times."""

from __future__ import annotations

from connectors.ports import Log

__all__ = ["search_offset"]


def search_offset(log: Log, topic: str, partition: int, at_ms: int) -> int:
    """The first offset logged at `at_ms` or later, the end of the log where there is none. By bisection: `logged_at`
    never falls from a record to the next.
    """
    low, high = log.bounds(topic, partition)
    while low < high:
        middle = (low + high) // 2
        page = log.read(topic, partition, middle, 1)
        if page and page[0].offset < high and page[0].logged_at < at_ms:
            low = page[0].offset + 1
        else:
            high = middle
    return low
