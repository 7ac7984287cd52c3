"""What a command was told about the log it is for. In: options. Out: `Where`; connectors/open_log.py opens it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["Where"]


class Where(NamedTuple):
    """A data folder, or brokers, or a configuration's file; empty values leave it to the configuration."""

    data: Path | None = None
    kafka: str = ""
    config: Path | None = None
