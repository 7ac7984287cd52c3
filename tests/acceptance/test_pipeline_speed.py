"""The pipeline's speed and the start's, with wide margins: the figures themselves are the benchmarks'."""

from __future__ import annotations

import pytest

from benchmarks import end_to_end, startup
from benchmarks.loghub import MissingDataError

pytestmark = pytest.mark.bench


def test_files_to_anomalies_takes_at_most_ten_times_as_long_as_reading_them_into_a_log():
    try:
        rows = end_to_end.run(repeats=1, total=60_000)
    except MissingDataError as missing:
        pytest.skip(str(missing))
    [share] = [row.ratio for row in rows if row.required and row.peer.startswith("floor")]
    assert share >= 0.1


def test_help_and_the_first_line_come_within_thrice_the_promised_time():
    for row in startup.run(repeats=2):
        assert row.ratio >= 1 / 3, row
