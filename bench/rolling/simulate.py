"""One period three times: nobody controls, plans from forecasts, perfect foresight."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bench.rolling import window
from bench.rolling.devices import Devices
from bench.rolling.foresight import Foresight
from bench.rolling.window import Period
from bench.rolling.year import STEPS_PER_DAY, Year
from grid import powerflow
from optimization.conduct import conduct
from optimization.fleet import Fleet
from optimization.keyfigures import key_figures
from optimization.planner import plan
from optimization.problem import DispatchProblem
from optimization.result import KeyFigures, Plan
from optimization.scenarios import draw
from optimization.session import Session
from optimization.spread import exchange_spread

DRAWN = 200
"""Courses that the spread of the exchange is made of."""

Tell = Callable[[str], None]
Planner = Callable[[DispatchProblem], Plan]


@dataclass(frozen=True)
class Figures:
    """A controlled period in numbers, all of them from AC power flows of what came.

    peak_valley_mw: highest less lowest exchange of a day, mean over the days. renewable_share: of
    all that was supplied (own generation and import). unserved_mwh: of cars and shiftable loads.
    """

    total_cny: float
    cost_cny: float
    wear_cny: float
    carbon_cny: float
    peak_cny: float
    peak_valley_mw: float
    renewable_share: float
    losses_mwh: float
    emissions_tco2e: float
    curtailed_mwh: float
    violations: int
    stored_change_mwh: float
    unserved_mwh: float


@dataclass(frozen=True)
class Result:
    """Of one period; plan_s: median seconds of one re-plan, forecasts excluded."""

    uncontrolled: Figures
    rolling: Figures
    perfect: Figures
    plans: int
    failed: int
    plan_s: float
    forecast_s: float

    @property
    def possible_cny(self) -> float:
        """What perfect foresight saves."""
        return self.uncontrolled.total_cny - self.perfect.total_cny

    @property
    def saved_cny(self) -> float:
        """What plans from forecasts save."""
        return self.uncontrolled.total_cny - self.rolling.total_cny


def simulate(
    year: Year,
    period: Period,
    *,
    every: int,
    horizon: int,
    planner: Planner = plan,
    expected: bool = True,
    tell: Tell = print,
) -> Result:
    """The three runs.

    every: steps between plans; horizon: steps that a plan looks ahead; planner: makes the plans
    that follow each other, and may remember the one before. expected: whether they minimise the
    expected bill, or that of the expected course.
    """
    true = window.truth(year, period)
    fleet = Fleet(true)
    idle = _priced(true, fleet, fleet.baseline_mw, 0.0)
    tell(f"no control: {idle.total_cny:,.0f} CNY, {idle.violations} violations")
    best = plan(true, session=Session(true, time_limit_s=float("inf")))
    perfect = _priced(true, fleet, _powers(best.schedule, true), 0.0)
    tell(
        f"perfect foresight: {perfect.total_cny:,.0f} CNY, {perfect.violations} violations, "
        f"{best.rounds} rounds"
    )
    run = _Rolling(year, period, true, every, horizon, planner, expected, tell)
    done = run.go()
    rolling = _priced(true, fleet, done, run.devices.unserved_mwh)
    return Result(
        uncontrolled=idle,
        rolling=rolling,
        perfect=perfect,
        plans=len(run.plan_s),
        failed=run.failed,
        plan_s=statistics.median(run.plan_s),
        forecast_s=statistics.median(run.forecast_s),
    )


class _Rolling:
    """Plans every so often, lets the devices do the first steps, looks again."""

    def __init__(
        self,
        year: Year,
        period: Period,
        true: DispatchProblem,
        every: int,
        horizon: int,
        planner: Planner,
        expected: bool,
        tell: Tell,
    ) -> None:
        self._year, self._period = year, period
        self._every, self._horizon, self._planner = every, horizon, planner
        self._expected, self._tell = expected, tell
        self._foresight = Foresight(year)
        self.devices = Devices(true.envelopes, true.dt_h)
        fleet = Fleet(true)
        self._rest_mw = _exchange(true, fleet) + fleet.baseline_mw @ fleet.fed_sign
        self._fed_sign = fleet.fed_sign
        self._peak_mw = 0.0
        self.plan_s: list[float] = []
        self.forecast_s: list[float] = []
        self.failed = 0

    def go(self) -> np.ndarray:
        """What the devices did, (time, asset)."""
        done, spent = [], 0.0
        planned = expected = np.zeros((0, len(self._year.assets)))
        made_at = 0
        for t in range(self._period.steps):
            if t % self._every == 0:
                found = self._plan(self._period.first + t)
                if found is not None:
                    (planned, expected), made_at = found, t
            at = t - made_at  # without a new plan the last one goes on
            done.append(self.devices.step(t, planned[at], expected[at]))
            self._peak_mw = max(self._peak_mw, float(self._rest_mw[t] - done[-1] @ self._fed_sign))
            if (t + 1) % (STEPS_PER_DAY // 4) == 0:
                seconds = sum(self.plan_s) - spent
                spent += seconds
                self._tell(f"day {(t + 1) / STEPS_PER_DAY:.2f}: planned for {seconds:.0f} s")
        return np.array(done)

    def _plan(self, row: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Powers planned and the most expected, (time, asset); None when no plan was found."""
        start = time.perf_counter()
        expected = self._foresight.at(row, min(self._horizon, self._period.last - row))
        seen = window.window(
            self._year, self._period, row, expected, self.devices.content_mwh, self._peak_mw
        )
        ahead = expected.outlook
        if self._expected and ahead is not None:
            drawn = draw(ahead, DRAWN, np.random.default_rng(row), dt_h=seen.dt_h)
            seen = replace(seen, spread=exchange_spread(seen, ahead, drawn))
        between = time.perf_counter()
        found = self._planner(seen)
        self.forecast_s.append(between - start)
        self.plan_s.append(time.perf_counter() - between)
        if found.numbers is None:
            self.failed += 1
            self._tell(f"no plan at row {row}: {found.status}, {found.violations[:2]}")
            if not row - self._period.first:
                raise RuntimeError(f"The first plan ended as {found.status}: {found.violations}")
            return None
        most = np.column_stack([e.p_max_mw for e in seen.envelopes])
        return _powers(found.schedule, seen), most


def _exchange(true: DispatchProblem, fleet: Fleet) -> np.ndarray:
    """Import less export of the uncontrolled period, (time,)."""
    flow = powerflow.run(true.network, fleet.injections(fleet.baseline_mw))
    exchange: np.ndarray = (flow["import_mw"] - flow["export_mw"]).values
    return exchange


def _powers(schedule: xr.Dataset, asked: DispatchProblem) -> np.ndarray:
    """Planned powers in the order of the problem's envelopes, (time, asset)."""
    names = [e.asset for e in asked.envelopes]
    return np.asarray(schedule["p_mw"].sel(asset=names).transpose("time", "asset").values)


def _priced(true: DispatchProblem, fleet: Fleet, p_mw: np.ndarray, unserved_mwh: float) -> Figures:
    """What came of these powers on the AC grid; the upstream grid makes up every difference."""
    injections = fleet.injections(p_mw)
    flow = powerflow.run(true.network, injections)
    figures: KeyFigures = key_figures(fleet, flow, conduct(fleet, p_mw))
    exchange = (flow["import_mw"] - flow["export_mw"]).values
    days = np.array_split(exchange, max(round(len(exchange) / STEPS_PER_DAY), 1))
    made = float(powerflow.values(true.network, injections, "sgen", "p_mw").sum() * true.dt_h)
    return Figures(
        total_cny=figures.total_cny,
        cost_cny=figures.cost_cny,
        wear_cny=figures.wear_cny,
        carbon_cny=figures.carbon_cny,
        peak_cny=figures.peak_cny,
        peak_valley_mw=float(np.mean([day.max() - day.min() for day in days])),
        renewable_share=made / (made + figures.import_mwh),
        losses_mwh=figures.losses_mwh,
        emissions_tco2e=figures.emissions_kgco2e / 1000.0,
        curtailed_mwh=figures.curtailed_mwh,
        violations=figures.violations,
        stored_change_mwh=figures.stored_change_mwh,
        unserved_mwh=unserved_mwh,
    )
