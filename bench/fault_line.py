"""Lines that can be cut: a small TCP relay between a sender and its receiver."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

HOST = "127.0.0.1"
_CHUNK = 64 * 1024


class Loop:
    """An asyncio loop in a thread of its own, for relays and for senders that want one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name="fault-loop")
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do ``work`` in the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30.0)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` beside everything else; what it fails by is kept in ``failures``."""
        asyncio.run_coroutine_threadsafe(self._watched(work), self.loop)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - told at the end of the run
            self.failures.append(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Cancel whatever runs, and end the thread."""
        self.call(_cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Line:
    """Relays connections to ``target`` until they are cut. All methods from any thread.

    brought: bytes that came from the target.
    """

    def __init__(self, name: str, target: int, loop: Loop) -> None:
        self.name = name
        self._target = target
        self._loop = loop
        self.brought = 0
        self._open: set[asyncio.WriteTransport] = set()
        self._server: asyncio.Server = loop.call(asyncio.start_server(self._relay, HOST, 0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> bool:
        """Reset every connection, in both directions; whether there was one."""
        return bool(self._loop.call(self._cut()))

    def close(self) -> None:
        """Listen no more, and cut what is left."""
        self._loop.loop.call_soon_threadsafe(self._server.close)
        self.cut()

    async def _cut(self) -> bool:
        there = list(self._open)
        for transport in there:
            # With a lingering of nothing, abort() is a reset: what is on its way is lost.
            line: socket.socket = transport.get_extra_info("socket")
            with suppress(OSError):
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            transport.abort()
        return bool(there)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer.transport, far_writer.transport}
        self._open |= both
        ways = [
            asyncio.ensure_future(_pump(reader, far_writer, lambda _: None)),
            asyncio.ensure_future(_pump(far_reader, writer, self._count)),
        ]
        try:
            with suppress(asyncio.CancelledError):  # by Loop.close, and asyncio would complain
                await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            for transport in both:
                transport.abort()
            self._open -= both

    def _count(self, more: int) -> None:
        self.brought += more


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
) -> None:
    """Everything from one to the other; an end that is said is passed on."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            count(len(data))
            writer.write(data)
            await writer.drain()
    if writer.transport.is_closing():
        return
    with suppress(OSError):
        if reader.at_eof() and reader.exception() is None:
            writer.write_eof()
            return
    writer.transport.abort()
