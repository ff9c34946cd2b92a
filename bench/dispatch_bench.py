"""Dispatch and AC check on the SimBench city day 2016-06-20, with their peers in the same run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import highspy
import numpy as np
import pandapower
import simbench
import xarray as xr
from pandapower.control import ConstControl
from pandapower.timeseries import DFData, OutputWriter, run_timeseries

from core.sites import Asset, AssetKind
from grid import powerflow
from grid.der import Conditions, envelope_of
from grid.envelope import Envelope
from grid.network import Network, read
from optimization import netloop
from optimization.planner import plan
from optimization.problem import DispatchProblem
from optimization.session import Session

CODE = "1-MV-semiurb--2-sw"
FIRST = 171 * 96
STEPS = 96
PLANTS = {"PV_MV": AssetKind.PV, "lv_RES": AssetKind.PV, "Wind_MV": AssetKind.WIND}


def rows() -> list[dict[str, Any]]:
    """Figures with keys figure, ours, reference, ratio, unit, note; about half a minute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = simbench.get_simbench_net(CODE)
        profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    day = {
        key: frame.iloc[FIRST : FIRST + STEPS].reset_index(drop=True)
        for key, frame in profiles.items()
        if frame.shape[1]
    }
    network = read(pandapower.to_json(net))
    problem = _problem(network, net, day)
    return [*_dispatch(problem), _ac_check(network, net, day, problem.injections)]


def _dispatch(problem: DispatchProblem) -> list[dict[str, Any]]:
    flow = powerflow.run(problem.network, problem.injections)

    def make() -> Session:
        session = Session(problem)
        netloop.prepare(session, flow)
        return session

    build_s, session = _timed(make)
    bare = highspy.Highs()
    bare.silent()
    bare.setOptionValue("threads", 1)
    bare.passModel(session.solver.highs.getLp())
    bare_s, _ = _timed(bare.run)
    solve_s, _ = _timed(lambda: session.solve(time.perf_counter))
    plan_s, found = _timed(lambda: plan(problem))
    size = f"{len(problem.envelopes)} resources, {problem.steps} steps"
    clean = f"{found.rounds} rounds, {len(found.violations)} violations left"
    alone = "reference: HiGHS alone on the same LP, cold"
    return [
        _row("dispatch: build the model", build_s, bare_s, "s", f"{size}; {alone}"),
        _row("dispatch: first solve", solve_s, bare_s, "s", alone),
        _row("dispatch: whole plan with AC checks", plan_s, bare_s, "s", f"{clean}; {alone}"),
    ]


def _ac_check(network: Network, net: Any, day: dict, injections: xr.Dataset) -> dict[str, Any]:
    powerflow.run(network, injections)  # converts the network once
    repeats = 10
    ours_s, _ = _timed(lambda: [powerflow.run(network, injections) for _ in range(repeats)])
    for (table, column), frame in day.items():
        ConstControl(
            net, table, column, element_index=frame.columns.tolist(),
            data_source=DFData(frame), profile_name=frame.columns.tolist(),
        )  # fmt: skip
    writer = OutputWriter(net, time_steps=range(STEPS), output_path=None)
    for table, column in (("res_bus", "vm_pu"), ("res_line", "loading_percent")):
        writer.log_variable(table, column)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs_s, _ = _timed(lambda: run_timeseries(net, time_steps=range(STEPS), verbose=False))
    return _row(
        "AC check",
        repeats * STEPS / ours_s,
        STEPS / theirs_s,
        "steps/s",
        f"{len(network.buses)} buses; reference: pandapower.timeseries.run_timeseries, {STEPS} "
        "steps, voltages and line loadings logged",
    )


def _problem(network: Network, net: Any, day: dict) -> DispatchProblem:
    start = np.datetime64("2016-06-20T00:00", "ns")
    times = start + np.arange(STEPS) * np.timedelta64(15, "m")
    injections = xr.Dataset(
        {f"{t}_{c}": (("time", t), frame.to_numpy()) for (t, c), frame in day.items()},
        coords={
            "time": times,
            "load": network.loads,
            "sgen": network.sgens,
            "storage": network.storages,
        },
    )
    hour = np.arange(STEPS) / 4
    peak = ((hour >= 10) & (hour < 12)) | ((hour >= 17) & (hour < 22))
    return DispatchProblem(
        times=times,
        dt_h=0.25,
        network=network,
        injections=injections,
        envelopes=tuple(_envelopes(net, day, times)),
        import_cny_per_mwh=np.where(peak, 1150.0, np.where(hour < 7, 330.0, 680.0)),
        export_cny_per_mwh=np.full(STEPS, 300.0),
        kgco2e_per_mwh=np.full(STEPS, 536.6),
        carbon_cny_per_tco2e=80.0,
        import_limit_mw=20.0,
        export_limit_mw=30.0,
    )


def _envelopes(net: Any, day: dict, times: np.ndarray) -> list[Envelope]:
    found = []
    for index, row in net.sgen.iterrows():
        if row.type in PLANTS:
            plant = Asset(
                f"plant-{index}", PLANTS[row.type], "", "", element="sgen", element_index=index
            )
            available = day["sgen", "p_mw"][index].to_numpy()
            found.append(envelope_of(plant, Conditions(times, 0.25, profiles={"p_mw": available})))
    for index, row in net.storage.iterrows():
        battery = Asset(
            f"battery-{index}", AssetKind.BATTERY, "", "", element="storage", element_index=index,
            parameters={"p_max_mw": row.sn_mva, "e_max_mwh": row.max_e_mwh,
                        "cycle_cost_cny_per_mwh": 60.0},
        )  # fmt: skip
        found.append(envelope_of(battery, Conditions(times, 0.25, states={"soc": 0.5})))
    return found


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


if __name__ == "__main__":
    for row in rows():
        print(row)
