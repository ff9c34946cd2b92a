"""Reads the SimBench network and its year of profiles, and prepares them for the city.

Network: 1-MV-semiurb--2-sw, the semi-urban 20 kV grid of SimBench's scenario 2 ("tomorrow",
with storages). Source: Meinecke et al., SimBench, Energies 13 (2020) 3290.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import simbench

from sandbox.equipment import EQUIPMENT, Item
from sandbox.materials import Elements, Materials

CODE = "1-MV-semiurb--2-sw"
SHIFT_LON_DEGREE = 105.0
"""Seven hours of sun: a German day, told in UTC+1, becomes one told in UTC+8."""

_DROPPED = ("measurement", "substation", "loadcases", "profiles")
_LIMITS = ("min_", "max_")
_OWN_COLUMNS = (
    "voltLvl",
    "subnet",
    "substation",
    "phys_type",
    "profile",
    "p_disp_mw",
    "autoTap",
    "autoTapSetp",
    "autoTapSide",
    "self-discharge_percent_per_day",
)
"""SimBench's columns that pandapower does not know."""


def extract() -> Materials:
    """The prepared network and what its loads, sgens and storages do over the year."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # simbench's own, on the pandas of today
        net = simbench.get_simbench_net(CODE)
    profiles, columns = _profile_table(net)
    feeders = _feeders(net)
    _move(net)
    position = _positions(net)
    tables = {
        name: _elements(net[name], position, feeders, columns[name])
        for name in ("load", "sgen", "storage")
    }
    _prepare(net)
    equipment = _equipped(net, tables["load"])
    latlon = np.array(list(position.values()))
    return Materials(
        network_json=pp.to_json(net, None, indent=None),
        lat=round(float(latlon[:, 0].mean()), 4),
        lon=round(float(latlon[:, 1].mean()), 4),
        loads=tables["load"],
        sgens=tables["sgen"],
        storages=tables["storage"],
        equipment=equipment,
        profiles=profiles,
    )


def _profile_table(net: Any) -> tuple[np.ndarray, dict[str, dict[str, int]]]:
    """All profile columns side by side, and where each element table finds its own."""
    parts: list[np.ndarray] = []
    columns: dict[str, dict[str, int]] = {"storage": {}}
    width = 0
    for table, name in (("load", "load"), ("sgen", "renewables")):
        frame = net.profiles[name].drop(columns="time")
        parts.append(frame.to_numpy(dtype=np.float32))
        columns[table] = {str(column): width + i for i, column in enumerate(frame.columns)}
        width += frame.shape[1]
    return np.hstack(parts), columns


def _feeders(net: Any) -> dict[int, str]:
    """Bus -> short name of its feeder, such as ``feeder-04``; ``busbar`` at the substation."""
    named: dict[int, str] = {}
    for row in net.line.itertuples():
        _, found, number = str(row.subnet).partition("_Feeder")
        if found and number.isdigit():
            for bus in (row.from_bus, row.to_bus):
                named.setdefault(int(bus), f"feeder-{int(number):02d}")
    for bus in (*net.trafo.hv_bus, *net.trafo.lv_bus):
        named[int(bus)] = "busbar"
    return {int(bus): named.get(int(bus), "busbar") for bus in net.bus.index}


def _move(net: Any) -> None:
    """Shifts every coordinate east by SHIFT_LON_DEGREE."""

    def moved(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        geometry = json.loads(text)
        geometry["coordinates"] = _shift(geometry["coordinates"])
        return json.dumps(geometry, separators=(",", ":"))

    for table in ("bus", "line"):
        net[table]["geo"] = net[table]["geo"].map(moved)


def _shift(coordinates: Any) -> Any:
    if isinstance(coordinates[0], (int, float)):
        lon, lat = coordinates[:2]
        return [round(lon + SHIFT_LON_DEGREE, 5), round(lat, 5)]
    return [_shift(point) for point in coordinates]


def _positions(net: Any) -> dict[int, tuple[float, float]]:
    """Bus -> (lat, lon)."""
    positions = {}
    for bus, text in net.bus.geo.items():
        lon, lat = json.loads(text)["coordinates"]
        positions[int(bus)] = (lat, lon)
    return positions


def _elements(
    frame: pd.DataFrame,
    position: dict[int, tuple[float, float]],
    feeders: dict[int, str],
    columns: dict[str, int],
) -> Elements:
    buses = [int(bus) for bus in frame.bus]
    names = frame.profile.astype(str)
    count = len(frame)

    def column(*suffixes: str) -> np.ndarray:
        """The first column that exists under the profile's name and a suffix, else -1."""
        return np.array(
            [next((columns[n + s] for s in suffixes if n + s in columns), -1) for n in names]
        )

    def numbers(name: str) -> np.ndarray:
        if name not in frame:
            return np.zeros(count)
        return frame[name].fillna(0.0).to_numpy(dtype=np.float64)

    return Elements(
        index=frame.index.to_numpy(dtype=np.int64),
        bus=np.array(buses),
        lat=np.array([position[bus][0] for bus in buses]),
        lon=np.array([position[bus][1] for bus in buses]),
        p_mw=numbers("p_mw"),
        q_mvar=numbers("q_mvar"),
        sn_mva=numbers("sn_mva"),
        e_mwh=numbers("max_e_mwh"),
        efficiency=numbers("efficiency_percent"),
        p_column=column("_pload", ""),
        q_column=column("_qload"),
        profile=names.to_numpy(dtype=np.str_),
        kind=frame.type.fillna("").to_numpy(dtype=np.str_),
        feeder=np.array([feeders[bus] for bus in buses], dtype=np.str_),
    )


def _equipped(net: Any, loads: Elements) -> Elements:
    """Puts sandbox/equipment into ``net``, behind SimBench's own elements, and says where."""
    made = {"load": pp.create_load, "sgen": pp.create_sgen}
    beside = np.array([item.beside for item in EQUIPMENT])
    index = [
        _placed(net, item, int(loads.bus[item.beside]), made[item.element]) for item in EQUIPMENT
    ]
    none, unknown = np.zeros(len(EQUIPMENT)), np.full(len(EQUIPMENT), -1)
    most = np.array([item.parameters["p_max_mw"] for item in EQUIPMENT])
    return Elements(
        index=np.array(index, dtype=np.int64),
        bus=loads.bus[beside],
        lat=loads.lat[beside],
        lon=loads.lon[beside],
        p_mw=most,
        q_mvar=most * [item.tan_phi for item in EQUIPMENT],
        sn_mva=most,
        e_mwh=none,
        efficiency=none,
        p_column=unknown,
        q_column=unknown,
        profile=np.full(len(EQUIPMENT), "", dtype=np.str_),
        kind=np.array([item.kind for item in EQUIPMENT], dtype=np.str_),
        feeder=loads.feeder[beside],
    )


def _placed(net: Any, item: Item, bus: int, create: Any) -> int:
    most = item.parameters["p_max_mw"]
    return int(
        create(net, bus, p_mw=most, q_mvar=most * item.tan_phi, sn_mva=most, name=item.name_en)
    )


def _prepare(net: Any) -> None:
    """What the network needs to be a proper one, and nothing it does not."""
    net.trafo["vector_group"] = net.trafo.std_type.str.split().str[-1]  # "... kV YNd5"
    # SimBench prints a storage as discharging only; both directions are meant.
    net.storage["min_p_mw"] = -net.storage.sn_mva
    net.storage["max_p_mw"] = net.storage.sn_mva
    net.storage["min_q_mvar"] = 0.0
    net.storage["max_q_mvar"] = 0.0
    net.storage["p_mw"] = 0.0
    net.storage["soc_percent"] = 50.0
    # 0.95 is meant, and percent is what the column says.
    net.storage["efficiency_percent"] = net.storage.efficiency_percent * 100.0
    for name in _DROPPED:
        del net[name]
    for kind in net.std_types:
        net.std_types[kind] = {}
    for table in ("bus", "load", "sgen", "storage", "line", "trafo", "switch", "ext_grid"):
        frame = net[table]
        for name in frame.columns:
            if str(name).startswith(_LIMITS):
                frame[name] = frame[name].astype(float)
        net[table] = frame.drop(columns=[c for c in _OWN_COLUMNS if c in frame.columns])
