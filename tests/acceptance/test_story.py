"""The story: hours of real lines, one planted surge of one template. It is found at once, and little else is said."""

from __future__ import annotations

import json

import pytest
from real_lines import MINUTE, START, cycled, surge, systems, usual_event, write
from run_rig import foreshock

from models.canonical import canonical_line
from models.template_rules import template_text

NAMES = ("HDFS", "OpenSSH", "Apache", "OpenStack")
HOURS = 8
A_MINUTE = 60.0
SURGE_AT = START + (7 * 60 + 40) * MINUTE
SURGE = 45
BUDGET = len(NAMES) * HOURS / 24
"""One false alarm a service and day on average (the default of `alarms_per_service_day`)."""


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The surging template's text, what `foreshock run --once` said on stderr, and the anomalies it printed."""
    known, folder = systems(), tmp_path_factory.mktemp("story")
    surging = known[NAMES[0]]
    event = usual_event(surging, A_MINUTE, 4)
    planted = list(surge(surging, event, SURGE_AT, SURGE))
    inputs = []
    for name in NAMES:
        lines = [*cycled(known[name], HOURS * 60, A_MINUTE), *(planted if name == NAMES[0] else ())]
        inputs += ["--input", write(folder / f"{name}.log", lines)]
    said = foreshock("run", "--once", *inputs, "--data", folder / "data")
    assert said.returncode == 0, said.stderr
    text = template_text(canonical_line(planted[0].text))
    return text, said.stderr, [json.loads(line)["data"] for line in said.stdout.splitlines()]


def test_a_planted_surge_is_found_within_two_minutes_with_its_figures(story):
    text, _, told = story
    found = [one for one in told if one["text"] == text and one["tier"] == "alarm" and one["opened_at"] >= SURGE_AT]
    first = found[0]
    assert (first["service"], first["kind"]) == (NAMES[0], "spike")
    assert SURGE_AT < first["window"]["end"] <= SURGE_AT + 2 * MINUTE
    assert first["expected"] == pytest.approx(4, rel=0.25)
    assert first["observed"] > 3 * first["expected"]
    assert first["sigma"] >= 3.5
    assert first["evidence"]


def test_everything_else_that_alarms_stays_within_the_budget(story):
    _, summary, told = story
    alarms = {}
    for one in told:
        if one["tier"] == "alarm":
            alarms.setdefault(one["anomaly_id"], one)
    during = [one for one in alarms.values() if SURGE_AT < one["window"]["end"] <= SURGE_AT + 2 * MINUTE]
    others = [(one["service"], one["kind"], one["rule"], one["text"], one["observed"], one["expected"], one["sigma"])
              for one in alarms.values() if one not in during]  # fmt: skip
    assert len(others) <= BUDGET, others
    assert f"{len(alarms)} alarms" in summary
    assert {one["service"] for one in during} == {NAMES[0]}
