"""What all tests share: nothing that a test changes in the process outlives it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

# How long a draw takes never decides a test: the machine may be busy.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")


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
