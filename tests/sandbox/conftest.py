"""One city for all tests: what was read out of SimBench is kept for the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.sites import Site
from sandbox import city, materialcache
from sandbox.materials import Materials


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("materials")


@pytest.fixture(scope="session")
def source(cache: Path) -> Materials:
    return materialcache.load(cache)


@pytest.fixture(scope="session")
def site(source: Materials) -> Site:
    return city.build(source, seed=1)
