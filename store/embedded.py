"""The embedded PostgreSQL server: start it, find it running, stop it.

One process starts the server, a second one on the same data folder finds it running and uses it.
The server outlives whoever started it: only ``stop`` ends it. A lock in the data folder is held
while starting and stopping, never in between, so nothing has to be cleaned up after a kill -9.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from core.errors import StoreUnavailableError, StoreVersionError
from store.embedded_place import MAJOR, Place, make_socket_folder, place
from store.embedded_process import Postmaster, alive, end_orphans, recorded

START_TIMEOUT_S = 120.0
"""Generous, because recovery after a crash replays up to max_wal_size of log."""

_STOP_TIMEOUT_S = 60.0
_LOCK_TIMEOUT_S = START_TIMEOUT_S + _STOP_TIMEOUT_S
_POLL_S = 0.05
_LARGEST_LOG = 10_000_000  # bytes; then the log is set aside once at the next start
_ATTEMPTS = 3

SETTINGS = (
    "listen_addresses=",  # no TCP: the socket folder's mode is the access control
    "unix_socket_permissions=0700",
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "jit=off",  # our queries are short; compiling them costs more than it gives
    "timezone=UTC",
    "log_timezone=UTC",
)


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server. ``started_here`` is False when it was found running.

    url: for the application, whose role owns its database and no more.
    admin_url: for creating and dropping databases.
    """

    data_dir: Path
    url: str
    admin_url: str
    started_here: bool

    @staticmethod
    def start(data_dir: Path) -> EmbeddedServer:
        """The server on ``data_dir``, started unless it runs, ready for connections.

        Raises StoreVersionError when the folder belongs to another major version of PostgreSQL,
        StoreUnavailableError when the folder cannot be used or the server does not come up.
        """
        try:
            spot = place(data_dir)
            with _locked(spot.data_dir):
                return _start(spot)
        except OSError as error:
            raise StoreUnavailableError(_unusable(data_dir, error)) from error
        except psycopg.Error as error:
            raise StoreUnavailableError(
                f"The embedded PostgreSQL server on {data_dir} was ready and is gone again: "
                f"{error}; start it once more, and see server.log there."
            ) from error

    def stop(self) -> None:
        """Ends the server, whoever started it; open transactions are rolled back.

        Raises StoreUnavailableError when it may not or does not end.
        """
        try:
            spot = place(self.data_dir)
            with _locked(spot.data_dir):
                _stop(spot)
        except OSError as error:
            raise StoreUnavailableError(_unusable(self.data_dir, error)) from error


def _unusable(data_dir: Path, error: OSError) -> str:
    return (
        f"The data folder {data_dir} cannot be used by this account (uid {os.geteuid()}): "
        f"{error.strerror or error} ({error.filename or data_dir}). "
        "Use the account that owns it, or name another folder."
    )


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    handle = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailableError(
                        f"Another process has been starting or stopping the server on {data_dir} "
                        f"for {_LOCK_TIMEOUT_S:.0f} s; see server.log there, or end that process."
                    ) from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)


def _start(spot: Place) -> EmbeddedServer:
    if not spot.cluster.exists():
        _initialise(spot)
    _check_version(spot)
    make_socket_folder(spot)
    for _ in range(_ATTEMPTS):
        log_from = _log_size(spot)
        found = recorded(spot.cluster)
        started_here = found is None or not alive(found.pid, spot.cluster)
        server = _launch(spot) if found is None or started_here else found
        if _becomes_ready(server, spot):
            _ensure_database(server)
            return EmbeddedServer(
                data_dir=spot.data_dir,
                url=_url(server.sockets, "verdigrid", "verdigrid"),
                admin_url=_url(server.sockets, "postgres", "postgres"),
                started_here=started_here,
            )
        end_orphans(spot.cluster)
    raise StoreUnavailableError(
        f"The embedded PostgreSQL server on {spot.data_dir} ended while starting: "
        f"{_last_complaint(spot, log_from)}"
    )


def _check_version(spot: Place) -> None:
    version = (spot.cluster / "PG_VERSION").read_text().strip()
    if version != str(MAJOR):
        raise StoreVersionError(
            f"The data folder {spot.data_dir} belongs to PostgreSQL {version}, and Verdigrid runs "
            f"PostgreSQL {MAJOR}: dump the data with the Verdigrid that wrote it and restore it "
            "into a new folder, or name another folder."
        )


def _initialise(spot: Place) -> None:
    """Into a folder beside, renamed when whole: a kill -9 leaves no half of a cluster."""
    parent = spot.cluster.parent
    for left in parent.glob(f"{spot.cluster.name}.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f"{spot.cluster.name}.new-"))
    spot.give(fresh)
    # The builtin C.UTF-8 sorts the same everywhere; a locale of the C library changes with it.
    command = [str(spot.binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "--auth=trust"]
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
    command += ["--builtin-locale=C.UTF-8", "--no-instructions"]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, cwd="/", env={}, **spot.identity
    )
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise StoreUnavailableError(
            f"The data folder {spot.data_dir} could not be prepared: {done.stderr.strip()[-500:]}"
        )
    fresh.rename(spot.cluster)


def _launch(spot: Place) -> Postmaster:
    log = spot.data_dir / "server.log"
    if _log_size(spot) > _LARGEST_LOG:
        log.replace(spot.data_dir / "server.log.1")
    settings = (*SETTINGS, f'unix_socket_directories="{spot.sockets}"')
    command = [str(spot.binaries / "postgres"), "-D", str(spot.cluster)]
    command += [part for setting in settings for part in ("-c", setting)]
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    stale = recorded(spot.cluster)
    try:
        child = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            cwd="/",
            # We know that the recorded process is no server of this folder. PostgreSQL, which
            # only looks whether the number is in use, believes so too when told that it is a
            # forebear's. Removing the file instead would remove its guard against orphans.
            env={"PG_GRANDPARENT_PID": str(stale.pid)} if stale else {},
            start_new_session=True,  # Ctrl-C in the terminal is not meant for the server
            **spot.identity,
        )
    finally:
        os.close(handle)
    child.returncode = 0  # not ours to wait for: it outlives us, and alive() reaps it
    return Postmaster(child.pid, spot.sockets)


def _becomes_ready(server: Postmaster, spot: Place) -> bool:
    """True when a real connection answers, False when the process has ended."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while alive(server.pid, spot.cluster):
        try:
            with _admin(server) as connection:
                connection.execute("SELECT 1")
                return True
        except psycopg.Error as error:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"The embedded PostgreSQL server on {spot.data_dir} runs but has not become "
                    f"ready in {START_TIMEOUT_S:.0f} s: {error}; see server.log there."
                ) from error
        time.sleep(_POLL_S)
    return False


@contextmanager
def _admin(server: Postmaster) -> Iterator[psycopg.Connection]:
    url = _url(server.sockets, "postgres", "postgres")
    with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
        yield connection


def _url(sockets: Path, user: str, database: str) -> str:
    return f"postgresql://{user}@/{database}?host={quote(str(sockets), safe='')}"


def _ensure_database(server: Postmaster) -> None:
    """The application's role is no superuser: whoever gets SQL through it gets no shell."""
    with _admin(server) as connection:
        for exists, create in (
            (
                "SELECT 1 FROM pg_roles WHERE rolname = 'verdigrid'",
                "CREATE ROLE verdigrid LOGIN",
            ),
            (
                "SELECT 1 FROM pg_database WHERE datname = 'verdigrid'",
                "CREATE DATABASE verdigrid OWNER verdigrid",
            ),
        ):
            if connection.execute(exists).fetchone() is None:
                connection.execute(create)


def _log_size(spot: Place) -> int:
    with suppress(FileNotFoundError):
        return (spot.data_dir / "server.log").stat().st_size
    return 0


def _last_complaint(spot: Place, log_from: int) -> str:
    """The server's own last words of this attempt."""
    with (spot.data_dir / "server.log").open("rb") as log:
        log.seek(log_from if log_from < _log_size(spot) else 0)
        lines = log.read().decode(errors="replace").splitlines()
    grave = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return (grave or lines or ["it said nothing; see server.log there."])[-1]


def _stop(spot: Place) -> None:
    server = recorded(spot.cluster)
    if server is None or not alive(server.pid, spot.cluster):
        return
    os.kill(server.pid, signal.SIGINT)  # PostgreSQL's "fast shutdown"
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while alive(server.pid, spot.cluster):
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                f"The embedded PostgreSQL server on {spot.data_dir} (process {server.pid}) has "
                f"not ended in {_STOP_TIMEOUT_S:.0f} s; see server.log there."
            )
        time.sleep(_POLL_S)
    with suppress(OSError):
        server.sockets.rmdir()
