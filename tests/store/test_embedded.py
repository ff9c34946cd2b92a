"""The launcher: what a start must survive, and how it says that it cannot."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest

from core.errors import StoreUnavailableError, StoreVersionError
from store.embedded import EmbeddedServer
from store.embedded_place import place
from store.embedded_process import alive, recorded

Python = Callable[..., subprocess.Popen[str]]

START = """
import sys
from pathlib import Path
from core.errors import VerdigridError
from store.embedded import EmbeddedServer
try:
    server = EmbeddedServer.start(Path(sys.argv[1]))
except VerdigridError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(server.started_here, server.url, flush=True)
"""
AND_STAY = (
    "import signal, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where tests run behind
    f"{START}time.sleep(600)\n"
)
AND_STOP = START + "server.stop()\n"


def ask(server: EmbeddedServer, question: str = "SELECT 1") -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute(question).fetchone()
        return row[0] if row else None


def said(process: subprocess.Popen[str]) -> tuple[bool, str]:
    """What a started program printed: whether it started the server, and its URL."""
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    started_here, url = output.split()
    return started_here == "True", url


def test_start_attach_stop_and_start_again_keeps_the_data(data_dir: Path) -> None:
    first = EmbeddedServer.start(data_dir)
    second = EmbeddedServer.start(data_dir)
    assert (first.started_here, second.started_here) == (True, False)
    assert first.url == second.url
    with psycopg.connect(first.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    second.stop()  # whoever started it
    with pytest.raises(psycopg.OperationalError):
        ask(first)
    second.stop()  # harmless when nothing runs
    again = EmbeddedServer.start(data_dir)
    assert again.started_here
    assert again.url == first.url, "clients that reconnect find it at the same address"
    assert ask(again, "SELECT answer FROM kept") == 42


def test_settings_that_durability_and_privacy_rest_on(used_dir: Path) -> None:
    server = EmbeddedServer.start(used_dir)
    expected = {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }
    assert {name: ask(server, f"SHOW {name}") for name in expected} == expected
    assert ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


def test_socket_folder_admits_the_server_account_only(server: EmbeddedServer) -> None:
    folder = Path(unquote(server.url.split("host=")[1]))
    facts = folder.stat()
    assert stat.S_IMODE(facts.st_mode) == 0o700
    assert facts.st_uid == (server.data_dir / "cluster").stat().st_uid
    assert (os.geteuid() != 0) or facts.st_uid != 0, "root hands the server to another account"


def test_two_processes_on_one_new_folder(data_dir: Path, python: Python) -> None:
    answers = [said(p) for p in [python(START, data_dir) for _ in range(2)]]
    assert sorted(started_here for started_here, _ in answers) == [False, True]
    assert len({url for _, url in answers}) == 1


def test_kill_9_of_the_launcher_leaves_the_server(used_dir: Path, python: Python) -> None:
    launcher = python(AND_STAY, used_dir)
    assert launcher.stdout is not None
    assert launcher.stdout.readline().startswith("True")
    launcher.kill()
    launcher.communicate()
    found = EmbeddedServer.start(used_dir)
    assert not found.started_here
    assert ask(found) == 1


def test_ctrl_c_at_the_launcher_leaves_the_server(used_dir: Path, python: Python) -> None:
    launcher = python(AND_STAY, used_dir, start_new_session=True)
    assert launcher.stdout is not None
    assert launcher.stdout.readline().startswith("True")
    os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does
    launcher.communicate()
    assert not EmbeddedServer.start(used_dir).started_here


@pytest.mark.parametrize("after_s", [0.2, 0.6])
def test_kill_9_of_the_launcher_while_it_prepares_the_folder(
    data_dir: Path, python: Python, after_s: float
) -> None:
    launcher = python(AND_STAY, data_dir)
    time.sleep(after_s)
    launcher.kill()
    launcher.communicate()
    assert ask(EmbeddedServer.start(data_dir)) == 1


def test_kill_9_of_the_server(used_dir: Path, kill_server: Callable[[Path], int]) -> None:
    server = EmbeddedServer.start(used_dir)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept_after_kill AS SELECT 42 AS answer")
    kill_server(used_dir)
    again = EmbeddedServer.start(used_dir)
    assert again.started_here
    assert again.url == server.url
    assert ask(again, "SELECT answer FROM kept_after_kill") == 42


def test_a_server_is_alive_from_its_first_moment() -> None:
    """Before the kernel shows its arguments; else it would be ended as somebody's orphan."""
    cluster = Path("/some/cluster")
    for _ in range(100):
        command = [f"postgres -D {cluster}", "600"]
        with subprocess.Popen(command, executable="/bin/sleep", start_new_session=True) as child:
            living = alive(child.pid, cluster)
            child.kill()
        assert living
        assert not alive(child.pid, cluster)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="orphans are found through /proc")
def test_a_backend_that_computes_on_after_its_server_was_killed(
    used_dir: Path, kill_server: Callable[[Path], int]
) -> None:
    """It notices nothing, and holds the shared memory that the new server needs."""
    server = EmbeddedServer.start(used_dir)

    def compute() -> None:
        with pytest.raises(psycopg.OperationalError):
            ask(server, "DO $$ BEGIN LOOP END LOOP; END $$")

    thread = threading.Thread(target=compute)
    thread.start()
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"
    while ask(server, busy) == 0:
        time.sleep(0.02)
    kill_server(used_dir)
    assert ask(EmbeddedServer.start(used_dir)) == 1
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_stale_pid_that_belongs_to_somebody_else_now(
    used_dir: Path, kill_server: Callable[[Path], int]
) -> None:
    """After a restart of the machine the number is in use again, by the same account."""
    server = EmbeddedServer.start(used_dir)
    pid = kill_server(used_dir)
    spot = place(used_dir)
    with subprocess.Popen(["/bin/sleep", "600"], cwd="/", **spot.identity) as other:
        for file in (spot.cluster / "postmaster.pid", spot.sockets / ".s.PGSQL.5432.lock"):
            file.write_text(file.read_text().replace(str(pid), str(other.pid), 1))
        again = EmbeddedServer.start(used_dir)
        other.kill()
    assert again.started_here
    assert ask(server) == 1


def test_folder_of_another_major_version(data_dir: Path) -> None:
    """Made by a real PostgreSQL 16, which the package brings as well."""
    spot = place(data_dir)
    older = spot.binaries.parent.parent / "pginstall" / "bin" / "initdb"
    if not older.exists():
        pytest.skip("the PostgreSQL package has no older version beside")
    spot.cluster.mkdir(mode=0o700)
    spot.give(spot.cluster)
    command = [str(older), "-D", str(spot.cluster), "-U", "postgres", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", env={}, **spot.identity)
    with pytest.raises(StoreVersionError, match=r"belongs to PostgreSQL 16.*another folder"):
        EmbeddedServer.start(data_dir)


def test_folder_that_is_a_bare_cluster(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("18\n")
    with pytest.raises(StoreVersionError, match="name an empty folder"):
        EmbeddedServer.start(data_dir)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreUnavailableError, match="cannot be used by this account"):
        EmbeddedServer.start(tmp_path / "data")


def test_socket_path_too_long(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Directly under /tmp, so that root's unprivileged account can pass and no other is chosen.
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        Path(short).chmod(0o755)
        long = Path(short) / ("x" * 100)
        long.mkdir(mode=0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        with pytest.raises(StoreUnavailableError, match=r"too long for a socket.*TMPDIR"):
            EmbeddedServer.start(data_dir)


def test_socket_folder_taken_by_somebody_else(data_dir: Path) -> None:
    sockets = place(data_dir).sockets
    sockets.symlink_to("/")
    try:
        with pytest.raises(StoreUnavailableError, match="belongs to somebody else"):
            EmbeddedServer.start(data_dir)
    finally:
        sockets.unlink()


def test_damaged_folder_is_reported_in_the_words_of_the_server(data_dir: Path) -> None:
    EmbeddedServer.start(data_dir).stop()
    (data_dir / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(StoreUnavailableError, match=r"ended while starting: .*pg_control"):
        EmbeddedServer.start(data_dir)


class TestAsAnotherUser:
    """Root's tests, repeated by an ordinary user beside root's own server."""

    @pytest.fixture
    def nobody(self, python: Python) -> Iterator[tuple[dict[str, object], Path]]:
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        account = pwd.getpwnam("nobody")
        identity: dict[str, object] = {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": [],
        }
        for program in (sys.executable, "/usr/bin/python3"):
            with suppress(OSError):
                probe = python("import store.embedded", program=program, **identity)
                probe.communicate()
                if probe.returncode == 0:
                    identity["program"] = program
                    break
        else:
            pytest.skip("neither Python nor the project is in a folder that other users can enter")
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        os.chown(folder, account.pw_uid, account.pw_gid)
        yield identity, folder
        shutil.rmtree(folder)

    def test_each_has_a_server_of_their_own(
        self,
        server: EmbeddedServer,
        python: Python,
        nobody: tuple[dict[str, object], Path],
    ) -> None:
        identity, folder = nobody
        started_here, url = said(python(AND_STOP, folder / "data", **identity))
        assert started_here
        assert url != server.url
        assert ask(server) == 1

    def test_the_folder_of_somebody_else(
        self,
        server: EmbeddedServer,
        python: Python,
        nobody: tuple[dict[str, object], Path],
    ) -> None:
        identity, _ = nobody
        refused = python(START, server.data_dir, **identity)
        _, errors = refused.communicate(timeout=60)
        assert refused.returncode == 1
        assert errors.startswith("StoreUnavailableError: The data folder")
        assert "Permission denied" in errors
        assert len(errors.strip().splitlines()) == 1

    def test_the_server_of_somebody_else(
        self,
        server: EmbeddedServer,
        python: Python,
        nobody: tuple[dict[str, object], Path],
    ) -> None:
        identity, _ = nobody
        connect = "import psycopg, sys; psycopg.connect(sys.argv[1])"
        refused = python(connect, server.url, **identity)
        assert "Permission denied" in refused.communicate(timeout=60)[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every folder")
def test_unreadable_folder(data_dir: Path) -> None:
    data_dir.mkdir()
    data_dir.chmod(0)
    try:
        with pytest.raises(StoreUnavailableError, match="Permission denied"):
            EmbeddedServer.start(data_dir)
    finally:
        data_dir.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another account")
def test_root_places_data_outside_a_private_folder_and_finds_it_again(tmp_path: Path) -> None:
    """Also when the folder has been opened meanwhile."""
    private = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        server = EmbeddedServer.start(private / "data")
        placed = (private / "data" / "cluster").resolve()
        assert not placed.is_relative_to(private)
        server.stop()
        private.chmod(0o755)
        again = EmbeddedServer.start(private / "data")
        assert recorded(placed) is not None
        again.stop()
        shutil.rmtree(placed)
    finally:
        shutil.rmtree(private)
