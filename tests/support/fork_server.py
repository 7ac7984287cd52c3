"""A server that forks test processes from one that has done the heavy imports: a life in milliseconds."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

__all__ = ["fork_server"]

_PRELOADED = ["toy_pipeline", "run_rig", "kafka_rig", "ingest_rig"]


@contextmanager
def fork_server() -> Iterator[ForkServerContext]:
    """There is one server a test process, started by the first who asks: so it must preload for all."""
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(Path(__file__).parent)}):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        yield context
