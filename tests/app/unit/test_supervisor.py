"""The supervisor over real processes: restarted, backed off, ended together, killed if need be."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app import supervisor
from app.supervisor import Child, Keeper, Supervisor
from core.errors import ServiceError, StoreUnavailableError

SLEEP = "import time; time.sleep(600)"
LAST_WORDS = """
import signal, sys, time
name, path = sys.argv[1:3]
def end(*_):
    with open(path, "a") as sink:
        sink.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(600)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


class Running:
    """A supervisor in a thread, seen through its state file as `verdigrid up` sees it."""

    def __init__(self, folder: Path, children: Sequence[Child], keepers: Sequence[Keeper]) -> None:
        self.folder = folder
        self.state_path = folder / "processes.json"
        self.stop = threading.Event()
        inner = Supervisor(
            children,
            keepers=keepers,
            log_folder=folder / "logs",
            state_path=self.state_path,
            stop=self.stop,
        )
        self.thread = threading.Thread(target=inner.run)

    def state(self) -> dict[str, Any]:
        if not self.state_path.exists():
            return {}
        found: dict[str, Any] = json.loads(self.state_path.read_text())  # never half a file
        return found

    def pid(self, name: str) -> int | None:
        found: int | None = self.state().get(name, {}).get("pid")
        return found

    def log(self, name: str) -> str:
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A context with a running supervisor; stopped and ended at its end."""
    numbers = itertools.count()

    @contextmanager
    def run(*children: Child, keepers: Sequence[Keeper] = ()) -> Iterator[Running]:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        running = Running(folder, children, keepers)
        running.thread.start()
        try:
            yield running
        finally:
            running.stop.set()
            running.thread.join(60)
            assert not running.thread.is_alive()

    return run


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_that_is_killed_comes_back(
    supervise: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    with supervise(Child("a", ("-c", SLEEP)), Child("b", ("-c", SLEEP))) as running:
        eventually("both run", lambda: running.pid("a") and running.pid("b"))
        first, other = running.pid("a"), running.pid("b")
        os.kill(first, signal.SIGKILL)
        eventually("a new process", lambda: running.pid("a") not in (None, first))
        assert running.state()["a"]["failures"] == 1
        assert running.pid("b") == other  # untouched
        second = running.pid("a")
    assert gone(second)
    assert gone(other)


def test_what_keeps_failing_is_tried_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
    supervise: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0.0, 0.2, 600.0))
    failing = Child("bad", ("-c", "import sys; sys.exit('the reason')"))
    with supervise(failing, Child("good", ("-c", SLEEP))) as running:
        eventually("three failures", lambda: running.state().get("bad", {}).get("failures") == 3)
        assert running.log("bad").count("the reason") == 3  # it now waits for ten minutes
        assert running.pid("bad") is None
        assert running.pid("good") is not None
        # `verdigrid up` tells the last words out of this log.
        assert running.state()["bad"]["log"] == str(running.folder / "logs" / "bad.log")


def test_what_ran_steadily_starts_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
    supervise: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    monkeypatch.setattr(supervisor, "STEADY_S", -1.0)  # every process has run long enough
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (600.0,))
    with supervise(Child("a", ("-c", SLEEP))) as running:
        eventually("it runs", lambda: running.pid("a"))
        first = running.pid("a")
        os.kill(first, signal.SIGKILL)
        eventually("a new process", lambda: running.pid("a") not in (None, first))
        assert running.state()["a"]["failures"] == 0


def test_children_end_together_and_the_keepers_after_them_in_reverse_order(
    supervise: Callable[..., Any], eventually: Callable[..., None], tmp_path: Path
) -> None:
    order = tmp_path / "order"
    names = ("ingest", "web", "schedule")
    children = [Child(n, ("-c", LAST_WORDS, n, str(order))) for n in names]

    def keeper(name: str) -> Keeper:
        def end() -> None:
            with order.open("a") as sink:
                sink.write(f"{name}\n")

        return Keeper(name, ensure=lambda: False, end=end)

    with supervise(*children, keepers=[keeper("database"), keeper("broker")]) as running:
        eventually("all are ready", lambda: all("ready" in running.log(n) for n in names))
    ended = order.read_text().split()
    assert sorted(ended[:3]) == ["ingest", "schedule", "web"]
    assert ended[3:] == ["broker", "database"]


def test_what_does_not_listen_is_killed(
    monkeypatch: pytest.MonkeyPatch,
    supervise: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 0.3)
    names = ("deaf", "deaf too")
    with supervise(*(Child(name, ("-c", DEAF)) for name in names)) as running:
        eventually("both are deaf", lambda: all("ready" in running.log(name) for name in names))
        pids = [running.pid(name) for name in names]
    assert all(gone(pid) for pid in pids)


def test_a_server_that_died_is_started_again_and_one_that_cannot_is_tried_on(
    supervise: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    asked = {"database": 0, "broker": 0}

    def database() -> bool:
        asked["database"] += 1
        if asked["database"] < 3:
            raise StoreUnavailableError("not yet")
        return asked["database"] == 3

    def broker() -> bool:
        asked["broker"] += 1
        return False

    keepers = [Keeper("database", database, lambda: None), Keeper("broker", broker, lambda: None)]
    with supervise(Child("a", ("-c", SLEEP)), keepers=keepers) as running:
        eventually("asked again and again", lambda: asked["database"] > 4)
        assert asked["broker"] > 2  # one that fails is not in the other's way
        assert running.pid("a") is not None


def test_a_server_that_does_not_end_keeps_no_other_from_ending(
    supervise: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    ended: list[str] = []

    def stuck() -> None:
        raise ServiceError("it does not end")

    keepers = [
        Keeper("database", lambda: False, lambda: ended.append("database")),
        Keeper("broker", lambda: False, stuck),
    ]
    with supervise(Child("a", ("-c", SLEEP)), keepers=keepers) as running:
        eventually("it runs", lambda: running.pid("a"))
    assert ended == ["database"]


def test_the_state_file_is_never_half_written(
    supervise: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """It is read all the time while children die and come back; ``state`` fails on half a file."""
    with supervise(Child("a", ("-c", SLEEP)), Child("b", ("-c", "pass"))) as running:
        seen: set[int] = set()

        def restarted_often() -> bool:
            state = running.state()
            assert not state or set(state) == {"a", "b"}
            seen.add(state.get("b", {}).get("failures", 0))
            return len(seen) >= 3

        eventually("a few restarts", restarted_often)
    assert running.state()["a"]["pid"] is not None
    assert not list(running.folder.glob("*.draft"))


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
time.sleep(600)
"""
TIED = """
from app.lifeline import end_with_parent
end_with_parent()
print("tied", flush=True)
import time
time.sleep(600)
"""


def state_of(pid: int) -> str:
    """R, S, Z, ... as Linux tells it; empty for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_a_tied_child_ends_when_its_parent_is_killed_outright(
    program: Callable[..., subprocess.Popen[str]], eventually: Callable[..., None]
) -> None:
    parent = program(PARENT, TIED)
    assert parent.stdout is not None
    pid, said = parent.stdout.readline().split()
    assert said == "tied"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    # Whoever inherits it may collect it late: a process that has ended is what counts.
    eventually("the child has ended", lambda: state_of(int(pid)) in ("", "Z"))
