"""A small control channel of a running HJ 212 server: host commands from another process.

A Unix socket that only the server's account can open; one JSON object in a line asks, one
answers: ``{"do": "clock", "mn": ...}`` -> ``{"ok": true, ...}`` or ``{"ok": false, "error": a
sentence}``. ``do`` is ``stations``, ``clock``, ``set-clock`` (``at``, optional) or ``recollect``
(``cn``, ``begin``, ``end``); times are ISO 8601 with zone.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from core.errors import ServiceError, VerdigridError
from core.timeaxis import parse
from ingest.hj212_host import Host, Period

SOCKET_NAME = "hj212.sock"
"""The name of the socket in the folder of running processes."""

_MAX_LINE = 4_096


@asynccontextmanager
async def serving(path: Path, host: Host) -> AsyncIterator[None]:
    """Answer on ``path`` while the context lasts.

    Raises ServiceError when another server answers there or the socket cannot be made.
    """
    line = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_free(path)
        with _reachable(path) as short:
            line.bind(short)
        path.chmod(0o600)  # before anybody can connect
        server = await asyncio.start_unix_server(_answering(host), sock=line, limit=_MAX_LINE)
    except (OSError, ServiceError) as error:
        line.close()
        if isinstance(error, ServiceError):
            raise
        raise ServiceError(f"The control socket {path} cannot be made: {error}.") from error
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name of ``path`` that fits into a socket's address, 107 bytes: by way of its open folder
    where the system has such names, as Linux does.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        short = Path(f"/proc/self/fd/{folder}")
        yield str(short / path.name if short.exists() else path)
    finally:
        os.close(folder)


def _check_free(path: Path) -> None:
    """Take away what a killed server left; raises ServiceError when one answers."""
    with socket.socket(socket.AF_UNIX) as probe, _reachable(path) as short:
        probe.settimeout(1.0)
        try:
            probe.connect(short)
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
            return
    raise ServiceError(f"Another HJ 212 server answers on {path}.")


def _answering(
    host: Host,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 10.0)
            reply = await _reply(host, line)
            writer.write(json.dumps(reply).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), 10.0)
        except (OSError, TimeoutError, ValueError):
            pass  # whoever asked is gone, or asked with more than a line
        finally:
            writer.close()

    return answer


async def _reply(host: Host, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        return {"ok": True, **await _do(host, request)}
    except VerdigridError as error:
        return {"ok": False, "error": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"ok": False, "error": f"The request cannot be understood: {error!r}."}


async def _do(host: Host, request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "stations":
            return {"stations": host.stations}
        case "clock":
            return {"clock": (await host.request_clock(request["mn"])).isoformat()}
        case "set-clock":
            at = parse(request["at"]) if request.get("at") else None
            return {"clock": (await host.set_clock(request["mn"], at)).isoformat()}
        case "recollect":
            period = Period(request["cn"], parse(request["begin"]), parse(request["end"]))
            return {"packets": await host.recollect(request["mn"], period)}
    raise ServiceError(f"The HJ 212 server does not know how to do {request['do']!r:.40}.")


def ask(path: Path, request: dict[str, str], *, timeout_s: float = 960.0) -> dict[str, Any]:
    """Ask the running server and wait for what it says; blocking.

    Raises ServiceError when no server runs there, and with its sentence when it cannot do it.
    """
    try:
        with socket.socket(socket.AF_UNIX) as line, _reachable(path) as short:
            line.settimeout(timeout_s)
            line.connect(short)
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as answer:
                reply = json.loads(answer.readline() or b"{}")
    except TimeoutError as error:
        raise ServiceError("The HJ 212 server does not answer.") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise ServiceError(
            f"No HJ 212 server listens at {path}; it runs where VERDIGRID_HJ212_PORT is set."
        ) from error
    except (OSError, ValueError) as error:
        raise ServiceError(f"No HJ 212 server can be asked at {path}: {error}.") from error
    if not reply.get("ok"):
        raise ServiceError(reply.get("error", "The HJ 212 server gave no answer."))
    return {name: value for name, value in reply.items() if name != "ok"}
