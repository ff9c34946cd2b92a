"""The command line that every peer's script shares."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Model = TypeVar("Model")


def arguments(purpose: str | None) -> argparse.Namespace:
    """case and answer (paths of npz files), repeat, option (dict of the solver's options)."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("case", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument(
        "--option", action="append", default=[], help="NAME=VALUE of HiGHS, any number of times"
    )
    parser.add_argument("--repeat", type=int, default=1, help="times to solve; medians are told")
    asked = parser.parse_args()
    asked.option = dict(text.split("=", 1) for text in asked.option)
    return asked


def repeated(
    solve: Callable[[], tuple[Model, float, float]], times: int
) -> tuple[Model, float, float]:
    """The last model, and the medians of the seconds to build it and of everything."""
    found = [solve() for _ in range(times)]
    return (
        found[-1][0],
        statistics.median(build_s for _, build_s, _ in found),
        statistics.median(total_s for _, _, total_s in found),
    )
