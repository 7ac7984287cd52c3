"""The simulated cloud's API as act's actuator: HTTP with a bearer token, every call under its idempotency key.

In: calls and questions about targets. Out: the provider's replies; ActionError where nothing was done (`transient`
where the same call may work later), UnknownOutcomeError where the request was sent and no answer came.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from pydantic import JsonValue

from connectors.actuators import Actuator
from connectors.settings import Settings
from models.errors import ActionError, ConfigError, UnknownOutcomeError

__all__ = ["CloudActuator", "open_actuator"]

_MAX_REPLY_BYTES: Final = 1_000_000


def open_actuator(settings: Settings) -> Actuator | None:
    """The configured actuator; None where none is. Nothing is connected yet. Raises ConfigError."""
    wanted = settings.actuator
    if not wanted.kind:
        return None
    token = settings.actuator_token.get_secret_value()
    if not token:
        advice = "Set FORESHOCK_ACTUATOR_TOKEN to the token that `foreshock simulate` was started with."
        raise ConfigError("the actuator needs a token", key="actuator", advice=advice)
    return CloudActuator(wanted.url, token, wanted.timeout_seconds)


class CloudActuator:
    """Speaks to a CloudServer (connectors/cloud_server.py) at `url`. Several threads may use it."""

    def __init__(self, url: str, token: str, timeout_seconds: float = 10.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._token, self._timeout = token, timeout_seconds

    @property
    def honours_keys(self) -> bool:
        """Yes: the server's journal remembers every key."""
        return True

    def call(
        self, action: str, target: str, params: Mapping[str, JsonValue], idempotency_key: str
    ) -> Mapping[str, JsonValue]:
        """See Actuator."""
        body = json.dumps(
            {"action": action, "target": target, "params": dict(params), "idempotency_key": idempotency_key}
        )
        return self._ask("POST", "/call", body)

    def state(self, target: str) -> Mapping[str, JsonValue]:
        """See Actuator."""
        return self._ask("GET", f"/state?{urlencode({'target': target})}")

    def world(self) -> Mapping[str, Any]:
        """How far the world is and what has really failed in it, as it says itself. Raises ActionError."""
        return self._ask("GET", "/world")

    def _ask(self, method: str, path: str, body: str | None = None) -> Mapping[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise ActionError(
                    f"no simulated cloud at {self._host}:{self._port} ({error}). Start `foreshock simulate`.",
                    transient=True,
                ) from error
            try:
                headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                return _answer(response.status, response.read(_MAX_REPLY_BYTES + 1))
            except (OSError, http.client.HTTPException) as error:
                what = f"{type(error).__name__}: {error}"
                raise UnknownOutcomeError(f"the simulated cloud did not answer ({what})", transient=True) from error
        finally:
            connection.close()


def _answer(status: int, content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content) if len(content) <= _MAX_REPLY_BYTES else None
    except ValueError:
        found = None
    if not isinstance(found, dict) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        said = content[:200].decode(errors="replace")
        raise UnknownOutcomeError(f"the simulated cloud answered {status}: {said}", transient=True)
    if status == HTTPStatus.OK:
        return found
    raise ActionError(str(found.get("error", status))[:1_000], transient=found.get("transient") is True)
