"""The fixtures that all tests may ask for: a real broker (tests/support/kafka_broker.py)."""

from __future__ import annotations

pytest_plugins = ["kafka_broker"]
