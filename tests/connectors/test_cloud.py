"""The simulated cloud over HTTP: what act's client learns of every way a call can go, and what a restart remembers."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from types import SimpleNamespace

import pytest

from connectors.actuators import perform_call
from connectors.cloud_client import CloudActuator, open_actuator
from connectors.cloud_journal import ActionJournal, read_head
from connectors.cloud_server import MAX_REQUEST_BYTES, Cloud, CloudServer
from connectors.settings import read_settings
from connectors.simulator import Tail, open_simulation
from connectors.simulator_spec import parse_simulator_spec
from connectors.world_shop import DATABASE_ARN, service_arn
from models.errors import ActionError, ConfigError, UnknownOutcomeError

SPEC = parse_simulator_spec("sim:7?hours=1&faults=none")
HEAD = {"world": SPEC.world, "run": "kafka-test"}
TOKEN = "correct horse"
CALL = {"action": "a", "target": "t", "params": {}, "idempotency_key": "k"}
SCALE = ("rds.scale", DATABASE_ARN, {"max_connections": 200})


@pytest.fixture
def journal(tmp_path):
    with ActionJournal(tmp_path / "actions.jsonl", HEAD) as made:
        yield made


@pytest.fixture
def simulation():
    return open_simulation(SPEC)


@pytest.fixture
def server(simulation, journal):
    with CloudServer(Cloud(simulation, journal), TOKEN) as running:
        yield running


@pytest.fixture
def cloud(server):
    return CloudActuator(server.url, TOKEN, 5.0)


def ask(server, method, path, body=None, headers=None):
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}"} if headers is None else headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_call_changes_the_world_once_for_its_key_and_is_answered_the_same_again(cloud, simulation):
    first = cloud.call(*SCALE, "key-1")
    simulation.world.advance(simulation.world.now + 60_000)
    again = cloud.call(*SCALE, "key-1")
    assert again == first
    assert len(simulation.world.actions) == 1
    assert cloud.state(DATABASE_ARN)["max_connections"] == 200


def test_a_key_of_another_call_is_refused(cloud):
    cloud.call(*SCALE, "key-1")
    with pytest.raises(ActionError, match="used for another call") as refused:
        cloud.call("rds.failover", DATABASE_ARN, {}, "key-1")
    assert not refused.value.transient


def test_what_the_provider_refuses_was_not_done_and_says_whether_to_try_again(cloud, simulation):
    with pytest.raises(ActionError, match="unknown action") as refused:
        cloud.call("rds.explode", DATABASE_ARN, {}, "key-1")
    assert not isinstance(refused.value, UnknownOutcomeError)
    assert not refused.value.transient
    simulation.world._shop.throttled_until = simulation.world.now + 1
    with pytest.raises(ActionError, match="ThrottlingException") as throttled:
        cloud.call(*SCALE, "key-2")
    assert throttled.value.transient
    assert simulation.world.actions == []


def test_nobody_without_the_token_learns_or_changes_anything(server, simulation):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN + "x"}):
        body = json.dumps({"action": SCALE[0], "target": SCALE[1], "params": SCALE[2], "idempotency_key": "k"})
        assert ask(server, "POST", "/call", body, headers)[0] == 401
        assert ask(server, "GET", f"/state?target={DATABASE_ARN}", headers=headers)[0] == 401
        assert ask(server, "GET", "/world", headers=headers)[0] == 401
    assert ask(server, "GET", "/health", headers={}) == (200, {"status": "ok"})
    assert simulation.world.actions == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/call", "{", 400),
        ("POST", "/call", '{"action": "rds.scale"}', 400),
        ("POST", "/call", '{"action":"a","target":"t","params":{},"idempotency_key":"k","more":1}', 400),
        ("POST", "/call", '{"action":"a","target":"t","params":{},"idempotency_key":""}', 400),
        ("POST", "/call", "x" * (MAX_REQUEST_BYTES + 1), 413),
        ("POST", "/elsewhere", "{}", 404),
        ("GET", "/elsewhere", None, 404),
        ("GET", "/state", None, 400),
        ("GET", "/state?target=a&target=b", None, 400),
        ("GET", "/state?target=arn:nothing", None, 409),
    ],
)
def test_a_request_that_is_none_is_refused_with_the_reason(server, method, path, body, status):
    found, answer = ask(server, method, path, body)
    assert found == status
    assert answer["error"]


def test_a_body_of_unknown_length_is_refused(server):
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(f"POST /call HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert b" 411 " in raw.recv(4096)


def test_the_world_tells_what_really_failed(cloud, simulation):
    assert cloud.world() == {"now": SPEC.start, "failures": []}


def test_where_nobody_listens_nothing_was_done():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ActionError, match="Start `foreshock simulate`") as refused:
        CloudActuator(f"http://127.0.0.1:{port}", TOKEN).call(*SCALE, "k")
    assert refused.value.transient
    assert not isinstance(refused.value, UnknownOutcomeError)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", b"HTTP/1.1 500 Oops\r\n\r\n", b"garbage\r\n\r\n"]
)
def test_a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown(said):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        actuator = CloudActuator(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, 5.0)
        asked = SimpleNamespace(id="e1", kind="call_action", args=CALL)
        answered = perform_call(actuator)(asked)
        thread.join()
    assert not answered.ok
    assert answered.result == {}
    assert answered.error.startswith("unknown outcome")


def test_a_server_that_does_not_answer_in_time_leaves_the_outcome_unknown():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        actuator = CloudActuator(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, 0.05)
        with pytest.raises(UnknownOutcomeError, match="did not answer"):
            actuator.call(*SCALE, "k")


def test_a_restarted_cloud_remembers_every_key_even_before_its_world_is_there_again(tmp_path):
    path = tmp_path / "actions.jsonl"
    before = open_simulation(SPEC)
    with ActionJournal(path, HEAD) as journal, CloudServer(Cloud(before, journal), TOKEN) as server:
        before.world.advance(SPEC.start + 600_000)
        first = CloudActuator(server.url, TOKEN).call(*SCALE, "key-1")
    with ActionJournal(path, HEAD) as journal:
        after = open_simulation(SPEC, tail=Tail(actions=journal.actions))
        with CloudServer(Cloud(after, journal), TOKEN) as server:
            assert CloudActuator(server.url, TOKEN).call(*SCALE, "key-1") == first
    assert after.world.actions == []  # it is taken when the world gets there
    after.world.advance(SPEC.start + 660_000)
    assert [action.key for action in after.world.actions] == ["key-1"]


def test_a_torn_line_is_of_an_action_nobody_was_told_of(tmp_path, simulation):
    path = tmp_path / "actions.jsonl"
    with ActionJournal(path, HEAD) as journal, CloudServer(Cloud(simulation, journal), TOKEN) as server:
        CloudActuator(server.url, TOKEN).call(*SCALE, "key-1")
        CloudActuator(server.url, TOKEN).call("ecs.restart", service_arn("web"), {}, "key-2")
    path.write_bytes(path.read_bytes()[:-10])
    with ActionJournal(path, HEAD) as journal:
        assert [action.key for action in journal.actions] == ["key-1"]
        journal.add(journal.actions[0]._replace(key="key-3"))
    with ActionJournal(path, HEAD) as journal:
        assert [action.key for action in journal.actions] == ["key-1", "key-3"]


def test_a_disk_that_is_full_leaves_no_half_line_and_the_same_key_can_be_tried_again(
    server, journal, tmp_path, monkeypatch
):
    before = (tmp_path / "actions.jsonl").read_bytes()
    body = json.dumps({"action": SCALE[0], "target": SCALE[1], "params": SCALE[2], "idempotency_key": "k"})
    with monkeypatch.context() as full:
        full.setattr("connectors.cloud_journal.os.write", lambda file, line: os.pwrite(file, line[:9], 0))
        status, answer = ask(server, "POST", "/call", body)
    assert (status, answer["transient"]) == (503, True)
    assert (tmp_path / "actions.jsonl").read_bytes() == before
    assert ask(server, "POST", "/call", body)[0] == 200
    assert [action.key for action in journal.actions] == ["k"]


def test_a_journal_of_another_world_or_no_journal_is_refused(tmp_path):
    path = tmp_path / "actions.jsonl"
    ActionJournal(path, HEAD).close()
    assert read_head(path) == HEAD
    with pytest.raises(ConfigError, match="belongs to"):
        ActionJournal(path, {**HEAD, "world": "8"})
    path.write_text("not json\n")
    with pytest.raises(ConfigError, match="no line of a simulator's journal"):
        ActionJournal(path, HEAD)
    with pytest.raises(ConfigError, match="no line of"):
        read_head(path)
    assert read_head(tmp_path / "none") is None


def test_the_configuration_opens_the_actuator_and_keeps_its_token_out_of_the_file(tmp_path, monkeypatch):
    file = tmp_path / "foreshock.yaml"
    file.write_text("actuator: {kind: simulator, url: 'http://127.0.0.1:8091'}\n")
    with pytest.raises(ConfigError, match="FORESHOCK_ACTUATOR_TOKEN"):
        open_actuator(read_settings(file).settings)
    monkeypatch.setenv("FORESHOCK_ACTUATOR_TOKEN", TOKEN)
    settings = read_settings(file).settings
    assert TOKEN not in repr(settings)
    assert isinstance(open_actuator(settings), CloudActuator)
    file.write_text("actuator_token: abc\n")
    with pytest.raises(ConfigError, match="a secret does not belong"):
        read_settings(file)
    file.write_text("")
    assert open_actuator(read_settings(file).settings) is None


@pytest.mark.parametrize(
    "section", ["{kind: simulator}", "{kind: simulator, url: 'ftp://a:1'}", "{url: 'http://a'}", "{url: 'http://a:b'}"]
)
def test_a_wrong_actuator_section_says_what_to_write(tmp_path, section):
    file = tmp_path / "foreshock.yaml"
    file.write_text(f"actuator: {section}\n")
    with pytest.raises(ConfigError, match=r"foreshock\.yaml:1: actuator.*Write"):
        read_settings(file)
