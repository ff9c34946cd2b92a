"""Forecasts with the time they were known at, so that what was known when can be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from core.errors import StoreError
from core.timeaxis import MICROSECOND, QUARTER_HOUR, from_us, to_us, utc
from store import sqltext
from store.database import Connection
from store.frames import frame
from store.series import expect

_SQL = sqltext.load("forecasts")


@dataclass(frozen=True, slots=True)
class Score:
    """How well a forecast did: ``value`` of ``metric`` over the steps up to ``horizon`` ahead."""

    model: str
    key: str
    known_at: datetime
    horizon: timedelta
    metric: str
    value: float


def save(connection: Connection, model: str, known_at: datetime, values: xr.DataArray) -> None:
    """Stores a forecast; the same (series, model, known_at) again replaces the one before.

    values: dims (time, series, quantile) in any order, series the keys, time UTC with even steps;
    NaN where there is none. Raises StoreError for unknown series, uneven times or other dims.
    """
    if set(values.dims) != {"time", "series", "quantile"} or not values.sizes["time"]:
        raise StoreError("A forecast has times and the dims time, series and quantile.")
    keys = [str(key) for key in values["series"].values]
    series = expect(connection, keys)
    first_us, step_us, count = _even(values["time"].values)
    quantiles = [float(q) for q in values["quantile"].values]
    ordered = values.transpose("series", "time", "quantile").values.astype(np.float64)
    rows = [
        {
            "series_id": series[key].id,
            "model": model,
            "known_at": utc(known_at),
            "first_ts": from_us(first_us),
            "last_ts": from_us(first_us + (count - 1) * step_us),
            "step": step_us * MICROSECOND,
            "quantiles": quantiles,
            "values": table.ravel().tolist(),
        }
        for key, table in zip(keys, ordered, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["save"], rows)


def _even(times: np.ndarray) -> tuple[int, int, int]:
    """First time and step in microseconds, and the count, of an evenly spaced axis."""
    us = times.astype("datetime64[us]").astype(np.int64)
    gaps = np.diff(us)
    if len(gaps) and (gaps[0] <= 0 or (gaps != gaps[0]).any()):
        raise StoreError("The times of a forecast must rise in even steps.")
    return int(us[0]), int(gaps[0]) if len(gaps) else QUARTER_HOUR // MICROSECOND, len(us)


def read(
    connection: Connection,
    keys: Sequence[str],
    start: datetime,
    end: datetime,
    model: str | None = None,
    as_of: datetime | None = None,
) -> xr.DataArray:
    """For each time in [start, end) the forecast known last (at ``as_of`` at the latest).

    Dims (time, series, quantile): series as asked, times and quantiles all that any of the found
    forecasts has, NaN where there is none. model: None takes any. attrs["units"] when common.
    Raises StoreError for a key that is not registered.
    """
    series = expect(connection, keys)
    asked = {
        "ids": [s.id for s in series.values()],
        "start": utc(start),
        "end": utc(end),
        "model": model,
        "as_of": None if as_of is None else utc(as_of),
    }
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(_SQL["read"], asked).fetchall()
    pieces = [_piece(row, to_us(start), to_us(end)) for row in rows]
    times = np.unique(np.concatenate([p.us for p in pieces] or [np.empty(0, np.int64)]))
    quantiles = sorted({q for p in pieces for q in p.quantiles})
    stored = list({s.id: None for s in series.values()})
    table = np.full((len(stored), len(times), len(quantiles)), np.nan)
    for p in pieces:
        rows_at = np.searchsorted(times, p.us)
        columns = np.searchsorted(quantiles, p.quantiles)
        target = table[stored.index(p.series_id)]
        # A newer forecast replaces an older one whole, step by step, quantiles it lacks included.
        given = ~np.isnan(p.values).all(axis=1)
        target[rows_at[given]] = np.nan
        target[np.ix_(rows_at[given], columns)] = p.values[given]
    units = {s.unit for s in series.values()}
    attrs: dict[str, Any] = {"units": units.pop()} if len(units) == 1 else {}
    at = [stored.index(series[key].id) for key in keys]
    return xr.DataArray(
        table[at].transpose(1, 0, 2),
        coords={
            "time": times.astype("datetime64[us]").astype("datetime64[ns]"),
            "series": list(keys),
            "quantile": np.array(quantiles, dtype=np.float64),
        },
        dims=("time", "series", "quantile"),
        name="value",
        attrs=attrs,
    )


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of a stored forecast that lies in the window; values (time, quantile)."""

    series_id: int
    us: np.ndarray
    quantiles: list[float]
    values: np.ndarray


def _piece(row: tuple[Any, ...], start_us: int, end_us: int) -> _Piece:
    series_id, first_ts, step, quantiles, flat = row
    values = np.asarray(flat, dtype=np.float64).reshape(-1, len(quantiles))
    us = to_us(first_ts) + np.arange(len(values), dtype=np.int64) * (step // MICROSECOND)
    inside = (us >= start_us) & (us < end_us)
    return _Piece(series_id, us[inside], quantiles, values[inside])


def prune(connection: Connection, *, before: datetime, keep_kind: str | None = None) -> int:
    """Removes forecasts known before ``before``, those of series of ``keep_kind`` excepted.

    Returns how many went. Scores stay.
    """
    asked = {"before": utc(before), "keep_kind": keep_kind}
    return connection.execute(_SQL["prune"], asked).rowcount


def save_scores(connection: Connection, scores: Iterable[Score]) -> None:
    """Stores scores; the same one again replaces its value."""
    listed = list(scores)
    series = expect(connection, sorted({score.key for score in listed}))
    rows = [
        {
            "series_id": series[score.key].id,
            "model": score.model,
            "known_at": utc(score.known_at),
            "horizon": score.horizon,
            "metric": score.metric,
            "value": float(score.value),
        }
        for score in listed
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["save_score"], rows)


def scores(
    connection: Connection,
    *,
    model: str | None = None,
    metric: str | None = None,
    keys: Sequence[str] | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Scores, the newest first: model, key, known_at, horizon, metric, value. None means all."""
    asked = {
        "model": model,
        "metric": metric,
        "keys": None if keys is None else list(keys),
        "since": None if since is None else utc(since),
        "limit": limit,
    }
    return frame(connection.execute(_SQL["scores"], asked))
