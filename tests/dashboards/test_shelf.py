"""What pages keep in memory is read by many requests at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import xarray as xr

from dashboards.queries.dispatch import settle

LINES = 300


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can, so that they meet where they may not."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def together(work: Callable[[], object], threads: int = 4) -> None:
    """Raises what ``work`` raises in any of so many threads that begin it at the same moment."""
    start = threading.Barrier(threads)

    def one(_number: int) -> None:
        start.wait()
        work()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(threads)))


@pytest.mark.usefixtures("hurried")
def test_a_plan_is_read_by_several_requests_at_once() -> None:
    """Without ``settle`` about one in three of these fails with labels that are not unique."""
    for _ in range(40):
        flow = xr.Dataset(
            {"line_loading_percent": (("time", "line"), np.zeros((4, LINES)))},
            coords={"line": np.arange(LINES)},
        )
        settle(flow)
        together(partial(flow["line_loading_percent"].sel, line=[*range(LINES)]))
