"""The SimBench year of 1-MV-semiurb--2-sw with its DERs, ready to be planned.

Meinecke et al., SimBench, Energies 13 (2020) 3290: 122 loads, 123 sgens, 114 storages, 35,136
quarter-hours of 2016 in UTC+1. SimBench's storage profiles only ever discharge, so batteries that
nobody controls stand still here.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass

import numpy as np
import pandapower
import simbench
import xarray as xr

from core.sites import Asset, AssetKind
from grid.network import Network, read

CODE = "1-MV-semiurb--2-sw"
TIMEZONE = "Etc/GMT-1"
"""UTC+1 all year, as SimBench counts; the sign of these names is POSIX's."""
START = np.datetime64("2015-12-31T23:00", "ns")
DT_H = 0.25
STEPS_PER_DAY = 96

PLANTS = {"PV_MV": AssetKind.PV, "lv_RES": AssetKind.PV, "Wind_MV": AssetKind.WIND}
FLEXIBLE = {
    "APLS": AssetKind.EV_CHARGER,
    "Soil": AssetKind.FLEXIBLE_LOAD,
    "Air_": AssetKind.FLEXIBLE_LOAD,
}
START_SOC = 0.5
BATTERY = {
    "cycle_cost_cny_per_mwh": 60.0,
    "soc_min": 0.05,
    "soc_max": 0.95,
    "soc_end": START_SOC,
}
LOAD = {"arrival_hour": 18, "departure_hour": 7, "shift_hours": 2}


@dataclass(frozen=True, eq=False)
class Year:
    """What everything on the grid would do if nobody controlled it; (time, element), MW and Mvar.

    load_profile, sgen_profile: SimBench's profile of each element, which several share.
    assets: what can be dispatched, in the order of sgens, storages, loads.
    """

    network: Network
    times: np.ndarray
    load_p_mw: np.ndarray
    load_q_mvar: np.ndarray
    sgen_p_mw: np.ndarray
    load_profile: np.ndarray
    sgen_profile: np.ndarray
    sgen_kind: np.ndarray
    assets: tuple[Asset, ...]
    lat: float
    lon: float

    def injections(self, first: int, last: int) -> xr.Dataset:
        """Of the steps from row ``first`` up to before ``last``, as grid.powerflow.run wants."""
        rows = slice(first, last)
        return self.as_injections(
            self.times[rows],
            self.load_p_mw[rows],
            self.load_q_mvar[rows],
            self.sgen_p_mw[rows],
        )

    def as_injections(
        self,
        times: np.ndarray,
        load_p_mw: np.ndarray,
        load_q_mvar: np.ndarray,
        sgen_p_mw: np.ndarray,
    ) -> xr.Dataset:
        """Powers of all loads and sgens as injections; batteries stand still."""
        return xr.Dataset(
            {
                "load_p_mw": (("time", "load"), load_p_mw),
                "load_q_mvar": (("time", "load"), load_q_mvar),
                "sgen_p_mw": (("time", "sgen"), sgen_p_mw),
            },
            coords={"time": times, "load": self.network.loads, "sgen": self.network.sgens},
        )

    def profile_of(self, asset: Asset, load_p_mw: np.ndarray, sgen_p_mw: np.ndarray) -> np.ndarray:
        """The column of ``asset`` in powers of all loads or of all sgens, (time,)."""
        table, ids = (
            (load_p_mw, self.network.loads)
            if asset.element == "load"
            else (sgen_p_mw, self.network.sgens)
        )
        return np.asarray(table[:, int(np.flatnonzero(ids == asset.element_index)[0])])


def load() -> Year:
    """Reads SimBench's package; some 10 seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # simbench's own, on the pandas of today
        net = simbench.get_simbench_net(CODE)
        profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    network = read(pandapower.to_json(net))
    points = [json.loads(text)["coordinates"] for text in net.bus.geo]
    lon, lat = np.mean(points, axis=0)
    power = {key: frame.to_numpy() for key, frame in profiles.items() if frame.shape[1]}
    steps = len(power["load", "p_mw"])
    return Year(
        network=network,
        times=START + np.arange(steps) * np.timedelta64(15, "m"),
        load_p_mw=np.maximum(power["load", "p_mw"], 0.0),
        load_q_mvar=power["load", "q_mvar"],
        # Some profiles dip a few watts below zero at night.
        sgen_p_mw=np.maximum(power["sgen", "p_mw"], 0.0),
        load_profile=net.load.profile.astype(str).to_numpy(),
        sgen_profile=net.sgen.profile.astype(str).to_numpy(),
        sgen_kind=net.sgen.type.map(PLANTS).fillna("").to_numpy(),
        assets=(*_plants(net), *_batteries(net), *_loads(net)),
        lat=float(lat),
        lon=float(lon),
    )


def _plants(net: pandapower.pandapowerNet) -> list[Asset]:
    return [
        Asset(f"plant-{i:03d}", PLANTS[row.type], "", "", element="sgen", element_index=i)
        for i, row in net.sgen.iterrows()
        if row.type in PLANTS
    ]


def _batteries(net: pandapower.pandapowerNet) -> list[Asset]:
    found = []
    for i, row in net.storage.iterrows():
        size = {"p_max_mw": float(row.sn_mva), "e_max_mwh": float(row.max_e_mwh)}
        found.append(
            Asset(
                f"battery-{i:03d}",
                AssetKind.BATTERY,
                "",
                "",
                element="storage",
                element_index=i,
                parameters={**BATTERY, **size},
            )
        )
    return found


def _loads(net: pandapower.pandapowerNet) -> list[Asset]:
    found = []
    for i, row in net.load.iterrows():
        kind = FLEXIBLE.get(str(row.profile)[:4])
        if kind is not None:
            found.append(
                Asset(
                    f"load-{i:03d}",
                    kind,
                    "",
                    "",
                    element="load",
                    element_index=i,
                    parameters={**LOAD, "p_max_mw": float(row.sn_mva)},
                )
            )
    return found
