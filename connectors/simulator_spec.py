"""How a simulated world is named on the command line: `sim:SEED`, with options after `?`.

    sim:7
    sim:7?hours=2&faults=pool_leak@01:00,bad_deploy:orders@01:30&start=2026-01-05T08:00&volume=2&chunk=1&speed=60

In: that text. Out: a `SimulatorSpec`; ConfigError says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from connectors.world import DEFAULT_START
from connectors.world_faults import FAULTS, Fault
from models.errors import ConfigError
from models.event import digest

__all__ = ["DEFAULT_FAULTS", "SimulatorSpec", "parse_simulator_spec"]

DEFAULT_FAULTS: Final = "log_source_stalled@05:00,pool_leak@05:30,instance_terminated@07:00,bad_deploy@08:00"
"""The first after five hours, when every baseline has learnt from 288 minutes."""

_MAX_HOURS = 24 * 31
_MAX_CHUNK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SimulatorSpec:
    """A world and how it is read. `volume` and `jobs` scale requests and cron jobs (1: as usual).
    `chunk_ms`: world time a poll; `speed`: world seconds a wall second, 0: unpaced.
    """

    seed: int
    hours: float = 9.0
    faults: tuple[Fault, ...] = ()
    start: int = DEFAULT_START
    volume: float = 1.0
    jobs: float = 1.0
    chunk_ms: int = 10_000
    speed: float = 0.0

    @property
    def end(self) -> int:
        """When the world's time is over (ms), a whole second."""
        return self.start + round(self.hours * 3_600) * 1_000

    @property
    def world(self) -> str:
        """A name that two specs share only if their worlds are the same but for how long they are watched."""
        return f"{self.seed}-{digest(repr((self.faults, self.start, self.volume, self.jobs)), size=4)}"


def parse_simulator_spec(text: str) -> SimulatorSpec:
    """Read a spec. Raises ConfigError naming the part that is wrong and what to write."""
    name, _, options = text.partition("?")
    seed = re.fullmatch(r"sim:(\d{1,18})", name)
    if seed is None:
        raise _wrong("seed", name, "Write sim:SEED with a whole number, such as sim:7.")
    spec = SimulatorSpec(int(seed[1]), faults=_faults(DEFAULT_FAULTS))
    for option in options.split("&") if options else ():
        key, equals, value = option.partition("=")
        reader = _OPTIONS.get(key)
        if reader is None or not equals:
            raise _wrong(option, text, f"Known options: {', '.join(f'{known}=...' for known in _OPTIONS)}.")
        field, found = reader(value)
        spec = replace(spec, **{field: found})
    late = next((fault for fault in spec.faults if spec.start + fault.at >= spec.end), None)
    if late is not None and "faults=" in options:
        raise _wrong(
            "faults", f"{late.kind} after the end", f"The world ends after {spec.hours:g} hours: raise hours=."
        )
    return spec


def _faults(text: str) -> tuple[Fault, ...]:
    return tuple(_fault(part) for part in text.split(",")) if text not in ("", "none") else ()


def _fault(text: str) -> Fault:
    match = re.fullmatch(r"([a-z_]+)(?::([a-z-]+))?@(\d{1,3}):([0-5]\d)(?::([0-5]\d))?", text)
    if match is None:
        raise _wrong("faults", text, "Write KIND@HH:MM or KIND:SERVICE@HH:MM, such as pool_leak@01:30, or none.")
    kind, service = match[1], match[2] or ""
    known = FAULTS.get(kind)
    if known is None:
        raise _wrong("faults", kind, f"Known faults: {', '.join(FAULTS)}.")
    if service and service not in known.services:
        raise _wrong("faults", text, f"{kind} can strike {', '.join(known.services)}.")
    return Fault(kind, ((int(match[3]) * 60 + int(match[4])) * 60 + int(match[5] or 0)) * 1_000, service)


def _number(key: str, low: float, high: float, unit: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        # No exponents, no signs, no nan: what a person would write.
        value = float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) else -1.0
        if not low <= value <= high:
            raise _wrong(key, text, f"Write a number of {unit} from {low:g} to {high:g}.")
        return value

    return read


def _start(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong("start", text, "Write an ISO time, such as 2026-01-05T08:00.") from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC, microsecond=0)
    seconds = int(moment.timestamp())
    if seconds < 0:
        raise _wrong("start", text, "Write a time after 1970.")
    return seconds * 1_000


def _chunk(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text) or not 1 <= int(text) <= _MAX_CHUNK_SECONDS:
        raise _wrong("chunk", text, f"Write whole seconds from 1 to {_MAX_CHUNK_SECONDS}.")
    return int(text) * 1_000


def _wrong(key: str, value: str, advice: str) -> ConfigError:
    return ConfigError(f"{value!r} cannot be used", file="sim", key=key, advice=advice)


_OPTIONS: dict[str, Callable[[str], tuple[str, Any]]] = {
    "hours": lambda text: ("hours", _number("hours", 0.01, _MAX_HOURS, "hours")(text)),
    "faults": lambda text: ("faults", _faults(text)),
    "start": lambda text: ("start", _start(text)),
    "volume": lambda text: ("volume", _number("volume", 0.1, 100, "times the usual traffic")(text)),
    "jobs": lambda text: ("jobs", _number("jobs", 0, 100, "times the usual cron jobs")(text)),
    "chunk": lambda text: ("chunk_ms", _chunk(text)),
    "speed": lambda text: ("speed", _number("speed", 0, 1e6, "world seconds a second")(text)),
}
