"""A disk of one's own that can be full: a tmpfs of fixed size for everything the run writes.

Where it cannot be mounted (no root, or a container without the right) the run lives in an ordinary
folder, and only ``limit_files`` is left.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

SIZE_MB = 1_024
_PIECE = 1 << 20


class Disk:
    """A folder for a run; ``why_not`` says why it cannot be filled, empty where it can.

    logs: a folder beside it, where there is room at any time.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="verdigrid-faults-"))
        # The database's account has to come in; PostgreSQL does not run as root.
        self.folder.chmod(0o755)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "none"]
        command.append(str(self.folder))
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.why_not = done.stderr.strip() if done.returncode else ""
        except OSError as error:
            self.why_not = str(error)
        self.logs = Path(tempfile.mkdtemp(prefix="verdigrid-faults-logs-"))
        self._mounted = not self.why_not
        self._ballast = self.folder / "ballast"

    def fill(self) -> None:
        """Leave no byte free; what is freed meanwhile may be used."""
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), _PIECE)
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    @property
    def free_bytes(self) -> int:
        """What is free."""
        return shutil.disk_usage(self.folder).free

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
        for folder in (self.folder, self.logs):
            shutil.rmtree(folder, ignore_errors=True)


def limit_files(pid: int, size: int = resource.RLIM_INFINITY) -> None:
    """Let a running process of this account write no file beyond ``size`` bytes."""
    with suppress(ProcessLookupError):
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
