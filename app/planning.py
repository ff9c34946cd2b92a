"""A plan, step by step: what is known -> problem -> plan -> stored run.

Steps that have passed at ``known_at`` stand with what was measured, later ones with the newest
forecast that was known by then; so a plan can be replayed as of any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import xarray as xr

from app import asked, askedsummary, keys, outside, risk, riskchoice, stays
from app.plankeeping import keep
from app.plankinds import DAY_AHEAD, INTRADAY, WHOLE_DAY
from app.tariffs import import_price, number
from app.wiring import City
from carbon import factorset
from core.errors import ConfigurationError, StoreError, reason
from core.sites import Asset, AssetKind
from core.timeaxis import DAY, QUARTER_HOUR, floor_to, steps, to_datetime64, utc
from core.units import convert
from grid import der
from grid.envelope import Envelope
from grid.network import Network
from grid.network import read as read_network
from grid.uncontrolled import by_itself
from optimization.planner import plan as solve_plan
from optimization.problem import DispatchProblem
from optimization.result import Plan
from store import forecasts, readings, runs, series
from store.database import Connection

MEDIAN = 0.5

NEAR = timedelta(hours=1)
_DIGITS_MWH = 9
"""A solver's rounding must not turn nothing into less than nothing."""
LAST_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Horizon:
    """What to plan: [start, end) in UTC, and when the plan is made."""

    start: datetime
    end: datetime
    known_at: datetime


@dataclass(frozen=True, slots=True)
class Made:
    """A plan with what it was made from."""

    run_id: int
    problem: DispatchProblem
    plan: Plan
    about_risk: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    """What was asked beyond energy at a tariff, and what became of it (app/askedsummary.py)."""


def network_of(city: City) -> Network:
    """The city's network; raises ConfigurationError where it has none, NetworkError."""
    if not city.site.network_json:
        raise ConfigurationError(f"The city {city.site.id!r} has no network to dispatch on.")
    return read_network(city.site.network_json)


def expected(
    connection: Connection,
    series_keys: Sequence[str],
    horizon: Horizon,
    resolution: timedelta,
) -> xr.DataArray:
    """What each series measured or is expected to do: dims (time, series), unit of the series.

    Measured in the steps that have ended at ``known_at``, else the newest forecast median; where
    neither exists the value of the same time one week earlier, and 0 where that is missing too.
    """
    times = steps(horizon.start, horizon.end, resolution)
    result = np.full((times.size, len(series_keys)), np.nan)
    ended = floor_to(horizon.known_at, resolution)
    if ended > horizon.start:
        until = min(ended, utc(horizon.end))
        past = readings.read(connection, series_keys, horizon.start, until, resolution)
        result = _fill(result, times, past)
    if np.isnan(result).any():
        known = forecasts.read(
            connection, series_keys, horizon.start, horizon.end, as_of=horizon.known_at
        )
        if known.sizes.get("quantile", 0):
            median = known.sel(quantile=MEDIAN, method="nearest")
            result = _fill(result, times, median)
    first, last = horizon.start - LAST_WEEK, min(horizon.end - LAST_WEEK, ended)
    if np.isnan(result).any() and first < last:
        before = readings.read(connection, series_keys, first, last, resolution)
        shifted = before.assign_coords(time=before.time + np.timedelta64(7, "D"))
        result = _fill(result, times, shifted)
    return xr.DataArray(
        np.nan_to_num(result),
        dims=("time", "series"),
        coords={"time": times, "series": list(series_keys)},
    )


def _fill(result: np.ndarray, times: np.ndarray, values: xr.DataArray) -> np.ndarray:
    """``result`` with its gaps filled from ``values`` (same series order)."""
    if values.sizes["time"] == 0:
        return result
    aligned = values.transpose("time", "series").reindex(time=times).to_numpy()
    return np.where(np.isnan(result), aligned, result)


def assemble(
    connection: Connection,
    city: City,
    network: Network,
    horizon: Horizon,
    wanted: asked.Asked | None = None,
) -> DispatchProblem:
    """The dispatch problem of ``horizon``, out of everything the store knows.

    wanted: what is asked beyond energy at a tariff; None for what any plan of the city is asked.
    """
    site, resolution = city.site, city.site.plan_resolution
    times = steps(horizon.start, horizon.end, resolution)
    if wanted is None:
        wanted = asked.of_city(connection, city, times, horizon.known_at, kind=WHOLE_DAY)

    def given(name: str, otherwise: np.ndarray) -> np.ndarray:
        return outside.over(connection, site, name, otherwise, times, horizon.known_at)

    on_grid = [a for a in site.assets if a.element in ("load", "sgen", "storage")]
    loads = [a for a in on_grid if a.element == "load"]
    sgens = [a for a in on_grid if a.element == "sgen"]

    def powers(assets: Sequence[Asset], variable: str) -> np.ndarray:
        series_keys = [keys.of(site.id, a.id, variable) for a in assets]
        return expected(connection, series_keys, horizon, resolution).to_numpy()

    load_p, sgen_p = powers(loads, "p_mw"), np.maximum(powers(sgens, "p_mw"), 0.0)
    envelopes = _envelopes(
        connection, city, horizon, _by_asset(loads, load_p) | _by_asset(sgens, sgen_p)
    )
    alone = _by_themselves(envelopes, resolution)
    load_p, sgen_p = _with(load_p, loads, alone), _with(sgen_p, sgens, alone)
    load_q = load_p * _tan_phi(connection, city, loads, horizon)
    injections = xr.Dataset(
        {
            "load_p_mw": (("time", "load"), load_p, {"units": "MW"}),
            "load_q_mvar": (("time", "load"), load_q, {"units": "Mvar"}),
            "sgen_p_mw": (("time", "sgen"), sgen_p, {"units": "MW"}),
        },
        coords={
            "time": times,
            "load": [a.element_index for a in loads],
            "sgen": [a.element_index for a in sgens],
        },
    )
    region = str(site.parameters.get("factor_region", factorset.NATIONAL))
    factor = factorset.load().grid_factor(region, horizon.start).factor
    intensity = convert(float(factor.value), factor.unit, "kgCO2e/MWh")
    problem = DispatchProblem(
        times=times,
        dt_h=resolution.total_seconds() / 3600.0,
        network=network,
        injections=injections,
        envelopes=envelopes,
        import_cny_per_mwh=given(
            "import_price_series", import_price(site.parameters, times, site.timezone)
        ),
        export_cny_per_mwh=given(
            "export_price_series",
            np.full(times.size, number(site.parameters, "export_cny_per_mwh")),
        ),
        kgco2e_per_mwh=given("import_intensity_series", np.full(times.size, intensity)),
        carbon_cny_per_tco2e=number(site.parameters, "carbon_cny_per_tco2e"),
        import_limit_mw=number(site.parameters, "import_limit_mw"),
        export_limit_mw=number(site.parameters, "export_limit_mw"),
        max_loading_percent=number(site.parameters, "max_loading_percent"),
        timezone=site.timezone,
    )
    return wanted.of(problem)


def _by_asset(assets: Sequence[Asset], values: np.ndarray) -> dict[str, np.ndarray]:
    return {asset.id: values[:, i] for i, asset in enumerate(assets)}


def _by_themselves(envelopes: Sequence[Envelope], resolution: timedelta) -> dict[str, np.ndarray]:
    """The uncontrolled day of what is not told by its own past power, by asset."""
    kinds, dt_h = der.found(), resolution.total_seconds() / 3600.0
    return {
        envelope.asset: by_itself(envelope, dt_h)
        for envelope in envelopes
        if envelope.element != "storage" and "p_mw" not in kinds[envelope.kind].profiles
    }


def _with(
    values: np.ndarray, assets: Sequence[Asset], known: Mapping[str, np.ndarray]
) -> np.ndarray:
    """``values`` (time, asset) with the columns of those that are ``known``."""
    result = values.copy()
    for column, asset in enumerate(assets):
        if asset.id in known:
            result[:, column] = known[asset.id]
    return result


def _tan_phi(
    connection: Connection, city: City, loads: Sequence[Asset], horizon: Horizon
) -> np.ndarray:
    """Reactive over active power of each load in the last day, shape (load,)."""
    end = floor_to(min(horizon.known_at, horizon.end), city.site.plan_resolution)
    totals = []
    for variable in ("p_mw", "q_mvar"):
        series_keys = [keys.of(city.site.id, a.id, variable) for a in loads]
        values = readings.read(connection, series_keys, end - DAY, end, timedelta(hours=1))
        totals.append(np.nansum(values.transpose("time", "series").to_numpy(), axis=0))
    p_mw, q_mvar = totals
    ratio: np.ndarray = np.divide(q_mvar, p_mw, out=np.zeros(len(loads)), where=p_mw > 1e-9)
    return ratio


def _dispatched(city: City) -> list[tuple[Asset, der.DerType]]:
    """The assets that a type in grid/der can dispatch, with their type."""
    kinds = der.found()
    return [
        (a, kinds[a.kind])
        for a in city.site.assets
        if a.kind in kinds and a.element in ("load", "sgen", "storage")
    ]


def _states(connection: Connection, city: City, horizon: Horizon) -> dict[str, dict[str, float]]:
    """What the types ask to know of the beginning of the horizon, by asset and variable.

    Measured where the start has passed or is near, else what the newest plan expects, else the
    last one measured: a plan that follows plans instead of devices would drift away from them.
    What plans have moved and no device reports is as the plan in force has it.
    """
    wanted = [(a.id, v) for a, kind in _dispatched(city) for v in kind.states]
    result: dict[str, dict[str, float]] = {asset.id: {} for asset, _ in _dispatched(city)}
    if utc(horizon.start) - utc(horizon.known_at) > NEAR:
        # Both a reading and a plan tell the state at the END of the interval they name.
        step_before = horizon.start - city.site.plan_resolution
        for asset, variable, value in _planned_states(connection, wanted, step_before):
            result[asset][variable] = value
    known = series.known(connection, [keys.of(city.site.id, a, v) for a, v in wanted])
    measured_of = [(a, v) for a, v in wanted if keys.of(city.site.id, a, v) in known]
    before = floor_to(min(horizon.start, horizon.known_at), QUARTER_HOUR)
    measured = readings.read(
        connection, list(known), before - timedelta(hours=2), before, QUARTER_HOUR
    ).transpose("time", "series")
    for (asset, variable), column in zip(measured_of, measured.to_numpy().T, strict=True):
        present = column[~np.isnan(column)]
        if variable not in result[asset] and present.size:
            result[asset][variable] = float(present[-1])
    for asset, variable, value in _moved_before(connection, city, horizon):
        result[asset].setdefault(variable, value)
    return result


def _moved_before(
    connection: Connection, city: City, horizon: Horizon
) -> Iterator[tuple[str, str, float]]:
    """What the plan in force before ``horizon`` has moved when it begins, by (asset, variable).

    Where devices do not say it: without this, what a plan has put off would be forgotten by the
    next one and never be served.
    """
    wanted = [
        (a.id, v, factor) for a, kind in _dispatched(city) for v, factor in kind.content_of.items()
    ]
    before = horizon.start - city.site.plan_resolution
    assets = sorted({asset for asset, _, _ in wanted})
    plan = runs.in_force(
        connection, INTRADAY, before, horizon.start, assets, as_of=horizon.known_at
    )
    if "content_mwh" not in plan:
        return
    content = plan["content_mwh"].isel(time=-1)
    for asset, variable, factor in wanted:
        if asset in content.asset.to_numpy():
            moved = factor * float(content.sel(asset=asset))
            if np.isfinite(moved):
                yield asset, variable, round(moved, _DIGITS_MWH)


def _planned_states(
    connection: Connection, wanted: Sequence[tuple[str, str]], step: datetime
) -> Iterator[tuple[str, str, float]]:
    """Of (asset, variable) what the newest plan expects at the end of ``step``."""
    run = runs.latest(connection, INTRADAY) or runs.latest(connection, DAY_AHEAD)
    if run is None:
        return
    schedule = runs.schedule(connection, run.id)
    at = to_datetime64(step)
    if at not in schedule.time.to_numpy():
        return
    then = schedule.sel(time=at)
    for asset, variable in wanted:
        if variable in then and asset in then.asset.to_numpy():
            value = float(then[variable].sel(asset=asset))
            if np.isfinite(value):
                yield asset, variable, value


def _profiles(
    connection: Connection, city: City, horizon: Horizon
) -> dict[str, dict[str, np.ndarray]]:
    """What the types ask to expect beside power, by asset and variable, each (time,).

    From the asset's own series, else from the city's first weather station that has one.
    """
    stations = [a.id for a in city.site.assets if a.kind is AssetKind.WEATHER_STATION]
    source: dict[tuple[str, str], str] = {}
    asked = {
        (a.id, v): [keys.of(city.site.id, i, v) for i in (a.id, *stations)]
        for a, kind in _dispatched(city)
        for v in kind.profiles
        if v != "p_mw"
    }
    known = series.known(connection, sorted({k for options in asked.values() for k in options}))
    for place, options in asked.items():
        found = [key for key in options if key in known]
        if found:
            source[place] = found[0]
    wanted = sorted(set(source.values()))
    if not wanted:
        return {}
    values = expected(connection, wanted, horizon, city.site.plan_resolution)
    result: dict[str, dict[str, np.ndarray]] = {}
    for (asset, variable), key in source.items():
        result.setdefault(asset, {})[variable] = values.sel(series=key).to_numpy()
    return result


def _envelopes(
    connection: Connection, city: City, horizon: Horizon, power: Mapping[str, np.ndarray]
) -> tuple[Envelope, ...]:
    """The envelope of every asset that can be dispatched; power: expected p_mw by asset."""
    resolution = city.site.plan_resolution
    states, profiles = _states(connection, city, horizon), _profiles(connection, city, horizon)
    own = {asset: {"p_mw": p_mw} for asset, p_mw in power.items()}
    at_chargers = stays.known(connection, horizon.start)
    return tuple(
        der.envelope_of(
            _forgiving(asset) if asset.id in at_chargers else asset,
            der.Conditions(
                times=steps(horizon.start, horizon.end, resolution),
                dt_h=resolution.total_seconds() / 3600.0,
                timezone=city.site.timezone,
                profiles=own.get(asset.id, {}) | profiles.get(asset.id, {}),
                states=states.get(asset.id, {}),
                stays=at_chargers.get(asset.id),
            ),
        )
        for asset, _ in _dispatched(city)
    )


def _forgiving(asset: Asset) -> Asset:
    """``asset`` with a price on energy missing at departure."""
    price = {"unserved_cny_per_mwh": stays.UNSERVED_CNY_PER_MWH}
    return replace(asset, parameters={**price, **asset.parameters})


def run_plan(
    city: City,
    network: Network,
    horizon: Horizon,
    *,
    kind: str,
    requested_by: str,
    run_id: int | None = None,
    taking: riskchoice.Risk | None = None,
    progress: Callable[[str], None] | None = None,
    change: Callable[[DispatchProblem], DispatchProblem] | None = None,
    planner: risk.Planner = solve_plan,
    notes: dict[str, Any] | None = None,
    like: str | None = None,
) -> Made:
    """Plan ``horizon`` and store the run. A failure is stored and raised.

    taking: how forecast errors count; None as the city's parameters say. change: makes another
    problem of the city's, for a run on a copy. planner: makes the plan, such as one that begins at
    the plan before. notes: more for the summary. like: the kind of plan whose promises this one
    keeps; None for its own.
    """
    if run_id is None:
        with city.database.connection() as connection:
            run_id = runs.start(connection, kind, requested_by, horizon.known_at)
    try:
        times = steps(horizon.start, horizon.end, city.site.plan_resolution)
        with city.database.connection() as connection:
            wanted = asked.of_city(connection, city, times, horizon.known_at, kind=like or kind)
            problem = assemble(connection, city, network, horizon, wanted)
        if change is not None:
            problem = change(problem)
        with city.database.connection() as connection:
            taking = riskchoice.of_city(city.site.parameters) if taking is None else taking
            certain = taking.kind is riskchoice.RiskKind.NONE
            ahead = None if certain else risk.outlook(connection, city, horizon.known_at, problem)
        seed = int(horizon.known_at.timestamp())
        made = risk.plan(
            problem, ahead, taking, kind=kind, seed=seed, progress=progress, planner=planner
        )
        plan = made.plan
        plan.notes.extend(wanted.notes)
        told = askedsummary.told(problem, plan, wanted)
        more = {**(notes or {}), "risk": made.about, "asked": told}
        with city.database.connection() as connection:
            keep(connection, city, run_id, kind, problem, plan, horizon.known_at, more)
    except BaseException as error:  # Ctrl-C at a console too
        with suppress(StoreError), city.database.connection() as connection:
            runs.fail(connection, run_id, reason(error))
        raise
    return Made(run_id, problem, plan, made.about, told)
