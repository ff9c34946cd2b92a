"""PyPSA as a second judge: the same small problems, the same cost, the same powers.

The answers were computed once, by the command that stands in each file, and lie beside the tests
with their tolerance; bench/peers/judge.py says what PyPSA means by each number. A schedule is
priced here by plain sums over its powers, without the model that made it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandapower
import pytest
import xarray as xr

from core.sites import AssetKind
from grid import powerflow
from grid.envelope import Commitment, EnergyAccount, Envelope, Ramp
from grid.network import Network, checked_tables, empty_net
from optimization import netloop
from optimization.problem import DispatchProblem
from optimization.result import Status
from optimization.session import Session

JUDGED = sorted((Path(__file__).parent / "judged").glob("*.json"))
START = np.datetime64("2026-06-21T16:00", "ns")
ELEMENTS = {
    "battery": "storage",
    "plant": "sgen",
    "load": "load",
    "genset": "sgen",
    "ramped": "sgen",
}


def _network(devices: list[dict[str, Any]]) -> Network:
    """The upstream grid and one bus behind it, over a line that loses next to nothing."""
    net = empty_net()
    upstream, bus = (pandapower.create_bus(net, 20.0, min_vm_pu=0.9, max_vm_pu=1.1) for _ in "ab")
    pandapower.create_ext_grid(net, upstream)
    pandapower.create_line_from_parameters(
        net, upstream, bus, 1.0, r_ohm_per_km=1e-9, x_ohm_per_km=1e-6, c_nf_per_km=0.0, max_i_ka=9.0
    )
    pandapower.create_load(net, bus, p_mw=0.0)  # the base load
    for device in devices:
        element = ELEMENTS[device["kind"]]
        if element == "storage":
            pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=device["capacity_mwh"])
        else:
            getattr(pandapower, f"create_{element}")(net, bus, p_mw=0.0)
    return checked_tables(net)


def _account(steps: int, **parts: Any) -> EnergyAccount:
    plain = {
        "initial_mwh": 0.0,
        "gain_up": np.ones(steps),
        "gain_down": np.ones(steps),
        "keep": np.ones(steps),
        "inflow_mwh": np.zeros(steps),
    }
    return EnergyAccount(**{**plain, **parts})


def _envelope(problem: dict[str, Any], device: dict[str, Any], index: int) -> Envelope:
    steps, dt_h = len(problem["base_mw"]), problem["dt_h"]
    zero, one = np.zeros(steps), np.ones(steps)
    named = {
        "asset": device["name"],
        "kind": AssetKind.GENERATOR,
        "element": ELEMENTS[device["kind"]],
        "element_index": index,
    }
    if device["kind"] == "battery":
        low, high = zero.copy(), device["capacity_mwh"] * one
        low[-1] = high[-1] = device["initial_mwh"]
        return Envelope(
            **named,
            base_mw=zero,
            up_mw=device["power_mw"] * one,
            down_mw=device["power_mw"] * one,
            down_cny_per_mwh=device["wear_cny_per_mwh"],
            account=_account(
                steps,
                initial_mwh=device["initial_mwh"],
                min_mwh=low,
                max_mwh=high,
                gain_up=device["efficiency_charge"] * one,
                gain_down=one / device["efficiency_discharge"],
                keep=device["keep_per_h"] ** dt_h * one,
                capacity_mwh=device["capacity_mwh"],
            ),
        )
    if device["kind"] == "plant":
        available = np.array(device["available_mw"])
        return Envelope(
            **named,
            base_mw=available,
            up_mw=zero,
            down_mw=available,
            down_cny_per_mwh=device["curtail_cny_per_mwh"],
        )
    if device["kind"] == "load":
        taken = np.concatenate([[0.0], np.cumsum(device["demand_mw"]) * dt_h])
        ends, shift = np.arange(1, steps + 1), device["shift_steps"]
        late = taken[np.maximum(ends - shift, 0)]
        late[-1] = taken[-1]
        early = taken[np.minimum(ends + shift, steps)]
        return Envelope(
            **named,
            base_mw=zero,
            up_mw=device["draw_max_mw"] * one,
            down_mw=zero,
            account=_account(steps, min_mwh=late, max_mwh=early),
        )
    if device["kind"] == "genset":
        return Envelope(
            **named,
            base_mw=zero,
            up_mw=device["p_max_mw"] * one,
            down_mw=zero,
            up_cny_per_mwh=device["fuel_cny_per_mwh"],
            up_kgco2e_per_mwh=device["kgco2e_per_mwh"],
            commitment=Commitment(
                p_on_min_mw=device["p_on_min_mw"],
                min_up_h=device["min_up_h"],
                min_down_h=device["min_down_h"],
                start_cny=device["start_cny"],
                running_cny_per_h=device["running_cny_per_h"],
            ),
        )
    return Envelope(
        **named,
        base_mw=zero,
        up_mw=device["p_max_mw"] * one,
        down_mw=zero,
        up_cny_per_mwh=device["fuel_cny_per_mwh"],
        ramp=Ramp(device["ramp_mw_per_h"], device["ramp_mw_per_h"]),
    )


def _problem(told: dict[str, Any]) -> DispatchProblem:
    devices, steps = told["devices"], len(told["base_mw"])
    taken = {"load": 1, "sgen": 0, "storage": 0}  # load 0 is the base load
    envelopes = []
    for device in devices:
        element = ELEMENTS[device["kind"]]
        envelopes.append(_envelope(told, device, taken[element]))
        taken[element] += 1
    loads = np.zeros((steps, taken["load"]))
    loads[:, 0] = told["base_mw"]
    times = START + np.arange(steps) * np.timedelta64(int(told["dt_h"] * 3600), "s")
    return DispatchProblem(
        times=times,
        dt_h=told["dt_h"],
        network=_network(devices),
        injections=xr.Dataset({"load_p_mw": (("time", "load"), loads)}, coords={"time": times}),
        envelopes=tuple(envelopes),
        import_cny_per_mwh=np.array(told["import_cny_per_mwh"]),
        export_cny_per_mwh=np.array(told["export_cny_per_mwh"]),
        kgco2e_per_mwh=np.array(told["kgco2e_per_mwh"]),
        carbon_cny_per_tco2e=told["carbon_cny_per_tco2e"],
        import_limit_mw=told["import_limit_mw"],
        export_limit_mw=told["export_limit_mw"],
    )


def _cost_cny(told: dict[str, Any], p_mw: dict[str, np.ndarray]) -> float:
    """What powers cost, by plain sums; in the sign of each resource's table."""
    dt_h, carbon = told["dt_h"], told["carbon_cny_per_tco2e"] / 1000.0
    exchange = np.array(told["base_mw"])
    total = 0.0
    for device in told["devices"]:
        p = p_mw[device["name"]]
        exchange = exchange + (-p if ELEMENTS[device["kind"]] == "sgen" else p)
        if device["kind"] == "battery":
            total += device["wear_cny_per_mwh"] * np.maximum(-p, 0.0).sum() * dt_h
        elif device["kind"] == "plant":
            missing = (np.array(device["available_mw"]) - p).sum() * dt_h
            total += device["curtail_cny_per_mwh"] * missing
        elif device["kind"] == "genset":
            on = p > device["p_on_min_mw"] / 2
            starts = (on & ~np.concatenate([[False], on[:-1]])).sum()
            fuel = device["fuel_cny_per_mwh"] + carbon * device["kgco2e_per_mwh"]
            total += device["start_cny"] * starts + device["running_cny_per_h"] * on.sum() * dt_h
            total += fuel * p.sum() * dt_h
        elif device["kind"] == "ramped":
            total += device["fuel_cny_per_mwh"] * p.sum() * dt_h
    buy = np.array(told["import_cny_per_mwh"]) + carbon * np.array(told["kgco2e_per_mwh"])
    sell = np.array(told["export_cny_per_mwh"])
    total += (buy @ np.maximum(exchange, 0.0) - sell @ np.maximum(-exchange, 0.0)) * dt_h
    return float(total)


def test_there_are_judgements() -> None:
    assert len(JUDGED) >= 9


@pytest.mark.parametrize("path", JUDGED, ids=lambda p: p.stem)
def test_our_optimum_is_pypsa_s(path: Path) -> None:
    judged = json.loads(path.read_text())
    told, theirs = judged["problem"], {n: np.array(p) for n, p in judged["p_mw"].items()}
    problem = _problem(told)
    session = Session(problem, mip_gap=0.0)
    netloop.prepare(session, powerflow.run(problem.network, problem.injections))
    status, _ = session.solve(lambda: 0.0)
    assert status is Status.OPTIMAL
    columns = session.power_mw().T
    ours = {e.asset: p for e, p in zip(problem.envelopes, columns, strict=True)}
    tolerance = judged["relative_tolerance"]
    # Their powers, priced here, cost what they say: both of us mean the same problem.
    assert _cost_cny(told, theirs) == pytest.approx(judged["cost_cny"], rel=tolerance)
    assert _cost_cny(told, ours) == pytest.approx(judged["cost_cny"], rel=tolerance)
    if judged["unique"]:
        for name, power in theirs.items():
            np.testing.assert_allclose(ours[name], power, atol=judged["power_tolerance_mw"])
