"""What all tests share: nothing that a test changes in the process outlives it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


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
