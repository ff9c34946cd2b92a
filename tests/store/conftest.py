"""A real server for the session, and a fresh database for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from store.database import Database
from store.embedded import EmbeddedServer
from store.embedded_process import recorded
from store.migrate import migrate

ROOT = Path(__file__).parents[2]


def clear(data_dir: Path) -> None:
    """Stops what runs on the folder and removes it, also where root has placed it outside."""
    if (data_dir / "cluster").exists():
        with suppress(Exception):
            EmbeddedServer.start(data_dir).stop()
    shutil.rmtree((data_dir / "cluster").resolve(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    started = EmbeddedServer.start(data_dir)
    with psycopg.connect(started.admin_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE verdigrid CREATEDB")
        connection.execute("CREATE DATABASE template_city OWNER verdigrid")
    with Database(_named(started.url, "template_city")) as database:
        migrate(database)
    yield started
    started.stop()
    clear(data_dir)


def _named(url: str, name: str) -> str:
    return url.replace("/verdigrid?", f"/{name}?")


_numbers = itertools.count()


@pytest.fixture
def new_url(server: EmbeddedServer) -> Iterator[Callable[[str], str]]:
    """Makes databases from a template; the function returns the URL."""
    made = []

    def make(template: str) -> str:
        name = f"test_{next(_numbers)}"
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        made.append(name)
        return _named(server.url, name)

    yield make
    with psycopg.connect(server.url, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_url(new_url: Callable[[str], str]) -> str:
    """A database without any table."""
    return new_url("template1")


@pytest.fixture
def database(new_url: Callable[[str], str]) -> Iterator[Database]:
    """A database with the schema and nothing in it."""
    with Database(new_url("template_city")) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_database(server: EmbeddedServer) -> Iterator[Database]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared TEMPLATE template_city")
    with Database(_named(server.url, "shared")) as opened:
        yield opened


@pytest.fixture
def connection(shared_database: Database) -> Iterator[psycopg.Connection]:
    """A connection to a database with the schema and nothing in it, in a transaction that is taken
    back after it has passed the checks of a commit.
    """
    with shared_database.connection() as borrowed:
        yield borrowed
        if borrowed.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            borrowed.execute("SET CONSTRAINTS ALL IMMEDIATE")
        borrowed.rollback()


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server of the test's own, stopped and removed afterwards."""
    yield tmp_path / "data"
    clear(tmp_path / "data")


@pytest.fixture
def kill_server() -> Callable[[Path], int]:
    """kill -9 of the postmaster on a data folder; returns when it is gone."""

    def kill(data_dir: Path) -> int:
        found = recorded((data_dir / "cluster").resolve())
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(found.pid, os.WNOHANG)
            try:
                os.kill(found.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.01)
        return found.pid

    return kill


@pytest.fixture
def python() -> Callable[..., subprocess.Popen[str]]:
    """Starts a Python program that can import the project."""

    def start(
        code: str, *arguments: object, program: str = sys.executable, **options: object
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [program, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={
                "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}",
                "PATH": os.environ["PATH"],
            },
            **options,  # type: ignore[call-overload]
        )

    return start
