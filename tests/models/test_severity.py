"""Severity from a template's own words."""

from __future__ import annotations

import pytest

from models.log import Severity
from models.severity import own_severity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ERROR cannot open <*>", Severity.ERROR),
        ("<*> WARN [main] slow", Severity.WARNING),
        ("INFO recovered from ERROR state", Severity.INFO),
        ("level=error msg=x", Severity.ERROR),
        ('"severity": "CRITICAL"', Severity.FATAL),
        ("[error] child died", Severity.ERROR),
        ("error: no space left", Severity.ERROR),
        ("kernel: panic: not syncing", Severity.FATAL),
        ("fatal error: out of memory", Severity.FATAL),
        ("java.net.SocketTimeoutException: read", Severity.ERROR),
        ("Traceback (most recent call last):", Severity.ERROR),
        ("DEBUG x", Severity.DEBUG),
        ("[main] started", Severity.UNKNOWN),
        ("an error in the middle of a sentence", Severity.UNKNOWN),
        ("", Severity.UNKNOWN),
    ],
)
def test_the_first_level_that_the_text_names_counts(text, expected):
    assert own_severity(text) is expected
