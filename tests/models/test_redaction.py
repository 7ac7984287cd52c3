"""Secrets go, other words stay, and redacting twice changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import canonical_line
from models.redaction import REDACTED, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
KEY = "-----BEGIN RSA PRIVATE KEY-----\u2028MIIEow\u2028IBAAKC\u2028-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2 ok", "password=<redacted> ok"),
        ("DB_PASSWORD: 'two words' ok", "DB_PASSWORD: <redacted> ok"),
        ('{"apiKey": "zzz", "a": 1}', '{"apiKey": <redacted>, "a": 1}'),
        ("secret => x", "secret => <redacted>"),
        ("X-Auth-Token: abc", "X-Auth-Token: <redacted>"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer <redacted>"),
        ("authorization=Basic dXNlcjpwYXNz", "authorization=Basic <redacted>"),
        ("sent bearer abcdefghijkl", "sent bearer <redacted>"),
        ("Set-Cookie: id=a; Path=/", "Set-Cookie: <redacted>"),
        ("run --password foo --force", "run --password <redacted> --force"),
        ("postgres://ann:s3cret@db/shop", "postgres://ann:<redacted>@db/shop"),
        ("key AKIAABCDEFGHIJKLMNOP used", "key <redacted> used"),
        ("ghp_" + "a" * 36, REDACTED),
        ("xoxb-123456789012-abc", REDACTED),
        (f"got {JWT} back", "got <redacted> back"),
        (f"read {KEY} fine", "read <redacted> fine"),
        ("Ünïcode password=geheim ü", "Ünïcode password=<redacted> ü"),
    ],
)
def test_a_secret_is_replaced(text, expected):
    assert redact(text) == expected
    assert redact(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Failed password for root from <*>",
        "max_tokens=100, tokens: 5",
        "sudo: PWD=/home/ann ; USER=root",
        "risk-assessment-service-of-the-day started",
        "password=",
        "https://example.org:443/path@v2",
        "",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


@given(
    st.lists(
        st.sampled_from(["password", "=", ":", " ", "token", "bearer ", "'", '"', "x", "<redacted>", "é", "://a:", "@"])
    )
)
@settings(max_examples=300, deadline=None)
def test_redacting_again_never_shows_more(pieces):
    once = redact("".join(pieces))
    again = redact(once)
    assert len(again.replace(REDACTED, "")) <= len(once.replace(REDACTED, ""))


def test_a_secret_without_a_digit_does_not_survive_in_the_canonical_line():
    assert "hunter" not in redact(canonical_line("login password=hunter ok"))


@pytest.mark.parametrize("text", ["DB_PASS=hunter", "dbpass=hunter", 'pass := "hunter"', "export MYSQL_PASS=hunter ok"])
def test_a_short_name_for_a_password_is_one_too(text):
    assert "hunter" not in redact(text)


@pytest.mark.parametrize("text", ["3 pass: 2 fail", "tests pass", "compass north", "bypass on"])
def test_what_only_passes_is_no_password(text):
    assert redact(text) == text
