"""What a command was told about the log it is for. In: options. Out: `Where`; connectors/open_log.py opens it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

__all__ = ["Where"]


class Where(NamedTuple):
    """A data folder, or brokers, or a configuration's file; empty values leave it to the configuration."""

    data: Path | None = None
    kafka: str = ""
    config: Path | None = None

    @property
    def options(self) -> str:
        """The same as options of a command, to be appended to one that is advised: " --kafka localhost:9092", or ""."""
        given = (("--data", self.data), ("--kafka", self.kafka), ("--config", self.config))
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value)
