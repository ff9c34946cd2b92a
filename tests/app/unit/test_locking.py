"""One supervisor a folder: the kernel holds the lock, the file only says whose it is."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.locking import ProcessLock
from core.errors import ServiceError

Program = Callable[..., subprocess.Popen[str]]

HOLD = """
import sys, time
from pathlib import Path
from app.locking import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(600)
"""
ASK_OFTEN = """
import sys, time
from pathlib import Path
from app.locking import ProcessLock
print("asks", flush=True)
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    ProcessLock(Path(sys.argv[1])).holder()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "supervisor.lock"


def hold(program: Program, path: Path) -> subprocess.Popen[str]:
    holder = program(HOLD, path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    return holder


def test_a_second_process_is_refused_and_told_who_holds_it(program: Program, path: Path) -> None:
    holder = hold(program, path)
    lock = ProcessLock(path)
    assert not lock.acquire()
    assert lock.holder() == holder.pid
    with pytest.raises(ServiceError, match=rf"already runs .*process {holder.pid}.*down"), lock:
        pass


def test_kill_9_of_the_holder_frees_the_lock(program: Program, path: Path) -> None:
    holder = hold(program, path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.read_text() == str(holder.pid)  # the file is not what counts
    assert ProcessLock(path).holder() is None
    with ProcessLock(path) as lock:
        assert lock.holder() == os.getpid()
        assert ProcessLock(path).holder() == os.getpid()


def test_asking_takes_nothing_and_leaves_nothing(path: Path) -> None:
    assert ProcessLock(path).holder() is None
    assert not path.parent.exists()  # asking about a folder does not make it
    path.parent.mkdir()
    path.write_text("4711")  # of a holder that was killed
    assert ProcessLock(path).holder() is None
    assert path.read_text() == "4711"


def test_somebody_who_asks_all_the_time_does_not_keep_a_start_away(
    program: Program, path: Path
) -> None:
    with ProcessLock(path):
        pass
    asker = program(ASK_OFTEN, path, 3)
    assert asker.stdout is not None
    asker.stdout.readline()
    for _ in range(20):
        with ProcessLock(path) as lock:
            assert lock.holder() == os.getpid()


def test_released_it_can_be_taken_again(path: Path) -> None:
    first, second = ProcessLock(path), ProcessLock(path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    first.release()  # harmless
    assert second.acquire()
    second.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match=r"file/run cannot be used .*VERDIGRID_HOME"):
        ProcessLock(tmp_path / "file" / "run" / "lock").acquire()
