"""Dispatch of many devices behind one substation: building, solving, planning again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandapower
import xarray as xr
from pyomo.contrib.appsi.solvers.highs import Highs

from core.sites import Asset, AssetKind
from grid import powerflow
from grid.der import Conditions, envelope_of
from grid.envelope import Envelope
from grid.network import read
from optimization import netloop
from optimization.planner import plan
from optimization.problem import DispatchProblem
from optimization.reference import Reference
from optimization.result import Plan
from optimization.rolling import Rolling
from optimization.session import Session

STEPS, DT_H = 96, 0.25
SMALL, ROLLED, LARGE = 50, 300, 1_000


def rows() -> list[dict[str, Any]]:
    """Figures as bench/dispatch_bench makes them; about a minute."""
    small, large = fleet(SMALL, 0), fleet(LARGE, 0)
    reference_s, judge = _timed(lambda: _pyomo(small))
    ours_s, session = _timed(lambda: Session(small))
    large_s, _ = _timed(lambda: Session(large))
    netloop.prepare(session, powerflow.run(small.network, small.injections))
    session.solve(time.perf_counter)
    gap = abs(session.solver.objective - judge(session)) / abs(session.solver.objective)
    rolling, now = Rolling(), fleet(ROLLED, 0)
    later = fleet(ROLLED, 1, _states_after(now, rolling.plan(now)))
    again_s, again = _timed(lambda: rolling.plan(later))
    cold_s, cold = _timed(lambda: plan(later))
    off = again.planned.total_cny / cold.planned.total_cny - 1.0
    note = f"reference: the Pyomo model into appsi, {SMALL} devices; optimum differs by {gap:.0e}"
    return [
        _row(f"dispatch: build and load {SMALL} devices", ours_s, reference_s, note),
        _row(
            f"dispatch: build and load {LARGE} devices",
            large_s,
            reference_s * LARGE / SMALL,
            f"reference: that of {SMALL} devices times {LARGE // SMALL}",
        ),
        _row(
            f"dispatch: re-plan after 15 min, {ROLLED} devices behind a limit that binds",
            again_s,
            cold_s,
            f"with AC checks, import at its limit in {_at_limit(later, cold)} of {STEPS} steps; "
            f"reference: the plan from scratch; cost differs by {off:.0e}",
        ),
    ]


def _pyomo(problem: DispatchProblem) -> Callable[[Session], float]:
    """Builds the reference and hands it to appsi; returns how to solve it with a session's rows."""
    model = Reference(problem, np.zeros(problem.steps))
    model.add_objective()
    Highs().set_instance(model.m)

    def solve(session: Session) -> float:
        judge = Reference(problem, np.zeros(problem.steps))
        judge.add_exchange(session.tangents, session.tangent_exact)
        return judge.solve()

    return solve


def _states_after(problem: DispatchProblem, made: Plan) -> dict[str, dict[str, float]]:
    """What batteries hold and loads have moved after the first step, when all do as planned."""
    first = made.schedule.isel(time=0)
    states = {}
    for envelope in problem.envelopes:
        here = first.sel(asset=envelope.asset)
        if envelope.kind is AssetKind.BATTERY:
            states[envelope.asset] = {"soc": float(here["soc"])}
        elif envelope.account is not None:
            states[envelope.asset] = {"e_ahead_mwh": float(here["content_mwh"])}
    return states


def _at_limit(problem: DispatchProblem, made: Plan) -> int:
    most = np.asarray(problem.import_limit_mw)
    return int((made.schedule["import_mw"].values > most - netloop.MISMATCH_MW).sum())


def fleet(
    devices: int, first: int, states: Mapping[str, Mapping[str, float]] | None = None
) -> DispatchProblem:
    """Half batteries, three tenths PV, the rest shiftable loads; a day from step ``first`` on.

    states: of batteries and loads at the beginning, as grid.der asks for them; half full and
    nothing moved where not given.
    """
    rng = np.random.default_rng(0)
    stores, plants = devices // 2, devices * 3 // 10
    loads = devices - stores - plants
    net = pandapower.create_empty_network()
    upstream, bus = (
        pandapower.create_bus(net, 110.0, min_vm_pu=0.9, max_vm_pu=1.1) for _ in range(2)
    )
    pandapower.create_ext_grid(net, upstream)
    pandapower.create_line_from_parameters(net, upstream, bus, 1.0, 0.01, 0.1, 0.0, 20.0)
    pandapower.create_loads(net, [bus] * (loads + 1), p_mw=[0.0] * (loads + 1))
    pandapower.create_sgens(net, [bus] * plants, p_mw=[0.0] * plants)
    pandapower.create_storages(net, [bus] * stores, p_mw=[0.0] * stores, max_e_mwh=[1.0] * stores)
    step = first + np.arange(STEPS)
    hour = step * DT_H % 24
    times = np.datetime64("2026-06-20T16:00", "ns") + step * np.timedelta64(15, "m")
    sun = np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0)[:, None] * rng.uniform(0.02, 0.2, plants)
    demand = (1 + 0.5 * np.sin(hour / 3))[:, None] * rng.uniform(0.01, 0.05, loads)
    rest = devices * 0.02 * (1 + 0.5 * np.sin((hour - 9) / 12 * np.pi))
    peak = ((hour >= 10) & (hour < 12)) | ((hour >= 17) & (hour < 22))
    return DispatchProblem(
        times=times,
        dt_h=DT_H,
        network=read(pandapower.to_json(net)),
        injections=xr.Dataset(
            {
                "load_p_mw": (("time", "load"), np.column_stack([demand, rest])),
                "sgen_p_mw": (("time", "sgen"), sun),
            },
            coords={"time": times},
        ),
        envelopes=tuple(_devices(rng, times, stores, sun, demand, states or {})),
        import_cny_per_mwh=np.where(peak, 1150.0, np.where(hour < 7, 330.0, 680.0)) + hour / 10,
        export_cny_per_mwh=np.full(STEPS, 300.0),
        kgco2e_per_mwh=np.full(STEPS, 536.6),
        carbon_cny_per_tco2e=80.0,
        import_limit_mw=devices * 0.024,
        export_limit_mw=devices * 0.02,
    )


def _devices(
    rng: np.random.Generator,
    times: np.ndarray,
    stores: int,
    sun: np.ndarray,
    demand: np.ndarray,
    states: Mapping[str, Mapping[str, float]],
) -> list[Envelope]:
    found = []
    for i in range(stores):
        size = {"p_max_mw": rng.uniform(0.02, 0.1), "e_max_mwh": rng.uniform(0.05, 0.3)}
        wear = {"cycle_cost_cny_per_mwh": rng.uniform(20, 90)}
        asset = _asset(AssetKind.BATTERY, "storage", i, **size, **wear, soc_end=0.5)
        own = states.get(asset.id, {})
        found.append(envelope_of(asset, Conditions(times, DT_H, states=own)))
    for kind, table, power in (
        (AssetKind.PV, "sgen", sun),
        (AssetKind.FLEXIBLE_LOAD, "load", demand),
    ):
        for i, p_mw in enumerate(power.T):
            asset = _asset(kind, table, i, p_max_mw=0.15, shift_hours=2.0)
            own = states.get(asset.id, {})
            found.append(envelope_of(asset, Conditions(times, DT_H, "UTC", {"p_mw": p_mw}, own)))
    return found


def _asset(kind: AssetKind, table: str, index: int, **parameters: float) -> Asset:
    numbers = {name: float(value) for name, value in parameters.items()}
    return Asset(
        f"{kind}-{index}", kind, "", "", element=table, element_index=index, parameters=numbers
    )


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def _row(figure: str, ours: float, reference: float, note: str) -> dict[str, Any]:
    return {
        "figure": figure,
        "ours": ours,
        "reference": reference,
        "ratio": ours / reference,
        "unit": "s",
        "note": note,
    }


if __name__ == "__main__":
    for row in rows():
        print(row)
