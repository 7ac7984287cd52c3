"""Records of `counts` to retrain from. In: nothing. Out: the same fifty minutes of one service each time, and more."""

from __future__ import annotations

import numpy as np
from detect_driver import Driver, section_of

from connectors.codec import encode
from connectors.ports import Outbound
from models.event import Event
from models.template import BUCKET_MS

START = 170_000_004
"""The first bucket."""


def fifty_minutes() -> list[Outbound]:
    """A record a bucket, of two templates."""
    return buckets(0, 300, np.random.default_rng(3))


def buckets(first: int, number: int, chance: np.random.Generator, burst: int = 0) -> list[Outbound]:
    """So many records from a bucket on, counted from START; `burst` lines more of one template in the first."""
    driver, batch = Driver(), []
    for place in range(first, first + number):
        driver._offset, bucket = place, START + place
        more = [burst if place == first else 0, 0]
        rows = [(bucket, f"t{k}", int(n) + 1 + more[k]) for k, n in enumerate(chance.poisson([3, 9]))]
        end = (bucket + 1) * BUCKET_MS
        data = driver.batch({"s": end}, (section_of("web", rows, {}, {}),), {"s": ["web"]})
        event = Event(f"e{place}", end, "0", data, f"mine:logs/0@{place}#0.0")
        batch.append(Outbound("counts", "0", encode(event), 0, end))
    return batch
