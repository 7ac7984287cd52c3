"""An OAuth 2.0 token endpoint on the loopback: gives unsecured JWTs to one client, and remembers what it was asked."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

__all__ = ["TokenServer"]


class TokenServer:
    """Use as a context manager. `answer` replaces (status, body) of what a right request gets."""

    def __init__(self, client_id: str, secret: str, lives: float = 900.0) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: tuple[int, bytes] | None = None
        self._basic = "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        self._subject, self._lives = client_id, lives
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> TokenServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self) -> str:
        """What https://kafka.apache.org/documentation/#security_sasl_oauthbearer calls an unsecured JWS."""
        now = time.time()
        claims = {"sub": self._subject, "iat": now, "exp": now + self._lives, "n": len(self.asked)}
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (_HEAD, claims)]
        return f"{parts[0]}.{parts[1]}."

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                outer.asked.append({name: values[0] for name, values in form.items()})
                good = self.headers["Authorization"] == outer._basic
                right = json.dumps({"access_token": outer.token(), "expires_in": outer._lives}).encode()
                status, body = (outer.answer or (200, right)) if good else (401, b'{"error": "invalid_client"}')
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", outer.url)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


_HEAD = {"alg": "none"}
