"""Whether a port is free, asked before anything is started on it."""

from __future__ import annotations

import errno
import socket

from core.errors import ServiceError


def require_free(host: str, port: int, *, purpose: str, setting: str) -> None:
    """Raises ServiceError naming port, purpose and setting when ``port`` cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServiceError(
                    f"Port {port} on {host}, wanted for {purpose}, is in use by another program; "
                    f"end that program or set {setting} to a free port."
                ) from error
            raise ServiceError(
                f"{purpose} cannot listen on {host}:{port} ({error.strerror}); set {setting}."
            ) from error


def prefer(port: int, host: str = "127.0.0.1") -> int:
    """``port`` where it can be listened on, else one that is free at this moment."""
    for wanted in (port, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceError(f"No port is free on {host}.")
