"""The command line that every peer's script shares."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(purpose: str | None) -> argparse.Namespace:
    """case and answer (paths of npz files), option (dict of the solver's options)."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("case", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument(
        "--option", action="append", default=[], help="NAME=VALUE of HiGHS, any number of times"
    )
    asked = parser.parse_args()
    asked.option = dict(text.split("=", 1) for text in asked.option)
    return asked
