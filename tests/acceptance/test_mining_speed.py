"""Mining against its peers, by turns in one run. The ratios asserted are generous; `make bench` shows the real ones."""

from __future__ import annotations

import pytest

from benchmarks.loghub import MissingDataError, load
from benchmarks.mining import batches, drain, product, three_lines
from benchmarks.table import median_seconds


@pytest.mark.bench
def test_mining_is_ten_times_as_fast_as_drain3_and_two_and_a_half_times_as_re_and_dict():
    try:
        work = batches(load())[::4]
    except MissingDataError as missing:
        pytest.skip(str(missing))
    mine, drained = product(), drain()
    seconds = median_seconds(
        {
            "product": lambda: [mine(batch) for batch in work],
            "drain3": lambda: [drained(batch) for batch in work],
            "re + dict": lambda: [three_lines(batch) for batch in work],
        },
        repeats=3,
    )
    assert seconds["drain3"] >= 10 * seconds["product"]
    assert seconds["re + dict"] >= 2.5 * seconds["product"]
