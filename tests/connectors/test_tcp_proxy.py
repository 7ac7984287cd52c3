"""The proxy between client and broker: what it passes, holds, slows and cuts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from tcp_proxy import TcpProxy

_PATIENCE = 10.0  # seconds until a read that should have ended is called stuck


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(65536):
                    connection.sendall(piece)
            except OSError:
                pass

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with closing(server):
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo) -> Iterator[TcpProxy]:
    with TcpProxy(echo) as made:
        yield made


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=_PATIENCE)


def receive(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (piece := client.recv(size - len(got))):
        got += piece
    return got


def test_bytes_pass_both_ways_unchanged(proxy):
    sent = bytes(range(256)) * 1000
    with connect(proxy) as client:
        threading.Thread(target=client.sendall, args=(sent,)).start()
        assert receive(client, len(sent)) == sent


def test_a_cut_resets_connections_and_refuses_new_ones_until_restored(proxy):
    with connect(proxy) as client:
        client.sendall(b"before")
        assert receive(client, 6) == b"before"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.restore()
    with connect(proxy) as client:
        client.sendall(b"after")
        assert receive(client, 5) == b"after"


def test_a_frozen_proxy_accepts_and_holds_everything_until_restored(proxy):
    with connect(proxy) as old:
        old.sendall(b"a")
        assert receive(old, 1) == b"a"
        proxy.freeze()
        old.sendall(b"b")
        with connect(proxy) as new:
            new.sendall(b"c")
            for client in (old, new):
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                client.settimeout(_PATIENCE)
            proxy.restore()
            assert (receive(old, 1), receive(new, 1)) == (b"b", b"c")


def test_a_slowed_connection_takes_at_least_as_long_as_its_rate_says(proxy):
    proxy.slow(bytes_per_second=100_000)
    with connect(proxy) as client:
        began = time.monotonic()
        client.sendall(b"x" * 20_000)
        assert len(receive(client, 20_000)) == 20_000
        assert time.monotonic() - began >= 0.2


def test_a_delayed_piece_waits_on_each_way(proxy):
    proxy.slow(delay=0.1)
    with connect(proxy) as client:
        began = time.monotonic()
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        assert time.monotonic() - began >= 0.2
