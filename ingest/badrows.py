"""Bad rows of a file or a request for the quarantine: one by one up to a bound, then as counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.readings import Rejected
from ingest.columns import KEPT_ROWS, BadRow
from ingest.wire import shown

FIRST_REASONS = 20


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is bad; column is empty where the whole row is meant."""

    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        place = f"row {self.row}" + (f", column {self.column}" if self.column else "")
        return f"{place}: {self.reason}"


class BadRows:
    """The bad rows of one ``source`` (``file/<name>``, ``http/<account>``).

    now: the city time that stands on what is rejected. A wrong file has millions of bad rows:
    only ``KEPT_ROWS`` are kept one by one, the others are counted by their reason.
    """

    def __init__(self, source: str, now: datetime) -> None:
        self._source, self._now = shown(source), now
        self._left = KEPT_ROWS
        self._beyond: Counter[str] = Counter()
        self._first: list[Reason] = []
        self.count = 0

    @property
    def first(self) -> tuple[Reason, ...]:
        """The first reasons, for people."""
        return tuple(self._first)

    def take(self, rows: Sequence[BadRow]) -> list[Rejected]:
        """Count the rows; those that are kept one by one."""
        self.count += len(rows)
        kept, beyond = rows[: self._left], rows[self._left :]
        self._left -= len(kept)
        self._beyond.update(row.reason for row in beyond)
        for row in kept[: FIRST_REASONS - len(self._first)]:
            self._first.append(Reason(row.line, row.column, row.reason))
        return [self._entry(row) for row in kept]

    def rest(self) -> list[Rejected]:
        """What stands for the rows that were only counted, one for each reason."""
        return [
            Rejected(self._source, f"{reason} ({count} further rows)", b"", self._now)
            for reason, count in self._beyond.items()
        ]

    def _entry(self, row: BadRow) -> Rejected:
        detail = {"line": str(row.line)}
        if row.column:
            detail["column"] = row.column
        if row.device:
            detail["device"] = row.device
        return Rejected(self._source, row.reason, row.text.encode(), self._now, detail)
