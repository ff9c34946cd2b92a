"""AC power flow of many steps at once, by power-grid-model's batch engine.

Only the node voltages are taken from the engine. Branch currents, losses and the exchange with
the upstream grid follow from them and the admittances, so that everything reported here and
every sensitivity rests on the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from power_grid_model import (
    ComponentType,
    DatasetType,
    LoadGenType,
    PowerGridModel,
    initialize_array,
)
from power_grid_model.errors import PowerGridBatchError, PowerGridError

from core.errors import PowerFlowError
from grid.admittance import Admittance
from grid.network import ELEMENTS, Network

_STIFF_VA = 1e20
"""Short-circuit power of the upstream grid: its voltage is given, not behind an impedance."""
_TOLERANCE_PU = 1e-9
_RATED_V = 1.0
"""All nodes of the engine share one rated voltage: the admittances are in per unit already."""


@dataclass(frozen=True)
class Flows:
    """Complex voltages (time, node) and branch currents (time, branch), all in per unit."""

    voltage: np.ndarray
    current_from: np.ndarray
    current_to: np.ndarray


def run(network: Network, injections: xr.Dataset) -> xr.Dataset:
    """The power flow of every step.

    injections: any of load_p_mw, load_q_mvar (time, load), sgen_p_mw, sgen_q_mvar (time, sgen),
    storage_p_mw, storage_q_mvar (time, storage), in pandapower's signs (load and storage positive
    consuming, sgen positive producing); what is missing has the network's own value, storages 0.
    Each is multiplied by the element's ``scaling``, as pandapower does.

    Returns vm_pu, va_degree (time, bus), NaN at dead buses; line_loading_percent,
    line_p_from_mw (positive into the line at from_bus; time, line); trafo_loading_percent (time,
    trafo); and over time: losses_mw, import_mw and export_mw (both >= 0, of the sum of all
    upstream grids), q_exchange_mvar (positive drawn from upstream).
    Raises PowerFlowError naming the first step without solution, NetworkError for a network that
    cannot be calculated.
    """
    model = network.admittance
    drawn_mva = _drawn(network, injections)
    voltage = _solve(model, drawn_mva, injections["time"].values)
    into_from, into_to = model.branch_matrices()
    flows = Flows(voltage, (into_from @ voltage.T).T, (into_to @ voltage.T).T)
    return _dataset(network, injections["time"].values, flows, drawn_mva)


def loading_percent(network: Network, table: str, flows: Flows) -> np.ndarray:
    """Loading of ``line`` or ``trafo`` elements by the larger of both ends; (time, element)."""
    ends = network.admittance.lines if table == "line" else network.admittance.trafos
    if not flows.current_from.shape[1]:
        return np.zeros((len(flows.voltage), len(ends.branch)))
    row = np.maximum(ends.branch, 0)
    at_from = np.abs(flows.current_from[:, row]) * ends.scale_from
    at_to = np.abs(flows.current_to[:, row]) * ends.scale_to
    return np.where(ends.branch >= 0, np.maximum(at_from, at_to), 0.0)


def _drawn(network: Network, injections: xr.Dataset) -> np.ndarray:
    """Complex power drawn at each node, in MVA; shape (time, node)."""
    model = network.admittance
    steps = injections.sizes["time"]
    drawn = np.tile(model.fixed_mva, (steps, 1)).astype(complex)
    for table, sign in ELEMENTS.items():
        factor = network.in_use(table)
        used = np.flatnonzero(factor)
        if not len(used):
            continue
        node = model.node_of_bus[network.bus_position(table)][used]
        power = values(network, injections, table, "p_mw") + 1j * values(
            network, injections, table, "q_mvar"
        )
        np.add.at(drawn.T, node, (-sign * factor[used] * power[:, used]).T)
    return drawn


def values(network: Network, injections: xr.Dataset, table: str, column: str) -> np.ndarray:
    """Power of each element of ``table``, shape (time, element), in the table's own sign.

    Raises PowerFlowError when a value is not a number.
    """
    ids = network.ids(table)
    own = np.broadcast_to(network.own_value(table, column), (injections.sizes["time"], len(ids)))
    name = f"{table}_{column}"
    if name not in injections:
        return own
    given = injections[name].transpose("time", table)
    if not np.isfinite(given.values).all():
        raise PowerFlowError(f"The injection {name} has values that are not numbers.")
    if table in given.coords and not np.array_equal(given[table].values, ids):
        position = given.indexes[table].get_indexer(ids)
        return np.where(position >= 0, given.values[:, np.maximum(position, 0)], own)
    if given.sizes[table] != len(ids):
        raise PowerFlowError(
            f"The injection {name} has {given.sizes[table]} columns, the network {len(ids)}."
        )
    return given.values


def _engine(model: Admittance) -> PowerGridModel:
    """power-grid-model's network: nodes, generic branches, shunts, sources, one load per node."""
    nodes, branches = model.nodes, len(model.series)
    base_va = model.base_mva * 1e6
    base_ohm = _RATED_V**2 / base_va
    node = initialize_array(DatasetType.input, ComponentType.node, nodes)
    node["id"] = np.arange(nodes)
    node["u_rated"] = _RATED_V
    branch = initialize_array(DatasetType.input, ComponentType.generic_branch, branches)
    branch["id"] = nodes + np.arange(branches)
    branch["from_node"], branch["to_node"] = model.branch_from, model.branch_to
    branch["from_status"] = branch["to_status"] = 1
    impedance = base_ohm / model.series
    branch["r1"], branch["x1"] = impedance.real, impedance.imag
    branch["g1"], branch["b1"] = model.shunt.real / base_ohm, model.shunt.imag / base_ohm
    branch["k"], branch["theta"] = np.abs(model.tap), np.angle(model.tap)
    branch["sn"] = base_va
    at = np.flatnonzero(model.node_shunt)
    shunt = initialize_array(DatasetType.input, ComponentType.shunt, len(at))
    first = nodes + branches
    shunt["id"], shunt["node"], shunt["status"] = first + np.arange(len(at)), at, 1
    earthed = model.node_shunt[at] / base_ohm
    shunt["g1"], shunt["b1"] = earthed.real, earthed.imag
    source = initialize_array(DatasetType.input, ComponentType.source, len(model.source_nodes))
    first += len(at)
    source["id"], source["node"] = first + np.arange(len(source)), model.source_nodes
    source["status"], source["sk"] = 1, _STIFF_VA
    source["u_ref"], source["u_ref_angle"] = np.abs(model.source_pu), np.angle(model.source_pu)
    load = initialize_array(DatasetType.input, ComponentType.sym_load, nodes)
    first += len(source)
    load["id"], load["node"], load["status"] = first + np.arange(nodes), np.arange(nodes), 1
    load["type"] = LoadGenType.const_power
    load["p_specified"] = load["q_specified"] = 0.0
    return PowerGridModel(
        {
            ComponentType.node: node,
            ComponentType.generic_branch: branch,
            ComponentType.shunt: shunt,
            ComponentType.source: source,
            ComponentType.sym_load: load,
        }
    )


def _solve(model: Admittance, drawn_mva: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Complex node voltages in per unit, shape (time, node)."""
    steps, nodes = drawn_mva.shape
    update = {
        "p_specified": np.ascontiguousarray(drawn_mva.real) * 1e6,
        "q_specified": np.ascontiguousarray(drawn_mva.imag) * 1e6,
    }
    try:
        output = _engine(model).calculate_power_flow(
            update_data={ComponentType.sym_load: update},
            error_tolerance=_TOLERANCE_PU,
            output_component_types={ComponentType.node: ["u_pu", "u_angle"]},
        )
    except PowerGridBatchError as error:
        first = int(np.min(error.failed_scenarios))
        raise PowerFlowError(
            f"The power flow has no solution at step {first} ({times[first]!s:.16} UTC): the "
            "network cannot carry the power drawn or fed there."
        ) from error
    except PowerGridError as error:
        raise PowerFlowError(f"The power flow could not be calculated: {error}") from error
    node = output[ComponentType.node]
    voltage = node["u_pu"] * np.exp(1j * node["u_angle"])
    return np.asarray(voltage).reshape(steps, nodes)


def _dataset(
    network: Network, times: np.ndarray, flows: Flows, drawn_mva: np.ndarray
) -> xr.Dataset:
    model = network.admittance
    node = model.node_of_bus
    at_bus = np.where(node >= 0, flows.voltage[:, np.maximum(node, 0)], np.nan)
    s_from = flows.voltage[:, model.branch_from] * np.conj(flows.current_from) * model.base_mva
    s_to = flows.voltage[:, model.branch_to] * np.conj(flows.current_to) * model.base_mva
    exchange = _exchange(model, flows.voltage, drawn_mva)
    row = np.maximum(model.lines.branch, 0)
    p_from = s_from.real[:, row] if s_from.shape[1] else np.zeros((len(times), len(row)))
    over = "time"
    columns: dict[str, tuple[tuple[str, ...], np.ndarray, str]] = {
        "vm_pu": ((over, "bus"), np.abs(at_bus), "pu"),
        "va_degree": ((over, "bus"), np.rad2deg(np.angle(at_bus)), "deg"),
        "line_loading_percent": ((over, "line"), loading_percent(network, "line", flows), "%"),
        "trafo_loading_percent": ((over, "trafo"), loading_percent(network, "trafo", flows), "%"),
        "line_p_from_mw": ((over, "line"), np.where(model.lines.branch >= 0, p_from, 0.0), "MW"),
        "losses_mw": ((over,), (s_from + s_to).real.sum(axis=1), "MW"),
        "import_mw": ((over,), np.maximum(exchange.real, 0.0), "MW"),
        "export_mw": ((over,), np.maximum(-exchange.real, 0.0), "MW"),
        "q_exchange_mvar": ((over,), exchange.imag, "Mvar"),
    }
    return xr.Dataset(
        {name: (dims, data, {"units": unit}) for name, (dims, data, unit) in columns.items()},
        coords={
            "time": times,
            "bus": network.buses,
            "line": network.lines,
            "trafo": network.trafos,
        },
    )


def _exchange(model: Admittance, voltage: np.ndarray, drawn_mva: np.ndarray) -> np.ndarray:
    """Complex power drawn from all upstream grids together, in MVA; shape (time,)."""
    current = (model.bus_matrix() @ voltage.T).T
    fed = voltage * np.conj(current) * model.base_mva + drawn_mva
    total: np.ndarray = fed[:, model.source_nodes].sum(axis=1)
    return total
