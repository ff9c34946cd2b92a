"""Outages and switch states: networks in which something is off, and what each loss would do.

``with_outages`` makes a network to calculate and plan with. ``n_1`` asks of many single outages
what the worst of a day would be; it takes branches out of the electrical model instead of
converting the network again for each of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from core.errors import NetworkError
from core.findings import Finding, Severity
from grid import powerflow
from grid.network import ELEMENTS, Network


def with_outages(
    network: Network,
    *,
    lines: Iterable[int] = (),
    trafos: Iterable[int] = (),
    open_switches: Iterable[int] = (),
    close_switches: Iterable[int] = (),
) -> tuple[Network, list[Finding]]:
    """A copy with these elements out of service and these switches turned.

    The findings name the buses that become dark by it, and the loads, static generators and
    storages there. Raises NetworkError for an element that does not exist.
    """
    net = copy.deepcopy(network.net)
    for table, field, state, ids in (
        ("line", "in_service", False, lines),
        ("trafo", "in_service", False, trafos),
        ("switch", "closed", False, open_switches),
        ("switch", "closed", True, close_switches),
    ):
        wanted = list(ids)
        missing = [i for i in wanted if i not in net[table].index]
        if missing:
            raise NetworkError(f"The network has no {table} {', '.join(map(str, missing[:5]))}.")
        net[table].loc[wanted, field] = state
    after = Network(net)
    return after, _darkened(network, after)


def _darkened(before: Network, after: Network) -> list[Finding]:
    """What was supplied before and is not any more."""
    lost = (before.admittance.node_of_bus >= 0) & (after.admittance.node_of_bus < 0)
    if not lost.any():
        return []
    dark = tuple(int(b) for b in before.buses[lost])
    found = [Finding("bus", "in_service", dark, "The outage leaves it dark.", Severity.WARNING)]
    for table in ELEMENTS:
        there = (before.in_use(table) != 0) & lost[before.bus_position(table)]
        if there.any():
            ids = tuple(int(i) for i in before.ids(table)[there])
            found.append(Finding(table, "bus", ids, "The outage leaves it dark.", Severity.WARNING))
    return found


def n_1(
    network: Network,
    injections: xr.Dataset,
    *,
    lines: Sequence[int] | None = None,
    trafos: Sequence[int] | None = None,
) -> xr.Dataset:
    """The worst that each single outage does over all steps; all lines and transformers if None.

    injections: as for powerflow.run. Over ``outage``: component (line or trafo) and element;
    solved (False where some step has no solution; what follows is then of the steps that have
    one); vm_min_pu, vm_min_bus, vm_max_pu, vm_max_bus of the buses still supplied;
    line_loading_percent and line, trafo_loading_percent and trafo, trafo3w_loading_percent and
    trafo3w of the highest loadings (NaN and -1 where there is none); dark_buses, and dark_mw, the
    highest sum of loads without supply.
    Switches stay as they are: what a crew could close again is another question.
    Raises NetworkError for an element that does not exist or is out of service already.
    """
    wanted = [
        *(("line", i) for i in _wanted(network, "line", lines)),
        *(("trafo", i) for i in _wanted(network, "trafo", trafos)),
    ]
    rows = [_worst(network, injections, table, element) for table, element in wanted]
    columns = {name: ("outage", np.array([row[name] for row in rows])) for name in _UNITS}
    found = xr.Dataset(
        columns,
        coords={
            "component": ("outage", np.array([table for table, _ in wanted], dtype=object)),
            "element": ("outage", np.array([element for _, element in wanted], dtype=np.int64)),
        },
    )
    for name, unit in _UNITS.items():
        if unit:
            found[name].attrs["units"] = unit
    return found


_UNITS = {
    "solved": "",
    "vm_min_pu": "pu",
    "vm_min_bus": "",
    "vm_max_pu": "pu",
    "vm_max_bus": "",
    "line_loading_percent": "%",
    "line": "",
    "trafo_loading_percent": "%",
    "trafo": "",
    "trafo3w_loading_percent": "%",
    "trafo3w": "",
    "dark_buses": "",
    "dark_mw": "MW",
}


def _wanted(network: Network, table: str, ids: Sequence[int] | None) -> list[int]:
    model = network.admittance
    branch = (model.lines if table == "line" else model.trafos).branch
    on = {int(i): int(b) for i, b in zip(network.ids(table), branch, strict=True) if b >= 0}
    if ids is None:
        return list(on)
    missing = [i for i in ids if i not in on]
    if missing:
        raise NetworkError(
            f"The network has no {table} {', '.join(map(str, missing[:5]))} in service."
        )
    return list(ids)


def _worst(
    network: Network, injections: xr.Dataset, table: str, element: int
) -> dict[str, float | int | bool]:
    model = network.admittance
    ends = model.lines if table == "line" else model.trafos
    branch = ends.branch[network.ids(table) == element]
    out = Network(network.net, model.without(branch))
    dark = (model.node_of_bus >= 0) & (out.admittance.node_of_bus < 0)
    at_load = dark[network.bus_position("load")] * network.in_use("load")
    unserved = powerflow.values(network, injections, "load", "p_mw") @ at_load
    flow = powerflow.solved_where_possible(out, powerflow.drawn(out, injections))
    low, low_bus = _extreme(flow["vm_pu"].values, network.buses, -1)
    high, high_bus = _extreme(flow["vm_pu"].values, network.buses, 1)
    line, line_id = _extreme(flow["line_loading_percent"].values, network.lines, 1)
    trafo, trafo_id = _extreme(flow["trafo_loading_percent"].values, network.trafos, 1)
    three, three_id = _extreme(flow["trafo3w_loading_percent"].values, network.trafos3w, 1)
    return {
        "solved": bool(np.isfinite(flow["losses_mw"].values).all()),
        "vm_min_pu": low,
        "vm_min_bus": low_bus,
        "vm_max_pu": high,
        "vm_max_bus": high_bus,
        "line_loading_percent": line,
        "line": line_id,
        "trafo_loading_percent": trafo,
        "trafo": trafo_id,
        "trafo3w_loading_percent": three,
        "trafo3w": three_id,
        "dark_buses": int(dark.sum()),
        "dark_mw": float(unserved.max(initial=0.0)),
    }


def _extreme(values: np.ndarray, ids: np.ndarray, side: int) -> tuple[float, int]:
    """The highest (side 1) or lowest (-1) value and the element it stands at."""
    if not np.isfinite(values).any():
        return float("nan"), -1
    where = int(np.nanargmax(side * values)) % values.shape[1]
    return float(side * np.nanmax(side * values)), int(ids[where])
