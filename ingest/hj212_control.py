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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError, ServiceError, VerdigridError
from core.timeaxis import parse
from ingest.hj212_host import Host, Period

_MAX_LINE = 4_096
_MAX_PATH = 100  # the kernel's bound is 108 bytes


@asynccontextmanager
async def serving(path: Path, host: Host) -> AsyncIterator[None]:
    """Answer on ``path`` while the context lasts.

    Raises ConfigurationError when the path is too long for a socket, ServiceError when another
    server answers there or it cannot be made.
    """
    _check_free(path)
    line = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line.bind(str(path))
        path.chmod(0o600)  # before anybody can connect
        server = await asyncio.start_unix_server(_answering(host), sock=line, limit=_MAX_LINE)
    except OSError as error:
        line.close()
        raise ServiceError(f"The control socket {path} cannot be made: {error}.") from error
    try:
        yield
    finally:
        server.close()
        with suppress(FileNotFoundError):
            path.unlink()


def _check_free(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_PATH:
        raise ConfigurationError(
            f"The control socket {path} has too long a path; a socket's has {_MAX_PATH} bytes."
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):  # none, or a killed server's
            with suppress(FileNotFoundError):
                path.unlink()
            return
        except OSError as error:
            raise ServiceError(f"The control socket {path} cannot be used: {error}.") from error
    raise ServiceError(f"Another HJ 212 server answers on {path}.")


def _answering(host: Host) -> Any:
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
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(timeout_s)
            line.connect(str(path))
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as answer:
                reply = json.loads(answer.readline() or b"{}")
    except TimeoutError as error:
        raise ServiceError("The HJ 212 server does not answer.") from error
    except (OSError, ValueError) as error:
        raise ServiceError(f"No HJ 212 server can be asked at {path}: {error}.") from error
    if not reply.get("ok"):
        raise ServiceError(reply.get("error", "The HJ 212 server gave no answer."))
    return {name: value for name, value in reply.items() if name != "ok"}
