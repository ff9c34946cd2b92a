"""Key figures of a day from its AC power flow; one function for plan and uncontrolled day."""

from __future__ import annotations

import numpy as np
import xarray as xr

from core.findings import Finding
from grid import limits
from optimization.problem import DispatchProblem
from optimization.result import KeyFigures

EXCHANGE_TOLERANCE_MW = 0.01


def key_figures(problem: DispatchProblem, flow: xr.Dataset, p_mw: np.ndarray) -> KeyFigures:
    """The day in numbers. p_mw: power of the resources in their own sign, (time, asset)."""
    dt_h = problem.dt_h
    imported, exported = flow["import_mw"].values, flow["export_mw"].values
    bill = imported * problem.import_cny_per_mwh - exported * problem.export_cny_per_mwh
    emissions = float((imported * problem.kgco2e_per_mwh).sum() * dt_h)
    wear, curtailed = _wear_and_curtailed(problem, p_mw)
    return KeyFigures(
        cost_cny=float(bill.sum() * dt_h),
        wear_cny=wear,
        carbon_cny=emissions / 1000.0 * problem.carbon_cny_per_tco2e,
        emissions_kgco2e=emissions,
        import_mwh=float(imported.sum() * dt_h),
        export_mwh=float(exported.sum() * dt_h),
        peak_import_mw=float(imported.max()),
        peak_export_mw=float(exported.max()),
        losses_mwh=float(flow["losses_mw"].values.sum() * dt_h),
        curtailed_mwh=curtailed,
        stored_change_mwh=_stored_change(problem, p_mw),
        vm_min_pu=float(np.nanmin(flow["vm_pu"].values)),
        vm_max_pu=float(np.nanmax(flow["vm_pu"].values)),
        max_line_loading_percent=_highest(flow["line_loading_percent"].values),
        max_trafo_loading_percent=_highest(flow["trafo_loading_percent"].values),
        violations=count(problem, flow),
    )


def count(problem: DispatchProblem, flow: xr.Dataset) -> int:
    """(step, element) pairs beyond a limit, and steps beyond a limit of the exchange."""
    found = sum(
        int(e.violated.sum())
        for e in limits.excesses(
            problem.network, flow, max_loading_percent=problem.max_loading_percent
        )
    )
    over_import, over_export = exchange_excess(problem, flow)
    return found + int((over_import > 0).sum() + (over_export > 0).sum())


def exchange_excess(problem: DispatchProblem, flow: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """By how much import and export exceed their limits beyond the tolerance, in MW, (time,)."""
    over_import = flow["import_mw"].values - problem.import_limit_mw - EXCHANGE_TOLERANCE_MW
    over_export = flow["export_mw"].values - problem.export_limit_mw - EXCHANGE_TOLERANCE_MW
    return np.maximum(over_import, 0.0), np.maximum(over_export, 0.0)


def violations(problem: DispatchProblem, flow: xr.Dataset) -> list[Finding]:
    """Every limit the power flow does not keep, one finding per element."""
    found = limits.violations(
        problem.network, flow, max_loading_percent=problem.max_loading_percent
    )
    for name, over, limit in zip(
        ("import_mw", "export_mw"),
        exchange_excess(problem, flow),
        (problem.import_limit_mw, problem.export_limit_mw),
        strict=True,
    ):
        if over.any():
            worst = int(np.argmax(over))
            found.append(
                Finding(
                    "substation",
                    name,
                    (str(problem.times[worst])[:16],),
                    f"{flow[name].values[worst]:.2f} MW exceeds the limit of {limit:.2f} MW "
                    f"({int((over > 0).sum())} steps in all).",
                )
            )
    return found


def _wear_and_curtailed(problem: DispatchProblem, p_mw: np.ndarray) -> tuple[float, float]:
    wear = curtailed = 0.0
    for column, envelope in enumerate(problem.envelopes):
        power = p_mw[:, column]
        if envelope.energy is None:
            missing = float(np.maximum(envelope.p_max_mw - power, 0.0).sum() * problem.dt_h)
            curtailed += missing
            wear += missing * envelope.cost_cny_per_mwh
        else:
            discharged = float(np.maximum(-power, 0.0).sum() * problem.dt_h)
            wear += discharged * envelope.cost_cny_per_mwh
    return wear, curtailed


def _stored_change(problem: DispatchProblem, p_mw: np.ndarray) -> float:
    change = 0.0
    for column, envelope in enumerate(problem.envelopes):
        account = envelope.energy
        if account is None or account.capacity_mwh <= 0:
            continue
        power = p_mw[:, column]
        change += float(np.maximum(power, 0.0).sum()) * account.efficiency_charge
        change -= float(np.maximum(-power, 0.0).sum()) / account.efficiency_discharge
    return change * problem.dt_h


def _highest(values: np.ndarray) -> float:
    return float(values.max()) if values.size else 0.0
