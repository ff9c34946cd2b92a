"""Key figures of a day from its AC power flow; one function for plan and uncontrolled day."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from core.findings import Finding
from grid import limits
from optimization.conduct import Conduct
from optimization.devices import curtails
from optimization.fleet import Fleet
from optimization.problem import DispatchProblem
from optimization.result import KeyFigures
from optimization.terms import PeakCharge

EXCHANGE_TOLERANCE_MW = 0.01


def key_figures(
    fleet: Fleet,
    flow: xr.Dataset,
    done: Conduct,
    reserve_mw: Mapping[str, np.ndarray] | None = None,
) -> KeyFigures:
    """The day in numbers. done: what the resources do; reserve_mw: held by product."""
    problem = fleet.problem
    dt_h = problem.dt_h
    imported, exported = flow["import_mw"].values, flow["export_mw"].values
    bill = imported * problem.import_cny_per_mwh - exported * problem.export_cny_per_mwh
    emissions = float((imported * problem.kgco2e_per_mwh).sum() * dt_h) + _fuel_kg(fleet, done)
    lowering = dt_h * done.lowered_mw * fleet.down_cny_per_mwh
    own, shed = slice(None, fleet.named), slice(fleet.named, None)
    held_back = np.array([curtails(e) for e in fleet.envelopes], dtype=bool)
    breach = fleet.account_number(lambda x: x.breach_cny_per_mwh or 0.0)
    spill = fleet.account_number(lambda x: x.spill_cny_per_mwh or 0.0)
    raising = dt_h * done.raised_mw * fleet.up_cny_per_mwh
    earned, missed = _reserves(problem, reserve_mw or {})
    return KeyFigures(
        cost_cny=float(bill.sum() * dt_h),
        wear_cny=float(lowering[:, own].sum() + done.wear_cny.sum()),
        carbon_cny=emissions * problem.carbon_cny_per_kg,
        emissions_kgco2e=emissions,
        import_mwh=float(imported.sum() * dt_h),
        export_mwh=float(exported.sum() * dt_h),
        peak_import_mw=float(imported.max()),
        peak_export_mw=float(exported.max()),
        losses_mwh=float(flow["losses_mw"].values.sum() * dt_h),
        curtailed_mwh=float((fleet.p_max_mw - done.p_mw)[:, held_back].clip(0.0).sum() * dt_h),
        stored_change_mwh=_stored_change(fleet, done),
        vm_min_pu=float(np.nanmin(flow["vm_pu"].values)),
        vm_max_pu=float(np.nanmax(flow["vm_pu"].values)),
        max_line_loading_percent=_highest(flow["line_loading_percent"].values),
        max_trafo_loading_percent=max(
            _highest(flow[f"{table}_loading_percent"].values) for table in ("trafo", "trafo3w")
        ),
        violations=count(problem, flow),
        fuel_cny=float(raising.sum() + (done.spilled_mwh * spill).sum()) + _running(fleet, done),
        start_cny=_per_unit(fleet, done.starts, "start_cny"),
        peak_cny=_peak(problem, imported, exported),
        discomfort_cny=float((done.outside_mwh * breach).sum() * dt_h + lowering[:, shed].sum()),
        breach_cny=missed + _promises(problem, imported - exported),
        reserve_cny=earned,
        stored_cny=_stored_value(fleet, done),
        unserved_mwh=float(done.lowered_mw[:, shed].sum() * dt_h),
        error_cny=_errors(problem, imported - exported),
    )


def weighted_total(fleet: Fleet, figures: KeyFigures, done: Conduct) -> float:
    """The total with the weights of the objective: what the plan minimises."""
    w = fleet.problem.weights
    lowering = fleet.problem.dt_h * done.lowered_mw * fleet.down_cny_per_mwh
    held_back = np.array([curtails(e) for e in fleet.envelopes], dtype=bool)
    curtailed = float(lowering[:, held_back].sum())
    money = figures.cost_cny + figures.wear_cny - curtailed + figures.fuel_cny + figures.start_cny
    money += figures.breach_cny + figures.error_cny - figures.reserve_cny - figures.stored_cny
    return (
        w.money * money
        + w.curtailment * curtailed
        + w.carbon * figures.carbon_cny
        + w.peak * figures.peak_cny
        + w.discomfort * figures.discomfort_cny
    )


def count(problem: DispatchProblem, flow: xr.Dataset) -> int:
    """(step, element) pairs beyond a limit or its margin, and steps beyond one of the exchange."""
    found = sum(
        int(e.violated.sum())
        for e in limits.excesses(
            problem.network,
            flow,
            max_loading_percent=problem.max_loading_percent,
            margins=problem.margins,
        )
    )
    over_import, over_export = exchange_excess(problem, flow)
    return found + int((over_import > 0).sum() + (over_export > 0).sum())


def exchange_excess(problem: DispatchProblem, flow: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """By how much import and export exceed their limits beyond the tolerance, in MW, (time,)."""
    over_import = flow["import_mw"].values - problem.limit_mw("import") - EXCHANGE_TOLERANCE_MW
    over_export = flow["export_mw"].values - problem.limit_mw("export") - EXCHANGE_TOLERANCE_MW
    return np.maximum(over_import, 0.0), np.maximum(over_export, 0.0)


def exchange_violations(problem: DispatchProblem, flow: xr.Dataset) -> list[Finding]:
    """Limits of import and export that the power flow does not keep."""
    found = []
    for name, over, limit in zip(
        ("import_mw", "export_mw"),
        exchange_excess(problem, flow),
        (problem.limit_mw("import"), problem.limit_mw("export")),
        strict=True,
    ):
        if over.any():
            worst = int(np.argmax(over))
            found.append(
                Finding(
                    "substation",
                    name,
                    (str(problem.times[worst])[:16],),
                    f"{flow[name].values[worst]:.2f} MW exceeds the limit of {limit[worst]:.2f} MW "
                    f"({int((over > 0).sum())} steps in all); {over[worst]:.2f} MW more of "
                    "flexibility would be needed.",
                )
            )
    return found


def _fuel_kg(fleet: Fleet, done: Conduct) -> float:
    burnt = done.raised_mw * fleet.stack(lambda e: e.up_kgco2e_per_mwh)
    running = _per_unit(fleet, done.on, "running_kgco2e_per_h")
    return float(burnt.sum() + running) * fleet.problem.dt_h


def _running(fleet: Fleet, done: Conduct) -> float:
    return _per_unit(fleet, done.on, "running_cny_per_h") * fleet.problem.dt_h


def _per_unit(fleet: Fleet, times: np.ndarray, name: str) -> float:
    """A number of each commitment, times how often ``times`` (time, asset) holds."""
    each = [getattr(e.commitment, name) if e.commitment else 0.0 for e in fleet.envelopes]
    return float(times.sum(axis=0) @ np.array(each, dtype=float))


def _peak(problem: DispatchProblem, imported: np.ndarray, exported: np.ndarray) -> float:
    cost = 0.0
    if problem.peak is not None:
        beyond = max(float(imported.max()) - problem.peak.peak_so_far_mw, 0.0)
        cost += problem.peak.cny_per_mw * beyond
    if problem.peak_valley is not None:
        net = imported - exported
        over = float(net.max() - net.min()) - problem.peak_valley.target_mw
        cost += problem.peak_valley.breach_cny_per_mw * max(over, 0.0)
    return cost


def _promises(problem: DispatchProblem, net_mw: np.ndarray) -> float:
    """What missed calls and positions cost."""
    cost = 0.0
    for call in problem.calls:
        over = np.maximum(net_mw - call.limit_mw, 0.0)[call.within(problem.times)]
        cost += float(over.sum()) * call.breach_cny_per_mwh
    if problem.position is not None:
        off = np.nan_to_num(net_mw - problem.position.committed_mw)
        above = np.maximum(off, 0.0) * problem.position.above_cny_per_mwh
        below = np.maximum(-off, 0.0) * problem.position.below_cny_per_mwh
        cost += float(np.sum(above + below))
    return cost * problem.dt_h


def _errors(problem: DispatchProblem, net_mw: np.ndarray) -> float:
    """The expected bill of all cases less that of the expected course; with carbon and peak."""
    if problem.spread is None:
        return 0.0
    charge = problem.peak or PeakCharge(0.0)
    buy = problem.import_cny_per_mwh + problem.carbon_cny_per_kg * problem.kgco2e_per_mwh
    sell = problem.export_cny_per_mwh

    def bill(net: np.ndarray) -> float:
        hourly = buy @ np.maximum(net, 0.0) - sell @ np.maximum(-net, 0.0)
        beyond = max(float(net.max()) - charge.peak_so_far_mw, 0.0)
        return float(hourly) * problem.dt_h + charge.cny_per_mw * beyond

    cases = net_mw[:, None] + problem.spread.offset_mw
    bills = [bill(case) for case in cases.T]
    return float(np.dot(problem.spread.share, bills)) - bill(net_mw)


def _reserves(problem: DispatchProblem, held_mw: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """What held reserve earns and what missing reserve costs."""
    earned = missed = 0.0
    for reserve in problem.reserves:
        held = held_mw.get(reserve.name, np.zeros((problem.steps, 0))).sum(axis=1)
        given = np.minimum(held, reserve.requirement_mw)
        missing = reserve.requirement_mw - given
        earned += float(given.sum()) * problem.dt_h * reserve.price_cny_per_mw_h
        missed += float(missing.sum()) * problem.dt_h * reserve.breach_cny_per_mw_h
    return earned, missed


def _stored_change(fleet: Fleet, done: Conduct) -> float:
    """Of electricity, in what has a capacity."""
    change = 0.0
    for a, envelope in enumerate(fleet.envelopes):
        account = envelope.account
        if account is not None and account.capacity_mwh > 0 and account.carrier == "electricity":
            change += float(done.content_mwh[-1, a]) - account.initial_mwh
    return change


def _stored_value(fleet: Fleet, done: Conduct) -> float:
    value = 0.0
    for a, envelope in enumerate(fleet.envelopes):
        account = envelope.account
        if account is not None and account.end_cny_per_mwh:
            change = float(done.content_mwh[-1, a]) - account.initial_mwh
            value += account.end_cny_per_mwh * change
    return value


def _highest(values: np.ndarray) -> float:
    return float(values.max()) if values.size else 0.0
