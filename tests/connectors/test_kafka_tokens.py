"""Bearer tokens: fetched once for all connections, renewed before they end, signed as AWS signs them."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import botocore.auth
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from token_server import TokenServer

from connectors.kafka_clients import client_options, faust_options
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_tokens import BearerToken, TokenSource, async_provider, client_credentials, msk_iam, sync_provider
from models.errors import BrokerError

REGION = "eu-central-1"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0


def counted(time: Time, lives: float = 900.0, fails: list[int] | None = None) -> tuple[TokenSource, list[str]]:
    made: list[str] = []

    def fetch() -> BearerToken:
        if fails:
            fails.pop()
            raise BrokerError("the endpoint is away")
        made.append(f"token-{len(made) + 1}")
        return BearerToken(made[-1], time.now + lives)

    return TokenSource(fetch, lambda: time.now), made


def test_one_token_serves_all_connections_until_a_fifth_of_its_life_is_left() -> None:
    time = Time()
    source, made = counted(time)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: source.token(), range(100))) == {"token-1"}
    time.now += 719
    assert source.token() == "token-1"
    time.now += 1
    assert source.token() == "token-2"
    assert made == ["token-1", "token-2"]


def test_a_token_that_has_not_ended_is_used_on_while_no_new_one_is_to_be_had() -> None:
    time, fails = Time(), []
    source, _ = counted(time, fails=fails)
    source.token()
    fails += [1, 1]
    time.now += 899
    assert source.token() == "token-1"
    time.now += 1
    with pytest.raises(BrokerError, match="the endpoint is away"):
        source.token()
    assert source.token() == "token-2"


def test_client_credentials_are_sent_as_the_rfc_says_and_the_token_ends_when_the_server_says() -> None:
    with TokenServer("foreshock", "s3cret", lives=120) as server:
        token = client_credentials(server.url, "foreshock", "s3cret", "kafka")()
        again = client_credentials(server.url, "foreshock", "s3cret")()
    assert server.asked == [
        {"grant_type": "client_credentials", "scope": "kafka"},
        {"grant_type": "client_credentials"},
    ]
    assert token.text.count(".") == 2
    assert token.text != again.text
    assert 100 < token.expires_at - datetime.now(UTC).timestamp() <= 120


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, b"<html>"), "gives no token"),
        ((200, b"[]"), "answers without an access_token"),
        ((200, b'{"access_token": "a\\u0001b"}'), "answers without an access_token"),
        ((200, b'{"access_token": "a", "expires_in": "soon"}'), "expires_in 'soon', which is no number"),
        ((500, b""), "HTTP Error 500"),
        ((302, b""), "HTTP Error 302"),
    ],
)
def test_an_endpoint_that_gives_no_token_is_named_with_what_to_check(answer: tuple[int, bytes], words: str) -> None:
    with TokenServer("foreshock", "s3cret") as server:
        server.answer = answer
        with pytest.raises(BrokerError) as caught:
            client_credentials(server.url, "foreshock", "s3cret")()
    assert words in str(caught.value)
    assert server.url in str(caught.value)
    assert "FORESHOCK_KAFKA_CLIENT_SECRET" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_wrong_client_secret_is_refused_by_the_endpoint() -> None:
    with TokenServer("foreshock", "s3cret") as server, pytest.raises(BrokerError, match="HTTP Error 401"):
        client_credentials(server.url, "foreshock", "wrong")()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Credentials:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a/session+token=")
    return Credentials("AKIDEXAMPLE", SECRET, "a/session+token=")


def iam_settings() -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap_servers": ["b-1.msk.example:9098"],
            "security_protocol": "SASL_SSL",
            "sasl": {"mechanism": "AWS_MSK_IAM", "region": REGION},
        }
    )


def test_both_clients_send_a_url_that_aws_would_have_signed(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = client_options(iam_settings(), "test")
    security = faust_options(iam_settings(), "mine").security
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_SSL", "OAUTHBEARER")
    assert (security.protocol, security.mechanism) == ("SASL_SSL", "OAUTHBEARER")
    assert security.tokens is not None
    sent = [options["sasl_oauth_token_provider"].token(), asyncio.run(async_provider(security.tokens).token())]
    for token in sent:
        check_signed_url(token, credentials, monkeypatch)


def check_signed_url(token: str, credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.scheme, url.hostname) == ("https", f"kafka.{REGION}.amazonaws.com")
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Expires"] == "900"
    assert query["X-Amz-Security-Token"] == "a/session+token="
    assert query["X-Amz-Credential"].startswith("AKIDEXAMPLE/")
    assert query["X-Amz-Credential"].endswith(f"/{REGION}/kafka-cluster/aws4_request")
    # Sign the same at the same moment with botocore, and compare.
    moment = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: moment)
    request = AWSRequest("GET", f"https://{url.hostname}/", params={"Action": "kafka-cluster:Connect"})
    SigV4QueryAuth(credentials, "kafka-cluster", REGION, expires=900).add_auth(request)
    expected = dict(parse_qsl(urlsplit(request.url).query))
    del query["User-Agent"]  # added after signing: the broker leaves it out, too
    assert urlencode(sorted(query.items())) == urlencode(sorted(expected.items()))


def test_an_iam_token_ends_after_a_quarter_of_an_hour(credentials: Credentials) -> None:
    token = msk_iam(REGION)()
    assert 880 < token.expires_at - datetime.now(UTC).timestamp() <= 900


def test_without_aws_credentials_it_says_how_to_give_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)
    with pytest.raises(BrokerError, match=r"no AWS credentials .* set AWS_PROFILE"):
        sync_provider(TokenSource(msk_iam(REGION))).token()


def test_aws_is_imported_only_when_a_token_is_wanted() -> None:
    code = (
        "import sys; from connectors.kafka_clients import client_options; from connectors.kafka_settings import *;"
        "client_options(KafkaSettings.model_validate({'bootstrap_servers': ['h:1'], 'security_protocol': 'SASL_SSL',"
        "'sasl': {'mechanism': 'AWS_MSK_IAM', 'region': 'eu-west-1'}}), 'x');"
        "sys.exit(any(name.startswith(('boto', 'aws_msk')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
