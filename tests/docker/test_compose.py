"""docker-compose.yml, run for real: lines in files become an alert on Kafka, killed containers come back and nothing is
lost, and nothing is left afterwards.

One stack serves the tests of this file, in their order. What it says on stdout is a report (`pytest -s`).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from compose_rig import Stack, until

from connectors.codec import decode_record
from models.anomaly import Anomaly, Status
from models.template import TemplateCounts

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1_800)]

ROLES = ("ingest", "mine", "detect", "respond", "act")
PAST_SECONDS = 330 * 60
"""Of history: a baseline is warm after 288 minutes."""
EVERY_SECONDS = 3
SERVED = "INFO request served in 12 ms"


def say(text: str) -> None:
    """For the report."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Shop(threading.Thread):
    """Two services that log into files of their own, from hours ago until it is closed, and how many lines there are.

    A request every three seconds, now and then a slow pool. (A shop that logs only when a test looks would be reported
    as silent: it has been tried.)
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.lines = folder, 0
        folder.mkdir()
        folder.chmod(0o755)
        self._last = int(time.time()) - PAST_SECONDS
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._go_on()

    def run(self) -> None:
        while not self._closed.wait(1.0):
            with self._writing:
                self._go_on()

    def close(self) -> None:
        self._closed.set()
        self.join()

    def surge(self, service: str, count: int = 120) -> None:
        """So many errors in this second."""
        with self._writing:
            self._go_on()
            self._write(service, [f"{_time(int(time.time()))} ERROR connection pool exhausted"] * count)

    def _go_on(self) -> None:
        """What was logged since the last call."""
        times = range(self._last + EVERY_SECONDS, int(time.time()), EVERY_SECONDS)
        texts = {at: "ERROR connection pool exhausted" if at // EVERY_SECONDS % 97 == 0 else SERVED for at in times}
        for service in ("checkout", "orders"):
            self._write(service, [f"{_time(at)} {text}" for at, text in texts.items()])
        self._last = times[-1] if times else self._last

    def _write(self, service: str, lines: list[str]) -> None:
        with (self.folder / f"{service}.log").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        self.lines += len(lines)


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop") / "logs")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stack(shop: Shop) -> Iterator[Stack]:
    made = Stack({"LOGS": str(shop.folder)})
    try:
        made.build()
        made.up()
        yield made
    finally:
        if made.left():
            say(made.logs())
            made.down()


def lines_counted(stack: Stack) -> int:
    """Of all counts, those that a killed `mine` has written twice taken once."""
    messages = {event.id: event.data for event in map(decode_record, stack.read("counts"))}
    return sum(
        section.lines for data in messages.values() if isinstance(data, TemplateCounts) for section in data.sections
    )


def alerted(stack: Stack, service: str) -> bool:
    """Whether an alert names the service."""
    return any(service in str(decode_record(record).data) for record in stack.read("alerts"))


def wait_for_alert(stack: Stack, service: str) -> float:
    """How long it took (s)."""
    return until(f"an alert about {service}", lambda: alerted(stack, service), 120)


def test_every_service_becomes_healthy(stack):
    for name in ("kafka", *ROLES):
        stack.wait_for(name, "healthy", 240)
    assert stack.inspect("setup")["State"]["ExitCode"] == 0
    say(stack.compose("ps"))


def test_containers_have_no_more_than_they_need(stack):
    for role in ROLES:
        known = stack.inspect(role)
        assert known["Config"]["User"] == "10001:10001"
        host = known["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0
    assert stack.compose("exec", "-T", "mine", "id", "-u").strip() == "10001"
    listed = stack.compose("exec", "-T", "respond", "ls", "-l", "/var/lib/foreshock/keys.json")
    assert listed.startswith("-rw-------")
    assert listed == stack.compose("exec", "-T", "act", "ls", "-l", "/var/lib/foreshock/keys.json")


def test_lines_of_a_file_become_an_alert_on_kafka(stack, shop):
    until("the past is counted", lambda: lines_counted(stack) >= shop.lines - 20, 120)
    assert not stack.read("alerts")
    shop.surge("checkout")
    took = wait_for_alert(stack, "checkout")
    say(f"{shop.lines:,} lines; surge written to checkout.log -> alert read through the published port: {took:.1f} s")
    say(stack.foreshock("respond", "tap", "alerts", "--from-start"))
    say(stack.foreshock("respond", "incidents"))
    assert not alerted(stack, "orders")


def test_killed_containers_come_back_and_nothing_is_lost(stack, shop):
    for role in ROLES:
        stack.signal(role, "KILL")
    shop.surge("orders")
    for role in ROLES:
        took = stack.wait_for(role, "healthy", 180, restarts=1)
        say(f"{role}: killed -9, started again by the engine, healthy after another {took:.0f} s")
    took = wait_for_alert(stack, "orders")
    say(f"surge of orders, written just after the kills -> alert: found {took:.1f} s after all were healthy")
    shop.close()
    until("every line is counted", lambda: lines_counted(stack) == shop.lines, 60)
    say(f"{shop.lines:,} lines written, {lines_counted(stack):,} counted")
    opened = [event.data for event in map(decode_record, stack.read("anomalies"))]
    assert {a.service for a in opened if isinstance(a, Anomaly) and a.status is Status.OPENED} >= {"checkout", "orders"}
    say(stack.foreshock("respond", "lag"))
    assert not stack.read("dead-letters")


def test_a_frozen_role_is_unhealthy(stack):
    stack.signal("mine", "STOP")
    say(f"mine, frozen: unhealthy after {stack.wait_for('mine', 'unhealthy', 120):.0f} s")
    stack.signal("mine", "CONT")
    stack.wait_for("mine", "healthy", 120)


def test_down_leaves_nothing(stack):
    assert stack.left()
    stack.down()
    assert stack.left() == []
