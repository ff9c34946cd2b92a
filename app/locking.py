"""One supervisor a folder: a file lock that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from app.settings import Settings
from core.errors import ServiceError

TRIES = 5
"""Somebody asking who holds the lock takes it for an instant; that must not look like a holder."""


def _take(descriptor: int) -> bool:
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


class ProcessLock:
    """A lock file that also tells the process id of its holder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False when another process holds it. Raises ServiceError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        if not _take(descriptor):
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """Process id of the holder, None when nobody holds the lock. Raises ServiceError."""
        if self._descriptor is not None:
            return os.getpid()
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            if _take(descriptor):
                return None
            # Read while somebody holds the lock: before, the number may be that of a dead one.
            text = os.read(descriptor, 32).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
        return int(text) if text.isdigit() else None

    def _unusable(self, error: OSError) -> ServiceError:
        return ServiceError(
            f"The folder {self.path.parent} cannot be used ({error.strerror}); "
            "choose another with VERDIGRID_HOME."
        )

    def __enter__(self) -> ProcessLock:
        if not self.acquire():
            raise ServiceError(
                f"Verdigrid already runs from {self.path.parent.parent} (process {self.holder()}); "
                "stop it with `verdigrid down`."
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def supervisor_lock(settings: Settings) -> ProcessLock:
    """The lock that the running supervisor of an installation holds."""
    return ProcessLock(settings.run_folder / "supervisor.lock")
