"""Columns: a piece of a file, read but not yet mapped, as arrays instead of objects.

Device, tag and unit come as codes into the few distinct triples of the piece, so that mapping
costs one look-up per triple and a few multiplications of whole arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read. ``line`` counts from 1, a CSV's header included."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Columns:
    """n readable rows and the rows that are not.

    names: the distinct (device, tag, unit or None).
    code, line, ts_us: int64 (n,); code points into names, ts_us counts from 1970-01-01 UTC.
    value: float64 (n,), finite. quality: int16 (n,), the flags the file gave, else 0.
    """

    names: list[tuple[str, str, str | None]]
    code: np.ndarray
    line: np.ndarray
    ts_us: np.ndarray
    value: np.ndarray
    quality: np.ndarray
    bad: list[BadRow]

    @property
    def rows(self) -> int:
        """How many rows of the file this piece stands for."""
        return len(self.line) + len(self.bad)
