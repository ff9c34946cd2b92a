"""The catalogue: what stands where and measures what, and how to find it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from psycopg.sql import SQL, Composable, Literal

from core.errors import StoreError
from core.readings import Quality
from core.sites import Asset
from core.timeaxis import DAY, utc
from store import readings, sqltext
from store.catalogueversion import raise_version, version
from store.database import Connection
from store.frames import frame

__all__ = ["raise_version", "save_assets", "search", "version"]

_SQL = sqltext.load("catalogue")
_ANY_FLAG = Quality((1 << 15) - 1)

Box = tuple[float, float, float, float]
"""South, west, north, east in degrees."""


def save_assets(connection: Connection, site: str, assets: Sequence[Asset]) -> None:
    """The assets of the description of ``site``, in place of those of an earlier one.

    Devices that registered themselves stay. Raises the version.
    """
    columns = {
        "id": [a.id for a in assets],
        "site": [site] * len(assets),
        "kind": [a.kind.value for a in assets],
        "name_en": [a.name_en for a in assets],
        "name_zh": [a.name_zh for a in assets],
        "district": [a.district for a in assets],
        "owner": [a.owner for a in assets],
        "lat": [a.lat for a in assets],
        "lon": [a.lon for a in assets],
    }
    connection.execute(_SQL["remove_assets"], columns)
    connection.execute(_SQL["save_assets"], columns)
    raise_version(connection)


def search(
    connection: Connection,
    *,
    text: str = "",
    keys: Sequence[str] = (),
    kinds: Sequence[str] = (),
    districts: Sequence[str] = (),
    owners: Sequence[str] = (),
    variables: Sequence[str] = (),
    box: Box | None = None,
    quality: Quality | None = None,
    fresher_than: timedelta | None = None,
    staler_than: timedelta | None = None,
    site: str | None = None,
    limit: int = 100,
    after: str = "",
    now: datetime | None = None,
) -> pd.DataFrame:
    """Series that fit everything that is given, by key.

    text: words that each stand in the key or in the names, district, owner or device name of the
    asset, in any case. quality: of the newest reading: any of these flags, none for ``GOOD``.
    fresher_than, staler_than: the age of the newest reading, by ``now``; a series without any is
    staler than everything. after: the last key of the page before.

    Columns: key, unit, variable, series_kind, asset, name_en, name_zh, kind, district, owner, lat,
    lon, timezone, simulated, resolution; ts, value and quality of the newest reading (as known a
    moment ago), its age; flagged, the share of readings with a flag among those of the last 24
    hours. None, NaN or NaT where nothing is known: of an asset that is not described, without a
    reading, or (age, flagged) without ``now``. Raises StoreError for an age without ``now``.
    """
    conditions = [
        *_ages(now, fresher_than, staler_than),
        *(_is("word", word) for word in text.lower().split()),
        *(
            _is(name, list(wanted))
            for name, wanted in (
                ("keys", keys),
                ("kinds", kinds),
                ("districts", districts),
                ("owners", owners),
                ("variables", variables),
            )
            if wanted
        ),
    ]
    if box is not None:
        south, west, north, east = box
        conditions.append(_SQL["latitudes"].format(low=Literal(south), high=Literal(north)))
        conditions.append(_SQL["longitudes"].format(low=Literal(west), high=Literal(east)))
    if quality is not None:
        conditions.append(_is("flagged", int(quality)) if quality else _SQL["good"])
    if site is not None:
        conditions.append(_is("site", site))
    conditions.append(_is("after", after))
    statement = _SQL["search"].format(
        conditions=SQL(" AND ").join(conditions), limit=Literal(limit)
    )
    return _with_ages(connection, frame(connection.execute(statement)), now)


def _is(name: str, value: object) -> Composable:
    return _SQL[name].format(value=Literal(_storable(value)))


def _storable(value: object) -> object:
    """No text of PostgreSQL holds a zero byte or half a character: such a one finds nothing."""
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, str):
        clean = value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        return clean.encode("utf-8", "replace").decode("utf-8")
    return value


def _ages(
    now: datetime | None, fresher_than: timedelta | None, staler_than: timedelta | None
) -> list[Composable]:
    found = []
    for name, age in (("fresher", fresher_than), ("staler", staler_than)):
        if age is None:
            continue
        if now is None:
            raise StoreError("The age of a reading can only be told at a time that is given.")
        found.append(_is(name, utc(now) - age))
    return found


def _with_ages(connection: Connection, table: pd.DataFrame, now: datetime | None) -> pd.DataFrame:
    table = table.assign(resolution=pd.to_timedelta(table["resolution"]))
    if now is None:
        return table.assign(age=pd.to_timedelta([None] * len(table)), flagged=np.nan)
    return table.assign(
        age=pd.Timestamp(utc(now)) - table["ts"],
        flagged=_flagged(connection, table["key"].tolist(), utc(now)),
    )


def _flagged(connection: Connection, keys: Sequence[str], now: datetime) -> np.ndarray:
    """The share of readings with any flag in the day before ``now``; NaN without readings."""

    def number(exclude: Quality) -> np.ndarray:
        shape = readings.envelope(connection, keys, now - DAY, now, 25, exclude=exclude)
        found: np.ndarray = shape["n"].sum("time").to_numpy().astype(float)
        return found

    every, good = number(Quality.GOOD), number(_ANY_FLAG)
    share: np.ndarray = 1.0 - good / np.where(every > 0, every, np.nan)
    return share
