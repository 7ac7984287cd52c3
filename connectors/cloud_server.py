"""The simulated cloud's API: a small HTTP server over a simulated world, for act, a demo and people with curl.

    POST /call    {"action", "target", "params", "idempotency_key"}   ->  the provider's reply
    GET  /state?target=ARN                                            ->  the target's state
    GET  /world                                                       ->  {"now", "failures"}: the world's own truth
    GET  /health                                                      ->  {"status": "ok"}, without a token

In: requests with `Authorization: Bearer TOKEN`. Out: JSON; an error is {"error", "transient"} with status 400 (no such
request), 401, 404, 409 (refused), 413 (too large), 429 (throttled: try again), 503 (the journal cannot be written).
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import structlog
from pydantic import Field, JsonValue, ValidationError

from connectors.cloud_journal import ActionJournal
from connectors.simulator import SimulatedActuator, Simulation
from connectors.world import Action
from models.errors import ActionError, DataFolderError
from models.event import Model

__all__ = ["MAX_REQUEST_BYTES", "Cloud", "CloudServer"]

MAX_REQUEST_BYTES: Final = 64 * 1024
_IDLE_SECONDS: Final = 10.0
"""A client that says nothing for so long is hung up on."""
_LOOK_SECONDS: Final = 0.05
"""How often the server looks whether it is to end."""
_log = structlog.get_logger(__name__)


class CallRequest(Model):
    """The body of POST /call."""

    action: str = Field(min_length=1, max_length=200)
    target: str = Field(min_length=1, max_length=2_000)
    params: dict[str, JsonValue] = {}
    idempotency_key: str = Field(min_length=1, max_length=200)


class Cloud:
    """A world, its actuator and its journal, for several threads. `lock` is to be held while the world is moved: what
    an action sets off must not leave this process before the journal has it.
    """

    def __init__(self, simulation: Simulation, journal: ActionJournal) -> None:
        self.lock = threading.RLock()
        self._world, self._journal = simulation.world, journal
        self._actuator: SimulatedActuator = simulation.actuator

    def call(self, request: CallRequest) -> Mapping[str, Any]:
        """Take the action once for its key; a repeated key gets the first answer.

        Raises ActionError, DataFolderError.
        """
        with self.lock:
            known = self._journal.find(request.idempotency_key)
            if known is not None:
                return _reply_again(known, request)
            reply = self._actuator.call(request.action, request.target, request.params, request.idempotency_key)
            self._journal.add(Action(**reply))
            return reply

    def state(self, target: str) -> Mapping[str, Any]:
        """The target's state. Raises ActionError."""
        return self._actuator.state(target)

    def truth(self) -> Mapping[str, Any]:
        """How far the world is (ms), and what has really failed in it."""
        with self.lock:
            return {"now": self._world.now, "failures": [failure._asdict() for failure in self._world.failures]}


class CloudServer:
    """The API, served in threads from entering to leaving the context. `port` 0: a free one.

    Raises OSError where it cannot listen.
    """

    def __init__(self, cloud: Cloud, token: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        if not token:
            raise ValueError("an empty token would let everybody in")
        self._server = _Server((host, port), _Handler)
        self._server.cloud, self._server.token = cloud, token.encode()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="cloud", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    cloud: Cloud
    token: bytes


class _RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: HTTPStatus, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": message, "transient": transient}


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _IDLE_SECONDS
    server_version = "foreshock-simulator"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer what changes nothing."""
        self._respond(self._read)

    def do_POST(self) -> None:
        """Answer a call."""
        self._respond(self._call)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are told by `_respond`; what is left are broken ones."""
        _log.debug("request", said=format % args)

    def _respond(self, handle: Any) -> None:
        try:
            status, body = HTTPStatus.OK, handle()
        except _RefusedError as refusal:
            status, body = refusal.status, refusal.body
        except ActionError as error:
            status = HTTPStatus.TOO_MANY_REQUESTS if error.transient else HTTPStatus.CONFLICT
            body = {"error": str(error), "transient": error.transient}
        except DataFolderError as error:  # taken, but not kept: the next answer to this key is the same world's
            status, body = HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error), "transient": True}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _read(self) -> Mapping[str, Any]:
        parts = urlsplit(self.path)
        if parts.path == "/health":
            return {"status": "ok"}
        self._authenticate()
        if parts.path == "/world":
            return self.server.cloud.truth()
        if parts.path != "/state":
            raise self._unknown()
        targets = parse_qs(parts.query).get("target", [])
        if len(targets) != 1:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "Ask for one target: /state?target=ARN.")
        return self.server.cloud.state(targets[0])

    def _call(self) -> Mapping[str, Any]:
        self._authenticate()
        if urlsplit(self.path).path != "/call":
            raise self._unknown()
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length.")
        if len(length) > 9 or int(length) > MAX_REQUEST_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send at most {MAX_REQUEST_BYTES} bytes.")
        try:
            request = CallRequest.model_validate_json(self.rfile.read(int(length)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"{where or 'the body'}: {first['msg']}") from error
        return self.server.cloud.call(request)

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if not hmac.compare_digest(given, self.server.token):
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, "Send `Authorization: Bearer` with FORESHOCK_ACTUATOR_TOKEN.")

    def _unknown(self) -> _RefusedError:
        return _RefusedError(
            HTTPStatus.NOT_FOUND, "There are POST /call, GET /state?target=ARN, GET /world, GET /health."
        )


def _reply_again(known: Action, request: CallRequest) -> Mapping[str, Any]:
    asked = (request.action, request.target, request.params)
    if (known.action, known.target, dict(known.params)) != asked:
        raise ActionError(f"the key {known.key} was used for another call ({known.action} on {known.target}).")
    return known._asdict()
