"""A week of 1-MV-semiurb--2-sw planned at midnight from forecasts: plain, with margins, with CVaR.

Hourly steps, 20 to 26 June 2016 of SimBench; 114 batteries and all plants that can be held back,
nothing else is dispatched. Loads are forecast as the same hour of last week with the errors of that
rule, sun and wind by what is usual at that hour (forecasting.load.seasonal_naive,
forecasting.climatology.persistence), from the 35 days before and nothing later; batteries begin and
end a day half full, so that days compare. The limits of import and export are set to bind.

Each plan is carried out against what came in two ways: as scheduled at midnight to the letter, and
with batteries as scheduled but plants held back in each hour as it turns out to be needed, which is
what a plan in two stages counts on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from bench.rolling.window import (
    CARBON_CNY_PER_TCO2E,
    EXPORT_CNY,
    FLAT_CNY,
    KGCO2E_PER_MWH,
    PEAK_CNY,
    VALLEY_CNY,
)
from bench.rolling.year import START_SOC, STEPS_PER_DAY, TIMEZONE, Year, load
from core.sites import Asset, AssetKind
from core.timeaxis import from_datetime64
from forecasting import climatology
from forecasting.load import seasonal_naive
from grid.der import Conditions, envelope_of
from optimization import margins, stochastic
from optimization.conduct import conduct
from optimization.execution import carried_out
from optimization.fleet import Fleet
from optimization.keyfigures import exchange_excess, key_figures
from optimization.model import penalty_cny_per_mwh
from optimization.outlook import Outlook, realised
from optimization.planner import plan as plan_plain
from optimization.problem import DispatchProblem
from optimization.result import Plan
from optimization.risk import RiskMeasure, cvar
from optimization.scenarios import Scenarios, scenarios
from optimization.session import Session

FIRST_DAY = 171
HISTORY_DAYS = 35
QUARTERS = 4
IMPORT_LIMIT_MW, EXPORT_LIMIT_MW = 3.0, 18.0
LEVEL = 0.9
DAY_LEVEL = 0.7
"""Of the CVaR of daily cost: the mean of the dearest 2.1 of 7 days."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """How much of it; what is not said is what docs/benchmarks.md shows."""
    parser.add_argument("--week-days", type=int, default=7, help="days from 20 June on")
    parser.add_argument("--week-scenarios", type=int, default=6, help="of the plan with CVaR")


@dataclass
class Tally:
    """What a way to plan did, day by day."""

    cost_cny: list[float] = field(default_factory=list)
    recourse_cny: list[float] = field(default_factory=list)
    recourse_beyond_mwh: float = 0.0
    priced_cny: list[float] = field(default_factory=list)
    """The cost with plants held back as needed and broken limits at the price plans give them."""
    violations: int = 0
    hours: int = 0
    beyond_mwh: float = 0.0
    seconds: float = 0.0


def rows(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Cost, tail and broken limits of each way to plan."""
    year = load()
    tallies: dict[str, Tally] = {}
    for day in range(FIRST_DAY, FIRST_DAY + asked.week_days):
        problem, outlook, came = _day(year, day)
        ways = _ways(problem, outlook, came, asked.week_scenarios)
        for name, make in ways.items():
            start = time.perf_counter()
            p_mw = make()
            tally = tallies.setdefault(name, Tally())
            tally.seconds += time.perf_counter() - start
            seen = realised(problem, outlook, came.mean_mw) if name == "known" else problem
            _carry_out(tally, seen, outlook, p_mw, came)
        told = ", ".join(f"{n} {t.cost_cny[-1]:,.0f}" for n, t in tallies.items())
        print(f"day {day}: {told}", file=sys.stderr, flush=True)
    return [row for name in ("margin", "cvar") for row in _told(name, tallies, asked.week_days)]


def _ways(
    problem: DispatchProblem, outlook: Outlook, came: Scenarios, count: int
) -> dict[str, Callable[[], np.ndarray]]:
    """What to do, by name; each gives powers (time, asset)."""

    def cvar_plan() -> np.ndarray:
        rng = np.random.default_rng(int(problem.times[0].astype(np.int64) // 10**9))
        few = scenarios(outlook, count, rng, dt_h=problem.dt_h)
        measure = RiskMeasure(level=LEVEL)
        return _powers(problem, stochastic.plan(problem, outlook, few, measure=measure).plan)

    def known() -> np.ndarray:
        (course,) = came.power_mw
        return _powers(problem, plan_plain(realised(problem, outlook, course)))

    return {
        "none": lambda: np.column_stack([e.base_mw for e in problem.envelopes]),
        "plain": lambda: _powers(problem, plan_plain(problem)),
        "margin": lambda: _powers(problem, margins.plan(problem, outlook, LEVEL).plan),
        "cvar": cvar_plan,
        "known": known,
    }


def _carry_out(
    tally: Tally, problem: DispatchProblem, outlook: Outlook, p_mw: np.ndarray, came: Scenarios
) -> None:
    """problem: as it was seen when the plan was made."""
    ((fleet, power, flow),) = carried_out(problem, outlook, p_mw, came)
    figures = key_figures(fleet, flow, conduct(fleet, power))
    over = np.sum(exchange_excess(problem, flow), axis=0)
    tally.cost_cny.append(figures.total_cny)
    tally.violations += figures.violations
    tally.hours += int((over > 0).sum())
    tally.beyond_mwh += float(over.sum() * problem.dt_h)
    (course,) = came.power_mw
    true = realised(problem, outlook, course)
    made_good = _with_recourse(true, p_mw)
    beyond_mwh = float(np.sum(exchange_excess(true, made_good.ac)) * true.dt_h)
    tally.recourse_cny.append(made_good.planned.total_cny)
    tally.recourse_beyond_mwh += beyond_mwh
    price = penalty_cny_per_mwh(Fleet(true))
    tally.priced_cny.append(made_good.planned.total_cny + price * beyond_mwh)


def _with_recourse(came: DispatchProblem, p_mw: np.ndarray) -> Plan:
    """The day as it came with the batteries as scheduled and everything else at its best."""
    session = Session(came)
    fleet, devices = session.model.fleet, session.model.devices
    held = fleet.has_account[: fleet.named]
    moved = p_mw[:, held] - fleet.base_mw[:, : fleet.named][:, held]
    for columns, value in ((devices.raised, moved), (devices.lowered, -moved)):
        at = columns[:, : fleet.named][:, held]
        amount = np.maximum(value, 0.0)[at >= 0]
        session.solver.change_bounds(at[at >= 0], amount, amount)
    return plan_plain(came, session=session)


def _told(name: str, tallies: dict[str, Tally], days: int) -> list[dict[str, Any]]:
    ours, plain, none, known = (tallies[n] for n in (name, "plain", "none", "known"))
    way = {"margin": f"margins at {LEVEL}", "cvar": f"CVaR at {LEVEL}"}[name]

    def row(what: str, get: Callable[[Tally], float], unit: str) -> dict[str, Any]:
        mine, reference = float(get(ours)), float(get(plain))
        return {
            "figure": f"week of forecasts, {days} days, {way}: {what}",
            "ours": mine,
            "reference": reference,
            "ratio": mine / reference if reference else None,
            "unit": unit,
            "note": f"reference: plain plan; no control {get(none):,.4g}, "
            f"known beforehand {get(known):,.4g}",
        }

    def tail(costs: list[float]) -> float:
        return cvar(np.array(costs), np.full(len(costs), 1 / len(costs)), DAY_LEVEL)

    return [
        row("cost", lambda t: sum(t.cost_cny), "CNY"),
        row(f"CVaR of daily cost at {DAY_LEVEL}", lambda t: tail(t.cost_cny), "CNY"),
        row("cost with plants held back as needed", lambda t: sum(t.recourse_cny), "CNY"),
        row("the same with broken limits at the plans' price", lambda t: sum(t.priced_cny), "CNY"),
        row(f"its CVaR of daily cost at {DAY_LEVEL}", lambda t: tail(t.priced_cny), "CNY"),
        row("its energy beyond the exchange limits", lambda t: t.recourse_beyond_mwh, "MWh"),
        row("hours beyond the exchange limits", lambda t: t.hours, "h"),
        row("energy beyond the exchange limits", lambda t: t.beyond_mwh, "MWh"),
        row("violations of all limits", lambda t: t.violations, "steps x elements"),
        row("planning a day", lambda t: t.seconds / days, "s"),
    ]


def _day(year: Year, day: int) -> tuple[DispatchProblem, Outlook, Scenarios]:
    """The problem of a day as seen at its midnight, its outlook, and what came."""
    first = day * STEPS_PER_DAY
    past = slice(first - HISTORY_DAYS * STEPS_PER_DAY, first)
    today = slice(first, first + STEPS_PER_DAY)
    known_at = from_datetime64(year.times[first])
    times = year.times[today][::QUARTERS]
    loads = seasonal_naive(
        _history(year.times[past], year.load_p_mw[past]), times, known_at=known_at
    )
    plants = climatology.persistence(
        _history(year.times[past], year.sgen_p_mw[past]), times, known_at=known_at
    )
    quantiles = np.maximum(np.concatenate([loads.to_numpy(), plants.to_numpy()], axis=1), 0.0)
    highest = np.concatenate([year.load_p_mw[past].max(axis=0), year.sgen_p_mw[past].max(axis=0)])
    network = year.network
    outlook = Outlook(
        levels=loads["quantile"].to_numpy(),
        values=quantiles,
        table=("load",) * len(network.loads) + ("sgen",) * len(network.sgens),
        element=tuple(int(i) for i in (*network.loads, *network.sgens)),
        group=("load",) * len(network.loads) + tuple(str(k) for k in year.sgen_kind),
        lower=np.zeros(quantiles.shape[1]),
        upper=np.maximum(1.1 * highest, quantiles.max(axis=(0, 2))),
    )
    came = np.concatenate([_hourly(year.load_p_mw[today]), _hourly(year.sgen_p_mw[today])], axis=1)
    median = quantiles[..., 1]
    drawn = year.load_p_mw[past].sum(axis=0)
    ratio = year.load_q_mvar[past].sum(axis=0) / np.where(drawn > 0, drawn, np.inf)
    load_p = median[:, : len(network.loads)]
    given = year.as_injections(times, load_p, load_p * ratio, median[:, len(network.loads) :])
    problem = _problem(year, times, given, median[:, len(network.loads) :])
    return problem, outlook, Scenarios(came[None], np.ones(1))


def _problem(
    year: Year, times: np.ndarray, given: xr.Dataset, sgen_mw: np.ndarray
) -> DispatchProblem:
    place = {int(i): n for n, i in enumerate(year.network.sgens)}

    def seen(asset: Asset) -> Conditions:
        if asset.kind is AssetKind.BATTERY:
            return Conditions(times, 1.0, TIMEZONE, {}, {"soc": START_SOC})
        return Conditions(
            times, 1.0, TIMEZONE, {"p_mw": sgen_mw[:, place[asset.element_index]]}, {}
        )

    dispatched = [a for a in year.assets if a.element in ("sgen", "storage")]
    hour = np.arange(len(times))
    peak = ((hour >= 10) & (hour < 12)) | ((hour >= 17) & (hour < 22))
    return DispatchProblem(
        times=times,
        dt_h=1.0,
        network=year.network,
        injections=given,
        envelopes=tuple(envelope_of(a, seen(a)) for a in dispatched),
        import_cny_per_mwh=np.where(peak, PEAK_CNY, np.where(hour < 7, VALLEY_CNY, FLAT_CNY)),
        export_cny_per_mwh=np.full(len(times), EXPORT_CNY),
        kgco2e_per_mwh=np.full(len(times), KGCO2E_PER_MWH),
        carbon_cny_per_tco2e=CARBON_CNY_PER_TCO2E,
        import_limit_mw=IMPORT_LIMIT_MW,
        export_limit_mw=EXPORT_LIMIT_MW,
        timezone=TIMEZONE,
    )


def _history(times: np.ndarray, values: np.ndarray) -> xr.DataArray:
    """Hourly means as the forecasts want them."""
    return xr.DataArray(
        _hourly(values),
        dims=("time", "asset"),
        coords={"time": times[::QUARTERS], "asset": np.arange(values.shape[1])},
        attrs={"units": "MW"},
    )


def _hourly(values: np.ndarray) -> np.ndarray:
    """Means of four quarter-hours, (hour, element)."""
    mean: np.ndarray = values.reshape(-1, QUARTERS, values.shape[1]).mean(axis=1)
    return mean


def _powers(problem: DispatchProblem, found: Plan) -> np.ndarray:
    names = [e.asset for e in problem.envelopes]
    p_mw = found.schedule["p_mw"].sel(asset=names).transpose("time", "asset")
    return np.asarray(p_mw.to_numpy())
