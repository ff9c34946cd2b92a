"""What the data interface and the commands of series have in common: questions as people put them,
and answers that JSON can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd

from app.tables import records
from core.errors import ConfigurationError
from core.readings import Quality
from store.catalogue import Box


def quality(names: Sequence[str]) -> Quality:
    """Flags by their names in any case (``late``, ``out_of_range``, ...), ``good`` for none.

    Raises ConfigurationError naming those there are.
    """
    found = Quality.GOOD
    for name in names:
        try:
            found |= Quality[name.upper().replace("-", "_")]
        except KeyError:
            known = ", ".join(str(flag.name).lower() for flag in (Quality.GOOD, *Quality))
            raise ConfigurationError(
                f"There is no flag {name!r} of a reading; there are {known}."
            ) from None
    return found


def flag_names(flags: int) -> list[str]:
    """The names of the flags of a reading; nothing for a good one."""
    return [str(flag.name).lower() for flag in Quality if flag & flags]


def box(text: str) -> Box:
    """``south,west,north,east`` in degrees; raises ConfigurationError for anything else."""
    try:
        south, west, north, east = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no box: give south,west,north,east in degrees."
        ) from None
    return south, west, north, east


def series_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a search: durations in seconds (``resolution_s``, ``age_s``), flags by name."""
    rows = []
    for row in records(table):
        flags = row.pop("quality")
        rows.append(
            {
                **{name: row[name] for name in row if name not in ("resolution", "age")},
                "flags": None if flags is None else flag_names(int(flags)),
                "resolution_s": _seconds(row["resolution"]),
                "age_s": _seconds(row["age"]),
            }
        )
    return rows


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()
