"""The simulated shop as `foreshock run --input sim:SEED` gives it: each of its four faults is found, and answered with
the runbook that is meant for it.
"""

from __future__ import annotations

import pytest
from run_rig import acting_config, events, foreshock

HOUR = 3_600_000
MINUTE = 60_000


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A data folder after the shop's nine hours in mode act, what was said, and when the world began."""
    folder = tmp_path_factory.mktemp("faults")
    said = foreshock("run", "--input", "sim:7", "--config", acting_config(folder), "--data", folder / "data")
    assert said.returncode == 0, said.stderr
    return folder / "data", said.stderr, events(folder / "data", "logs")[0].at // HOUR * HOUR


@pytest.mark.parametrize(
    ("runbook", "after", "within"),
    [
        ("scale-database", 5 * HOUR + 30 * MINUTE, 30 * MINUTE),
        ("replace-instance", 7 * HOUR, MINUTE),
        ("rollback-function", 8 * HOUR, 5 * MINUTE),
    ],
    ids=["pool leak", "instance terminated", "bad deploy"],
)
def test_a_fault_is_answered_with_its_own_runbook(ran, runbook, after, within):
    folder, _, begun = ran
    [order] = [event for event in events(folder, "commands", "command") if event.data.runbook_id == runbook]
    assert begun + after <= order.at <= begun + after + within


def test_what_was_done_helped_each_time(ran):
    outcomes = [event.data for event in events(ran[0], "signals", "outcome")]
    assert [outcome.result for outcome in outcomes] == ["recovered"] * 3, [outcome.reason for outcome in outcomes]


def test_in_a_world_without_faults_nothing_is_ordered(tmp_path):
    said = foreshock(
        "run", "--input", "sim:24?hours=6&faults=none", "--config", acting_config(tmp_path), "--data", tmp_path / "data"
    )
    assert said.returncode == 0, said.stderr
    assert events(tmp_path / "data", "incidents")  # something was told; nothing was done
    assert events(tmp_path / "data", "commands", "command") == []


def test_nothing_else_is_ordered(ran):
    assert len(events(ran[0], "commands", "command")) == 3


def test_a_stalled_log_source_is_told_and_not_acted_on(ran):
    folder, _, begun = ran
    [stall] = [e.data for e in events(folder, "anomalies") if e.data.kind == "source_stalled" and e.data.revision == 1]
    assert begun + 5 * HOUR <= stall.opened_at <= begun + 5 * HOUR + 5 * MINUTE
    [case] = {e.data.correlation_id for e in events(folder, "incidents") if e.data.opened_at == stall.opened_at}
    assert "act" not in {
        d.data.verdict for d in events(folder, "predictions", "decision") if d.data.correlation_id == case
    }


def test_the_summary_tells_lines_records_services_templates_watches_alarms_and_lines_a_second(ran):
    folder, said, _ = ran
    tiers = {event.data.anomaly_id: event.data.tier for event in events(folder, "anomalies")}
    lines = sum(len(event.data.timestamps) for event in events(folder, "logs"))
    for words in (f"{lines:,} lines read (", f"{lines:,} taken", "8 services", " templates", " watches", "/s)"):
        assert words in said
    assert f"{list(tiers.values()).count('alarm')} alarms" in said
