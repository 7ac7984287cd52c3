"""A day of event time through all roles: does anything grow? `python -m benchmarks.kafka.soak --hours 24 --rate 1500`.

In: nothing; the broker, its topics and the logs are the run's own, in a temporary folder. Out: a table of memory,
files, threads, states, timers, changelogs and spool after the warm-up and at the end; exit 1 where one has grown.

All roles run in one virtual time (`kafka.clock`) as fast as the machine bears, so nothing is silent or stalled that
would not be on a real day. Beside the log files (benchmarks/kafka/soak_load.py) runs the simulated cloud, whose faults
become incidents, actions and outcomes. What a day's clock bounds is scaled to a run of less than an hour: topics are
kept for five minutes of the machine's time instead of days, their files are cut after half a minute or 1 MB, so that
retention and compaction happen hundreds of times. A service keeps 128 templates instead of 1,000: the trickle of new
ones fills that within the warm-up, and from then on each new one must take an old one's place.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.kafka.soak_load import Load
from benchmarks.kafka.soak_samples import (
    Changelog,
    Finding,
    Sample,
    changelogs,
    findings,
    folder_bytes,
    process_figures,
    table,
    topic_figures,
)
from connectors.clock import PacedClock
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_topics import TopicPlan, apply, open_admin, plan
from connectors.local_kafka import LocalBroker
from connectors.local_kafka_config import free_ports
from connectors.settings import process_environment
from connectors.simulator_spec import parse_simulator_spec
from models.catalog import Application
from models.policy import DetectionPolicy
from streams.catalog import publish_catalog
from streams.demo import demo_catalog
from streams.lag import Watermarks
from streams.pacing import Pacer, Stretch

__all__ = ["Soak", "main", "run"]

ROLES: Final = ("ingest", "mine", "detect", "respond", "act")
_PARTITIONS: Final = 2
_HOUR: Final = 3_600_000
_MINUTE: Final = 60_000
_AHEAD_MS: Final = 5 * _MINUTE
"""Lines stand in their files so much before their time comes: a slow moment of the writer's is no stalled source."""
_SLACK_MS: Final = 10 * _MINUTE
_BEGUN_SECONDS: Final = 120.0
_PATIENCE_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.25
_SAMPLE_SECONDS: Final = 5.0
_TEMPLATES_KEPT: Final = 128
_BROKER: Final = {
    "log.retention.check.interval.ms": "10000",
    "log.cleaner.backoff.ms": "5000",
    "log.segment.delete.delay.ms": "1000",
}
_CUT: Final = {"segment.ms": "30000", "segment.bytes": str(1 << 20)}
_KEPT: Final = {"retention.ms": "300000", "segment.ms": "30000"}
_FAULTS: Final = ("instance_terminated", "pool_leak", "bad_deploy")
_FIRST_FAULT_MINUTE, _FAULT_EVERY_MINUTES = 3, 100


@dataclass(frozen=True, slots=True)
class Soak:
    """`hours` of event time at `rate` lines a second, at most `speed` times the machine's time. The first `warm_hours`
    are not judged: baselines learn for five hours, catalogues of templates fill.
    """

    hours: float = 24.0
    rate: float = 1_500.0
    speed: float = 60.0
    warm_hours: float = 8.0
    services: int = 20
    templates: int = 100

    @property
    def world(self) -> str:
        """The simulated cloud's spec. It began so long ago that it ends by now: no line is of the future."""
        begin = time.time() - self.hours * 3_600 - 600
        start = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(begin))
        minutes = range(_FIRST_FAULT_MINUTE, int(self.hours * 60) - 1, _FAULT_EVERY_MINUTES)
        faults = [f"{_FAULTS[n % len(_FAULTS)]}@{at // 60:02}:{at % 60:02}" for n, at in enumerate(minutes)]
        return f"sim:7?hours={self.hours + 1:g}&start={start}&faults={','.join(faults) or 'none'}"


@dataclass(slots=True)
class Deployed:
    """The deployment while it runs. `processes` by role (the simulated cloud is one)."""

    folder: Path
    settings: KafkaSettings
    pacer: Pacer
    load: Load
    log: KafkaLog
    watermarks: Watermarks
    admin: Any
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def check(self) -> None:
        """Raises RuntimeError where a process has ended, with its last words."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {self.said(name)[-2_000:]}")

    def said(self, name: str) -> str:
        """That process's log."""
        return (self.folder / f"{name}.out").read_text(encoding="utf-8", errors="replace")

    @property
    def reached(self) -> int:
        """Event time (ms) up to which all lines have been counted, and all services that are alive been judged. Where
        the machine has stopped for so long that all services of a partition fell silent, its lines alone count: else
        time would wait for services that wait for time.
        """
        found = self.watermarks.look(0)
        known = [mark.covered_until for mark in found if mark.covered_until is not None]
        judged = [-mark.service_delay_seconds * 1_000 for mark in found if mark.service_delay_seconds is not None]
        return int(min(known + judged)) if len(known) == len(found) else 0


def run(soak: Soak, told: Any = print) -> list[Finding]:
    """All of it; the findings. Raises RuntimeError where a role ends or does not get on."""
    with tempfile.TemporaryDirectory(prefix="foreshock-soak-") as name, _deployed(Path(name), soak) as deployed:
        start, begun = deployed.load.written_to, time.monotonic()
        samples = _drive(deployed, soak, start, told)
        wall = time.monotonic() - begun
        told(
            f"{deployed.load.lines:,} lines, {soak.hours:g} h of event time in {wall:,.0f} s, "
            f"{wall / soak.hours:,.0f} s an hour"
        )
        for line in _happened(deployed):
            told(line)
    window = min(_HOUR, int((soak.hours - soak.warm_hours) * _HOUR / 2))
    return findings(samples, start + int(soak.warm_hours * _HOUR), window)


def _drive(deployed: Deployed, soak: Soak, start: int, told: Any) -> list[Sample]:
    """Let time go on, write what it brings, and look."""
    end = start + int(soak.hours * _HOUR)
    looks = changelogs(deployed.settings, deployed.log)
    _begin(deployed, start)
    deployed.pacer.begin(Stretch(end, soak.speed, _SLACK_MS))
    samples: list[Sample] = []
    looked = sampled = 0.0
    reached, moved = start, time.monotonic()
    while reached < end - _SLACK_MS:
        deployed.load.write_to(min(end, deployed.pacer.now + _AHEAD_MS))
        now = time.monotonic()
        if now - looked >= _LOOK_SECONDS:
            looked = now
            deployed.check()
            reached, before = max(reached, deployed.reached), reached
            moved = now if reached > before else moved
            if now - moved > _PATIENCE_SECONDS:
                raise RuntimeError(f"nothing was judged for {_PATIENCE_SECONDS:.0f} s: {_behind(deployed, reached)}")
            deployed.pacer.mind(min(reached, deployed.load.written_to))
        if now - sampled >= _SAMPLE_SECONDS:
            sampled = now
            samples.append(Sample(deployed.pacer.now, _figures(deployed, looks, reached)))
            told(f"{(deployed.pacer.now - start) / _HOUR:6.2f} h  {_brief(samples[-1].figures)}")
        time.sleep(0.02)
    return samples


def _begin(deployed: Deployed, start: int) -> None:
    """Slowly, until every role has joined: time that nobody takes is only caught up with later."""
    deadline = time.monotonic() + _BEGUN_SECONDS
    deployed.pacer.begin(Stretch(start + 10 * _MINUTE, 1.0, 10 * _MINUTE))
    while any(deployed.log.ends("counts").get(partition, 0) < 10 for partition in range(_PARTITIONS)):
        deployed.load.write_to(deployed.pacer.now + _AHEAD_MS)
        deployed.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"the roles have not begun within {_BEGUN_SECONDS:.0f} s")
        time.sleep(0.1)


def _figures(deployed: Deployed, looks: Mapping[str, Changelog], reached: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for role in ROLES:
        found |= {f"{role} {name}": value for name, value in process_figures(deployed.processes[role].pid).items()}
    for step, look in looks.items():
        found |= {f"{step} {name}": value for name, value in look.look().items()}
    found |= topic_figures(deployed.admin, deployed.settings, _PARTITIONS)
    spool = deployed.folder / "data" / "ingest"
    return found | {"spool MB": folder_bytes(spool) / 1e6, "behind s": (deployed.pacer.now - reached) / 1_000}


def _brief(figures: Mapping[str, float]) -> str:
    memory = " ".join(f"{role} {figures[f'{role} rss MB']:.0f}" for role in ROLES)
    return f"MB: {memory}; {figures['behind s']:.0f} s behind; topics {figures['topics MB']:.0f} MB"


def _behind(deployed: Deployed, reached: int) -> str:
    return f"{(deployed.pacer.now - reached) / 1_000:.0f} s of {deployed.load.lines:,} lines behind"


def _happened(deployed: Deployed) -> Iterator[str]:
    """That there was something to grow by."""
    for topic in ("anomalies", "incidents", "commands", "journal", "dead-letters"):
        yield f"{topic}: {sum(deployed.log.ends(topic).values()):,} messages"


# -- the deployment ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _deployed(folder: Path, soak: Soak) -> Iterator[Deployed]:
    world = soak.world
    spec = parse_simulator_spec(world)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(LocalBroker(folder / "kafka", properties=_BROKER))
        settings = KafkaSettings(
            bootstrap_servers=(broker.bootstrap,), prefix=f"soak-{secrets.token_hex(3)}-", clock=f"@{folder / 'clock'}"
        )
        pacer = Pacer(folder / "clock", spec.start)
        admin = open_admin(settings)
        stack.callback(admin.close)
        apply(admin, settings, [_scaled(each) for each in plan(settings, _PARTITIONS)])
        log = KafkaLog(settings, "soak", virtual=True)
        stack.callback(log.close)
        load = Load(folder / "logs", spec.start, soak.rate, services=soak.services, templates=soak.templates)
        publish_catalog(log, _catalog(load, spec), PacedClock(settings.clock).now(), at_once=False, run=settings.run)
        deployed = Deployed(folder, settings, pacer, load, log, Watermarks(log), admin)
        stack.callback(_stop, deployed)
        _start(deployed, world)
        yield deployed


def _scaled(wanted: TopicPlan) -> TopicPlan:
    return replace(wanted, configs={**wanted.configs, **(_CUT if wanted.compacted else _KEPT)})


def _catalog(load: Load, spec: Any) -> Any:
    """The simulated shop, which may be acted on, and four applications of the services that only log."""
    shop = demo_catalog(spec, acting=True)
    own = [Application(name=f"load-{part}", services=tuple(load.services[part::4])) for part in range(4)]
    detection = DetectionPolicy(max_templates=_TEMPLATES_KEPT)
    return shop.model_copy(update={"applications": (*shop.applications, *own), "detection": detection})


def _start(deployed: Deployed, world: str) -> None:
    port = free_ports(1)[0]
    configuration = deployed.folder / "foreshock.yaml"
    written = {
        "data": "data",
        "partitions": _PARTITIONS,
        "kafka": {
            "bootstrap_servers": list(deployed.settings.bootstrap_servers),
            "prefix": deployed.settings.prefix,
            "clock": deployed.settings.clock,
        },
        "actuator": {"kind": "simulator", "url": f"http://127.0.0.1:{port}"},
        "inputs": [{"path": str(deployed.load.path(name)), "service": name} for name in deployed.load.services],
    }
    configuration.write_text(json.dumps(written), encoding="utf-8")  # JSON is YAML
    given = {"FORESHOCK_CONFIG": str(configuration), "FORESHOCK_ACTUATOR_TOKEN": secrets.token_urlsafe(24)}
    environment = process_environment(given, inherit=False)
    commands = {"simulate": ("simulate", world, "--port", str(port), "--no-catalog")}
    commands |= {role: ("run", "--role", role) for role in ROLES}
    for name, words in commands.items():
        with (deployed.folder / f"{name}.out").open("wb") as out:
            deployed.processes[name] = subprocess.Popen(
                [str(Path(sys.executable).with_name("foreshock")), *words],
                cwd=deployed.folder,
                env=environment,
                stdout=out,
                stderr=out,
            )


def _stop(deployed: Deployed) -> None:
    for process in deployed.processes.values():
        process.send_signal(signal.SIGTERM)
    for process in deployed.processes.values():
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where something has grown, or a role ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = Soak()
    for name in ("hours", "rate", "speed", "warm_hours"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(usual, name))
    soak = Soak(**vars(parser.parse_args(arguments)))
    if not 0 < soak.warm_hours < soak.hours:
        parser.error("--warm-hours must be less than --hours")
    try:
        found = run(soak)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(table(found))
    return 0 if all(each.holds for each in found) else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
