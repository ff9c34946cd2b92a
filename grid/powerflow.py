"""AC power flow of many steps at once, by power-grid-model's batch engine.

Networks with voltage-holding generators, which that engine does not know, go through
``grid.jacobian.solve`` instead.

Only the node voltages are taken from the engine. Branch currents, losses and the exchange with
the upstream grid follow from them and the admittances, so that everything reported here and
every sensitivity rests on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from power_grid_model import (
    ComponentType,
    DatasetType,
    LoadGenType,
    PowerGridModel,
    initialize_array,
)
from power_grid_model.errors import PowerGridError

from core.errors import PowerFlowError
from grid.admittance import Admittance, Ends
from grid.jacobian import solve as solve_newton
from grid.network import ELEMENTS, Network

_STIFF_VA = 1e20
"""Short-circuit power of the upstream grid: its voltage is given, not behind an impedance."""
_TOLERANCE_PU = 1e-9
_RATED_V = 1.0
"""All nodes of the engine share one rated voltage: the admittances are in per unit already."""


_VALUES_AT_ONCE = 4_000_000
"""Complex numbers of a chunk's largest array: 64 MB, whatever the number of steps."""


@dataclass(frozen=True)
class Flows:
    """Complex voltages (time, node) and branch currents (time, branch), all in per unit."""

    voltage: np.ndarray
    current_from: np.ndarray
    current_to: np.ndarray


def run(network: Network, injections: xr.Dataset, *, detail: bool = False) -> xr.Dataset:
    """The power flow of every step.

    injections: any of load_p_mw, load_q_mvar (time, load), sgen_p_mw, sgen_q_mvar (time, sgen),
    storage_p_mw, storage_q_mvar (time, storage), in pandapower's signs (load and storage positive
    consuming, sgen positive producing); what is missing has the network's own value, storages 0.
    Each is multiplied by the element's ``scaling``, as pandapower does.

    Returns vm_pu, va_degree (time, bus), NaN at dead buses; line_loading_percent,
    line_p_from_mw (positive into the line at from_bus; time, line); trafo_loading_percent (time,
    trafo), trafo3w_loading_percent (time, trafo3w); and over time: losses_mw, import_mw and
    export_mw (both >= 0, of the sum of all upstream grids), q_exchange_mvar (positive drawn from
    upstream).
    With ``detail`` also line_q_from_mvar, line_p_to_mw, line_q_to_mvar, line_losses_mw,
    line_losses_mvar (time, line), the same of trafo with hv and lv for from and to; powers are
    positive into the element.

    A generator holds its voltage within its limits of reactive power; ``limits.given_up`` tells
    which did not. Steps are calculated in chunks, so memory grows with what is returned and
    nothing else.
    Raises PowerFlowError naming the first step without solution, NetworkError for a network that
    cannot be calculated.
    """
    times = injections["time"].values
    parts: dict[str, list[np.ndarray]] = {}
    dims: dict[str, tuple[tuple[str, ...], str]] = {}
    solve = _solver(network.admittance)
    for first, drawn_mva in _chunks(network, injections):
        voltage = solve(drawn_mva)
        _refuse_unsolved(network.admittance, voltage, times[first : first + len(voltage)], first)
        for name, (over, data, unit) in _columns(network, voltage, drawn_mva, detail).items():
            parts.setdefault(name, []).append(data)
            dims[name] = over, unit
    return xr.Dataset(
        {
            name: (over, _joined(parts.pop(name)), {"units": unit})
            for name, (over, unit) in dims.items()
        },
        coords={
            "time": times,
            "bus": network.buses,
            "line": network.lines,
            "trafo": network.trafos,
            "trafo3w": network.trafos3w,
        },
    )


def solved_where_possible(network: Network, drawn_mva: np.ndarray) -> xr.Dataset:
    """The power flow of scenarios of which some may have no solution: their values are NaN.

    drawn_mva: complex power drawn at each node, (time, node), as ``drawn`` gives it. The result
    is that of ``run`` over a time that counts the scenarios.
    """
    voltage = _solver(network.admittance)(drawn_mva)
    columns = _columns(network, voltage, drawn_mva, detail=False)
    return xr.Dataset(
        {name: (over, data, {"units": unit}) for name, (over, data, unit) in columns.items()},
        coords={
            "bus": network.buses,
            "line": network.lines,
            "trafo": network.trafos,
            "trafo3w": network.trafos3w,
        },
    )


def loading_percent(network: Network, table: str, flows: Flows) -> np.ndarray:
    """Loading of ``line``, ``trafo`` or ``trafo3w`` elements at the end that is loaded most;
    (time, element)."""
    highest: np.ndarray = np.max(
        [_loading(ends, flows) for ends in network.admittance.ends(table)], axis=0
    )
    return highest


def _loading(ends: Ends, flows: Flows) -> np.ndarray:
    if not flows.current_from.shape[1]:
        return np.zeros((len(flows.voltage), len(ends.branch)))
    row = np.maximum(ends.branch, 0)
    at_from = np.abs(flows.current_from[:, row]) * ends.scale_from
    at_to = np.abs(flows.current_to[:, row]) * ends.scale_to
    return np.where(ends.branch >= 0, np.maximum(at_from, at_to), 0.0)


def _chunks(network: Network, injections: xr.Dataset) -> Iterator[tuple[int, np.ndarray]]:
    """The first step of each chunk, and the power drawn at each node in its steps."""
    model = network.admittance
    steps = max(1, _VALUES_AT_ONCE // max(model.nodes, len(model.series), 1))
    for first in range(0, max(injections.sizes["time"], 1), steps):
        yield first, drawn(network, injections.isel(time=slice(first, first + steps)))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def drawn(network: Network, injections: xr.Dataset) -> np.ndarray:
    """Complex power drawn at each node, in MVA; shape (time, node)."""
    model = network.admittance
    steps = injections.sizes["time"]
    total = np.tile(model.fixed_mva, (steps, 1)).astype(complex)
    for table, sign in ELEMENTS.items():
        factor = network.in_use(table)
        used = np.flatnonzero(factor)
        if not len(used):
            continue
        node = model.node_of_bus[network.bus_position(table)][used]
        power = values(network, injections, table, "p_mw") + 1j * values(
            network, injections, table, "q_mvar"
        )
        if not np.isfinite(power[:, used]).all() or not np.isfinite(factor).all():
            raise PowerFlowError(f"The network's own {table} powers hold one that is no number.")
        np.add.at(total.T, node, (-sign * factor[used] * power[:, used]).T)
    return total


def values(network: Network, injections: xr.Dataset, table: str, column: str) -> np.ndarray:
    """Power of each element of ``table``, shape (time, element), in the table's own sign.

    Raises PowerFlowError when a value is not a number.
    """
    ids = network.ids(table)
    own = np.broadcast_to(network.own_value(table, column), (injections.sizes["time"], len(ids)))
    name = f"{table}_{column}"
    if name not in injections:
        return own
    # Variables are bare arrays; a DataArray for each would take longer than the arithmetic.
    given = injections.variables[name].transpose("time", table).values
    if not np.isfinite(given).all():
        raise PowerFlowError(f"The injection {name} has values that are not numbers.")
    named = injections.variables.get(table)
    if named is not None and not np.array_equal(named.values, ids):
        position = injections.indexes[table].get_indexer(pd.Index(ids))
        return np.where(position >= 0, given[:, np.maximum(position, 0)], own)
    if given.shape[1] != len(ids):
        raise PowerFlowError(
            f"The injection {name} has {given.shape[1]} columns, the network {len(ids)}."
        )
    return np.asarray(given)


def _engine(model: Admittance) -> PowerGridModel:
    """power-grid-model's network: nodes, generic branches, shunts, sources, one load per node.

    It refuses branches whose ends are one node (a line that a coupler bridges): to the network they
    are a shunt there, the sum of their two-port.
    """
    between = model.branch_from != model.branch_to
    nodes, branches = model.nodes, int(between.sum())
    node_shunt = model.node_shunt.astype(complex)
    np.add.at(node_shunt, model.branch_from[~between], np.sum(model.two_port, axis=0)[~between])
    base_va = model.base_mva * 1e6
    base_ohm = _RATED_V**2 / base_va
    node = initialize_array(DatasetType.input, ComponentType.node, nodes)
    node["id"] = np.arange(nodes)
    node["u_rated"] = _RATED_V
    branch = initialize_array(DatasetType.input, ComponentType.generic_branch, branches)
    branch["id"] = nodes + np.arange(branches)
    branch["from_node"] = model.branch_from[between]
    branch["to_node"] = model.branch_to[between]
    branch["from_status"] = branch["to_status"] = 1
    impedance = base_ohm / model.series[between]
    branch["r1"], branch["x1"] = impedance.real, impedance.imag
    charging = model.shunt[between] / base_ohm
    branch["g1"], branch["b1"] = charging.real, charging.imag
    branch["k"], branch["theta"] = np.abs(model.tap[between]), np.angle(model.tap[between])
    branch["sn"] = base_va
    at = np.flatnonzero(node_shunt)
    shunt = initialize_array(DatasetType.input, ComponentType.shunt, len(at))
    first = nodes + branches
    shunt["id"], shunt["node"], shunt["status"] = first + np.arange(len(at)), at, 1
    earthed = node_shunt[at] / base_ohm
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


def _solver(model: Admittance) -> Callable[[np.ndarray], np.ndarray]:
    """A function from power drawn at each node (MVA) to complex voltages, both (time, node).

    A step without solution is a row of NaN.
    """
    if len(model.held_nodes):
        return lambda drawn_mva: solve_newton(model, drawn_mva)
    engine = _engine(model)
    return lambda drawn_mva: _solve_batch(engine, drawn_mva)


def _solve_batch(engine: PowerGridModel, drawn_mva: np.ndarray) -> np.ndarray:
    update = {
        "p_specified": np.ascontiguousarray(drawn_mva.real) * 1e6,
        "q_specified": np.ascontiguousarray(drawn_mva.imag) * 1e6,
    }
    try:
        output = engine.calculate_power_flow(
            update_data={ComponentType.sym_load: update},
            error_tolerance=_TOLERANCE_PU,
            output_component_types={ComponentType.node: ["u_pu", "u_angle"]},
            continue_on_batch_error=True,
        )
    except PowerGridError as error:
        raise PowerFlowError(f"The power flow could not be calculated: {error}") from error
    node = output[ComponentType.node]
    voltage = np.asarray(node["u_pu"] * np.exp(1j * node["u_angle"])).reshape(drawn_mva.shape)
    if engine.batch_error is not None:
        voltage[np.asarray(engine.batch_error.failed_scenarios)] = np.nan
    return voltage


def _refuse_unsolved(model: Admittance, voltage: np.ndarray, times: np.ndarray, first: int) -> None:
    unsolved = np.flatnonzero(np.isnan(voltage).any(axis=1))
    if len(unsolved):
        step = int(unsolved[0])
        limited = np.isfinite([model.held_min_mvar, model.held_max_mvar]).any()
        within = " within the reactive limits of its generators" if limited else ""
        raise PowerFlowError(
            f"The power flow has no solution at step {first + step} ({times[step]!s:.16} UTC): the "
            f"network cannot carry the power drawn or fed there{within}."
        )


Columns = dict[str, tuple[tuple[str, ...], np.ndarray, str]]
"""Name of a quantity -> its dimensions, values and unit."""


def _columns(network: Network, voltage: np.ndarray, drawn_mva: np.ndarray, detail: bool) -> Columns:
    model = network.admittance
    into_from, into_to = model.branch_matrices
    flows = Flows(voltage, (into_from @ voltage.T).T, (into_to @ voltage.T).T)
    node = model.node_of_bus
    at_bus = np.where(node >= 0, voltage[:, np.maximum(node, 0)], np.nan)
    s_from = voltage[:, model.branch_from] * np.conj(flows.current_from) * model.base_mva
    s_to = voltage[:, model.branch_to] * np.conj(flows.current_to) * model.base_mva
    exchange = _exchange(model, voltage, drawn_mva)
    over = "time"
    line_from = _of_elements(model.lines, s_from)
    columns: Columns = {
        "vm_pu": ((over, "bus"), np.abs(at_bus), "pu"),
        "va_degree": ((over, "bus"), np.rad2deg(np.angle(at_bus)), "deg"),
        **{
            f"{table}_loading_percent": ((over, table), loading_percent(network, table, flows), "%")
            for table in ("line", "trafo", "trafo3w")
        },
        "line_p_from_mw": ((over, "line"), line_from.real, "MW"),
        "losses_mw": ((over,), (s_from + s_to).real.sum(axis=1), "MW"),
        "import_mw": ((over,), np.maximum(exchange.real, 0.0), "MW"),
        "export_mw": ((over,), np.maximum(-exchange.real, 0.0), "MW"),
        "q_exchange_mvar": ((over,), exchange.imag, "Mvar"),
    }
    if detail:
        for table, ends, sides in (
            ("line", model.lines, ("from", "to")),
            ("trafo", model.trafos, ("hv", "lv")),
        ):
            powers = _of_elements(ends, s_from), _of_elements(ends, s_to)
            for side, power in zip(sides, powers, strict=True):
                columns[f"{table}_p_{side}_mw"] = (over, table), power.real, "MW"
                columns[f"{table}_q_{side}_mvar"] = (over, table), power.imag, "Mvar"
            lost = powers[0] + powers[1]
            columns[f"{table}_losses_mw"] = (over, table), lost.real, "MW"
            columns[f"{table}_losses_mvar"] = (over, table), lost.imag, "Mvar"
    return columns


def _of_elements(ends: Ends, power: np.ndarray) -> np.ndarray:
    """Of the power into every branch (time, branch) that of the elements; 0 out of service."""
    if not power.shape[1]:
        return np.zeros((len(power), len(ends.branch)), dtype=complex)
    return np.where(ends.branch >= 0, power[:, np.maximum(ends.branch, 0)], 0.0)


def _exchange(model: Admittance, voltage: np.ndarray, drawn_mva: np.ndarray) -> np.ndarray:
    """Complex power drawn from all upstream grids together, in MVA; shape (time,)."""
    current = (model.bus_matrix @ voltage.T).T
    fed = voltage * np.conj(current) * model.base_mva + drawn_mva
    total: np.ndarray = fed[:, model.source_nodes].sum(axis=1)
    return total
