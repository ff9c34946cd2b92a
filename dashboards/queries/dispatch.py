"""The dispatch desk: the newest plan beside what was measured, and the runs that led to it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import xarray as xr

from core.sites import AssetKind
from dashboards.facts import CityFacts
from dashboards.queries import power, series, steering
from dashboards.queries.period import Period
from store import calls, runs
from store.database import Connection

DAY_AHEAD, INTRADAY, WHOLE_DAY, WHAT_IF = "day_ahead", "intraday", "day", "what_if"
LONGEST_PLAN = timedelta(days=3)
AC_VARIABLES = ["vm_pu", "line_loading_percent", "trafo_loading_percent"]
HISTORY = 12
CALLS_AHEAD = timedelta(days=31)
CHOICES = 40
"""Runs that can be chosen for a comparison."""


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
    steering: steering.Steering
    proposal: Proposal | None
    what_ifs: tuple[runs.Run, ...]
    choices: tuple[runs.Run, ...]
    calls: tuple[calls.Call, ...] = ()
    """Calls of demand response that stand and are not over, by their beginning."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan that waits for an operator, until ``decide_by`` in city time."""

    run: runs.Run
    decide_by: datetime


def gather(connection: Connection, facts: CityFacts, shelf: PlanShelf, period: Period) -> Dispatch:
    """The desk's data over ``period``; raises StoreError when the store cannot answer."""
    batteries = facts.of_kind(AssetKind.BATTERY)
    p_keys = [facts.key(b.id, "p_mw") for b in batteries]
    soc_keys = [facts.key(b.id, "soc") for b in batteries]
    values = series.measured(connection, p_keys + soc_keys, period)
    history = tuple(runs.recent(connection, CHOICES, [DAY_AHEAD, INTRADAY, WHOLE_DAY]))
    what_ifs = tuple(runs.recent(connection, HISTORY, [WHAT_IF]))
    return Dispatch(
        power=power.gather(connection, facts, period),
        plan=shelf.plan(connection, facts, period),
        history=history[:HISTORY],
        battery_mw=series.total(values.sel(series=p_keys)),
        soc=_ended(_weighted(values.sel(series=soc_keys), _energies(facts)), period.bucket),
        steering=steering.gather(connection, facts, period.now),
        proposal=_proposal(connection, history, period.now),
        what_ifs=what_ifs,
        choices=tuple(r for r in (*what_ifs, *history) if key_figures(r)[1]),
        calls=tuple(
            calls.standing(connection, period.now, period.now + CALLS_AHEAD, as_of=period.now)
        ),
    )


def _proposal(
    connection: Connection, history: Sequence[runs.Run], now: datetime
) -> Proposal | None:
    """The newest plan that waits and can still be approved."""
    for run in history:
        if run.state == runs.PROPOSED:
            found = runs.decision(connection, run.id)
            if found is not None and found.decide_by >= now:
                return Proposal(run, found.decide_by)
    return None


def chosen(connection: Connection, number: str) -> runs.Run | None:
    """The run that an address names, if there is one with figures."""
    run = runs.by_id(connection, int(number)) if number.isdecimal() and len(number) < 18 else None
    return run if run is not None and key_figures(run)[1] else None


class PlanShelf:
    """Keeps the plan in memory until a newer run ends: what was in force never changes again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: dict[tuple[int, datetime], PlanView] = {}

    def plan(self, connection: Connection, facts: CityFacts, period: Period) -> PlanView | None:
        """The plan of ``period``; None where there is none yet.

        Each passed step by the intraday plan that was in force for it, each coming one by the
        newest, and the next day by its day-ahead plan.
        """
        newest = runs.latest(connection, INTRADAY)
        ahead = runs.latest(connection, DAY_AHEAD)
        run = newest or ahead
        if run is None:
            return None
        key = (max(r.id for r in (newest, ahead) if r is not None), period.start)
        with self._lock:
            if key not in self._plans:
                found = _view(connection, facts, period, run, ahead)
                settle(found.schedule, found.ac, found.battery_mw, found.soc)
                self._plans = {key: found}
            return self._plans[key]


def settle(*shared: xr.Dataset | xr.DataArray) -> None:
    """Make ``shared`` safe to select from in several threads at once.

    pandas looks into an index when it is first searched, and what a second thread finds meanwhile
    is wrong: labels that are unique count as repeated, and a page answers with an error.
    """
    for data in shared:
        for index in data.indexes.values():
            if index.is_unique:
                index.get_indexer(index)


def _view(
    connection: Connection, facts: CityFacts, period: Period, run: runs.Run, ahead: runs.Run | None
) -> PlanView:
    batteries = [b.id for b in facts.of_kind(AssetKind.BATTERY)]
    end = run.city_at + LONGEST_PLAN
    schedule = runs.in_force(connection, INTRADAY, period.start, end, batteries)
    ac = _power_flow(connection, run)
    if ahead is not None:
        schedule = schedule.combine_first(
            runs.in_force(connection, DAY_AHEAD, period.start, end, batteries)
        )
        if ahead.id != run.id:
            ac = ac.combine_first(_power_flow(connection, ahead))
    return PlanView(
        run=run,
        schedule=schedule,
        ac=ac,
        battery_mw=_battery_power(schedule, facts),
        soc=_ended(_battery_soc(schedule, facts), facts.site.plan_resolution),
    )


def _power_flow(connection: Connection, run: runs.Run) -> xr.Dataset:
    """What the pages show of a run's power flow; a network may have no transformer."""
    flow = runs.ac(connection, run.id)
    return flow[[name for name in AC_VARIABLES if name in flow]]


def key_figures(run: runs.Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """(uncontrolled, planned) as the run's summary holds them; empty where it holds none."""
    return run.summary.get("baseline") or {}, run.summary.get("planned") or {}


def reasons(run: runs.Run) -> list[dict[str, Any]]:
    """Why the plan is as it is: asset, ts, text_en, text_zh, binding."""
    return list(run.summary.get("reasons") or [])


def asked(run: runs.Run) -> list[dict[str, Any]]:
    """What was asked of the plan beyond energy at a tariff: what, kept, cny, text_en, text_zh."""
    return [item for item in run.summary.get("asked") or [] if isinstance(item, dict)]


def caution(run: runs.Run) -> dict[str, Any]:
    """How the plan counts with forecast errors and what that costs: text_en, text_zh, numbers."""
    return dict(run.summary.get("risk") or {})


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
