"""Columns: a piece of a file, read but not yet mapped, as arrays instead of objects.

Device, tag and unit come as codes into the few distinct triples of the piece, so that mapping
costs one look-up per triple and a few multiplications of whole arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from core.timeaxis import from_us
from ingest.decoded import Name

BY_KEY = "\u2060series"
"""The tag of a reading that names its series itself, by its key in place of a device.

Not printable, so that no wire can say it (ingest/wire.py): devices speak of their tags only.
"""

KEPT_ROWS = 1_000
"""Bad rows of a file or request that are kept one by one; of further ones the reasons count."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read. ``line`` counts from 1, a CSV's header included.

    text: what is kept of the row, a JSON object that ingest/protocols/readings.py can read again.
    column: the column at fault, where it is one. device: empty where it was not read.
    """

    line: int
    reason: str
    text: str
    column: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """n readable rows and the rows that are not.

    names: the distinct (device, tag, unit or None).
    code, line, ts_us: int64 (n,); code points into names, ts_us counts from 1970-01-01 UTC.
    value: float64 (n,), finite. quality: int16 (n,), the flags the file gave, else 0.
    """

    names: list[Name]
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

    def refuse(self, mask: np.ndarray, reason: str) -> Columns:
        """Without the rows of ``mask``, bool (n,), which become bad ones."""
        if not mask.any():
            return self
        bad = [*self.bad, *self.bad_rows(np.flatnonzero(mask), [reason] * len(self.names))]
        code, line, ts_us, value, quality = (
            a[~mask] for a in (self.code, self.line, self.ts_us, self.value, self.quality)
        )
        return Columns(self.names, code, line, ts_us, value, quality, bad)

    def bad_rows(self, rows: np.ndarray, reasons: Sequence[str]) -> list[BadRow]:
        """The rows with these indices as bad ones; reasons: one for each name."""
        return [
            BadRow(
                int(self.line[i]),
                reasons[self.code[i]],
                self._text(int(i)) if n < KEPT_ROWS else "",
                device=self.names[self.code[i]][0],
            )
            for n, i in enumerate(rows)
        ]

    def _text(self, i: int) -> str:
        device, tag, unit = self.names[self.code[i]]
        reading: dict[str, object]
        reading = {"series": device} if tag == BY_KEY else {"device": device, "tag": tag}
        if unit is not None:
            reading["unit"] = unit
        reading["ts"] = from_us(self.ts_us[i]).isoformat()
        reading["value"] = float(self.value[i])
        if self.quality[i]:
            reading["quality"] = int(self.quality[i])
        return orjson.dumps(reading).decode()
