"""The case in linopy, vectorised over devices and time as its authors advise, solved by HiGHS.

``python -m bench.peers.linopy_side CASE.npz ANSWER.npz [--option NAME=VALUE ...]``
"""

from __future__ import annotations

import time

import linopy
import numpy as np
import pandas as pd
import xarray as xr

from bench.peers.case import WARM_UP_DEVICES, Case, Schedule, curtailed_if_all, make
from bench.peers.side import arguments, repeated


def build(case: Case) -> linopy.Model:
    """Every constraint of bench.peers.case as one array of constraints."""
    dt_h, steps = float(case.dt_h), case.steps
    time_index = pd.RangeIndex(steps, name="time")
    battery = pd.RangeIndex(len(case.power_mw), name="battery")
    plant = pd.RangeIndex(case.available_mw.shape[1], name="plant")
    load = pd.RangeIndex(len(case.draw_max_mw), name="load")

    def over(values: np.ndarray, *index: pd.Index) -> xr.DataArray:
        return xr.DataArray(values, coords=list(index), dims=[i.name for i in index])

    power = over(case.power_mw, battery)
    model = linopy.Model(force_dim_names=True)
    imported = model.add_variables(
        lower=0, upper=float(case.import_limit_mw), coords=[time_index], name="import"
    )
    exported = model.add_variables(
        lower=0, upper=float(case.export_limit_mw), coords=[time_index], name="export"
    )
    wide = [time_index, battery]
    charge = model.add_variables(lower=0, upper=power, coords=wide, name="charge")
    discharge = model.add_variables(lower=0, upper=power, coords=wide, name="discharge")
    low = np.zeros((steps, len(battery)))
    high = np.tile(case.capacity_mwh, (steps, 1))
    low[-1] = high[-1] = case.initial_mwh
    stored = model.add_variables(
        lower=over(low, *wide), upper=over(high, *wide), coords=wide, name="stored"
    )
    produced = model.add_variables(
        lower=0,
        upper=over(case.available_mw, time_index, plant),
        coords=[time_index, plant],
        name="produced",
    )
    drawn = model.add_variables(
        lower=0, upper=over(case.draw_max_mw, load), coords=[time_index, load], name="drawn"
    )
    taken = model.add_variables(
        lower=over(case.late_mwh, time_index, load),
        upper=over(case.early_mwh, time_index, load),
        coords=[time_index, load],
        name="taken",
    )
    fed = discharge.sum("battery") - charge.sum("battery") + produced.sum("plant")
    model.add_constraints(
        imported - exported + fed - drawn.sum("load") == over(case.base_mw, time_index),
        name="substation",
    )
    efficiency, keep = over(case.efficiency, battery), float(case.keep)
    before = np.zeros((steps, len(battery)))
    before[0] = keep * case.initial_mwh
    model.add_constraints(
        stored
        - keep * stored.shift(time=1)
        - dt_h * efficiency * charge
        + (dt_h / efficiency) * discharge
        == over(before, *wide),
        name="storage",
    )
    model.add_constraints(taken - taken.shift(time=1) - dt_h * drawn == 0, name="shifting")
    wear = over(case.wear_cny_per_mwh * dt_h, battery)
    curtail = over(case.curtail_cny_per_mwh * dt_h, plant)
    model.add_objective(
        (imported * over(case.buy_cny_per_mwh * dt_h, time_index)).sum()
        - (exported * over(case.sell_cny_per_mwh * dt_h, time_index)).sum()
        + (discharge * wear).sum()
        - (produced * curtail).sum()
    )
    return model


def solve(case: Case, options: dict[str, str]) -> tuple[linopy.Model, float, float]:
    """The solved model, the seconds to build it and those of everything."""
    start = time.perf_counter()
    model = build(case)
    build_s = time.perf_counter() - start
    # Direct: arrays into HiGHS without a file between, the quickest of linopy's ways. Names would
    # cost seconds and nobody reads them.
    status, condition = model.solve(
        "highs", io_api="direct", set_names=False, output_flag=False, threads=1, **options
    )
    if status != "ok":
        raise SystemExit(f"linopy ended as {status}: {condition}")
    return model, build_s, time.perf_counter() - start


def main() -> None:
    """Solve the case; what is loaded at the first use is not counted."""
    asked = arguments(__doc__)
    case = Case.load(asked.case)
    solve(make(WARM_UP_DEVICES), asked.option)
    model, build_s, total_s = repeated(lambda: solve(case, asked.option), asked.repeat)
    value = model.solution
    answer = Schedule(
        *(value[name].to_numpy() for name in ("charge", "discharge", "produced", "drawn"))
    )
    answer.save(
        asked.answer,
        objective=float(model.objective.value) + curtailed_if_all(case),
        build_s=build_s,
        total_s=total_s,
    )


if __name__ == "__main__":
    main()
