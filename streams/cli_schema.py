"""`foreshock schema export`: the contracts for other programs, as JSON Schema, and the topics as AsyncAPI.

In: the register of contracts and topics. Out: schemas/*.json (envelope and data of each type) and asyncapi.yaml, the
same bytes every time, so a test can tell whether docs/ is up to date with the code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml

from models.contracts import CONTRACTS
from models.errors import DataFolderError
from models.event import Contract
from models.topics import TOPICS, Topic
from streams.rendering import note, put_json

__all__ = ["asyncapi", "documents", "envelope_schema", "export"]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_TEXT: Final = {"type": "string"}
_DAY_MS: Final = 86_400_000


def export(out: Path | None) -> None:
    """Write every document below `out`; without it, one JSON object of them by file name on stdout."""
    if out is None:
        put_json(
            {
                "schemas": {name: envelope_schema(kind) for name, kind in sorted(CONTRACTS.items())},
                "asyncapi": asyncapi(),
            }
        )
        return
    written = documents()
    try:
        for name, text in written.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataFolderError(f"{out} cannot be written ({error.strerror}). Give --out a folder of yours.") from error
    note(f"wrote {len(written)} files below {out}")


def documents() -> Mapping[str, str]:
    """Every file by its name below the output folder."""
    files = {
        f"schemas/{name}.json": json.dumps(envelope_schema(kind), indent=2, ensure_ascii=False) + "\n"
        for name, kind in sorted(CONTRACTS.items())
    }
    files["asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=110)
    return files


def envelope_schema(kind: type[Contract]) -> dict[str, Any]:
    """The JSON Schema of one type of message: the envelope every message wears, and its own `data`."""
    data = kind.model_json_schema(mode="serialization")
    definitions = data.pop("$defs", {})
    schema: dict[str, Any] = {
        "$schema": _DRAFT,
        "title": kind.TYPE,
        "type": "object",
        "properties": {
            "v": {"const": kind.VERSION, "description": "Version of the contract."},
            "type": {"const": kind.TYPE},
            "id": {**_TEXT, "description": "Unique; a re-emission after a crash has the same."},
            "at": {"type": "integer", "description": "Event time, ms since the epoch, UTC."},
            "cause": {**_TEXT, "description": "step:topic/partition@offset#part.number; empty from outside."},
            "cid": {**_TEXT, "description": "Correlation id of the incident; empty where there is none."},
            "key": {**_TEXT, "description": "The record's key on its topic."},
            "region": _TEXT,
            "run": {**_TEXT, "description": "The deployment or replay that wrote it."},
            "data": data,
        },
        "required": ["v", "type", "id", "at", "cause", "cid", "key", "region", "run", "data"],
        "additionalProperties": False,
    }
    if definitions:
        schema["$defs"] = definitions
    return schema


def asyncapi() -> dict[str, Any]:
    """The topics, their keys, owners and messages (AsyncAPI 3.0, https://www.asyncapi.com/docs/reference)."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Foreshock",
            "version": version("foreshock"),
            "description": "The topics of Foreshock. Values are JSON; one envelope, the contract under `data`.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": {
            f"{action}-{topic.name}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "summary": f"Written by: {topic.written_by}. Read by: {topic.read_by}.",
            }
            for topic in TOPICS.values()
            for action in (("send", "receive") if topic.inbox_of else ("send",))
        },
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "summary": _summary(kind),
                    "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./schemas/{name}.json"}},
                }
                for name, kind in sorted(CONTRACTS.items())
            }
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    kept: dict[str, Any] = {"cleanup.policy": ["compact"]}
    if topic.retention_ms is not None:
        kept = {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms}
    days = "compacted" if topic.retention_ms is None else f"kept for {topic.retention_ms // _DAY_MS} days"
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}; {days}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in topic.types},
        "bindings": {"kafka": {"topicConfiguration": kept}},
    }


def _summary(kind: type[Contract]) -> str:
    return (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").replace("    ", "")
