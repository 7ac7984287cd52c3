"""Severity from a template's own words."""

from __future__ import annotations

import pytest

from models.json_line import _WORDS
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


@pytest.mark.parametrize("word", sorted(_WORDS))
@pytest.mark.parametrize("form", ["level={}", "lvl: {}", '"severity":"{}"', "[{}] x", "<{}> x"])
def test_every_word_for_a_level_is_read_in_every_place_that_names_one(word, form):
    bracketed = form[0] in "[<"
    expected = _WORDS[word] if not bracketed or len(word) <= 9 else Severity.UNKNOWN
    assert own_severity(form.format(word)) is expected
    if not bracketed:
        assert own_severity(form.format(word.upper())) is expected


@pytest.mark.parametrize(
    "text", ["java.net.SocketException", "x.TimeoutError at", "Traceback", "NOTICE x", "ALERT x", "EMERG"]
)
def test_names_of_failures_and_levels_in_capitals_are_read(text):
    assert own_severity(text) is not Severity.UNKNOWN
