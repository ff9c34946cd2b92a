"""The processes of the run: the commands of Verdigrid, its database and its broker.

Each has a keeper that starts it again at once, as the supervisor does, but without the growing
pauses that the supervisor makes for a process that keeps ending: here that is what is wanted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from core.errors import VerdigridError
from ingest.broker import Broker, BrokerKind
from store.embedded import EmbeddedServer
from store.embedded_process import alive, recorded

ROOT = Path(__file__).resolve().parent.parent
_LOOK_S = 0.05
_AGAIN_S = 0.5
"""Pause before something that ended by itself is started again."""
_GRACE_S = 20.0


class Keeper(threading.Thread):
    """Keeps something running until it is closed; ``held`` while it shall stay away.

    tend: starts it where it does not run; may raise VerdigridError or OSError, then it is asked
    again. A child of ours must be started by a thread that outlives it (app/lifeline.py).
    """

    def __init__(self, name: str, tend: Callable[[], None]) -> None:
        super().__init__(name=f"keeper-{name}")
        self._tend = tend
        self._closed = threading.Event()
        self._turn = threading.Lock()
        self._held = False
        self.complaints: list[str] = []

    def run(self) -> None:
        while not self._closed.wait(_LOOK_S):
            with self._turn:
                if self._held:
                    continue
                try:
                    self._tend()
                    continue
                except (VerdigridError, OSError) as error:
                    self.complaints.append(str(error))
            self._closed.wait(_AGAIN_S)

    def hold(self, *, held: bool) -> None:
        """Whether it shall stay away; returns when no start is under way."""
        with self._turn:
            self._held = held

    def close(self) -> None:
        """Start nothing any more."""
        self._closed.set()
        self.join()


class Program:
    """One command, kept running. ``kill`` and ``stop`` from one thread."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self.log.touch()
        self._arguments = [sys.executable, "-m", "app.cli", *arguments]
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = threading.Event()
        self.keeper = Keeper(name, self._tend)
        self.keeper.start()

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def kill(self) -> bool:
        """SIGKILL; whether there was something to kill."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        process.wait()
        return True

    def stop(self) -> None:
        """End it by SIGTERM, for good; SIGKILL for one that does not go."""
        self.keeper.hold(held=True)
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.keeper.close()

    def _tend(self) -> None:
        process = self._process
        if process is not None:
            code = process.poll()
            if code is None:
                return
            self._process = None
            if code != -signal.SIGKILL:  # it could not start, perhaps for want of a database
                raise ChildProcessError(f"{self.name} ended by itself with code {code}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
            )


class DatabaseServer:
    """The embedded server, kept running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        server = EmbeddedServer.start(folder)
        self.url = server.url
        self.admin_url = server.admin_url
        self._cluster = (folder / "cluster").resolve()
        self.keeper = Keeper("database", self._tend)
        self.keeper.start()

    def _tend(self) -> None:
        if self.pid is None:
            EmbeddedServer.start(self.folder)

    @property
    def pid(self) -> int | None:
        """Of the running postmaster."""
        found = recorded(self._cluster)
        return found.pid if found and alive(found.pid, self._cluster) else None

    def kill(self) -> bool:
        """SIGKILL the postmaster; whether there was one."""
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def kill_backend(self, rng: random.Random) -> bool:
        """SIGKILL one process that serves a connection; the server then resets itself."""
        pid = self.pid
        serving = [child for child in _children(pid or 0) if b"postgres: verdigrid" in child[1]]
        if not serving:
            return False
        with suppress(ProcessLookupError):
            os.kill(rng.choice(serving)[0], signal.SIGKILL)
            return True
        return False

    def leave(self) -> None:
        """Shut down, and stay away until ``come_back``."""
        self.keeper.hold(held=True)
        EmbeddedServer.start(self.folder).stop()

    def come_back(self) -> None:
        """End the absence."""
        self.keeper.hold(held=False)

    def close(self) -> None:
        """Shut down for good."""
        self.keeper.close()
        EmbeddedServer.start(self.folder).stop()


class BrokerServer:
    """The shipped broker, kept running on one port."""

    def __init__(self, folder: Path, kind: BrokerKind | None) -> None:
        self._broker = Broker.start(folder, 0, kind)
        self.folder, self.port, self.kind = folder, self._broker.port, self._broker.kind
        self.keeper = Keeper("broker", self._tend)
        self.keeper.start()

    def _tend(self) -> None:
        if not self._broker.alive():
            self._broker = Broker.start(self.folder, self.port, self.kind)

    def restart(self, how: signal.Signals) -> bool:
        """End it by a signal and wait until it is gone; its keeper starts it again."""
        broker = self._broker
        if not broker.alive():
            return False
        with suppress(ProcessLookupError):
            os.kill(broker.pid, how)
        while broker.alive():  # mosquitto saves its queues first
            time.sleep(_LOOK_S)
        return True

    def close(self) -> None:
        """End it for good."""
        self.keeper.close()
        self._broker.stop()
        self._broker.alive()  # also collects the child


def _children(pid: int) -> list[tuple[int, bytes]]:
    """Process numbers and command lines of the children of ``pid``; Linux tells them in /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parent = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
            if parent == pid:
                found.append((int(folder.name), (folder / "cmdline").read_bytes()))
    return found
