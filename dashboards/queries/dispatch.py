"""The dispatch desk: the newest plan beside what was measured, and the runs that led to it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import xarray as xr

from core.site import AssetKind
from dashboards.facts import CityFacts
from dashboards.queries import power, series
from dashboards.queries.period import Period
from store import runs
from store.database import Connection

KINDS = ("day_ahead", "intraday")
AC_VARIABLES = ["vm_pu", "line_loading_percent"]
HISTORY = 12


@dataclass(frozen=True, slots=True)
class PlanView:
    """A finished plan. schedule and ac are Datasets as optimization/planner.py documents them."""

    run: runs.Run
    schedule: xr.Dataset
    ac: xr.Dataset
    battery_mw: xr.DataArray
    soc: xr.DataArray


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Everything the desk shows. plan is None before the first finished run."""

    power: power.Power
    plan: PlanView | None
    history: tuple[runs.Run, ...]
    battery_mw: xr.DataArray
    soc: xr.DataArray


def gather(connection: Connection, facts: CityFacts, shelf: PlanShelf, period: Period) -> Dispatch:
    """The desk's data over ``period``; raises StoreError when the store cannot answer."""
    batteries = facts.of_kind(AssetKind.BATTERY)
    p_keys = [facts.key(b.id, "p_mw") for b in batteries]
    soc_keys = [facts.key(b.id, "soc") for b in batteries]
    values = series.measured(connection, p_keys + soc_keys, period)
    return Dispatch(
        power=power.gather(connection, facts, period),
        plan=shelf.plan(connection, facts),
        history=tuple(r for r in runs.recent(connection, HISTORY) if r.kind in KINDS),
        battery_mw=series.total(values.sel(series=p_keys)),
        soc=_ended(_weighted(values.sel(series=soc_keys), _energies(facts)), period.bucket),
    )


class PlanShelf:
    """Keeps the newest plans in memory: a finished run never changes, and its arrays are large."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[tuple[int, ...], PlanView] = {}

    def plan(self, connection: Connection, facts: CityFacts) -> PlanView | None:
        """The plan in force: the newest day-ahead plan, from where a newer intraday plan begins
        replaced by that one; None when there is none yet.
        """
        found = [run for kind in KINDS if (run := runs.latest(connection, kind)) is not None]
        if not found:
            return None
        found.sort(key=lambda run: run.id)
        ids = tuple(run.id for run in found)
        with self._lock:
            if ids not in self._plans:
                view = _combined(connection, facts, found)
                self._plans = {ids: view}
            return self._plans[ids]


def _combined(connection: Connection, facts: CityFacts, found: list[runs.Run]) -> PlanView:
    schedule = runs.schedule(connection, found[-1].id)
    ac = runs.ac(connection, found[-1].id)[AC_VARIABLES]
    for run in found[-2::-1]:
        schedule = schedule.combine_first(runs.schedule(connection, run.id))
        ac = ac.combine_first(runs.ac(connection, run.id)[AC_VARIABLES])
    return PlanView(
        run=found[-1],
        schedule=schedule,
        ac=ac,
        battery_mw=_battery_power(schedule, facts),
        soc=_ended(_battery_soc(schedule, facts), facts.site.plan_resolution),
    )


def key_figures(run: runs.Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """(uncontrolled, planned) as the run's summary holds them; empty where it holds none."""
    return run.summary.get("baseline") or {}, run.summary.get("planned") or {}


def reasons(run: runs.Run) -> list[dict[str, Any]]:
    """Why the plan is as it is: asset, ts, text_en, text_zh, binding."""
    return list(run.summary.get("reasons") or [])


def _energies(facts: CityFacts) -> np.ndarray:
    sizes = [b.parameters.get("e_max_mwh", 1.0) for b in facts.of_kind(AssetKind.BATTERY)]
    return np.asarray(sizes, dtype=float)


def _planned_batteries(schedule: xr.Dataset, facts: CityFacts) -> list[str]:
    planned = set(schedule["asset"].values.tolist()) if "asset" in schedule.coords else set()
    return [b.id for b in facts.of_kind(AssetKind.BATTERY) if b.id in planned]


def _battery_power(schedule: xr.Dataset, facts: CityFacts) -> xr.DataArray:
    """The batteries' planned power, their sum, positive when charging; shape (time,)."""
    ids = _planned_batteries(schedule, facts)
    return schedule["p_mw"].sel(asset=ids).sum("asset", min_count=1)


def _battery_soc(schedule: xr.Dataset, facts: CityFacts) -> xr.DataArray:
    """The batteries' planned state of charge 0..1, weighted by capacity; shape (time,)."""
    ids = _planned_batteries(schedule, facts)
    size = {
        b.id: e for b, e in zip(facts.of_kind(AssetKind.BATTERY), _energies(facts), strict=True)
    }
    soc = schedule["soc"].sel(asset=ids).rename(asset="series")
    return _weighted(soc, np.asarray([size[i] for i in ids]))


def _ended(soc: xr.DataArray, step: timedelta) -> xr.DataArray:
    """States at the end of each interval, labelled with the time they hold at."""
    return soc.assign_coords(time=soc["time"].values + np.timedelta64(step))


def _weighted(soc: xr.DataArray, e_max_mwh: np.ndarray) -> xr.DataArray:
    """The fleet's state of charge over (time,): stored energy by what could be stored."""
    weight = xr.DataArray(e_max_mwh, dims="series")
    known = soc.notnull()
    capacity = (weight * known).sum("series")
    return (soc * weight).sum("series", skipna=True) / capacity.where(capacity > 0.0)
