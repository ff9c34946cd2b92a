"""The MQTT broker as a child process: mosquitto where it is installed, amqtt otherwise.

For a city without a broker of its own. It listens on loopback, keeps sessions and unacknowledged
QoS 1 messages over a restart, and has none of the limits by which mosquitto's defaults silently
drop acknowledged messages (max_inflight_messages 20, max_queued_messages 1000).

What survives: with both programs a restart by signal loses nothing. mosquitto keeps everything in
memory and saves a picture of it every one to two seconds; killed outright, or without power, it
loses what it acknowledged since (measured: 0.1 to 1.6 s). Saving after every change would not
help: it acknowledges before it saves, and counts only what is queued, not what is under way.
amqtt, started by ingest/durable_amqtt.py, acknowledges a message after it stands in a file and
loses nothing that the operating system has not lost.

What it costs: a message that waits in mosquitto takes its size and some 350 bytes of memory, and
each save writes all of them, in 0.5 s for a million small ones, in which nobody is served. When a
receiver is away for so long that millions wait, that is what one feels first. Sessions without a
limit mean that a receiver that never comes back lets the queue grow until the memory (mosquitto)
or the disk (amqtt) is full.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from core.errors import ServiceError

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_PACKET = 4 * 1024 * 1024
"""Bytes of the largest message; a larger one ends the connection and is not acknowledged."""

_START_S = 20.0
_STOP_S = 10.0
_STATE = "broker.json"
_LOG = "broker.log"


class BrokerKind(StrEnum):
    """The programs that can be the broker."""

    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


@dataclass(frozen=True, slots=True)
class _State:
    """What a broker's folder says about the process that serves it."""

    pid: int
    port: int
    kind: str
    started: str


@dataclass(slots=True)
class Broker:
    """A broker that accepts connections. ``adopted``: it was running already."""

    host: str
    port: int
    kind: BrokerKind
    pid: int
    adopted: bool
    folder: Path
    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, folder: Path, port: int = 0, kind: BrokerKind | None = None) -> Broker:
        """The broker of ``folder``: the running one, or a new one.

        port: 0 lets the system choose. kind: None takes mosquitto where it is installed.
        An orphan that a killed supervisor left behind is taken over, or replaced when another
        port or program is wanted. Raises ServiceError when the port is in use, the program is
        missing, the folder cannot be used or the broker does not answer.
        """
        chosen = BrokerKind(kind or ("mosquitto" if mosquitto_program() else "amqtt"))
        folder = folder.absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder):
                return cls._start_locked(folder, port, chosen)
        except OSError as error:
            raise ServiceError(
                f"The broker's folder {folder} cannot be used: {error.strerror}."
            ) from error

    @classmethod
    def _start_locked(cls, folder: Path, port: int, kind: BrokerKind) -> Broker:
        orphan = _running(folder)
        if orphan is not None:
            if orphan.kind == kind and port in (0, orphan.port) and _answers(orphan.port, 5.0):
                _log.info("took over the running broker", extra={"pid": orphan.pid})
                return cls(HOST, orphan.port, kind, orphan.pid, adopted=True, folder=folder)
            _end(orphan.pid)
        port = _claim(port)
        command = _mosquitto(folder, port) if kind is BrokerKind.MOSQUITTO else _amqtt(folder, port)
        with (folder / _LOG).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parent.parent,
                # Ctrl-C at the terminal must reach the receiver first, so that it can finish.
                start_new_session=True,
            )
        state = _State(process.pid, port, kind.value, _started(process.pid))
        (folder / _STATE).write_text(json.dumps(asdict(state)))
        try:
            _wait_ready(process, port, folder)
        except ServiceError:
            _end(process.pid, process)
            raise
        return cls(HOST, port, kind, process.pid, False, folder, process)

    @staticmethod
    def stop_left(folder: Path) -> bool:
        """End a broker that a killed supervisor left behind in ``folder``; tells whether it did."""
        orphan = _running(folder)
        if orphan is not None:
            _end(orphan.pid)
        return orphan is not None

    def alive(self) -> bool:
        """Whether the process runs."""
        if self._process is not None:
            return self._process.poll() is None
        return _alive(self.pid)

    def stop(self) -> None:
        """End the broker by SIGTERM, which lets it save its queues; waits until it is gone."""
        _end(self.pid, self._process)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / _STATE).unlink()


def mosquitto_program() -> str | None:
    """The path of mosquitto; Debian puts it where an ordinary user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def _mosquitto(folder: Path, port: int) -> list[str]:
    program = mosquitto_program()
    if program is None:
        raise ServiceError("mosquitto is not installed; install it, or let amqtt be the broker.")
    user = _mosquitto_user(folder)
    lines = [
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {folder}/",
        "persistence_file mosquitto.db",
        "autosave_interval 1",
        "max_inflight_messages 0",
        "max_queued_messages 0",
        "max_queued_bytes 0",
        # message_size_limit would acknowledge what it drops; this one closes the connection.
        f"max_packet_size {MAX_PACKET}",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        *([f"user {user}"] if user else []),
    ]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    return [program, "-c", str(config)]


def _mosquitto_user(folder: Path) -> str:
    """Whom mosquitto, started as root, becomes; empty when it is not started as root.

    Its own user if that one can reach the folder (which it then owns), else root: below a home
    directory of mode 0700 nobody else can save anything, and a broker on loopback that loses
    messages is worse than one with too many rights.
    """
    if os.geteuid() != 0:
        return ""
    try:
        account = pwd.getpwnam("mosquitto")
    except KeyError:
        return "root"
    if not all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        return "root"
    for path in (folder, *folder.glob("mosquitto.db*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    return "mosquitto"


def _amqtt(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "ingest.durable_amqtt", str(folder), str(port)]


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Two supervisors that start at once must not both start a broker."""
    with (folder / "broker.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _claim(port: int) -> int:
    """``port``, or a free one for 0; raises ServiceError when somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ServiceError(f"Port {port} cannot be used: {error.strerror}.") from error
            raise ServiceError(
                f"Port {port} is in use by another program; stop that one or choose another port."
            ) from error
        return int(probe.getsockname()[1])


def _wait_ready(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceError(
                f"The MQTT broker ended at once (exit code {process.returncode}): "
                f"{_last_words(folder)}"
            )
        if _answers(port, 1.0):
            return
        time.sleep(0.05)
    raise ServiceError(
        f"The MQTT broker did not answer within {_START_S:.0f} s: {_last_words(folder)}"
    )


def _last_words(folder: Path) -> str:
    lines = (folder / _LOG).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it wrote nothing to {folder / _LOG}."


def _answers(port: int, timeout_s: float) -> bool:
    """Whether an MQTT broker accepts a connection on ``port``."""
    accepted = threading.Event()
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"verdigrid-probe-{os.getpid()}",
        clean_session=True,
        protocol=MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = timeout_s
    client.on_connect = lambda *call: None if call[3].is_failure else accepted.set()
    try:
        client.connect(HOST, port, keepalive=10)
    except OSError:
        return False
    client.loop_start()
    answered = accepted.wait(timeout_s)
    client.disconnect()
    client.loop_stop()
    return answered


def _running(folder: Path) -> _State | None:
    """The broker that serves ``folder``, if the process of that number is still the same one."""
    try:
        state = _State(**json.loads((folder / _STATE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    same = _alive(state.pid) and bool(state.started) and _started(state.pid) == state.started
    return state if same else None


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty where the system does not tell.

    A number alone may belong to somebody else by now; number and start time do not repeat.
    """
    fields = _stat(pid)
    return fields[19] if fields else ""


def _stat(pid: int) -> list[str]:
    """What Linux says about a process, from its state on; empty without such a process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not collected yet does not.

    One whose first thread has ended while another waits for the disk does.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    fields = _stat(pid)
    return fields[:1] != ["Z"] or int(fields[17]) > 1


def _end(pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """SIGTERM, and SIGKILL for one that does not go."""
    for wish in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, wish)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline:
            if (process.poll() is not None) if process is not None else not _alive(pid):
                return
            time.sleep(0.02)
