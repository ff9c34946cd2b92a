"""What all tests share: nothing that a test changes in the process outlives it; who goes first."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from store import embedded
from store.embedded import EmbeddedServer

# How long a draw takes never decides a test: the machine may be busy.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")

LONGEST_FIRST = (
    "app/test_city_day.py",
    "dashboards/test_pages_browser.py",
    "ingest/test_durability.py",
    "store/test_embedded.py",
    "dashboards/test_dispatch_browser.py",
    "app/unit/test_cli.py",
    "optimization/test_margins.py",
    "app/unit/test_dispatcher.py",
    "optimization/test_city_day.py",
    "ingest/test_ocpp_server.py",
    "sandbox/test_live.py",
    "app/unit/test_web.py",
    "app/unit/test_ingest_api.py",
)
"""Files of more than half a minute: handed out last, one of them keeps a single worker busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first. Workers that share the tests by file take them in this order."""
    here = Path(__file__).parent
    turn = {here / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: turn.get(item.path, len(turn)))  # stable


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command that is called in this process sets up its logs; the next test has its own."""
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in root.manager.loggerDict}
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name in root.manager.loggerDict:
        logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


@pytest.fixture(scope="session")
def start_quick_server() -> Callable[[Path], EmbeddedServer]:
    """Starts an embedded server that does not wait for the disk: no test pulls its plug."""

    def start(data_dir: Path) -> EmbeddedServer:
        with pytest.MonkeyPatch.context() as patch:
            quick = [s for s in embedded.SETTINGS if not s.startswith("fsync=")]
            patch.setattr(embedded, "SETTINGS", (*quick, "fsync=off"))
            return EmbeddedServer.start(data_dir)

    return start


@pytest.fixture(scope="session")
def chromium_program() -> str | None:
    """What opens pages. The shell comes first: it has no windows to draw. An empty page takes a
    quarter of the processor time that it takes in the browser even without a screen."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def hold_port() -> Iterator[Callable[[], int]]:
    """Gives ports that nobody listens on, and that no other program is given before the tests end.

    A socket that never listens holds each; servers are let in, because they reuse addresses.
    """
    with ExitStack() as holders:

        def hold() -> int:
            holder = holders.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
            return int(holder.getsockname()[1])

        yield hold


@pytest.fixture
def free_port(hold_port: Callable[[], int]) -> int:
    """One of them."""
    return hold_port()
