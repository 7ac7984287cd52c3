"""Signatures: any change of any field is found, whoever holds an older key still verifies."""

from __future__ import annotations

import pytest

from models.command import Command, SeriesRef
from models.errors import ConfigError, SignatureError
from models.signal import Control, Review
from models.signing import KeyRing, canonical_bytes, sign, verify

RING = KeyRing({"k1": b"0123456789abcdef", "k2": b"fedcba9876543210"}, "k2")
COMMAND = Command(
    command_id="c",
    correlation_id="fs-1",
    application="shop",
    pattern_id="p",
    target="arn:db",
    runbook_id="scale",
    runbook_version=1,
    cooldown_seconds=300,
    lock_after_failures=3,
    lock_seconds=3_600,
    detected_at=1,
    issued_at=2,
    expires_at=3,
    run="live",
)
REVIEW = Review(correlation_id="fs-1", proposal_digest="d", verdict="approve", reviewer="ana", expires_at=9)
CONTROL = Control(kind="pause", by="ana")
CHANGED = {int: 77, float: 7.5, str: "other", tuple: (), dict: {"a": 1}}


@pytest.mark.parametrize("contract", [COMMAND, REVIEW, CONTROL], ids=lambda c: c.TYPE)
def test_what_was_signed_verifies_and_says_by_which_key(contract):
    signed = sign(contract, RING)
    assert (signed.key_id, len(signed.signature)) == ("k2", 64)
    verify(signed, RING)


@pytest.mark.parametrize("contract", [COMMAND, REVIEW, CONTROL], ids=lambda c: c.TYPE)
def test_a_change_of_any_field_is_found(contract):
    signed = sign(contract, RING)
    for name in type(contract).model_fields:
        old = getattr(signed, name)
        new = "k1" if name == "key_id" else CHANGED[type(old)]
        if name == "verdict":
            new = "reject"
        if name == "series":
            new = (SeriesRef(service="s", template_id="t", kind="spike"),)
        if name == "services":
            new = ("x",)
        with pytest.raises(SignatureError):
            verify(signed.model_copy(update={name: new}), RING)


def test_a_review_cannot_pass_for_a_control_with_equal_fields():
    assert canonical_bytes(REVIEW).startswith(b'{"data":')
    assert b'"type":"review"' in canonical_bytes(REVIEW)


def test_an_older_key_still_verifies_and_an_unknown_one_does_not():
    old = sign(CONTROL, KeyRing({"k1": b"0123456789abcdef"}, "k1"))
    verify(old, RING)
    with pytest.raises(SignatureError, match="unknown signing key"):
        verify(old, KeyRing({"k2": b"fedcba9876543210"}, "k2"))
    with pytest.raises(SignatureError, match="unknown signing key"):
        verify(CONTROL, RING)


def test_the_key_id_is_signed_too():
    twins = KeyRing({"a": b"0123456789abcdef", "b": b"0123456789abcdef"}, "a")
    with pytest.raises(SignatureError, match="bad signature"):
        verify(sign(CONTROL, twins).model_copy(update={"key_id": "b"}), twins)


def test_a_ring_with_a_short_secret_or_without_its_current_key_is_refused():
    with pytest.raises(ConfigError, match="less than 16 bytes"):
        KeyRing({"k1": b"short"}, "k1")
    with pytest.raises(ConfigError, match="not in the ring"):
        KeyRing({"k1": b"0123456789abcdef"}, "k9")
