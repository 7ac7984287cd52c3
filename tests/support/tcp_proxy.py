"""A TCP proxy between a client and a broker that can be cut, frozen and slowed, as a network is.

A broker tells its clients where to come: lead them here with LocalBroker(advertised=proxy.port), or use
kafka_broker.proxied_broker. All methods return when they have taken effect; each may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from connectors.local_kafka_config import HOST, free_ports

__all__ = ["TcpProxy"]

_CHUNK = 16 * 1024


class TcpProxy:
    """Listens on a port of its own and passes bytes to and from `target` (`host:port`); use as a context manager."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self.port = free_ports(1)[0]
        self.accepted = 0
        self._bytes_per_second: float | None = None
        self._delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    @property
    def address(self) -> str:
        """Where clients come to, `host:port`."""
        return f"{HOST}:{self.port}"

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._do(self._cut())

    def freeze(self) -> None:
        """Accept connections and keep those there are, but pass nothing, either way."""
        self._do(self._freeze())

    def slow(self, *, bytes_per_second: float | None = None, delay: float = 0.0) -> None:
        """Pass so much a second on each connection and way; let every piece (up to 16 KB) wait for `delay` seconds."""
        self._bytes_per_second, self._delay = bytes_per_second, delay

    def restore(self) -> None:
        """As it was in the beginning: listening, passing, at full speed. What was held by freeze() goes on."""
        self.slow()
        self._do(self._listen())

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _freeze(self) -> None:
        self._flowing.clear()

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in (open_ones := set(self._connections)):
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._server is None:  # cut since it was accepted
            return writer.transport.abort()
        self._connections.add(task)
        self.accepted += 1
        ends = [writer]
        try:
            await self._flowing.wait()
            there, back = await asyncio.open_connection(*self._target)
            ends.append(back)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass_on(reader, back))
                ways.create_task(self._pass_on(there, writer))
        except asyncio.CancelledError:  # cut: a reset, not an orderly end
            for end in ends:
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.transport.abort()
        except (OSError, ExceptionGroup):
            pass  # an end is gone: the other learns it below, after what is still on its way
        finally:
            self._connections.discard(task)
            for end in ends:
                end.close()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(_CHUNK):
            if wait := self._delay + (len(piece) / self._bytes_per_second if self._bytes_per_second else 0.0):
                await asyncio.sleep(wait)
            await self._flowing.wait()
            sink.write(piece)
            await sink.drain()
        raise ConnectionResetError("this end closed: so does the other")
