"""The Data desk: what reports, what is missing, and any series over any range."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import xarray as xr

from core.timeaxis import QUARTER_HOUR
from dashboards.queries.period import Period
from store import catalogue, gaps, online, quarantine, readings
from store.database import Connection

SHOWN = 40
"""Series a search shows at most; who looks for more gives another word."""
PIXELS = 720
"""Points of a course at most: a chart is seldom wider on a screen."""


@dataclass(frozen=True, slots=True)
class Data:
    """What the page shows.

    rates: kind, district, total, online, rate. found: the rows of store.catalogue.search. missing:
    the rows of store.gaps.find for the found series. held: unresolved messages by reason.
    rows, exact, newest: how many readings there are (an estimate unless exact) and their newest
    time. chosen: the row of the series in the chart; course: its mean, minimum, maximum over
    (time, series). Both None without any.
    """

    rates: pd.DataFrame
    found: pd.DataFrame
    missing: pd.DataFrame
    held: dict[str, int]
    rows: int
    exact: bool
    newest: datetime | None
    chosen: dict[str, Any] | None
    course: xr.Dataset | None

    @property
    def total(self) -> int:
        """Devices that are expected to report."""
        return int(self.rates["total"].sum())

    @property
    def online(self) -> int:
        """Those of them that do."""
        return int(self.rates["online"].sum())


def gather(connection: Connection, period: Period, *, search: str, kind: str, series: str) -> Data:
    """Everything at once; ``series`` that does not exist leaves the first one found."""
    found = catalogue.search(connection, text=search, kinds=(kind,) if kind else (), limit=SHOWN)
    counted = readings.counts(connection)
    keys = found["key"].tolist()
    end = min(period.end, period.now) - QUARTER_HOUR  # what is due, not what is on its way
    due = bool(keys) and end > period.start
    chosen = _chosen(connection, found, series)
    return Data(
        rates=online.rates(connection, period.now),
        found=found,
        missing=gaps.find(connection, keys, period.start, end) if due else _none(),
        held=quarantine.counts(connection),
        rows=counted["rows"],
        exact=counted["exact"],
        newest=counted["last_ts"],
        chosen=chosen,
        course=_course(connection, period, chosen),
    )


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=["key", "start", "end", "missing", "cause"])


def _chosen(connection: Connection, found: pd.DataFrame, series: str) -> dict[str, Any] | None:
    rows = found[found["key"] == series]
    if series and rows.empty:
        rows = catalogue.search(connection, keys=(series,), limit=1)
    if rows.empty:
        rows = found
    return None if rows.empty else dict(rows.iloc[0])


def _course(
    connection: Connection, period: Period, chosen: dict[str, Any] | None
) -> xr.Dataset | None:
    end = min(period.end, period.now)
    if chosen is None or end <= period.start:
        return None
    return readings.envelope(connection, [chosen["key"]], period.start, end, PIXELS)
