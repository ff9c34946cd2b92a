"""The air of the city: the index of each station and of the city, and its course."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pandas as pd

from core.sites import AssetKind
from dashboards.facts import CityFacts
from dashboards.queries.period import Period
from store import indices
from store.database import Connection

CITY = "city"
AQI = "aqi"
POLLUTANTS = ("pm2_5", "pm10", "o3", "no2", "so2", "co")


@dataclass(frozen=True, slots=True)
class StationAir:
    """One station, or the city: its newest index and the course behind it.

    aqi is None where nothing is known; course maps the hour's beginning to the index.
    """

    id: str
    name_en: str
    name_zh: str
    lat: float | None
    lon: float | None
    aqi: float | None
    primary: tuple[str, ...]
    ts: datetime | None
    course: pd.Series
    iaqi: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Air:
    """The city's own index first, then its stations in the site's order."""

    city: StationAir
    stations: tuple[StationAir, ...]


def gather(connection: Connection, facts: CityFacts, period: Period) -> Air:
    """Indices of ``period`` (and at least the last day, so that a new day is not empty)."""
    start = min(period.start, period.now - timedelta(hours=24))
    rows = indices.read(connection, AQI, start, period.end)
    groups = dict(iter(rows.groupby("subject"))) if len(rows) else {}
    site = facts.site
    stations = tuple(
        _station(groups.get(f"{site.id}/{a.id}"), a.id, a.name_en, a.name_zh, a.lat, a.lon)
        for a in facts.of_kind(AssetKind.AIR_STATION)
    )
    city = _station(groups.get(CITY), CITY, site.name_en, site.name_zh, site.lat, site.lon)
    return Air(city, stations)


def _station(
    rows: pd.DataFrame | None,
    station_id: str,
    name_en: str,
    name_zh: str,
    lat: float | None,
    lon: float | None,
) -> StationAir:
    if rows is None:
        nothing = pd.Series(dtype=float)
        return StationAir(station_id, name_en, name_zh, lat, lon, None, (), None, nothing)
    rows = rows.sort_values("ts")
    newest = rows.iloc[-1]
    detail = newest["detail"] or {}
    return StationAir(
        id=station_id,
        name_en=name_en,
        name_zh=name_zh,
        lat=lat,
        lon=lon,
        aqi=None if pd.isna(newest["value"]) else float(newest["value"]),
        primary=_names(detail.get("primary")),
        ts=newest["ts"].to_pydatetime(),
        course=rows.set_index("ts")["value"].astype(float),
        iaqi={k: float(v) for k, v in (detail.get("iaqi") or {}).items() if v is not None},
    )


def _names(primary: object) -> tuple[str, ...]:
    if isinstance(primary, str):
        return (primary,) if primary else ()
    return tuple(str(p) for p in primary) if isinstance(primary, list | tuple) else ()
