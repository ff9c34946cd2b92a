"""Keeps the processes of one installation running: starts, watches, restarts and ends them.

Processes: our own broker (unless an external one is used), the ingester, the simulated city,
the web application and the scheduler. The embedded database is started before and stopped
after all of them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import VerdigridError

log = logging.getLogger(__name__)

GRACE_S = 15.0
"""How long all processes together may take to end by themselves before they are killed."""
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_S = 60.0
"""A process that ran this long starts again without a wait."""


@dataclass
class Child:
    """One process to keep running: its name and the arguments behind the Python interpreter."""

    name: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    next_start: float = 0.0
    log_path: Path = field(default_factory=Path)


@dataclass(frozen=True)
class Keeper:
    """A server that is no child of ours: ``ensure`` starts it where it died (True if it did)."""

    name: str
    ensure: Callable[[], bool]
    end: Callable[[], None]


class Supervisor:
    """Runs children until ``stop`` is set, then ends them all at once, and the keepers after them.

    Children need no order: the keepers hold what one of them says and another does not hear.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        keepers: Sequence[Keeper] = (),
        log_folder: Path,
        state_path: Path,
        stop: threading.Event,
    ) -> None:
        self._children = list(children)
        self._keepers = list(keepers)
        self._log_folder = log_folder
        self._state_path = state_path
        self._stop = stop

    def run(self) -> None:
        """Start everything and watch it; returns when ``stop`` was set and all have ended."""
        self._log_folder.mkdir(parents=True, exist_ok=True)
        try:
            while not self._stop.is_set():
                changed = [self._tend(child) for child in self._children]
                if any(changed):
                    self._write_state()
                self._stop.wait(0.25)
                self._keep()
        finally:
            self._end_children()
            self._write_state()
            for keeper in reversed(self._keepers):
                self._end_keeper(keeper)

    def _keep(self) -> None:
        for keeper in self._keepers:
            try:
                if not self._stop.is_set() and keeper.ensure():
                    log.warning("server had ended, started again", extra={"server": keeper.name})
            except VerdigridError as error:
                log.error("server cannot be started", extra={"reason": str(error)})

    def _end_keeper(self, keeper: Keeper) -> None:
        try:
            keeper.end()
        except VerdigridError as error:  # the others must end all the same
            log.error("server cannot be ended", extra={"reason": str(error)})

    def _tend(self, child: Child) -> bool:
        """Start ``child`` where it does not run and its back-off has passed; True on a change."""
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return False
            child.failures = 0 if now - child.started > STEADY_S else child.failures + 1
            wait = BACK_OFF_S[min(child.failures, len(BACK_OFF_S)) - 1] if child.failures else 0.0
            log.warning(
                "process ended, starting it again",
                extra={"child": child.name, "exit_code": code, "wait_s": wait},
            )
            child.process, child.next_start = None, now + wait
            return True
        if now < child.next_start:
            return False
        child.log_path = self._log_folder / f"{child.name}.log"
        with child.log_path.open("ab") as sink:
            child.process = subprocess.Popen(  # noqa: S603 - our own programs
                [sys.executable, *child.arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        child.started = now
        log.info("process started", extra={"child": child.name, "pid": child.process.pid})
        return True

    def _end_children(self) -> None:
        running = [(c, c.process) for c in self._children if c.process and c.process.poll() is None]
        for _, process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for child, process in running:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                log.warning("process did not end, killing it", extra={"child": child.name})
                process.kill()
                process.wait()

    def _write_state(self) -> None:
        state = {
            child.name: {
                "pid": child.process.pid if child.process else None,
                "failures": child.failures,
                "log": str(child.log_path),
            }
            for child in self._children
        }
        draft = self._state_path.with_suffix(".draft")
        draft.write_text(json.dumps(state))
        draft.replace(self._state_path)
