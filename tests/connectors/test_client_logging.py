"""Lines of Kafka's clients: one of each kind now and then, and what is written says how many were not."""

from __future__ import annotations

import logging

import pytest

from connectors.client_logging import SeldomHandler


def test_a_kind_of_line_is_written_once_in_a_while_with_how_many_were_like_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    handler = SeldomHandler(60.0, lambda: now)
    logger = logging.Logger("kafka.client")
    logger.addHandler(handler)
    for port in range(20):
        logger.warning("Node %d: connection refused by %s:%d", 1, "localhost", port)
    logger.error("Node 1: connection refused by localhost:1")
    logger.warning("another thing")
    logger.info("nobody needs this")
    assert capsys.readouterr().err.splitlines() == [
        "WARNING kafka.client: Node 1: connection refused by localhost:0",
        "ERROR kafka.client: Node 1: connection refused by localhost:1",
        "WARNING kafka.client: another thing",
    ]
    now = 60.0
    logger.warning("Node %d: connection refused by %s:%d", 1, "localhost", 7)
    assert capsys.readouterr().err.splitlines() == [
        "WARNING kafka.client: Node 1: connection refused by localhost:7 (19 more like this in the meantime)"
    ]


def test_a_traceback_is_always_written(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("asyncio")
    logger.addHandler(SeldomHandler())
    for _ in range(2):
        try:
            raise OSError("gone")
        except OSError:
            logger.exception("Task exception was never retrieved")
    assert capsys.readouterr().err.count("OSError: gone") == 2
