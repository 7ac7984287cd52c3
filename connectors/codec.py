"""Events as bytes: JSON, one envelope object with the payload under `data`. In and out: models.event.Event.

`logged_at` and the position are the record's, not the value's (models/event.py says why).
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError

from connectors.ports import Record
from models.contracts import CONTRACTS
from models.errors import ContractError, NewerVersionError
from models.event import Contract, Event, Position
from models.log import LogBatch
from models.template import TemplateCounts

__all__ = ["decode", "decode_record", "encode"]

_ENVELOPE = frozenset(("v", "type", "id", "at", "cause", "cid", "key", "region", "run", "data"))
_PLAIN = frozenset((LogBatch.TYPE, TemplateCounts.TYPE))
"""The bulk of all bytes. These hold texts, integers and models of such, nothing that orjson and pydantic write
differently (as floats, times, bytes): orjson takes a third of the time."""
_TEXTS = ("id", "cause", "cid", "key", "region", "run")


def encode(event: Event[Any]) -> bytes:
    """The event as one line of JSON. The payload's bytes are pydantic's: field order as declared, so equal events have
    equal bytes.
    """
    head = {
        "v": event.data.VERSION,
        "type": event.data.TYPE,
        "id": event.id,
        "at": event.at,
        "cause": event.cause,
        "cid": event.cid,
        "key": event.key,
        "region": event.region,
        "run": event.run,
    }
    if event.data.TYPE in _PLAIN:
        try:
            return orjson.dumps(head | {"data": event.data}, default=vars)
        except orjson.JSONEncodeError:  # an integer beyond 64 bits, which pydantic can write
            pass
    body: str = event.data.model_dump_json()
    return orjson.dumps(head)[:-1] + b',"data":' + body.encode() + b"}"


def decode(value: bytes, logged_at: int = 0, position: Position | None = None) -> Event[Any]:
    """The event those bytes hold. Raises ContractError with reason `not_json`, `bad_envelope`, `unknown_type`,
    `unknown_version` (as a NewerVersionError where a later program may have written it) or `bad_payload`.
    """
    try:
        raw = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ContractError("not_json", str(error)) from error
    if not isinstance(raw, dict) or raw.keys() != _ENVELOPE:
        found = ", ".join(sorted(raw)) if isinstance(raw, dict) else type(raw).__name__
        raise ContractError("bad_envelope", f"expected {', '.join(sorted(_ENVELOPE))}; got {found[:200]}")
    contract = CONTRACTS.get(raw["type"]) if isinstance(raw["type"], str) else None
    if contract is None:
        raise ContractError("unknown_type", str(raw["type"])[:100])
    if type(raw["at"]) is not int or any(type(raw[name]) is not str for name in _TEXTS):
        raise ContractError("bad_envelope", "`at` must be an integer (ms), ids and keys must be strings")
    return Event(
        id=raw["id"],
        at=raw["at"],
        key=raw["key"],
        data=_payload(contract, raw["v"], raw["data"], raw["run"]),
        cause=raw["cause"],
        cid=raw["cid"],
        region=raw["region"],
        run=raw["run"],
        logged_at=logged_at,
        position=position,
    )


def decode_record(record: Record) -> Event[Any]:
    """The event of a record, with the record's `logged_at` and position. Raises ContractError as `decode`."""
    return decode(record.value, record.logged_at, record.position)


def _payload(contract: type[Contract], version: Any, data: Any, run: str) -> Contract:
    if not isinstance(data, dict):
        raise ContractError("bad_payload", f"{contract.TYPE}: `data` must be an object")
    if type(version) is int and version > contract.VERSION:
        raise NewerVersionError(contract.TYPE, version, contract.VERSION, run)
    if version != contract.VERSION:
        try:
            data = contract.upcast(version, data)
        except KeyError as error:
            raise ContractError(
                "unknown_version", f"{contract.TYPE} v{version}; this one reads up to v{contract.VERSION}"
            ) from error
    try:
        return contract.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ContractError("bad_payload", f"{contract.TYPE}.{place}: {first['msg']}") from error
