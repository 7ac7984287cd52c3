"""Records of `counts` to retrain from. In: nothing. Out: the same fifty minutes of one service each time."""

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
    driver, chance = Driver(), np.random.default_rng(3)
    batch = []
    for number in range(300):
        driver._offset, bucket = number, START + number
        rows = [(bucket, f"t{k}", int(n) + 1) for k, n in enumerate(chance.poisson([3, 9]))]
        end = (bucket + 1) * BUCKET_MS
        data = driver.batch({"s": end}, (section_of("web", rows, {}, {}),), {"s": ["web"]})
        event = Event(f"e{number}", end, "0", data, f"mine:logs/0@{number}#0.0")
        batch.append(Outbound("counts", "0", encode(event), 0, end))
    return batch
