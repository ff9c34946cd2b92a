"""The data part of the open interface: series, their readings, who is online, what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import numpy as np
import xarray as xr
from fastapi import APIRouter, Query

from app import datatables
from app.auth import current_account
from app.tables import records
from app.wiring import City
from core.accounts import Permission, check
from core.errors import ConfigurationError, TimeError
from core.timeaxis import DAY, from_datetime64, parse
from store import catalogue, gaps, online, readings, series
from store.database import Connection
from store.readings import Days, Fill

LONGEST = timedelta(days=31)
LONGEST_SUMMARY = timedelta(days=3660)
"""Of answers whose length does not grow with the range: days, and pixels of a chart."""

Names = Annotated[list[str], Query(max_length=50)]
Keys = Annotated[list[str], Query(min_length=1, max_length=100)]


def add_data_routes(router: APIRouter, city: City) -> None:
    """GET series, readings, online and gaps; all for whoever may read data."""

    @router.get("/series", tags=["data"])
    def found(
        text: Annotated[str, Query(max_length=200)] = "",
        kind: Names = [],  # noqa: B006 - FastAPI copies it
        district: Names = [],  # noqa: B006
        owner: Names = [],  # noqa: B006
        variable: Names = [],  # noqa: B006
        box: str | None = None,
        flag: Names = [],  # noqa: B006
        fresher_than_minutes: Annotated[float | None, Query(ge=0, le=1e8)] = None,
        staler_than_minutes: Annotated[float | None, Query(ge=0, le=1e8)] = None,
        site: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        after: str = "",
    ) -> list[dict[str, Any]]:
        """Series that fit everything that is given, by key, with their newest reading.

        text: words in the key, the names, the district, the owner. box: south,west,north,east.
        flag: names of flags that the newest reading has, ``good`` for none. after: the last key of
        the page before. flagged: the share of flagged readings of the last day.
        """
        check(current_account(), Permission.DATA_READ)
        with city.database.connection() as connection:
            table = catalogue.search(
                connection,
                text=text,
                kinds=kind,
                districts=district,
                owners=owner,
                variables=variable,
                box=None if box is None else datatables.box(box),
                quality=datatables.quality(flag) if flag else None,
                fresher_than=_minutes(fresher_than_minutes),
                staler_than=_minutes(staler_than_minutes),
                site=site,
                limit=limit,
                after=after,
                now=city.now(),
            )
        return datatables.series_rows(table)

    @router.get("/readings", tags=["data"])
    def values(
        key: Keys,
        start: str,
        end: str,
        bucket_minutes: Annotated[int | None, Query(ge=1, le=1440)] = None,
        day: str | None = None,
        pixels: Annotated[int | None, Query(ge=2, le=4000)] = None,
        fill: Fill | None = None,
        fill_minutes: Annotated[int, Query(ge=1, le=100_000)] = 60,
        exclude: Names = [],  # noqa: B006
        raw: bool = False,
    ) -> dict[str, Any]:
        """Readings of up to 100 series in [start, end), aware ISO times; null where none is.

        As they came; or one for each bucket of bucket_minutes; or for each natural day of the time
        zone ``day``; or mean, minimum, maximum and number in at most ``pixels`` buckets of a round
        length, for a chart. fill: gives values to times without, from readings that are not older
        (previous) or further apart (linear) than fill_minutes. exclude: names of flags. raw: as
        first stored, before corrections.
        """
        check(current_account(), Permission.DATA_READ)
        bucket = _bucket(bucket_minutes, day, pixels)
        summary = pixels is not None or isinstance(bucket, Days)
        first, last = _range(parse(start), parse(end), LONGEST_SUMMARY if summary else LONGEST)
        left_out = datatables.quality(exclude)
        with city.database.connection() as connection:
            _check_keys(connection, key)
            if pixels is not None:
                if fill or raw:
                    raise ConfigurationError("A chart by pixels is neither filled nor raw.")
                shape = readings.envelope(connection, key, first, last, pixels, exclude=left_out)
                return _shape(shape)
            table = readings.read(
                connection,
                key,
                first,
                last,
                bucket,
                exclude=left_out,
                raw=raw,
                fill=fill,
                fill_limit=timedelta(minutes=fill_minutes),
            )
        return _table(table)

    @router.get("/online", tags=["data"])
    def rates() -> list[dict[str, Any]]:
        """How many assets of each kind in each district report, and the rate (0..1)."""
        check(current_account(), Permission.DATA_READ)
        with city.database.connection() as connection:
            return records(online.rates(connection, city.now()))

    @router.get("/gaps", tags=["data"])
    def missing(
        start: str,
        end: str,
        key: Annotated[list[str] | None, Query(max_length=100)] = None,
    ) -> list[dict[str, Any]]:
        """Runs of missing intervals in [start, end), and whether the source or the pipeline lost
        them; of all series for one day at most.
        """
        check(current_account(), Permission.DATA_READ)
        longest = LONGEST if key else DAY + timedelta(hours=1)
        first, last = _range(parse(start), parse(end), longest)
        with city.database.connection() as connection:
            _check_keys(connection, key or [])
            return records(gaps.find(connection, key, first, last))


def _minutes(count: float | None) -> timedelta | None:
    return None if count is None else timedelta(minutes=count)


def _bucket(minutes: int | None, day: str | None, pixels: int | None) -> timedelta | Days | None:
    if sum(given is not None for given in (minutes, day, pixels)) > 1:
        raise ConfigurationError("Ask for bucket_minutes, day or pixels, not for two of them.")
    if day is not None:
        return Days(day)
    return _minutes(minutes)


def _range(start: datetime, end: datetime, longest: timedelta) -> tuple[datetime, datetime]:
    if end <= start:
        raise TimeError("The end of the range must lie after its start.")
    if end - start > longest:
        raise TimeError(f"A range holds {longest.days} days at most.")
    return start, end


def _check_keys(connection: Connection, keys: Sequence[str]) -> None:
    askable = [key for key in keys if "\0" not in key]  # which no text of PostgreSQL holds
    known = series.known(connection, askable)
    for key in keys:
        if key not in known:
            raise ConfigurationError(f"There is no series {key!r}.")


def _table(table: xr.DataArray) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "times": _times(table.time.to_numpy()),
        "series": _columns(table.series.to_numpy(), table.to_numpy()),
    }
    if "filled" in table.coords:
        filled = table.filled.to_numpy()
        answer["filled"] = {
            str(key): filled[:, n].tolist() for n, key in enumerate(table.series.to_numpy())
        }
    return answer


def _shape(shape: xr.Dataset) -> dict[str, Any]:
    keys = shape.series.to_numpy()
    figures = {str(name): _columns(keys, shape[name].to_numpy()) for name in shape.data_vars}
    return {
        "times": _times(shape.time.to_numpy()),
        "bucket_s": shape.attrs["bucket_s"],
        "series": {
            str(key): {name: columns[str(key)] for name, columns in figures.items()} for key in keys
        },
    }


def _times(times: np.ndarray) -> list[str]:
    return [from_datetime64(ts).isoformat() for ts in times]


def _columns(keys: np.ndarray, table: np.ndarray) -> dict[str, list[float | None]]:
    """Each key's column as JSON can hold it: null where there is no value."""
    return {
        str(key): [None if math.isnan(value) else value for value in table[:, n].tolist()]
        for n, key in enumerate(keys)
    }
