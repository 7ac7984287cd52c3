"""Bearer tokens for Kafka (SASL OAUTHBEARER): fetched, kept, and fetched again before they end.

In: where a token comes from: an OAuth 2.0 token endpoint, or the AWS credentials that sign for Amazon MSK. Out: a
`TokenSource`, as kafka-python asks for it (`sync_provider`) and as aiokafka does (`async_provider`). Nothing of AWS is
imported before a token for it is wanted.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlencode

from models.errors import BrokerError

__all__ = ["BearerToken", "TokenSource", "async_provider", "client_credentials", "msk_iam", "sync_provider"]

REFRESH_AFTER: Final = 0.8
"""The share of its life after which a token is fetched anew: of MSK's 15 minutes, three are left to try again."""
_SHORTEST_LIFE: Final = 300.0
"""Seconds; what a token without `expires_in` is given (RFC 6749 5.1 leaves it to the server's documentation)."""
_TIMEOUT: Final = 10.0
_LARGEST_ANSWER: Final = 1_000_000


class BearerToken(NamedTuple):
    """What is sent to the broker, and when it ends (seconds since the epoch)."""

    text: str
    expires_at: float


class TokenSource:
    """One token for all connections of a process, from any thread. `fetch` raises BrokerError when there is none to be
    had; a token that has not ended is used on meanwhile.
    """

    def __init__(self, fetch: Callable[[], BearerToken], now: Callable[[], float] = time.time) -> None:
        self._fetch, self._now = fetch, now
        self._lock = threading.Lock()
        self._token: BearerToken | None = None
        self._refresh_at = 0.0

    def token(self) -> str:
        """A token that has not ended. Raises BrokerError."""
        with self._lock:
            now = self._now()
            if self._token is None or now >= self._refresh_at:
                self._renew(now)
            assert self._token is not None
            return self._token.text

    def _renew(self, now: float) -> None:
        try:
            self._token = self._fetch()
        except BrokerError:
            if self._token is None or now >= self._token.expires_at:
                raise
            return
        self._refresh_at = now + (self._token.expires_at - now) * REFRESH_AFTER


def client_credentials(url: str, client_id: str, secret: str, scope: str = "") -> Callable[[], BearerToken]:
    """Fetches by the client credentials grant: https://www.rfc-editor.org/rfc/rfc6749#section-4.4"""

    def fetch() -> BearerToken:
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
        request = urllib.request.Request(url, data=urlencode(form).encode(), method="POST")
        request.add_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        request.add_header("Accept", "application/json")
        asked_at = time.time()
        try:
            with _OPENER.open(request, timeout=_TIMEOUT) as answer:
                found = json.loads(answer.read(_LARGEST_ANSWER))
        except (OSError, ValueError) as error:
            raise BrokerError(f"{url} gives no token ({error}). {_ADVICE}") from error
        return _read_token(found, url, asked_at)

    return fetch


def msk_iam(region: str) -> Callable[[], BearerToken]:
    """Fetches by signing `kafka-cluster:Connect` for that region with what the AWS SDK finds (environment, profile,
    role): https://github.com/aws/aws-msk-iam-sasl-signer-python. Lives 15 minutes.
    """
    session: Any = None

    def fetch() -> BearerToken:
        nonlocal session
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        from botocore.credentials import CredentialProvider
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        class _Found(CredentialProvider):  # type: ignore[misc] # botocore has no types
            def load(self) -> Any:
                """Key, secret and session token of one moment: a role's change together."""
                found = session.get_credentials()
                if found is None:
                    raise BrokerError(f"there are no AWS credentials to sign with. {_AWS_ADVICE}")
                return found.get_frozen_credentials()

        try:
            session = session or Session()  # it keeps a role's credentials and renews them
            text, ends = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(region, _Found())
        except (BotoCoreError, ValueError) as error:
            raise BrokerError(f"AWS credentials cannot be used ({error}). {_AWS_ADVICE}") from error
        return BearerToken(text, ends / 1000)

    return fetch


def sync_provider(source: TokenSource) -> Any:
    """The source as kafka-python's `sasl_oauth_token_provider`."""
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class _Provider(AbstractTokenProvider):  # type: ignore[misc] # kafka-python has no types
        def token(self) -> str:
            return source.token()

    return _Provider()


def async_provider(source: TokenSource) -> Any:
    """The source as aiokafka's `sasl_oauth_token_provider`; fetching does not hold up its event loop."""
    from aiokafka.abc import AbstractTokenProvider

    class _Provider(AbstractTokenProvider):  # type: ignore[misc] # aiokafka's is untyped
        async def token(self) -> str:
            return await asyncio.to_thread(source.token)

    return _Provider()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The client's secret goes to the configured URL and nowhere else."""

    def redirect_request(self, *args: Any) -> None:  # noqa: ARG002 - the base's signature
        return


_OPENER: Final = urllib.request.build_opener(_NoRedirect)
_ADVICE: Final = "Check kafka.sasl.token_url, client_id and scope, and FORESHOCK_KAFKA_CLIENT_SECRET."
_AWS_ADVICE: Final = "Give this process a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."


def _read_token(answer: Any, url: str, asked_at: float) -> BearerToken:
    """https://www.rfc-editor.org/rfc/rfc6749#section-5.1"""
    text = answer.get("access_token") if isinstance(answer, dict) else None
    # A token holds no control character (RFC 6750 2.1); one would end the SASL field it is sent in.
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        raise BrokerError(f"{url} answers without an access_token. {_ADVICE}")
    life = answer.get("expires_in", _SHORTEST_LIFE)
    try:
        return BearerToken(text, asked_at + float(life))
    except (TypeError, ValueError) as error:
        raise BrokerError(f"{url} answers with expires_in {life!r}, which is no number. {_ADVICE}") from error
