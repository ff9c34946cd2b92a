"""Dispatch beside its peers: the same linear program everywhere, then a day on the AC grid.

The fleet of bench/peers/case.py is solved by PyPSA, linopy and Pyomo, each in a process of its
own, and by our own model; one function prices all schedules. The day is 2016-06-20 of SimBench's
1-MV-semiurb--2-sw with all its DERs.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import simbench
from pandapower.control import ConstControl
from pandapower.timeseries import DFData, OutputWriter, run_timeseries

from bench import fleetcase
from bench.peers import run
from bench.peers.case import WARM_UP_DEVICES, Case, cost_cny, excess, make
from bench.rolling.devices import Devices
from bench.rolling.foresight import Foresight
from bench.rolling.window import Period, truth, window
from bench.rolling.year import CODE, DT_H, LOAD, STEPS_PER_DAY, Year, load
from core.sites import Asset, AssetKind
from grid import powerflow
from grid.network import Network
from optimization import netloop
from optimization.planner import plan
from optimization.reference import optimum_cny
from optimization.result import Status
from optimization.rolling import Rolling
from optimization.session import Session
from optimization.tangents import Tangents

SMALL, LARGE = 100, 1000
FIRST = 171 * STEPS_PER_DAY
PLAN_LIMIT_S = 20.0
TIGHT_PERCENT = 60.0
"""Cap on loadings of the day that is solved twice, so that rows of the network decide in it."""
REPLAN_DEVICES = 300
REPLANS = 3
FEASIBLE = 1e-6
"""MW or MWh by which a schedule may break a constraint; HiGHS itself allows 1e-7."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """How often what is timed is repeated."""
    parser.add_argument("--repeat", type=int, default=3, help="solves of each; medians are told")


def rows(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Figures with keys figure, ours, reference, ratio, unit, note; about five minutes."""
    year = load()
    return [
        *_programs(asked.repeat),
        _day(year),
        _optimum(year),
        _replan(year),
        _ac_check(year),
    ]


# --- the same linear program ----------------------------------------------------------------


@dataclass(frozen=True)
class Solved:
    """What one way of solving a case gave; build_s: model built and in the solver."""

    cost_cny: float
    excess: float
    build_s: float
    total_s: float


def _programs(repeat: int) -> list[dict[str, Any]]:
    told = []
    for devices in (SMALL, LARGE):
        case = make(devices)
        ours = _ours(case, repeat)
        linopy = _peer("linopy", case, repeat)
        told += [
            _cost(devices, ours, _peer("pypsa", case, 1), "PyPSA"),
            _cost(devices, ours, linopy, "linopy"),
        ]
    pyomo = _peer("pyomo", case, 1)
    size = f"{LARGE:,} devices, {case.steps} steps"
    return [
        *told,
        _cost(LARGE, ours, pyomo, "Pyomo appsi"),
        _row(
            f"dispatch LP, {LARGE:,} devices: build and load",
            ours.build_s,
            pyomo.build_s,
            "s",
            f"{size}; from arrays to a loaded solver; reference: Pyomo appsi_highs, written for "
            "speed; goal: 0.05",
        ),
        _row(
            f"dispatch LP, {LARGE:,} devices: build and solve",
            ours.total_s,
            linopy.total_s,
            "s",
            f"{size}; both HiGHS of one version, one thread, its own choice of method; reference: "
            "linopy, vectorised, direct; goal: 1",
        ),
    ]


def _cost(devices: int, ours: Solved, theirs: Solved, name: str) -> dict[str, Any]:
    apart = abs(ours.cost_cny - theirs.cost_cny) / abs(theirs.cost_cny)
    return _row(
        f"dispatch LP, {devices:,} devices: cost of the best schedule",
        ours.cost_cny,
        theirs.cost_cny,
        "CNY",
        f"reference: {name}; apart by {apart:.1e} of it, goal: 1e-6; no constraint broken by more "
        f"than {max(ours.excess, theirs.excess):.0e} MW or MWh",
    )


def _peer(side: str, case: Case, repeat: int) -> Solved:
    found, figures = run.solve(side, case, repeat=repeat)
    return _feasible(
        side,
        Solved(cost_cny(case, found), excess(case, found), figures["build_s"], figures["total_s"]),
    )


def _ours(case: Case, repeat: int) -> Solved:
    small = make(WARM_UP_DEVICES)
    _solve(small, fleetcase.network(small))  # what is loaded at the first use
    net = fleetcase.network(case)
    times = []
    for _ in range(repeat):
        session, build_s, total_s = _solve(case, net)
        times.append((build_s, total_s))
    found = fleetcase.schedule(case, session)
    build_s, total_s = (statistics.median(column) for column in zip(*times, strict=True))
    return _feasible("ours", Solved(cost_cny(case, found), excess(case, found), build_s, total_s))


def _solve(case: Case, net: Network) -> tuple[Session, float, float]:
    """From the case's arrays to the optimum; reading the network, which no peer has, is left out.

    The exchange is what the buses draw, to the last MW: without losses one tangent is exact.
    """
    start = time.perf_counter()
    session = Session(fleetcase.problem(case, net))
    buses = len(net.buses)
    copper = Tangents(
        np.arange(case.steps),
        np.zeros(case.steps),
        np.full((case.steps, buses), -1.0),
        np.zeros((case.steps, buses)),
    )
    session.set_prices(case.base_mw)
    session.add_exchange(copper, np.zeros(case.steps, dtype=bool))
    build_s = time.perf_counter() - start
    status, _ = session.solve(time.perf_counter)
    total_s = time.perf_counter() - start
    if status is not Status.OPTIMAL:
        raise RuntimeError(f"Our own model ended as {status}.")
    return session, build_s, total_s


def _feasible(name: str, solved: Solved) -> Solved:
    if solved.excess > FEASIBLE:
        raise RuntimeError(f"The schedule of {name} breaks a constraint by {solved.excess:.1e}.")
    return solved


# --- a day on the AC grid -------------------------------------------------------------------


def _day(year: Year) -> dict[str, Any]:
    problem = truth(year, Period(FIRST, FIRST + STEPS_PER_DAY))
    seconds, found = _timed(lambda: plan(problem))
    assert found.numbers is not None
    return _row(
        f"day-ahead plan of {CODE}",
        seconds,
        PLAN_LIMIT_S,
        "s",
        f"{len(problem.envelopes)} DERs, {problem.steps} steps, {found.rounds} rounds with AC "
        f"checks, {found.planned.violations} violations left (uncontrolled: "
        f"{found.baseline.violations}), built in {found.build_s:.2f} s, solved in "
        f"{found.solve_s:.2f} s; reference: the limit",
    )


def _optimum(year: Year) -> dict[str, Any]:
    """The last program of the day's plan, solved by the model in Pyomo with the same rows."""
    problem = truth(year, Period(FIRST, FIRST + STEPS_PER_DAY))
    problem = replace(problem, max_loading_percent=TIGHT_PERCENT)
    session = Session(problem)
    fleet = session.model.fleet
    netloop.prepare(session, powerflow.run(problem.network, fleet.injections(fleet.baseline_mw)))
    found = netloop.run(session, timer=time.perf_counter, progress=lambda _: None)
    assert found.optimum is not None
    assert found.flow is not None
    status, _ = session.solve(time.perf_counter)  # with what the last round added
    if status is not Status.OPTIMAL:
        raise RuntimeError(f"The day ended as {status}.")
    ours = session.solver.objective
    exchange_mw = netloop.exchange(found.flow)
    judge_s, judge = _timed(
        lambda: optimum_cny(
            problem, session.tangents, session.tangent_exact, exchange_mw, session.limits
        )
    )
    return _row(
        f"optimum of a day of {CODE}",
        ours,
        judge,
        "CNY",
        f"{len(problem.envelopes)} DERs, {problem.steps} steps, {len(session.limits)} rows of the "
        f"network (loadings up to {TIGHT_PERCENT:.0f} %); reference: the model in Pyomo with the "
        f"same rows, built and solved in {judge_s:.0f} s; apart by {abs(ours / judge - 1):.1e} of "
        "it, goal: 1e-6",
    )


def _replan(year: Year) -> dict[str, Any]:
    """A quarter-hour later, with other forecasts and measured states, against planning anew."""
    crowded = _crowded(year)
    period = Period(FIRST, FIRST + 2 * STEPS_PER_DAY)
    devices = Devices(truth(crowded, period).envelopes, DT_H)
    foresight, rolling = Foresight(crowded), Rolling()
    colds, warms = [], []
    for row in range(FIRST, FIRST + 1 + REPLANS):
        expected = foresight.at(row, STEPS_PER_DAY)
        seen = window(crowded, period, row, expected, devices.content_mwh)
        warm_s, found = _timed(partial(rolling.plan, seen))
        if row > FIRST:
            warms.append(warm_s)
            colds.append(_timed(partial(plan, seen))[0])
        asked, most = found.schedule["p_mw"].values[0], [e.p_max_mw[0] for e in seen.envelopes]
        devices.step(row - FIRST, asked, np.array(most))
    return _row(
        f"re-plan after 15 minutes, {REPLAN_DEVICES} devices",
        statistics.median(warms),
        statistics.median(colds),
        "s",
        f"on the AC grid of {CODE}, median of {REPLANS}; reference: the same problem planned "
        "anew; goal: 0.3",
    )


def _crowded(year: Year) -> Year:
    """The year with as many more flexible loads as make up REPLAN_DEVICES."""
    taken = {a.element_index for a in year.assets if a.element == "load"}
    free = [int(i) for i in year.network.loads if i not in taken]
    more = [
        Asset(f"more-{i:03d}", AssetKind.FLEXIBLE_LOAD, "", "", element="load", element_index=i,
              parameters={**LOAD, "p_max_mw": float(year.load_p_mw[:, n].max())})
        for n, i in enumerate(year.network.loads) if i in free[: REPLAN_DEVICES - len(year.assets)]
    ]  # fmt: skip
    return replace(year, assets=(*year.assets, *more))


def _ac_check(year: Year) -> dict[str, Any]:
    network, injections = year.network, year.injections(FIRST, FIRST + STEPS_PER_DAY)
    powerflow.run(network, injections)  # converts the network once
    repeats = 10
    ours_s, _ = _timed(lambda: [powerflow.run(network, injections) for _ in range(repeats)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # simbench's own, on the pandas of today
        net = simbench.get_simbench_net(CODE)
        for name in ("load_p_mw", "load_q_mvar", "sgen_p_mw"):
            table, _, column = name.partition("_")
            frame = pd.DataFrame(injections[name].values, columns=net[table].index)
            ConstControl(
                net, table, column, element_index=frame.columns.tolist(),
                data_source=DFData(frame), profile_name=frame.columns.tolist(),
            )  # fmt: skip
        net.storage["p_mw"] = 0.0
        steps = range(STEPS_PER_DAY)
        writer = OutputWriter(net, time_steps=steps, output_path=None)
        for table, column in (("res_bus", "vm_pu"), ("res_line", "loading_percent")):
            writer.log_variable(table, column)
        theirs_s, _ = _timed(lambda: run_timeseries(net, time_steps=steps, verbose=False))
    return _row(
        "AC check",
        repeats * STEPS_PER_DAY / ours_s,
        STEPS_PER_DAY / theirs_s,
        "steps/s",
        f"{len(network.buses)} buses; reference: pandapower.timeseries.run_timeseries, "
        f"{STEPS_PER_DAY} steps, voltages and line loadings logged",
    )


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def _row(figure: str, ours: float, reference: float, unit: str, note: str) -> dict[str, Any]:
    return {
        "figure": figure,
        "ours": ours,
        "reference": reference,
        "ratio": ours / reference,
        "unit": unit,
        "note": note,
    }
