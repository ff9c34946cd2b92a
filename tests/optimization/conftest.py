"""A toy network small enough to reason about, and the SimBench city day."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandapower
import pytest
import simbench
import xarray as xr

from core.sites import Asset, AssetKind
from grid.der import Conditions, envelope_of
from grid.network import Network, checked_tables, empty_net, read
from optimization.problem import DispatchProblem

START = np.datetime64("2026-06-21T16:00", "ns")  # 00:00 in UTC+8


@cache  # a Network is never changed
def _toy(ohm: float, max_i_ka: float, vm_max_pu: float, vm_min_pu: float = 0.9) -> Network:
    """Upstream grid - line - bus 1 with load 0, sgens 0 and 1, storages 0 and 1; 20 kV."""
    net = empty_net()
    source, bus = (
        pandapower.create_bus(net, 20.0, min_vm_pu=vm_min_pu, max_vm_pu=vm_max_pu) for _ in range(2)
    )
    pandapower.create_ext_grid(net, source)
    pandapower.create_line_from_parameters(
        net,
        source,
        bus,
        1.0,
        r_ohm_per_km=ohm,
        x_ohm_per_km=ohm,
        c_nf_per_km=0.0,
        max_i_ka=max_i_ka,
    )
    pandapower.create_load(net, bus, p_mw=0.0)
    for _ in range(2):
        pandapower.create_sgen(net, bus, p_mw=0.0)
        pandapower.create_storage(net, bus, p_mw=0.0, max_e_mwh=1.0)
    return checked_tables(net)


@dataclass
class Toy:
    """Builds problems on the toy network; everything not given is nothing."""

    steps: int
    dt_h: float = 1.0

    @property
    def times(self) -> np.ndarray:
        return START + np.arange(self.steps) * np.timedelta64(int(self.dt_h * 3600), "s")

    def asset(self, kind: AssetKind, element: str, index: int = 0, *, given=None, **parameters):
        thing = Asset(
            f"{kind}-{index}",
            kind,
            "",
            "",
            element=element,
            element_index=index,
            parameters=parameters,
        )
        return envelope_of(
            thing, Conditions(self.times, self.dt_h, "Asia/Shanghai", **(given or {}))
        )

    def battery(self, index: int = 0, *, soc: float = 0.0, **parameters):
        sizes = {"p_max_mw": 1.0, "e_max_mwh": 2.0, "cycle_cost_cny_per_mwh": 0.0}
        return self.asset(
            AssetKind.BATTERY,
            "storage",
            index,
            given={"states": {"soc": soc}},
            **{**sizes, **parameters},
        )

    def plant(self, available_mw, index: int = 0, **parameters):
        return self.asset(
            AssetKind.PV,
            "sgen",
            index,
            given={"profiles": {"p_mw": np.asarray(available_mw, dtype=float)}},
            **parameters,
        )

    def problem(
        self,
        envelopes,
        *,
        price,
        export=0.0,
        load=0.0,
        sgen=0.0,
        ohm=1e-6,
        max_i_ka=10.0,
        vm_max_pu=1.1,
        vm_min_pu=0.9,
        kgco2e=0.0,
        **limits,
    ) -> DispatchProblem:
        spread = np.ones(self.steps)
        injections = xr.Dataset(
            {
                "load_p_mw": (
                    ("time", "load"),
                    np.outer(spread, [1.0]) * np.reshape(load, (-1, 1)),
                ),
                "sgen_p_mw": (
                    ("time", "sgen"),
                    np.column_stack([spread * sgen, 0 * spread]),
                ),
            },
            coords={"time": self.times},
        )
        return DispatchProblem(
            times=self.times,
            dt_h=self.dt_h,
            network=_toy(ohm, max_i_ka, vm_max_pu, vm_min_pu),
            injections=injections,
            envelopes=tuple(envelopes),
            import_cny_per_mwh=spread * price,
            export_cny_per_mwh=spread * export,
            kgco2e_per_mwh=spread * kgco2e,
            timezone="Asia/Shanghai",
            **limits,
        )


@pytest.fixture
def toy():
    """``toy(steps, dt_h)`` makes a builder of small problems."""
    return Toy


CITY = "1-MV-semiurb--2-sw"
KINDS = {
    "PV_MV": AssetKind.PV,
    "lv_RES": AssetKind.PV,
    "Wind_MV": AssetKind.WIND,
}


@pytest.fixture(scope="session")
def city_day():
    """``city_day(first=0, scale=1, **changes)``: SimBench 2016-06-20 from step ``first`` on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = simbench.get_simbench_net(CITY)
        year = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
        net.profiles.clear()  # a year of numbers, which no Network looks at
        network = read(pandapower.to_json(net))
    rows = slice(171 * 96, 172 * 96)
    day = {key: frame.to_numpy()[rows] for key, frame in year.items() if frame.shape[1]}

    def build(first: int = 0, scale: float = 1.0, **changes) -> DispatchProblem:
        times = START + np.arange(first, 96) * np.timedelta64(15, "m")
        sun = day["sgen", "p_mw"][first:] * scale
        draw = day["load", "p_mw"][first:]
        given = xr.Dataset(
            {
                "load_p_mw": (("time", "load"), draw),
                "load_q_mvar": (("time", "load"), day["load", "q_mvar"][first:]),
                "sgen_p_mw": (("time", "sgen"), sun),
            },
            coords={"time": times, "load": network.loads, "sgen": network.sgens},
        )

        def expects(p_mw: np.ndarray) -> Conditions:
            return Conditions(times, 0.25, "Asia/Shanghai", profiles={"p_mw": p_mw})

        envelopes = []
        for i, (index, row) in enumerate(net.sgen.iterrows()):
            if row.type in KINDS:
                plant = Asset(
                    f"plant-{index:03d}",
                    KINDS[row.type],
                    "",
                    "",
                    element="sgen",
                    element_index=index,
                )
                envelopes.append(envelope_of(plant, expects(sun[:, i])))
        for index, row in net.storage.iterrows():
            battery = Asset(
                f"battery-{index:03d}",
                AssetKind.BATTERY,
                "",
                "",
                element="storage",
                element_index=index,
                parameters={
                    "p_max_mw": row.sn_mva,
                    "e_max_mwh": row.max_e_mwh,
                    "cycle_cost_cny_per_mwh": 60.0,
                    "soc_min": 0.05,
                    "soc_max": 0.95,
                },
            )
            envelopes.append(
                envelope_of(battery, replace(expects(draw[:, 0]), states={"soc": 0.5}))
            )
        for i, (index, row) in enumerate(net.load.iterrows()):
            kind = {
                "APLS": AssetKind.EV_CHARGER,
                "Soil": AssetKind.FLEXIBLE_LOAD,
                "Air_": AssetKind.FLEXIBLE_LOAD,
            }.get(str(row.profile)[:4])
            if kind is not None:
                load = Asset(
                    f"load-{index:03d}",
                    kind,
                    "",
                    "",
                    element="load",
                    element_index=index,
                    parameters={
                        "p_max_mw": row.sn_mva,
                        "arrival_hour": 18,
                        "departure_hour": 7,
                        "shift_hours": 2,
                    },
                )
                envelopes.append(envelope_of(load, expects(draw[:, i])))
        hour = np.arange(first, 96) / 4
        peak = ((hour >= 10) & (hour < 12)) | ((hour >= 17) & (hour < 22))
        values = {
            "times": times,
            "dt_h": 0.25,
            "network": network,
            "injections": given,
            "envelopes": tuple(envelopes),
            "import_cny_per_mwh": np.where(peak, 1150.0, np.where(hour < 7, 330.0, 680.0)),
            "export_cny_per_mwh": np.full(len(times), 300.0),
            "kgco2e_per_mwh": np.full(len(times), 536.6),
            "carbon_cny_per_tco2e": 80.0,
            "import_limit_mw": 20.0,
            "export_limit_mw": 30.0,
            "timezone": "Asia/Shanghai",
        }
        return DispatchProblem(**{**values, **changes})

    return build
