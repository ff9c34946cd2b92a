"""MATPOWER's case format, version 2, as matrices, and what it means as a network.

A case knows buses with their load and shunt, generators and branches, each branch a series
impedance with line charging behind an ideal transformer. Source: MATPOWER User's Manual 8.0,
appendix B, and section 3.2 for the branch model.

pandapower's own converter is not used: it turns the charging of a transformer into a magnetising
current whatever its sign, and keeps the tap at the high-voltage side where the case has it at the
low one. Here every branch becomes an element with exactly its two-port.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandapower
import xarray as xr

from core.errors import NetworkError
from grid.network import Network, checked_tables, empty_net
from grid.powerflow import drawn

F_HZ = 50.0
"""MATPOWER has no frequency: charging is stored as a capacitance at this one."""
_UNLIMITED_MVA = 99_999.0
_PQ, _PV, _REF, _NONE = 1, 2, 3, 4


@dataclass(frozen=True)
class Case:
    """The matrices of a case, with MATPOWER's columns; bus_name: as many names as buses, or none.

    bus: BUS_I TYPE PD QD GS BS AREA VM VA BASE_KV ZONE VMAX VMIN
    gen: BUS PG QG QMAX QMIN VG MBASE STATUS PMAX PMIN
    branch: F T R X B RATE_A RATE_B RATE_C TAP SHIFT STATUS (ANGMIN ANGMAX)
    """

    base_mva: float
    bus: np.ndarray
    gen: np.ndarray
    branch: np.ndarray
    bus_name: tuple[str, ...] = ()


_LEAST = {"bus": 13, "gen": 10, "branch": 11}


def case_of(parts: dict[str, object]) -> Case:
    """The case of named parts; raises NetworkError naming what is missing or of no use."""
    matrices = {}
    for name, columns in _LEAST.items():
        if name not in parts:
            raise NetworkError(f"The MATPOWER case lacks the matrix mpc.{name}.")
        try:
            matrix = np.atleast_2d(np.asarray(parts[name], dtype=float))
        except (TypeError, ValueError) as error:
            raise NetworkError(f"The matrix mpc.{name} of the case is not numbers.") from error
        if matrix.size == 0:
            matrix = np.zeros((0, columns))
        if matrix.ndim != 2 or matrix.shape[1] < columns:
            raise NetworkError(
                f"The matrix mpc.{name} of the case has {matrix.shape[-1]} columns, it needs "
                f"{columns} (version 2 of the format)."
            )
        matrices[name] = matrix
    try:
        base_mva = float(np.asarray(parts.get("baseMVA", np.nan), dtype=float).item())
    except (TypeError, ValueError) as error:
        raise NetworkError("The case's mpc.baseMVA is not a number.") from error
    if not (np.isfinite(base_mva) and base_mva > 0):
        raise NetworkError("The case's mpc.baseMVA must be a positive number.")
    names = parts.get("bus_name", ())
    given = tuple(str(n) for n in np.atleast_1d(np.asarray(names)).tolist())
    if len(given) != len(matrices["bus"]):
        given = ()
    return Case(base_mva, matrices["bus"], matrices["gen"], matrices["branch"], given)


def to_network(case: Case) -> Network:
    """The network of a case; raises NetworkError naming bus, generator or branch that is wrong."""
    _refuse(case)
    net = empty_net()
    net.f_hz, net.sn_mva = F_HZ, case.base_mva
    shunt = _buses(net, case)
    _generators(net, case)
    _branches(net, case, shunt)
    at = np.flatnonzero(shunt)
    ids = case.bus[:, 0].astype(int)
    if len(at):
        pandapower.create_shunts(
            net,
            ids[at],
            p_mw=shunt[at].real * case.base_mva,
            q_mvar=-shunt[at].imag * case.base_mva,
        )
    return checked_tables(net)


def _refuse(case: Case) -> None:
    if not len(case.bus):
        raise NetworkError("The case has no bus.")
    ids = case.bus[:, 0]
    if not np.isfinite(ids).all() or (ids != ids.astype(np.int64)).any() or (ids <= 0).any():
        raise NetworkError("The numbers of the buses must be positive whole numbers.")
    if len(np.unique(ids)) < len(ids):
        raise NetworkError("A bus number appears twice in mpc.bus.")
    for name, matrix, columns in (
        ("gen", case.gen, [0]),
        ("branch", case.branch, [0, 1]),
    ):
        unknown = ~np.isin(matrix[:, columns], ids).all(axis=1)
        if unknown.any():
            row = int(np.flatnonzero(unknown)[0]) + 1
            raise NetworkError(f"Row {row} of mpc.{name} names a bus that does not exist.")
    for name, matrix, columns in (
        ("bus", case.bus, [1, 2, 3, 4, 5, 8, 9]),
        ("gen", case.gen, [1, 2, 5, 7]),
        ("branch", case.branch, [2, 3, 4, 5, 8, 9, 10]),
    ):
        wrong = ~np.isfinite(matrix[:, columns]).all(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0]) + 1
            raise NetworkError(f"Row {row} of mpc.{name} holds a value that is not a number.")
    if not (case.bus[:, 9] > 0).all():
        number = int(ids[np.flatnonzero(~(case.bus[:, 9] > 0))[0]])
        raise NetworkError(f"Bus {number} has no BASE_KV, so its branches have no impedance.")


def _buses(net: pandapower.pandapowerNet, case: Case) -> np.ndarray:
    """Creates the buses and their loads; returns their shunts in per unit, (bus,)."""
    bus = case.bus
    ids = bus[:, 0].astype(int)
    pandapower.create_buses(
        net,
        len(ids),
        vn_kv=bus[:, 9],
        index=ids,
        name=list(case.bus_name) or [f"Bus {i}" for i in ids],
        in_service=bus[:, 1] != _NONE,
        max_vm_pu=bus[:, 11],
        min_vm_pu=bus[:, 12],
    )
    loaded = np.flatnonzero((bus[:, 2] != 0) | (bus[:, 3] != 0))
    feeds = bus[loaded, 2] < 0
    if (~feeds).any():
        at = loaded[~feeds]
        pandapower.create_loads(net, ids[at], p_mw=bus[at, 2], q_mvar=bus[at, 3])
    if feeds.any():
        at = loaded[feeds]
        pandapower.create_sgens(net, ids[at], p_mw=-bus[at, 2], q_mvar=-bus[at, 3])
    return np.asarray((bus[:, 4] + 1j * bus[:, 5]) / case.base_mva)


def _generators(net: pandapower.pandapowerNet, case: Case) -> None:
    """Generators at a reference bus become the upstream grid, those at a PV bus hold a voltage.

    Of several at one bus the voltage of the first counts, as in MATPOWER's own power flow only
    one can. At a reference bus the first is the source and the others feed what they say.
    """
    kind = dict(zip(case.bus[:, 0].astype(int), case.bus[:, 1].astype(int), strict=True))
    angle = dict(zip(case.bus[:, 0].astype(int), case.bus[:, 8], strict=True))
    voltage: dict[int, float] = {}
    for row in case.gen:
        number, on = int(row[0]), bool(row[7] > 0)
        limits = {
            "max_p_mw": row[8],
            "min_p_mw": row[9],
            "max_q_mvar": row[3],
            "min_q_mvar": row[4],
        }
        vm_pu = float(row[5])
        if kind[number] == _REF and on and number not in voltage:
            voltage[number] = vm_pu
            pandapower.create_ext_grid(net, number, vm_pu, angle[number], **limits)
        elif kind[number] == _PV:
            held = voltage.setdefault(number, vm_pu) if on else vm_pu
            pandapower.create_gen(net, number, row[1], held, in_service=on, **limits)
        else:
            pandapower.create_sgen(net, number, row[1], row[2], in_service=on, **limits)


def _branches(net: pandapower.pandapowerNet, case: Case, shunt: np.ndarray) -> None:
    """Lines where both ends have one voltage and no tap, transformers elsewhere.

    The charging of a transformer is added to ``shunt`` of its buses: pandapower's transformer has
    none, and the two-port stays the same.
    """
    position = {int(n): i for i, n in enumerate(case.bus[:, 0])}
    start = np.array([position[int(n)] for n in case.branch[:, 0]], dtype=int)
    end = np.array([position[int(n)] for n in case.branch[:, 1]], dtype=int)
    tap = np.where(case.branch[:, 8] == 0, 1.0, case.branch[:, 8])
    same = case.bus[start, 9] == case.bus[end, 9]
    plain = (tap == 1.0) & (case.branch[:, 9] == 0) & same
    if plain.any():
        _lines(net, case, case.branch[plain], case.bus[end[plain], 9])
    for i in np.flatnonzero(~plain):
        row = case.branch[i]
        _trafo(net, case, row, int(start[i]), int(end[i]), float(tap[i]))
        if row[10] > 0:
            shunt[start[i]] += 0.5j * row[4] / tap[i] ** 2
            shunt[end[i]] += 0.5j * row[4]


def _lines(net: pandapower.pandapowerNet, case: Case, rows: np.ndarray, vn_kv: np.ndarray) -> None:
    z_ohm = vn_kv**2 / case.base_mva
    rating = np.where(rows[:, 5] > 0, rows[:, 5], _UNLIMITED_MVA)
    pandapower.create_lines_from_parameters(
        net,
        rows[:, 0].astype(int),
        rows[:, 1].astype(int),
        length_km=1.0,
        r_ohm_per_km=rows[:, 2] * z_ohm,
        x_ohm_per_km=rows[:, 3] * z_ohm,
        c_nf_per_km=rows[:, 4] / z_ohm / (2 * np.pi * F_HZ) * 1e9,
        max_i_ka=rating / (np.sqrt(3) * vn_kv),
        max_loading_percent=100.0,
        in_service=rows[:, 10] > 0,
    )


def _trafo(
    net: pandapower.pandapowerNet, case: Case, row: np.ndarray, start: int, end: int, tap: float
) -> None:
    """The ideal transformer stands at the from end; pandapower's high-voltage end comes first."""
    turned = case.bus[start, 9] < case.bus[end, 9]
    hv, lv = (end, start) if turned else (start, end)
    sn_mva = row[5] if row[5] > 0 else _UNLIMITED_MVA
    percent = 100.0 * sn_mva / case.base_mva
    z = complex(row[2], row[3])
    pandapower.create_transformer_from_parameters(
        net,
        int(case.bus[hv, 0]),
        int(case.bus[lv, 0]),
        sn_mva=sn_mva,
        vn_hv_kv=case.bus[hv, 9],
        vn_lv_kv=case.bus[lv, 9],
        vkr_percent=z.real * percent,
        vk_percent=np.copysign(abs(z), z.imag) * percent,
        pfe_kw=0.0,
        i0_percent=0.0,
        shift_degree=-row[9] if turned else row[9],
        tap_side="lv" if turned else "hv",
        tap_neutral=0,
        tap_min=-1,
        tap_max=1,
        tap_pos=0 if tap == 1.0 else int(np.sign(tap - 1.0)),
        tap_step_percent=100.0 * abs(tap - 1.0),
        tap_changer_type="Ratio" if tap != 1.0 else None,
        max_loading_percent=100.0,
        in_service=bool(row[10] > 0),
    )


def of_network(network: Network) -> Case:
    """The case that is electrically ``network``, its buses numbered from 1.

    Buses that closed switches join are one bus, dead ones are left out, storages rest, and loads
    and static generators of a bus are one sum. Conductances of branches, which the format lacks,
    stand in the shunts of their buses.
    """
    model = network.admittance
    base = model.base_mva
    still = xr.Dataset(coords={"time": [0]})
    power = drawn(network, still)[0]
    count = model.nodes
    types = np.full(count, _PQ)
    types[model.held_nodes], types[model.source_nodes] = _PV, _REF
    produced = np.zeros(count)
    for node, p_mw in _generated(network):
        produced[node] += p_mw
    power = power + produced  # those of generators stand in mpc.gen
    loss = model.shunt.real / 2
    shunt = model.node_shunt.copy()
    np.add.at(shunt, model.branch_from, loss / np.abs(model.tap) ** 2)
    np.add.at(shunt, model.branch_to, loss)
    voltage = np.ones(count, dtype=complex)
    voltage[model.held_nodes], voltage[model.source_nodes] = model.held_pu, model.source_pu
    number = np.arange(1, count + 1)
    one = np.ones(count)
    low, high, names = _of_nodes(network)
    bus = np.column_stack(
        [number, types, power.real, power.imag, shunt.real * base, shunt.imag * base, one,
         np.abs(voltage), np.rad2deg(np.angle(voltage)), model.base_kv, one, high, low]
    )  # fmt: skip
    at = np.flatnonzero(types != _PQ)
    none = np.zeros(len(at))
    most, least = np.full(count, np.inf), np.full(count, -np.inf)
    most[model.held_nodes], least[model.held_nodes] = model.held_max_mvar, model.held_min_mvar
    gen = np.column_stack(
        [number[at], produced[at], none,
         np.minimum(most, _UNLIMITED_MVA)[at], np.maximum(least, -_UNLIMITED_MVA)[at],
         np.abs(voltage[at]), none + base, none + 1, none + _UNLIMITED_MVA, none - _UNLIMITED_MVA]
    )  # fmt: skip
    return Case(base, bus, gen, _branch_rows(network), names)


def _generated(network: Network) -> list[tuple[int, float]]:
    """Node and active power of each generator that holds a voltage."""
    gen = network.net.gen
    if not len(gen):
        return []
    node = network.admittance.node_of_bus[network.bus_position("gen")]
    on = gen.in_service.to_numpy(dtype=bool) & (node >= 0) & ~gen.slack.to_numpy(dtype=bool)
    p_mw = gen.p_mw.to_numpy() * gen.scaling.to_numpy()
    return [(int(n), float(p)) for n, p in zip(node[on], p_mw[on], strict=True)]


def _of_nodes(network: Network) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Voltage limits of every node, the narrowest of its buses, and their identifiers."""
    model = network.admittance
    low, high = np.zeros(model.nodes), np.full(model.nodes, 2.0)
    names: list[list[str]] = [[] for _ in range(model.nodes)]
    for i, node in enumerate(model.node_of_bus):
        if node >= 0:
            low[node] = max(low[node], network.vm_min_pu[i])
            high[node] = min(high[node], network.vm_max_pu[i])
            names[node].append(str(network.buses[i]))
    return low, high, tuple("bus " + ",".join(n) if n else "inner node" for n in names)


def _branch_rows(network: Network) -> np.ndarray:
    model = network.admittance
    count = len(model.series)
    rating = np.zeros(count)  # 0 is unlimited
    for ends, limit in (
        (model.lines, network.line_max_loading_percent),
        (model.trafos, network.trafo_max_loading_percent),
    ):
        scale = np.maximum(ends.scale_from, ends.scale_to)
        used = (ends.branch >= 0) & (scale > 0) & np.isfinite(scale)
        rating[ends.branch[used]] = model.base_mva * limit[used] / scale[used]
    z = 1.0 / model.series
    ratio, turn = np.abs(model.tap), np.rad2deg(np.angle(model.tap))
    plain = (ratio == 1.0) & (turn == 0.0)
    none = np.zeros(count)
    return np.column_stack(
        [model.branch_from + 1, model.branch_to + 1, z.real, z.imag, model.shunt.imag, rating,
         none, none, np.where(plain, 0.0, ratio), turn, none + 1, none - 360, none + 360]
    )  # fmt: skip
