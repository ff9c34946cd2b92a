"""A case of bench/peers told to our own optimizer: one bus behind a line that loses nothing."""

from __future__ import annotations

import numpy as np
import pandapower
import xarray as xr

from bench.peers.case import Case, Schedule
from core.sites import AssetKind
from grid.envelope import EnergyAccount, Envelope
from grid.network import Network, read
from optimization.problem import DispatchProblem
from optimization.session import Session

START = np.datetime64("2026-06-21T16:00", "ns")


def network(case: Case) -> Network:
    """The upstream grid, one bus, a load for the base and an element for each device."""
    net = pandapower.create_empty_network()
    upstream, bus = (pandapower.create_bus(net, 20.0, min_vm_pu=0.5, max_vm_pu=1.5) for _ in "ab")
    pandapower.create_ext_grid(net, upstream)
    pandapower.create_line_from_parameters(
        net, upstream, bus, 1.0, r_ohm_per_km=1e-9, x_ohm_per_km=1e-6, c_nf_per_km=0.0, max_i_ka=1e3
    )  # fmt: skip
    loads, plants = len(case.draw_max_mw), case.available_mw.shape[1]
    pandapower.create_loads(net, [bus] * (1 + loads), p_mw=0.0)
    pandapower.create_sgens(net, [bus] * plants, p_mw=0.0)
    pandapower.create_storages(net, [bus] * len(case.power_mw), p_mw=0.0, max_e_mwh=1.0)
    return read(pandapower.to_json(net))


def problem(case: Case, net: Network) -> DispatchProblem:
    """The case as a problem; its carbon price is in the tariff already."""
    steps, dt_h = case.steps, float(case.dt_h)
    times = START + np.arange(steps) * np.timedelta64(round(dt_h * 3600), "s")
    loads = np.zeros((steps, 1 + len(case.draw_max_mw)))
    loads[:, 0] = case.base_mw
    return DispatchProblem(
        times=times,
        dt_h=dt_h,
        network=net,
        injections=xr.Dataset(
            {
                "load_p_mw": (("time", "load"), loads),
                "sgen_p_mw": (("time", "sgen"), case.available_mw),
            },
            coords={"time": times},
        ),
        envelopes=(*_batteries(case), *_plants(case), *_loads(case)),
        import_cny_per_mwh=case.buy_cny_per_mwh,
        export_cny_per_mwh=case.sell_cny_per_mwh,
        kgco2e_per_mwh=np.zeros(steps),
        import_limit_mw=float(case.import_limit_mw),
        export_limit_mw=float(case.export_limit_mw),
    )


def schedule(case: Case, session: Session) -> Schedule:
    """The last solution of a session that holds the case."""
    power = session.power_mw()
    batteries, plants = len(case.power_mw), case.available_mw.shape[1]
    stored = power[:, :batteries]
    return Schedule(
        np.maximum(stored, 0.0),
        np.maximum(-stored, 0.0),
        power[:, batteries : batteries + plants],
        power[:, batteries + plants :],
    )


def _batteries(case: Case) -> list[Envelope]:
    zero, one = np.zeros(case.steps), np.ones(case.steps)
    found = []
    for i, (power, capacity) in enumerate(zip(case.power_mw, case.capacity_mwh, strict=True)):
        low, high = zero.copy(), capacity * one
        low[-1] = high[-1] = case.initial_mwh[i]
        account = EnergyAccount(
            initial_mwh=float(case.initial_mwh[i]),
            min_mwh=low,
            max_mwh=high,
            gain_up=case.efficiency[i] * one,
            gain_down=one / case.efficiency[i],
            keep=float(case.keep) * one,
            inflow_mwh=zero,
            capacity_mwh=float(capacity),
        )
        found.append(
            Envelope(
                f"battery-{i}",
                AssetKind.BATTERY,
                "storage",
                i,
                base_mw=zero,
                up_mw=power * one,
                down_mw=power * one,
                down_cny_per_mwh=float(case.wear_cny_per_mwh[i]),
                account=account,
            )
        )
    return found


def _plants(case: Case) -> list[Envelope]:
    return [
        Envelope(
            f"plant-{i}",
            AssetKind.PV,
            "sgen",
            i,
            base_mw=case.available_mw[:, i],
            up_mw=np.zeros(case.steps),
            down_mw=case.available_mw[:, i],
            down_cny_per_mwh=float(price),
        )
        for i, price in enumerate(case.curtail_cny_per_mwh)
    ]


def _loads(case: Case) -> list[Envelope]:
    zero, one = np.zeros(case.steps), np.ones(case.steps)
    return [
        Envelope(
            f"load-{i}",
            AssetKind.FLEXIBLE_LOAD,
            "load",
            1 + i,
            base_mw=zero,
            up_mw=most * one,
            down_mw=zero,
            account=EnergyAccount(
                initial_mwh=0.0,
                min_mwh=case.late_mwh[:, i],
                max_mwh=case.early_mwh[:, i],
                gain_up=one,
                gain_down=one,
                keep=one,
                inflow_mwh=zero,
            ),
        )
        for i, most in enumerate(case.draw_max_mw)
    ]
