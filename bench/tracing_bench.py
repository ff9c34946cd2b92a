"""Carbon by bus over a year: tracing against the power flow it follows."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pandapower
import simbench
import xarray as xr
from scipy import sparse
from scipy.sparse.linalg import spsolve

from grid import powerflow
from grid.activepower import active_power
from grid.network import Network, read
from grid.tracing import trace

CODE = "1-MV-rural--0-sw"
STEPS = 35_136
COMPARED = 500
"""Steps that are also solved one by one, for what that takes."""


def rows() -> list[dict[str, Any]]:
    """figure, ours, reference, ratio, unit, note; about half a minute."""
    network, injections = _year()
    powerflow.run(network, injections.isel(time=slice(0, 2)))  # converts the network once
    flow_s, flow = _timed(lambda: powerflow.run(network, injections))
    sources = xr.Dataset({"import_kgco2e_per_mwh": 580.0, "sgen_kgco2e_per_mwh": 30.0})
    trace_s, traced = _timed(lambda: trace(network, injections, flow, sources))
    difference = float(_difference(traced).max())
    single_s, worst = _one_by_one(network, injections, flow, traced)
    size = f"{CODE}, {len(network.buses)} buses, {STEPS:,} steps"
    single = single_s / COMPARED * STEPS
    return [
        {
            "figure": "carbon by bus over a year: tracing after the power flow",
            "ours": trace_s,
            "reference": flow_s,
            "ratio": trace_s / flow_s,
            "unit": "s",
            "note": f"{size}; balance of sources and what is attributed: {difference:.0e}; "
            "reference: the power flow itself",
        },
        {
            "figure": "carbon by bus over a year: all steps at once, or a sparse solve each",
            "ours": trace_s,
            "reference": single,
            "ratio": trace_s / single,
            "unit": "s",
            "note": f"reference: scipy's spsolve, {COMPARED} steps scaled up; "
            f"largest difference {worst:.0e} kgCO2e/MWh",
        },
    ]


def _year() -> tuple[Network, xr.Dataset]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = simbench.get_simbench_net(CODE)
        profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    network = read(pandapower.to_json(net))
    start = np.datetime64("2016-01-01T00:00", "ns")
    injections = xr.Dataset(
        {
            f"{table}_{column}": (("time", table), frame.to_numpy()[:STEPS])
            for (table, column), frame in profiles.items()
            if frame.shape[1]
        },
        {
            "time": start + np.arange(STEPS) * np.timedelta64(15, "m"),
            "load": network.loads,
            "sgen": network.sgens,
            "storage": network.storages,
        },
    )
    return network, injections


def _difference(traced: xr.Dataset) -> xr.DataArray:
    """What is emitted and not attributed, relative, over time."""
    total = traced.export_kgco2e_per_h + traced.fixed_kgco2e_per_h + traced.losses_kgco2e_per_h
    for table in ("load", "sgen", "storage"):
        total = total + traced[f"{table}_kgco2e_per_h"].sum(table)
    apart: xr.DataArray = abs(total / traced.source_kgco2e_per_h - 1)
    return apart


def _one_by_one(
    network: Network, injections: xr.Dataset, flow: xr.Dataset, traced: xr.Dataset
) -> tuple[float, float]:
    """Seconds for some steps with a sparse solve each, and the largest difference of a bus."""
    model = network.admittance
    at = np.linspace(0, STEPS - 1, COMPARED).astype(int)
    power = active_power(network, injections, flow, at)
    made = {"sgen": 30.0}
    start, worst = time.perf_counter(), 0.0
    for k in range(COMPARED):
        f, t = power.into_from[:, k], power.into_to[:, k]
        ahead, back = (f > 0) & (t < 0), (t > 0) & (f < 0)
        to = np.concatenate([model.branch_to[ahead], model.branch_from[back]])
        source = np.concatenate([model.branch_from[ahead], model.branch_to[back]])
        arriving = np.concatenate([-t[ahead], -f[back]])
        through, emitted = np.bincount(to, arriving, model.nodes), np.zeros(model.nodes)
        fed = [(power.elements["sgen"], made["sgen"]), (power.upstream, 580.0)]
        for exchanged, intensity in fed:
            np.add.at(through, exchanged.node, exchanged.fed_mw[:, k])
            np.add.at(emitted, exchanged.node, exchanged.fed_mw[:, k] * intensity)
        matrix = sparse.diags_array(np.where(through > 0, through, 1.0)) - sparse.csr_array(
            (arriving, (to, source)), shape=(model.nodes, model.nodes)
        )
        mixed = spsolve(sparse.csc_array(matrix), emitted)
        ours = traced["kgco2e_per_mwh"].values[at[k]]
        gap = np.abs(mixed[model.node_of_bus] - ours)[np.isfinite(ours)]
        worst = max(worst, float(gap.max()))
    return time.perf_counter() - start, worst


def _timed(call: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


if __name__ == "__main__":
    for row in rows():
        print(row)
