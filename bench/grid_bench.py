"""The AC check of a whole year against pandapower, and how far sensitivities carry."""

from __future__ import annotations

import resource
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from pandapower.control import ConstControl
from pandapower.timeseries import DFData, OutputWriter, run_timeseries

from bench.rolling import window
from bench.rolling.window import Period
from bench.rolling.year import STEPS_PER_DAY, load
from grid import powerflow, simbenchnet
from grid.network import Network
from grid.sensitivity import voltages_after
from optimization import netloop
from optimization.extract import solution
from optimization.keyfigures import count
from optimization.session import Session

CODE = "1-MV-rural--0-sw"
STRESSED = "1-MV-semiurb--2-sw"
SAMPLE = 96
"""Steps that pandapower calculates: a day of June; its time a step does not depend on how many."""
FIRST = 171 * 96


def rows() -> list[dict[str, Any]]:
    """Figures with keys figure, ours, reference, ratio, unit, note; about two minutes."""
    return [*_year(), _sensitivity(), _planned()]


def _year() -> list[dict[str, Any]]:
    network, year = simbenchnet.with_year(CODE)
    powerflow.run(network, year.isel(time=[0]))  # converts the network once
    before_mb = _peak_mb()
    started = time.perf_counter()
    flow = powerflow.run(network, year)
    ours_s = time.perf_counter() - started
    grown_mb = _peak_mb() - before_mb
    steps = year.sizes["time"]
    theirs_s = _pandapower_s(network, year.isel(time=slice(FIRST, FIRST + SAMPLE)))
    theirs_year_s = theirs_s / SAMPLE * steps
    returned_mb = sum(v.nbytes for v in flow.data_vars.values()) / 1e6
    note = (
        f"{steps} steps, {len(network.buses)} buses; reference: pandapower run_timeseries, "
        f"{SAMPLE} steps measured and scaled to the year, voltages and line loadings logged; "
        "ratio is the reference over ours"
    )
    return [
        {
            "figure": "AC check of a year",
            "ours": ours_s,
            "reference": theirs_year_s,
            "ratio": theirs_year_s / ours_s,
            "unit": "s",
            "note": note,
        },
        {
            "figure": "AC check of a year: memory it takes at most",
            "ours": grown_mb,
            "reference": returned_mb,
            "ratio": grown_mb / returned_mb,
            "unit": "MB",
            "note": "the reference is what it returns: voltages, angles, loadings of every step",
        },
    ]


def _pandapower_s(network: Network, day: xr.Dataset) -> float:
    net = network.net
    for name, values in day.data_vars.items():
        table, column = str(name).split("_", 1)
        frame = pd.DataFrame(values.values, columns=network.ids(table))
        ids = frame.columns.tolist()
        ConstControl(
            net, table, column, element_index=ids, data_source=DFData(frame), profile_name=ids
        )
    steps = range(day.sizes["time"])
    writer = OutputWriter(net, time_steps=steps, output_path=None)
    for table, column in (("res_bus", "vm_pu"), ("res_line", "loading_percent")):
        writer.log_variable(table, column)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_timeseries(net, time_steps=range(2), verbose=False)  # compiles what it compiles
        started = time.perf_counter()
        run_timeseries(net, time_steps=steps, verbose=False)
        return time.perf_counter() - started


def _sensitivity() -> dict[str, Any]:
    network, year = simbenchnet.with_year(STRESSED)
    first, once, twice = stressed_errors(network, year.isel(time=slice(FIRST, FIRST + SAMPLE)))
    return {
        "figure": "voltage by sensitivities under a DER-stressed day, linearised again once",
        "ours": once,
        "reference": 2e-3,
        "ratio": once / 2e-3,
        "unit": "pu",
        "note": f"largest error of {SAMPLE} steps, all generators off and all storages charging "
        f"fully; {first:.1e} pu from the day itself, then linearised half the way there, and "
        f"{twice:.1e} pu at three quarters; the reference is the limit",
    }


def _planned() -> dict[str, Any]:
    first, last, rounds = planned_errors()
    return {
        "figure": "voltage by sensitivities under a DER-stressed day, as the planner linearises",
        "ours": last,
        "reference": 2e-3,
        "ratio": last / 2e-3,
        "unit": "pu",
        "note": f"largest error of {SAMPLE} steps at the plan, linearised at the solution before "
        f"it (round {rounds} of {rounds}); plants a third stronger, lines held to 60 %, export to "
        f"18 MW; {first:.1e} pu in the first round, around the uncontrolled day; the reference is "
        "the limit",
    }


def planned_errors() -> tuple[float, float, int]:
    """Largest errors of linearised voltages in the first and in the last round of a stressed plan,
    pu, and the number of rounds until the AC grid keeps every limit."""
    year = load()
    first = FIRST // STEPS_PER_DAY * STEPS_PER_DAY
    stronger = replace(year, sgen_p_mw=1.33 * year.sgen_p_mw)
    problem = window.truth(stronger, Period(first, first + STEPS_PER_DAY))
    problem = replace(problem, max_loading_percent=60.0, export_limit_mw=18.0)
    session = Session(problem)
    fleet, network = session.model.fleet, problem.network
    before = fleet.injections(fleet.baseline_mw)
    flow = powerflow.run(network, before)
    netloop.prepare(session, flow)
    exact = netloop.negative_prices(problem)
    errors: list[float] = []
    while len(errors) < netloop.MAX_ROUNDS:
        session.solve(time.perf_counter)
        found = solution(session)
        here = fleet.injections(found.p_mw, found.q_mvar)
        truth = powerflow.run(network, here)
        errors.append(_missed(network, (before, flow), (here, truth)))
        if not count(problem, truth):
            break
        mismatch = netloop.exchange(truth) - found.exchange_mw
        exact |= mismatch < -netloop.MISMATCH_MW
        netloop.refine(session, truth, found, mismatch, exact)
        before, flow = here, truth
    return errors[0], errors[-1], len(errors)


def stressed_errors(network: Network, day: xr.Dataset) -> tuple[float, float, float]:
    """Largest error of linearised voltages, pu: around the day itself, half and three quarters of
    the way to the stress, in which all generators stop and all storages charge with full power."""
    stressed = day.copy()
    stressed["sgen_p_mw"] = 0.0 * day["sgen_p_mw"]
    if "storage_p_mw" in day:
        power = network.net.storage.sn_mva.to_numpy()
        stressed["storage_p_mw"] = 0.0 * day["storage_p_mw"] + power
    truth = powerflow.run(network, stressed)
    first, once, twice = (
        _error(network, left * day + (1 - left) * stressed, stressed, truth)
        for left in (1.0, 0.5, 0.25)
    )
    return first, once, twice


def _error(network: Network, start: xr.Dataset, end: xr.Dataset, truth: xr.Dataset) -> float:
    return _missed(network, (start, powerflow.run(network, start)), (end, truth))


def _missed(
    network: Network, start: tuple[xr.Dataset, xr.Dataset], end: tuple[xr.Dataset, xr.Dataset]
) -> float:
    """By how much voltages linearised at ``start`` are wrong at ``end``; injections and flows."""
    more_mva = powerflow.drawn(network, start[0]) - powerflow.drawn(network, end[0])
    promised = voltages_after(network, start[1], more_mva)
    return float(np.nanmax(np.abs(promised - end[1]["vm_pu"].values)))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    for row in rows():
        print(row)
