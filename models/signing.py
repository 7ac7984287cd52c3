"""Signatures of what orders or allows an action: commands, reviews and controls.

In: a contract with `key_id` and `signature`, and the ring of secrets this deployment knows. Out: the same contract
signed, or SignatureError. HMAC-SHA256 (RFC 2104) over canonical bytes: type, version and every field but the
signature, as JSON with sorted keys, so a change of any field, of its type or of the key id breaks it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TypeVar

from models.command import Command
from models.errors import ConfigError, ContractError, SignatureError
from models.signal import Control, Review

__all__ = ["MIN_SECRET_BYTES", "KeyRing", "Signed", "canonical_bytes", "sign", "verify", "verify_control"]

Signed = Command | Review | Control
S = TypeVar("S", Command, Review, Control)

MIN_SECRET_BYTES = 16
"""RFC 2104 §3 advises against keys shorter than the hash output (32); 16 is the least accepted here."""


class KeyRing:
    """The secrets by key id; `current` is the one new signatures are made with, the others still verify.

    Raises ConfigError for a ring without its current key or with a secret that is too short.
    """

    def __init__(self, secrets: Mapping[str, bytes], current: str) -> None:
        if current not in secrets:
            raise ConfigError(f"the current key {current!r} is not in the ring", advice="Name one of its keys.")
        for key_id, secret in sorted(secrets.items()):
            if len(secret) < MIN_SECRET_BYTES:
                advice = "Make one with `openssl rand -hex 32`."
                raise ConfigError(f"secret {key_id!r} has less than {MIN_SECRET_BYTES} bytes", advice=advice)
        self._secrets, self.current = dict(secrets), current

    def secret(self, key_id: str) -> bytes | None:
        """The secret of this id, or None."""
        return self._secrets.get(key_id)


def canonical_bytes(contract: Signed) -> bytes:
    """The bytes that are signed: everything but the signature itself, the key id included."""
    fields = contract.model_dump(mode="json", exclude={"signature"})
    signed = {"type": contract.TYPE, "v": contract.VERSION, "data": fields}
    return json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sign(contract: S, ring: KeyRing) -> S:
    """The contract with the ring's current key id and its signature (64 hex digits)."""
    named = contract.model_copy(update={"key_id": ring.current})
    secret = ring.secret(ring.current)
    if secret is None:  # the constructor has checked it
        raise SignatureError("unknown signing key", ring.current)
    return named.model_copy(update={"signature": _mac(secret, named)})


def verify(contract: Signed, ring: KeyRing) -> None:
    """Raises SignatureError unless a key of the ring has signed exactly this contract."""
    secret = ring.secret(contract.key_id)
    if secret is None:
        known = "sign it with a key of this deployment (`foreshock review`, `foreshock pause` do)"
        raise SignatureError("unknown signing key", f"{contract.TYPE} names key {contract.key_id!r}: {known}")
    if not hmac.compare_digest(_mac(secret, contract), contract.signature):
        raise SignatureError("bad signature", f"{contract.TYPE} was changed after key {contract.key_id!r} signed it")


def verify_control(control: Control, ring: KeyRing, logged_at: int) -> None:
    """As `verify`; and raises ContractError (`stale`) for a resume that came into the log after its time: whoever has
    read one could write it again.
    """
    verify(control, ring)
    if control.kind == "resume" and 0 < control.until < logged_at:
        late = (logged_at - control.until) / 1_000
        raise ContractError("stale", f"a resume that came {late:.0f} s after its time; give `foreshock resume` again")


def _mac(secret: bytes, contract: Signed) -> str:
    return hmac.new(secret, canonical_bytes(contract), hashlib.sha256).hexdigest()
