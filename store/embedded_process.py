"""What runs on a data folder: the postmaster its pid file names, and backends left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_EXEC_S = 1.0


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What ``postmaster.pid`` says: the process and the folder of its socket."""

    pid: int
    sockets: Path


def recorded(cluster: Path) -> Postmaster | None:
    """The postmaster named in the folder, whether it lives or not; None without a (whole) file."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        return Postmaster(abs(int(lines[0])), Path(lines[4]))
    except (FileNotFoundError, IndexError, ValueError):
        return None


def alive(pid: int, cluster: Path) -> bool:
    """Whether ``pid`` is a living postmaster of ``cluster``.

    A number alone says little: after a restart of the machine it can be anybody's, and a killed
    child of ours stays a zombie until we ask for it.
    """
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    command = _command(pid)
    return b"postgres" in command and os.fsencode(cluster) in command


def _command(pid: int) -> bytes:
    """The command line; empty for a zombie and for no process."""
    if (_PROC / "self").exists():
        return _command_in_proc(_PROC / str(pid))
    answer = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
    )
    return answer.stdout


def _command_in_proc(folder: Path) -> bytes:
    """For a moment after it was started a program lives and has no arguments yet."""
    deadline = time.monotonic() + _EXEC_S
    while True:
        try:
            command = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            return b""
        if command or state in (b"Z", b"X") or time.monotonic() > deadline:
            return command
        time.sleep(0.001)


def orphans(cluster: Path) -> list[int]:
    """Server processes whose working folder is ``cluster``; only /proc can tell."""
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            at_home = (folder / "cwd").resolve(strict=True) == cluster
            ours = at_home and b"postgres" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if ours:
            found.append(int(folder.name))
    return found


def end_orphans(cluster: Path, patience_s: float = 5.0) -> None:
    """Ends backends whose postmaster was killed.

    Idle ones notice by themselves; one that computes does not, and holds the shared memory that
    a new server must not find in use. Nobody else can use that memory, so ending it is safe.
    Does nothing while a postmaster lives.
    """
    found = recorded(cluster)
    if found and alive(found.pid, cluster):
        return
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for pid in orphans(cluster):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while orphans(cluster) and time.monotonic() < deadline:
            time.sleep(0.05)
