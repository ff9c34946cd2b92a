"""Load, local generation and exchange of the whole city: measured, and what was forecast."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from core.series import Series, SeriesKind
from core.sites import LOADS, AssetKind
from dashboards.facts import CityFacts
from dashboards.queries import series
from dashboards.queries.period import Period
from store.database import Connection


@dataclass(frozen=True, slots=True)
class Power:
    """MW over (time,), loads and generation both positive; forecasts are (time, quantile)."""

    load_mw: xr.DataArray
    pv_mw: xr.DataArray
    wind_mw: xr.DataArray
    import_mw: xr.DataArray
    export_mw: xr.DataArray
    load_forecast_mw: xr.DataArray
    pv_forecast_mw: xr.DataArray


def gather(connection: Connection, facts: CityFacts, period: Period) -> Power:
    """The city's power over ``period``; raises StoreError when the store cannot answer."""
    groups = {
        "load": [facts.key(a.id, "p_mw") for a in facts.of_kind(*LOADS)],
        "pv": [facts.key(a.id, "p_mw") for a in facts.of_kind(AssetKind.PV)],
        "wind": [facts.key(a.id, "p_mw") for a in facts.of_kind(AssetKind.WIND)],
        "import": [facts.key(a.id, "import_mw") for a in facts.of_kind(AssetKind.SUBSTATION)],
        "export": [facts.key(a.id, "export_mw") for a in facts.of_kind(AssetKind.SUBSTATION)],
    }
    every = [key for keys in groups.values() for key in keys]
    values = series.measured(connection, every, period)
    totals = {name: series.total(values.sel(series=keys)) for name, keys in groups.items()}
    return Power(
        load_mw=totals["load"],
        pv_mw=totals["pv"],
        wind_mw=totals["wind"],
        import_mw=totals["import"],
        export_mw=totals["export"],
        load_forecast_mw=series.forecast(connection, total_key(facts, "load-total"), period),
        pv_forecast_mw=series.forecast(connection, total_key(facts, "pv-total"), period),
    )


def total_key(facts: CityFacts, asset: str) -> str:
    """The key of a city total: no meter measures it, so its series is an estimated one."""
    return Series(facts.site.id, asset, "p_mw", kind=SeriesKind.ESTIMATED).key
