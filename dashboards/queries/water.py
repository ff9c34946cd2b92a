"""The water districts: inflow, billed use, leak rate and night flow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import xarray as xr

from core.sites import AssetKind
from dashboards.facts import CityFacts
from dashboards.queries import series
from dashboards.queries.period import Period
from store import indices
from store.database import Connection

LEAK_RATE = "leak_rwl"
NIGHT_FLOW = "night_flow"
LOOK_BACK = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class District:
    """One district-metered area. leak_rate_percent is RWL: (supplied - billed) / supplied."""

    id: str
    name_en: str
    name_zh: str
    leak_rate_percent: float | None
    leak_rate_before_percent: float | None
    leak_rate_ts: datetime | None
    night_flow_m3_per_h: float | None
    inflow_m3: float | None
    billed_m3: float | None
    flow_m3_per_h: xr.DataArray
    leak_course: pd.Series


def gather(connection: Connection, facts: CityFacts, period: Period) -> tuple[District, ...]:
    """All districts over ``period``; leak and night flow are the newest known of 30 days."""
    districts = facts.of_kind(AssetKind.WATER_DISTRICT)
    if not districts:
        return ()
    since = period.now - LOOK_BACK
    leaks = indices.read(connection, LEAK_RATE, since, period.end)
    nights = indices.read(connection, NIGHT_FLOW, since, period.end)
    flow_keys = [facts.key(d.id, "flow_m3_per_h") for d in districts]
    billed_keys = [facts.key(d.id, "billed_m3") for d in districts]
    flows = series.measured(connection, flow_keys, period)
    billed = series.measured(connection, billed_keys, period)
    hours = period.bucket / timedelta(hours=1)
    found = []
    for district, flow_key, billed_key in zip(districts, flow_keys, billed_keys, strict=True):
        course = _course(leaks, facts.site.id, district.id)
        night = _course(nights, facts.site.id, district.id)
        flow = flows.sel(series=flow_key, drop=True)
        found.append(
            District(
                id=district.id,
                name_en=district.name_en,
                name_zh=district.name_zh,
                leak_rate_percent=float(course.iloc[-1]) if len(course) else None,
                leak_rate_before_percent=_day_before(course),
                leak_rate_ts=course.index[-1].to_pydatetime() if len(course) else None,
                night_flow_m3_per_h=float(night.iloc[-1]) if len(night) else None,
                inflow_m3=_sum(flow, hours),
                billed_m3=_sum(billed.sel(series=billed_key), 1.0),
                flow_m3_per_h=flow,
                leak_course=course,
            )
        )
    return tuple(found)


def _course(rows: pd.DataFrame, site: str, district: str) -> pd.Series:
    """The values of one district by time; its rows may name it with or without the site."""
    if not len(rows):
        return pd.Series(dtype=float)
    mine = rows[rows["subject"].isin([district, f"{site}/{district}"])].sort_values("ts")
    return mine.set_index("ts")["value"].astype(float).dropna()


def _day_before(course: pd.Series) -> float | None:
    """The value 24 hours before the newest one."""
    if not len(course):
        return None
    before = course.index[-1] - pd.Timedelta(hours=24)
    return float(course[before]) if before in course.index else None


def _sum(values: xr.DataArray, factor: float) -> float | None:
    return float(np.nansum(values.values)) * factor if values.notnull().any() else None
