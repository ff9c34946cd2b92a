"""Real servers for the session, a database for each test that commits, one for all that do not.

The embedded server is always there. Others are given by the admin URL of a server that tests may
make roles and databases in: VERDIGRID_TEST_POSTGRES_URL (without TimescaleDB, or with it not
preloaded) and VERDIGRID_TEST_TIMESCALE_URL. Every test of ``connection``, ``database`` or
``empty_url`` runs on each of them, as an ordinary role.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from store.database import Database
from store.embedded import EmbeddedServer
from store.embedded_place import place
from store.embedded_process import alive, end_orphans, recorded
from store.migrate import migrate

ROOT = Path(__file__).parents[2]
ADDRESSES = {
    "postgres": "VERDIGRID_TEST_POSTGRES_URL",
    "timescale": "VERDIGRID_TEST_TIMESCALE_URL",
}


def end(data_dir: Path) -> None:
    """Ends what runs on the folder, at once: the next start recovers as after a crash."""
    if not (data_dir / "cluster").exists():
        return
    spot = place(data_dir)
    found = recorded(spot.cluster)
    if found and alive(found.pid, spot.cluster):
        os.kill(found.pid, signal.SIGQUIT)
        deadline = time.monotonic() + 10
        while alive(found.pid, spot.cluster) and time.monotonic() < deadline:
            time.sleep(0.01)
    end_orphans(spot.cluster)


def clear(data_dir: Path) -> None:
    """Ends what runs on the folder and removes it, also where root has placed it outside."""
    with suppress(Exception):
        end(data_dir)
        shutil.rmtree(place(data_dir).sockets, ignore_errors=True)
    shutil.rmtree((data_dir / "cluster").resolve(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, start_quick_server: Callable[[Path], EmbeddedServer]
) -> Iterator[EmbeddedServer]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    yield start_quick_server(data_dir)
    clear(data_dir)


@dataclass(frozen=True)
class Host:
    """A server that databases are made in, for a role that may do no more than own them."""

    name: str
    admin_url: str
    role: str
    password: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        return make_conninfo(
            self.admin_url, user=self.role, password=self.password, dbname=database
        )

    def run(self, statement: str, **names: str) -> None:
        """Runs an admin's statement with identifiers."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            quoted = {key: Identifier(name) for key, name in names.items()}
            connection.execute(SQL(statement).format(**quoted))  # type: ignore[arg-type]

    def make(self, template: str = "template0") -> str:
        """Makes a database; returns its name. (TimescaleDB's workers visit template1.)"""
        name = f"{self.role}_{next(self.numbers)}"
        statement = "CREATE DATABASE {name} OWNER {role} TEMPLATE {template}"
        self.run(statement, name=name, role=self.role, template=template)
        return name

    def seal(self, name: str) -> None:
        """Closes a database to everybody, TimescaleDB's workers too, as a template must be."""
        self.run("ALTER DATABASE {name} ALLOW_CONNECTIONS false", name=name)
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(query, (name,))


@contextmanager
def _host(name: str, admin_url: str) -> Iterator[Host]:
    host = Host(name, admin_url, f"verdigrid_{secrets.token_hex(4)}", secrets.token_hex(8))
    with psycopg.connect(admin_url, autocommit=True) as connection:
        statement = SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(Identifier(host.role), Literal(host.password)))
    yield host
    if name != "embedded":  # which goes as a whole
        with psycopg.connect(admin_url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s", (host.role,)
            ).fetchall()
            for (database,) in found:
                drop = SQL("DROP DATABASE {} WITH (FORCE)")
                connection.execute(drop.format(Identifier(database)))
            connection.execute(SQL("DROP ROLE {}").format(Identifier(host.role)))


@pytest.fixture(scope="session")
def host_named(server: EmbeddedServer) -> Iterator[Callable[[str], Host]]:
    """The host ``embedded``, ``postgres`` or ``timescale``; skips where its address is not set."""
    with ExitStack() as opened:
        hosts: dict[str, Host] = {}

        def find(name: str) -> Host:
            if name != "embedded" and not os.environ.get(ADDRESSES[name]):
                pytest.skip(f"{ADDRESSES[name]} names no server: its tests were left out")
            if name not in hosts:
                url = server.admin_url if name == "embedded" else os.environ[ADDRESSES[name]]
                hosts[name] = opened.enter_context(_host(name, url))
            return hosts[name]

        yield find


@pytest.fixture(
    scope="session",
    params=[
        "embedded",
        *(name for name, variable in ADDRESSES.items() if os.environ.get(variable)),
    ],
)
def host(request: pytest.FixtureRequest, host_named: Callable[[str], Host]) -> Host:
    """Each server there is, in turn."""
    return host_named(request.param)


@pytest.fixture(scope="session")
def template(host: Host) -> str:
    """The name of a database with the schema and nothing in it."""
    name = host.make()
    with Database(host.url(name)) as database:
        migrate(database)
    host.seal(name)
    return name


@pytest.fixture
def empty_url(host: Host) -> str:
    """A database without any table."""
    return host.url(host.make())


@pytest.fixture
def database(host: Host, template: str) -> Iterator[Database]:
    """A database with the schema and nothing in it."""
    with Database(host.url(host.make(template))) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_database(host: Host, template: str) -> Iterator[Database]:
    with Database(host.url(host.make(template))) as opened:
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
    """A new folder for a server of the test's own, ended and removed afterwards."""
    yield tmp_path / "data"
    clear(tmp_path / "data")


@pytest.fixture(scope="session")
def _used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("used") / "data"
    EmbeddedServer.start(folder)
    yield folder
    clear(folder)


@pytest.fixture
def used_dir(_used: Path) -> Path:
    """The folder of a server that has run before and does not run now; tests crash it in turn."""
    end(_used)
    return _used


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
