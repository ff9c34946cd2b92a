"""Small dispatch problems and PyPSA's answers to them, kept as a second judge of our own model.

``.venv-peers/bin/python -m bench.peers.judge tests/optimization/judged`` makes the files anew.

Each file holds a problem in numbers (one bus, no losses), what PyPSA says it costs, what each
resource does, and whether that is the only best schedule: the problem is solved again with every
price of every resource and step moved by less than a millionth, and if powers follow they are not
unique.

What PyPSA means by a number, where it is not what it seems:

    standing_loss        lost per hour of the content at the beginning, but not in the first step:
                         state_of_charge_initial is told as keep * initial
    marginal_cost        of a StorageUnit: per MWh discharged; of the export (a Generator of sign
                         -1): minus the price
    min_up_time, ...     in snapshots, not hours; ramp limits in p_nom per snapshot
    up_time_before       is 1 unless said otherwise: a unit would begin switched on
    start_up_cost        for each start, whatever the snapshot weighs; stand_by_cost per hour on
    emissions            a price of carbon is added to marginal_cost by hand, hour by hour
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pypsa

STEPS = 24
RELATIVE_TOLERANCE = 1e-6
POWER_TOLERANCE_MW = 1e-5
NUDGE_CNY_PER_MWH = 3e-4
COMMAND = ".venv-peers/bin/python -m bench.peers.judge tests/optimization/judged"
SEED = 20260622

Problem = dict[str, Any]
Device = dict[str, Any]


def problems() -> dict[str, Problem]:
    """All problems by name; everything in MW, MWh, hours, CNY and kg."""
    return {
        "battery": _problem(1.0, [_battery()]),
        "battery_self_discharge": _problem(0.5, [_battery(keep_per_h=0.99)]),
        "curtailed_pv": _problem(1.0, [_plant(4.0), _battery()], export_limit_mw=1.5),
        "shiftable_load": _problem(1.0, [_load(), _plant(3.0)], export_limit_mw=0.8),
        "genset": _problem(1.0, [_genset()], import_limit_mw=2.6),
        "genset_half_hours": _problem(0.5, [_genset(), _battery()], import_limit_mw=2.6),
        "ramps": _problem(1.0, [_ramped(), _battery()]),
        "carbon_price": _problem(
            1.0, [_genset(kgco2e_per_mwh=420.0), _battery()], carbon_cny_per_tco2e=900.0
        ),
        "all_together": _problem(
            0.5,
            [_battery(keep_per_h=0.998), _plant(4.0), _load(), _genset(), _ramped()],
            import_limit_mw=2.6,
            export_limit_mw=1.0,
            carbon_cny_per_tco2e=300.0,
        ),
    }


def _problem(dt_h: float, devices: list[Device], **changes: float) -> Problem:
    rng = np.random.default_rng(SEED)
    hour = np.arange(STEPS) * dt_h * (24.0 / (STEPS * dt_h))  # a day, short or long
    price = 420.0 + 300.0 * np.exp(-(((hour - 19.0) / 3.0) ** 2))
    price += 200.0 * np.exp(-(((hour - 9.0) / 2.0) ** 2)) + rng.normal(0.0, 30.0, STEPS)
    # No price of fuel or wear comes near a difference of these prices: best schedules are unique.
    return {
        "dt_h": dt_h,
        "base_mw": _told(1.6 + 1.3 * np.exp(-(((hour - 19.0) / 3.5) ** 2))),
        "import_cny_per_mwh": _told(price),
        "export_cny_per_mwh": _told(0.55 * price),
        "kgco2e_per_mwh": _told(540.0 + 80.0 * np.cos((hour - 20.0) / 12.0 * np.pi)),
        "carbon_cny_per_tco2e": 0.0,
        "import_limit_mw": 10.0,
        "export_limit_mw": 10.0,
        **changes,
        "devices": [{**d, "name": f"{d['kind']}-{i}"} for i, d in enumerate(devices)],
    }


def _told(values: np.ndarray) -> list[float]:
    return [round(float(v), 6) for v in values]


def _battery(keep_per_h: float = 1.0) -> Device:
    return {
        "kind": "battery",
        "power_mw": 1.2,
        "capacity_mwh": 3.0,
        "initial_mwh": 1.2,
        "efficiency_charge": 0.93,
        "efficiency_discharge": 0.95,
        "keep_per_h": keep_per_h,
        "wear_cny_per_mwh": 37.0,
    }


def _plant(peak_mw: float) -> Device:
    sun = np.maximum(np.sin((np.arange(STEPS) + 0.5 - 6.0) / 12.0 * np.pi), 0.0)
    return {
        "kind": "plant",
        "available_mw": _told(peak_mw * sun * (0.9 + 0.1 * np.cos(np.arange(STEPS)))),
        "curtail_cny_per_mwh": 3.0,
    }


def _load() -> Device:
    demand = 0.3 + 0.25 * np.cos((np.arange(STEPS) - 18.0) / 12.0 * np.pi)
    return {"kind": "load", "draw_max_mw": 0.9, "demand_mw": _told(demand), "shift_steps": 3}


def _genset(kgco2e_per_mwh: float = 650.0) -> Device:
    return {
        "kind": "genset",
        "p_max_mw": 1.5,
        "p_on_min_mw": 0.6,
        "fuel_cny_per_mwh": 505.0,
        "kgco2e_per_mwh": kgco2e_per_mwh,
        "start_cny": 90.0,
        "running_cny_per_h": 22.0,
        "min_up_h": 4.0,
        "min_down_h": 3.0,
    }


def _ramped() -> Device:
    return {
        "kind": "ramped",
        "p_max_mw": 1.0,
        "fuel_cny_per_mwh": 471.0,
        "ramp_mw_per_h": 0.21,
    }


def network(problem: Problem, prices: np.ndarray) -> pypsa.Network:
    """The problem in PyPSA; prices: of each MWh imported, carbon included, (time,)."""
    net = pypsa.Network()
    net.set_snapshots(pd.RangeIndex(STEPS))
    net.snapshot_weightings = net.snapshot_weightings.astype(float) * problem["dt_h"]
    net.add("Bus", "bus")
    net.add("Load", "base", bus="bus", p_set=problem["base_mw"])
    net.add(
        "Generator", "import", bus="bus", p_nom=problem["import_limit_mw"], marginal_cost=prices
    )
    net.add(
        "Generator",
        "export",
        bus="bus",
        sign=-1.0,
        p_nom=problem["export_limit_mw"],
        marginal_cost=-np.array(problem["export_cny_per_mwh"]),
    )
    adders = {
        "battery": _add_battery,
        "plant": _add_plant,
        "load": _add_load,
        "genset": _add_genset,
        "ramped": _add_ramped,
    }
    for device in problem["devices"]:
        adders[device["kind"]](net, problem, device)
    return net


def _add_battery(net: pypsa.Network, problem: Problem, device: Device) -> None:
    keep = device["keep_per_h"] ** problem["dt_h"]
    at_end = np.full(STEPS, np.nan)
    at_end[-1] = device["initial_mwh"]
    net.add(
        "StorageUnit",
        device["name"],
        bus="bus",
        p_nom=device["power_mw"],
        max_hours=device["capacity_mwh"] / device["power_mw"],
        efficiency_store=device["efficiency_charge"],
        efficiency_dispatch=device["efficiency_discharge"],
        standing_loss=1.0 - device["keep_per_h"],
        marginal_cost=device["wear_cny_per_mwh"],
        state_of_charge_initial=keep * device["initial_mwh"],
        state_of_charge_set=at_end,
    )


def _add_plant(net: pypsa.Network, _problem: Problem, device: Device) -> None:
    most = max(device["available_mw"])
    net.add(
        "Generator",
        device["name"],
        bus="bus",
        p_nom=most,
        p_max_pu=np.array(device["available_mw"]) / most,
        marginal_cost=-device["curtail_cny_per_mwh"],
    )


def _add_load(net: pypsa.Network, problem: Problem, device: Device) -> None:
    late, early = taken_bounds(problem, device)
    name, whole = device["name"], float(early[-1])
    net.add("Bus", name)
    net.add("Link", name, bus0="bus", bus1=name, p_nom=device["draw_max_mw"])
    net.add(
        "Store",
        name,
        bus=name,
        e_nom=whole,
        e_initial=0.0,
        e_min_pu=late / whole,
        e_max_pu=early / whole,
    )


def _add_genset(net: pypsa.Network, problem: Problem, device: Device) -> None:
    dt_h = problem["dt_h"]
    carbon = problem["carbon_cny_per_tco2e"] * device["kgco2e_per_mwh"] / 1000.0
    net.add(
        "Generator",
        device["name"],
        bus="bus",
        committable=True,
        p_nom=device["p_max_mw"],
        p_min_pu=device["p_on_min_mw"] / device["p_max_mw"],
        marginal_cost=device["fuel_cny_per_mwh"] + carbon,
        start_up_cost=device["start_cny"],
        stand_by_cost=device["running_cny_per_h"],
        min_up_time=round(device["min_up_h"] / dt_h),
        min_down_time=round(device["min_down_h"] / dt_h),
        up_time_before=0,
        down_time_before=STEPS,
    )


def _add_ramped(net: pypsa.Network, problem: Problem, device: Device) -> None:
    per_step = device["ramp_mw_per_h"] * problem["dt_h"] / device["p_max_mw"]
    net.add(
        "Generator",
        device["name"],
        bus="bus",
        p_nom=device["p_max_mw"],
        marginal_cost=device["fuel_cny_per_mwh"],
        ramp_limit_up=per_step,
        ramp_limit_down=per_step,
    )


def taken_bounds(problem: Problem, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """Least and most that a shiftable load has taken at the end of each step, MWh, (time,)."""
    taken = np.concatenate([[0.0], np.cumsum(device["demand_mw"]) * problem["dt_h"]])
    ends, shift = np.arange(1, STEPS + 1), device["shift_steps"]
    late = taken[np.maximum(ends - shift, 0)]
    late[-1] = taken[-1]
    return late, taken[np.minimum(ends + shift, STEPS)]


def nudge(net: pypsa.Network) -> None:
    """Move every price a little, each by another amount."""
    rng = np.random.default_rng(SEED)
    for component in ("Generator", "StorageUnit", "Link"):
        if not len(net.c[component].static):
            continue
        prices = net.get_switchable_as_dense(component, "marginal_cost")
        moved = prices + NUDGE_CNY_PER_MWH * rng.normal(size=prices.shape)
        net.c[component].dynamic["marginal_cost"] = moved


def solve(
    problem: Problem, prices: np.ndarray, *, nudged: bool = False
) -> tuple[float, dict[str, np.ndarray]]:
    """Cost in CNY and the power of each device, (time,), in our signs: batteries charge at > 0."""
    net = network(problem, prices)
    if nudged:
        nudge(net)
    status, condition = net.optimize(
        solver_name="highs",
        io_api="direct",
        solver_options={
            "output_flag": False,
            "threads": 1,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": 0.0,
            "primal_feasibility_tolerance": 1e-9,
            "dual_feasibility_tolerance": 1e-9,
            "mip_feasibility_tolerance": 1e-9,
        },
    )
    if status != "ok":
        raise SystemExit(f"PyPSA ended as {status}: {condition}")
    powers, constant = {}, 0.0
    for device in problem["devices"]:
        name = device["name"]
        if device["kind"] == "battery":
            powers[name] = -net.storage_units_t.p[name].to_numpy()
        elif device["kind"] == "load":
            powers[name] = net.links_t.p0[name].to_numpy()
        else:
            powers[name] = net.generators_t.p[name].to_numpy()
        if device["kind"] == "plant":
            available = sum(device["available_mw"]) * problem["dt_h"]
            constant += available * device["curtail_cny_per_mwh"]
    return float(net.objective) + constant, powers


def judge(problem: Problem) -> dict[str, Any]:
    """The file of one problem: the problem, PyPSA's answer, where it comes from."""
    carbon = problem["carbon_cny_per_tco2e"] * np.array(problem["kgco2e_per_mwh"]) / 1000.0
    prices = np.array(problem["import_cny_per_mwh"]) + carbon
    cost, powers = solve(problem, prices)
    _, others = solve(problem, prices, nudged=True)
    apart = max(float(np.abs(powers[n] - others[n]).max()) for n in powers)
    return {
        "origin": f"PyPSA {pypsa.__version__} with HiGHS",
        "command": COMMAND,
        "relative_tolerance": RELATIVE_TOLERANCE,
        "power_tolerance_mw": POWER_TOLERANCE_MW,
        "problem": problem,
        "cost_cny": cost,
        "unique": apart < POWER_TOLERANCE_MW,
        "p_mw": {name: [round(float(v), 9) for v in values] for name, values in powers.items()},
    }


def main() -> None:
    """Write one file for each problem into the folder named."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    for name, problem in problems().items():
        found = judge(problem)
        text = json.dumps(found, indent=1)
        (folder / f"{name}.json").write_text(text + "\n")
        print(f"{name}: {found['cost_cny']:.6f} CNY, unique: {found['unique']}")


if __name__ == "__main__":
    main()
