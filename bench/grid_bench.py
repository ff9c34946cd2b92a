"""The AC check of a whole year against pandapower, and how far sensitivities carry."""

from __future__ import annotations

import resource
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from pandapower.control import ConstControl
from pandapower.timeseries import DFData, OutputWriter, run_timeseries

from grid import powerflow, simbenchnet
from grid.network import Network
from grid.sensitivity import voltages_after

CODE = "1-MV-rural--0-sw"
STRESSED = "1-MV-semiurb--2-sw"
SAMPLE = 96
"""Steps that pandapower calculates: a day of June; its time a step does not depend on how many."""
FIRST = 171 * 96


def rows() -> list[dict[str, Any]]:
    """Figures with keys figure, ours, reference, ratio, unit, note; about two minutes."""
    return [*_year(), _sensitivity()]


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
    far, near = stressed_errors(network, year.isel(time=slice(FIRST, FIRST + SAMPLE)))
    return {
        "figure": "voltage by sensitivities under a DER-stressed day",
        "ours": near,
        "reference": 2e-3,
        "ratio": near / 2e-3,
        "unit": "pu",
        "note": f"largest error after one re-linearisation, {SAMPLE} steps, all storages charging "
        f"fully, all generators off; the reference is the limit; without it {far:.2e} pu",
    }


def stressed_errors(network: Network, day: xr.Dataset) -> tuple[float, float]:
    """Largest error of linearised voltages, pu: from the day itself, and linearised again.

    The stress: all generators stop and all storages charge with full power. Linearised again means
    around the power flow that is half the way there, as the second round of a plan is.
    """
    stressed = day.copy()
    stressed["sgen_p_mw"] = 0.0 * day["sgen_p_mw"]
    if "storage_p_mw" in day:
        power = network.net.storage.sn_mva.to_numpy()
        stressed["storage_p_mw"] = 0.0 * day["storage_p_mw"] + power
    halfway = 0.5 * (day + stressed)
    truth = powerflow.run(network, stressed)
    return _error(network, day, stressed, truth), _error(network, halfway, stressed, truth)


def _error(network: Network, start: xr.Dataset, end: xr.Dataset, truth: xr.Dataset) -> float:
    more_mva = powerflow.drawn(network, start) - powerflow.drawn(network, end)
    promised = voltages_after(network, powerflow.run(network, start), more_mva)
    return float(np.nanmax(np.abs(promised - truth["vm_pu"].values)))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    for row in rows():
        print(row)
