"""The case in PyPSA: storage units, generators, links and stores at one bus.

``python -m bench.peers.pypsa_side CASE.npz ANSWER.npz [--option NAME=VALUE ...]``

How each quantity of bench.peers.case is told to PyPSA, whose storage is positive when it feeds in:

    import                Generator, p_nom = limit, marginal_cost = buy
    export                Generator with sign -1, p_nom = limit, marginal_cost = -sell
    base                  Load, p_set
    battery               StorageUnit: discharge = p_dispatch, charge = p_store, both within
                          p_nom = power; max_hours = capacity / power; efficiency_store and
                          efficiency_dispatch; standing_loss is per HOUR: 1 - keep^(1 / dt_h);
                          marginal_cost (of p_dispatch) = wear; state_of_charge_initial =
                          keep * initial, for PyPSA lets nothing be lost in the first step;
                          state_of_charge_set = initial at the last step, nothing elsewhere
    plant                 Generator, p_nom * p_max_pu = available, marginal_cost = -curtail: each
                          MWh produced saves it; the sum over what is available is added back
    load                  Store at a bus of its own, filled by a Link without losses with
                          p_nom = draw_max; e_min_pu and e_max_pu say late and early
    carbon                already in ``buy``

snapshot_weightings are dt_h for objective and stores alike. The build is timed up to the network,
because PyPSA makes its linear model within ``optimize``.
"""

from __future__ import annotations

import logging
import time
import warnings

import numpy as np
import pandas as pd
import pypsa

from bench.peers.case import WARM_UP_DEVICES, Case, Schedule, curtailed_if_all, make
from bench.peers.side import arguments, repeated


def build(case: Case) -> pypsa.Network:
    """The network; nothing in it is extendable."""
    dt_h = float(case.dt_h)
    net = pypsa.Network()
    net.set_snapshots(pd.RangeIndex(case.steps))
    net.snapshot_weightings = net.snapshot_weightings.astype(float) * dt_h
    net.add("Bus", "substation")
    net.add("Load", "base", bus="substation", p_set=case.base_mw)
    net.add(
        "Generator",
        "import",
        bus="substation",
        p_nom=float(case.import_limit_mw),
        marginal_cost=case.buy_cny_per_mwh,
    )
    net.add(
        "Generator",
        "export",
        bus="substation",
        sign=-1.0,
        p_nom=float(case.export_limit_mw),
        marginal_cost=-case.sell_cny_per_mwh,
    )
    _batteries(net, case)
    _plants(net, case)
    _loads(net, case)
    return net


def _batteries(net: pypsa.Network, case: Case) -> None:
    names = pd.Index([f"battery-{i}" for i in range(len(case.power_mw))])
    at_end = np.full((case.steps, len(names)), np.nan)
    at_end[-1] = case.initial_mwh
    net.add(
        "StorageUnit",
        names,
        bus="substation",
        p_nom=case.power_mw,
        max_hours=case.capacity_mwh / case.power_mw,
        efficiency_store=case.efficiency,
        efficiency_dispatch=case.efficiency,
        standing_loss=1.0 - float(case.keep) ** (1.0 / float(case.dt_h)),
        marginal_cost=case.wear_cny_per_mwh,
        state_of_charge_initial=float(case.keep) * case.initial_mwh,
        state_of_charge_set=pd.DataFrame(at_end, index=net.snapshots, columns=names),
    )


def _plants(net: pypsa.Network, case: Case) -> None:
    names = pd.Index([f"plant-{i}" for i in range(case.available_mw.shape[1])])
    most = np.maximum(case.available_mw.max(axis=0), 1e-9)
    net.add(
        "Generator",
        names,
        bus="substation",
        p_nom=most,
        p_max_pu=pd.DataFrame(case.available_mw / most, index=net.snapshots, columns=names),
        marginal_cost=-case.curtail_cny_per_mwh,
    )


def _loads(net: pypsa.Network, case: Case) -> None:
    names = pd.Index([f"load-{i}" for i in range(len(case.draw_max_mw))])
    whole = np.maximum(case.early_mwh.max(axis=0), 1e-9)
    net.add("Bus", names)
    net.add("Link", names, bus0="substation", bus1=names, p_nom=case.draw_max_mw)
    net.add(
        "Store",
        names,
        bus=names,
        e_nom=whole,
        e_initial=0.0,
        e_min_pu=pd.DataFrame(case.late_mwh / whole, index=net.snapshots, columns=names),
        e_max_pu=pd.DataFrame(case.early_mwh / whole, index=net.snapshots, columns=names),
    )


def solve(case: Case, options: dict[str, str]) -> tuple[pypsa.Network, float, float]:
    """The solved network, the seconds to build it and those of everything."""
    start = time.perf_counter()
    net = build(case)
    build_s = time.perf_counter() - start
    status, condition = net.optimize(
        solver_name="highs",
        solver_options={"output_flag": False, "threads": 1, **options},
        io_api="direct",
    )
    if status != "ok":
        raise SystemExit(f"PyPSA ended as {status}: {condition}")
    return net, build_s, time.perf_counter() - start


def main() -> None:
    """Solve the case; what is loaded at the first use is not counted."""
    logging.disable(logging.WARNING)
    asked = arguments(__doc__)
    case = Case.load(asked.case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        solve(make(WARM_UP_DEVICES), asked.option)
        net, build_s, total_s = repeated(lambda: solve(case, asked.option), asked.repeat)
    plants = [f"plant-{i}" for i in range(case.available_mw.shape[1])]
    loads = [f"load-{i}" for i in range(len(case.draw_max_mw))]
    answer = Schedule(
        net.storage_units_t.p_store.to_numpy(),
        net.storage_units_t.p_dispatch.to_numpy(),
        net.generators_t.p[plants].to_numpy(),
        net.links_t.p0[loads].to_numpy(),
    )
    answer.save(
        asked.answer,
        objective=float(net.objective) + curtailed_if_all(case),
        build_s=build_s,
        total_s=total_s,
    )


if __name__ == "__main__":
    main()
