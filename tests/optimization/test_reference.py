"""The fast path against the reference model in Pyomo: the same optimum, whatever is asked for."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandapower
import pytest
import xarray as xr

from core.sites import AssetKind
from grid import powerflow
from grid.envelope import Commitment, DepthBand, EnergyAccount, Envelope, Ramp, Reactive
from grid.network import checked_tables, empty_net
from optimization import netloop
from optimization.problem import DispatchProblem
from optimization.reference import optimum_cny
from optimization.result import Status
from optimization.session import Session
from optimization.terms import (
    ChangeCost,
    Direction,
    ExchangeSpread,
    FeederLimit,
    PeakCharge,
    PeakValley,
    Position,
    Reserve,
    Unserved,
    Weights,
)

START = np.datetime64("2026-06-21T16:00", "ns")
STEPS, DT_H = 8, 0.5
TIMES = START + np.arange(STEPS) * np.timedelta64(30, "m")


def _network(max_i_ka: float):
    """Three buses in a row at 10 kV; two elements of each kind at the last two."""
    net = empty_net()
    buses = [pandapower.create_bus(net, 10.0, min_vm_pu=0.95, max_vm_pu=1.05) for _ in range(3)]
    pandapower.create_ext_grid(net, buses[0])
    for one, other in pairwise(buses):
        pandapower.create_line_from_parameters(
            net, one, other, 1.0, r_ohm_per_km=0.4, x_ohm_per_km=0.3, c_nf_per_km=0.0,
            max_i_ka=max_i_ka,
        )  # fmt: skip
    for bus in (buses[1], buses[2], buses[2]):
        pandapower.create_load(net, bus, p_mw=0.0)
        pandapower.create_sgen(net, bus, p_mw=0.0)
        pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=1.0)
    return checked_tables(net)


def _envelope(name: str, element: str, index: int, base, up, down, **parts) -> Envelope:
    full = np.ones(STEPS)
    return Envelope(
        name, AssetKind.GENERATOR, element, index, full * base, full * up, full * down, **parts
    )


def _account(rng: np.random.Generator, size: float, **parts) -> EnergyAccount:
    values = {
        "initial_mwh": size * rng.uniform(0.3, 0.7),
        "min_mwh": np.full(STEPS, 0.05 * size),
        "max_mwh": np.full(STEPS, 0.95 * size),
        "gain_up": rng.uniform(0.85, 0.95, STEPS),
        "gain_down": 1.0 / rng.uniform(0.85, 0.95, STEPS),
        "keep": np.full(STEPS, rng.uniform(0.97, 1.0)),
        "inflow_mwh": np.zeros(STEPS),
        "capacity_mwh": size,
    }
    return EnergyAccount(**{**values, **parts})


def _battery(rng: np.random.Generator) -> Envelope:
    """Wear by depth, an end value, reactive power."""
    depth = (DepthBand(0.3, 20.0), DepthBand(0.3, 60.0), DepthBand(0.4, 150.0))
    account = _account(rng, 2.0, depth=depth, end_cny_per_mwh=float(rng.uniform(0, 600)))
    return _envelope(
        "battery", "storage", 0, 0.0, 1.0, rng.uniform(0.5, 1.2), account=account,
        down_cny_per_mwh=float(rng.uniform(0, 20)), reactive=Reactive(1.1, 0.8, 0.5),
    )  # fmt: skip


def _car(rng: np.random.Generator) -> Envelope:
    """Drives away with energy and misses its target at a price."""
    inflow = np.where(np.arange(STEPS) == 4, -0.4, 0.0)
    low = np.where(np.arange(STEPS) == STEPS - 1, 0.9, 0.0)
    account = _account(
        rng, 1.0, inflow_mwh=inflow, min_mwh=low, max_mwh=np.full(STEPS, 0.9),
        breach_cny_per_mwh=float(rng.uniform(200, 3000)),
        depth=(DepthBand(0.5, 10.0), DepthBand(0.5, 40.0)),
    )  # fmt: skip
    return _envelope("car", "storage", 1, 0.0, 0.4, 0.3, account=account)


def _heat_pump(rng: np.random.Generator) -> Envelope:
    """A coefficient of performance by step, a demand of heat, comfort at a price, spilled heat."""
    account = _account(
        rng, 3.0, gain_up=rng.uniform(2.5, 3.5, STEPS), gain_down=np.zeros(STEPS),
        keep=np.full(STEPS, 0.93), inflow_mwh=-rng.uniform(0.1, 0.9, STEPS),
        min_mwh=np.full(STEPS, 1.0), max_mwh=np.full(STEPS, 1.8), capacity_mwh=0.0,
        breach_cny_per_mwh=float(rng.uniform(50, 500)), spill_cny_per_mwh=1.0, carrier="heat",
    )  # fmt: skip
    return _envelope("heat", "load", 0, 0.05, rng.uniform(0.2, 0.6), 0.0, account=account)


def _genset(rng: np.random.Generator) -> Envelope:
    """Starts, least power, up and down times, ramps, fuel and emissions."""
    on = bool(rng.integers(2))
    commitment = Commitment(
        p_on_min_mw=0.4, min_up_h=1.5, min_down_h=1.0, start_cny=float(rng.uniform(0, 200)),
        running_cny_per_h=10.0, running_kgco2e_per_h=20.0, on=on, since_h=0.5,
        max_up_h=2.5 if rng.integers(2) else float("inf"), starts_max=int(rng.integers(1, 3)),
    )  # fmt: skip
    return _envelope(
        "genset", "sgen", 0, 0.0, 1.5, 0.0, up_cny_per_mwh=float(rng.uniform(200, 700)),
        up_kgco2e_per_mwh=600.0, commitment=commitment,
        ramp=Ramp(0.6, 1.0, 0.5 if on else 0.0),
    )  # fmt: skip


def _interruptible(rng: np.random.Generator) -> Envelope:
    """A load that is switched off for at least an hour, by all of it or nothing."""
    demand = rng.uniform(0.4, 0.6, STEPS)
    return _envelope(
        "process", "load", 1, demand, 0.0, demand, down_cny_per_mwh=float(rng.uniform(100, 500)),
        commitment=Commitment(p_on_min_mw=0.3, min_up_h=1.0, start_cny=50.0, lowers=True,
                              max_up_h=2.0),
        ramp=Ramp(2.0, 0.5, float(demand[0])),
    )  # fmt: skip


def _sun(rng: np.random.Generator, index: int = 1) -> Envelope:
    available = rng.uniform(0, 3, STEPS)
    return _envelope(
        f"sun-{index}", "sgen", index, available, 0.0, available,
        down_cny_per_mwh=float(rng.uniform(0, 50)), reactive=Reactive(2.5, 1.2, 0.2),
    )  # fmt: skip


MAKERS = (_battery, _car, _heat_pump, _genset, _interruptible, _sun)


def _problem(rng: np.random.Generator, **terms) -> DispatchProblem:
    chosen = [make(rng) for make in MAKERS if rng.uniform() < 0.75] or [_battery(rng)]
    buy = rng.uniform(200, 1200, STEPS)
    given = xr.Dataset(
        {
            "load_p_mw": (("time", "load"), rng.uniform(0, 1.5, (STEPS, 3))),
            "load_q_mvar": (("time", "load"), rng.uniform(0, 0.3, (STEPS, 3))),
            "sgen_p_mw": (("time", "sgen"), rng.uniform(0, 1.5, (STEPS, 3))),
        },
        coords={"time": TIMES},
    )
    return DispatchProblem(
        times=TIMES,
        dt_h=DT_H,
        network=_network(float(rng.uniform(0.1, 0.4))),
        injections=given,
        envelopes=tuple(chosen),
        import_cny_per_mwh=buy,
        export_cny_per_mwh=buy * rng.uniform(0.2, 0.9),
        kgco2e_per_mwh=rng.uniform(300, 800, STEPS),
        carbon_cny_per_tco2e=90.0,
        import_limit_mw=rng.uniform(1.5, 4, STEPS),
        export_limit_mw=float(rng.uniform(1.0, 4.0)),
        **terms,
    )


def _terms(rng: np.random.Generator) -> dict:
    """Some of all that can be asked for."""
    terms = {
        "peak": PeakCharge(float(rng.uniform(50, 400)), 0.5),
        "peak_valley": PeakValley(float(rng.uniform(0.5, 2.0)), 100.0),
        "calls": (FeederLimit("evening", TIMES[3], TIMES[6], float(rng.uniform(-1, 1)), 900.0),),
        "position": Position(rng.uniform(-1, 2, STEPS), 150.0, np.full(STEPS, 80.0)),
        "reserves": (
            Reserve("fcr", Direction.UP, np.full(STEPS, 0.6), 0.5, 40.0, 10.0),
            Reserve("afrr", Direction.UP, np.full(STEPS, 0.3), 1.0, 0.0, 300.0),
            Reserve("down", Direction.DOWN, rng.uniform(0, 0.8, STEPS), 0.25, 5.0, 60.0),
        ),
        "unserved": Unserved(5000.0),
        "weights": Weights(1.0, 2.0, 1.5, 0.8, 3.0),
        "spread": ExchangeSpread(rng.normal(0.2, 1.0, (STEPS, 3)), np.array([0.2, 0.5, 0.3])),
    }
    return {name: term for name, term in terms.items() if rng.uniform() < 0.6}


def _compare(problem: DispatchProblem) -> Session:
    """Plan, with all rows that the AC grid asks for; then ask the judge with the same rows."""
    session = Session(problem, mip_gap=0.0)
    fleet = session.model.fleet
    flow = powerflow.run(problem.network, fleet.injections(fleet.baseline_mw))
    netloop.prepare(session, flow)
    outcome = netloop.run(session, timer=time.perf_counter, progress=lambda _: None)
    assert outcome.status is Status.OPTIMAL
    status, _ = session.solve(time.perf_counter)
    assert status is Status.OPTIMAL
    judge = optimum_cny(
        replace(problem, calls=session.held_calls),
        session.tangents,
        session.tangent_exact,
        np.zeros(STEPS),
        session.limits,
    )
    assert session.solver.objective == pytest.approx(judge, rel=1e-6, abs=1e-4)
    return session


@pytest.mark.parametrize("seed", range(4))
def test_resources_of_every_kind(seed):
    _compare(_problem(np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(100, 106))
def test_everything_that_can_be_asked_for(seed):
    rng = np.random.default_rng(seed)
    problem = _problem(rng, **_terms(rng))
    if rng.uniform() < 0.6:
        before = rng.uniform(-1, 1, (STEPS, len(problem.envelopes)))
        before[:, rng.uniform(size=len(problem.envelopes)) < 0.3] = np.nan
        held = np.arange(STEPS) < 2 if rng.uniform() < 0.5 else None
        problem = replace(problem, change=ChangeCost(before, 5.0, held))
    _compare(problem)
