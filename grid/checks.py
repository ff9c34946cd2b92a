"""Checks of a network file: each returns findings that name element, field and identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import networkx as nx
import numpy as np
import pandas as pd
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph, unsupplied_buses

from core.findings import Finding, Severity
from grid.admittance import UNSUPPORTED


def run(net: pandapowerNet) -> list[Finding]:
    """All findings; the topology is only looked at when every reference holds."""
    dangling = [*_states(net), *_references(net)]
    if dangling:
        return dangling
    return [
        *_sources(net),
        *_impedances(net),
        *_voltages(net),
        *_taps(net),
        *_vector_groups(net),
        *_parallel(net),
        *_switches(net),
        *_ratings(net),
        *_limits(net),
        *_powers(net),
        *_unsupported(net),
        *_islands(net),
    ]


def _ids(table: pd.DataFrame, mask: object) -> tuple[int, ...]:
    return tuple(int(i) for i in table.index[np.asarray(mask, dtype=bool)])


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    if column not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)


def _on(table: pd.DataFrame) -> np.ndarray:
    return table.in_service.to_numpy(dtype=bool)


def _found(
    table: pd.DataFrame,
    component: str,
    field: str,
    mask: np.ndarray,
    message: str,
    severity: Severity = Severity.ERROR,
) -> Iterator[Finding]:
    if mask.any():
        yield Finding(component, field, _ids(table, mask), message, severity)


_STATES = {
    "bus": "in_service",
    "line": "in_service",
    "trafo": "in_service",
    "trafo3w": "in_service",
    "load": "in_service",
    "sgen": "in_service",
    "storage": "in_service",
    "gen": "in_service",
    "ext_grid": "in_service",
    "switch": "closed",
}


def _states(net: pandapowerNet) -> Iterator[Finding]:
    for component, field in _STATES.items():
        table = net[component]
        if not len(table):
            continue
        state = table[field] if field in table else pd.Series(np.nan, index=table.index)
        unknown = ~state.isin([True, False]).to_numpy()
        yield from _found(
            table, component, field, unknown, "It says neither that it is on nor that it is off."
        )
    numbered = not net.bus.index.is_unique
    if numbered:
        twice = net.bus.index.duplicated()
        yield from _found(net.bus, "bus", "index", twice, "Its number is there twice.")


def _references(net: pandapowerNet) -> Iterator[Finding]:
    ends = {
        "line": ("from_bus", "to_bus"),
        "trafo": ("hv_bus", "lv_bus"),
        "trafo3w": ("hv_bus", "mv_bus", "lv_bus"),
        "gen": ("bus",),
        "shunt": ("bus",),
        "load": ("bus",),
        "sgen": ("bus",),
        "storage": ("bus",),
        "ext_grid": ("bus",),
        "switch": ("bus",),
    }
    for component, fields in ends.items():
        table = net[component]
        for field in fields:
            unknown = ~table[field].isin(net.bus.index).to_numpy()
            yield from _found(
                table, component, field, unknown, "The bus it is connected to does not exist."
            )
    kinds = {"b": "bus", "l": "line", "t": "trafo", "t3": "trafo3w"}
    odd = ~net.switch.et.isin(list(kinds)).to_numpy()
    yield from _found(
        net.switch, "switch", "et", odd, "It says nothing known about what it opens (b, l, t, t3)."
    )
    for et, component in kinds.items():
        mask = (net.switch.et == et).to_numpy()
        unknown = mask & ~net.switch.element.isin(net[component].index).to_numpy()
        yield from _found(
            net.switch, "switch", "element", unknown, f"The {component} it opens does not exist."
        )


def _sources(net: pandapowerNet) -> Iterator[Finding]:
    if not _on(net.ext_grid).any():
        yield Finding("ext_grid", "in_service", (), "No external grid is in service.")
    vm = _numbers(net.ext_grid, "vm_pu")
    wrong = ~((vm > 0.5) & (vm < 1.5))
    yield from _found(
        net.ext_grid, "ext_grid", "vm_pu", wrong, "The voltage of the upstream grid is implausible."
    )
    angle = _numbers(net.ext_grid, "va_degree")
    yield from _found(
        net.ext_grid,
        "ext_grid",
        "va_degree",
        _on(net.ext_grid) & ~np.isfinite(angle),
        "The angle of the upstream grid is missing.",
    )
    yield from _upstream_together(net, vm, angle)


def _upstream_together(net: pandapowerNet, vm: np.ndarray, angle: np.ndarray) -> Iterator[Finding]:
    """Upstream grids that feed one part of the network with different voltages."""
    table = net.ext_grid
    if _on(table).sum() < 2:
        return
    graph = create_nxgraph(net)
    for part in nx.connected_components(graph):
        inside = _on(table) & table.bus.isin(part).to_numpy()
        for field, values, margin in (("va_degree", angle, 1e-6), ("vm_pu", vm, 1e-9)):
            if inside.sum() > 1 and np.ptp(values[inside]) > margin:
                yield from _found(
                    table,
                    "ext_grid",
                    field,
                    inside,
                    "Upstream grids of one connected network differ here, so power flows through.",
                    Severity.WARNING,
                )


def _impedances(net: pandapowerNet) -> Iterator[Finding]:
    line, trafo = net.line, net.trafo
    length = _numbers(line, "length_km")
    yield from _found(
        line, "line", "length_km", _on(line) & ~(length > 0), "The length must be positive."
    )
    z = np.hypot(_numbers(line, "r_ohm_per_km"), _numbers(line, "x_ohm_per_km"))
    yield from _found(
        line, "line", "x_ohm_per_km", _on(line) & ~(z > 0), "The impedance must not be zero."
    )
    yield from _found(
        line,
        "line",
        "r_ohm_per_km",
        _on(line) & (_numbers(line, "r_ohm_per_km") < 0),
        "The resistance must not be negative.",
    )
    vk = _numbers(trafo, "vk_percent")
    yield from _found(
        trafo,
        "trafo",
        "vk_percent",
        _on(trafo) & ~(np.abs(vk) > 0),
        "The short-circuit voltage is zero or missing.",
    )
    yield from _found(
        trafo,
        "trafo",
        "vk_percent",
        _on(trafo) & (vk < 0),
        "The short-circuit voltage is negative, as only equivalents of several windings have it.",
        Severity.WARNING,
    )
    for field in ("vkr_percent", "pfe_kw", "i0_percent"):
        value = _numbers(trafo, field)
        yield from _found(trafo, "trafo", field, _on(trafo) & ~np.isfinite(value), "It is missing.")
        yield from _found(
            trafo,
            "trafo",
            field,
            _on(trafo) & (value < 0),
            "It is negative, which no transformer has.",
            Severity.WARNING,
        )
    for side in ("hv", "mv", "lv"):
        wrong = _on(net.trafo3w) & ~(_numbers(net.trafo3w, f"vk_{side}_percent") > 0)
        yield from _found(
            net.trafo3w,
            "trafo3w",
            f"vk_{side}_percent",
            wrong,
            "The short-circuit voltage is zero or missing.",
        )
    over = _on(trafo) & (vk > 0) & (_numbers(trafo, "vkr_percent") > vk)
    yield from _found(
        trafo, "trafo", "vkr_percent", over, "Its real part exceeds the short-circuit voltage."
    )


def _voltages(net: pandapowerNet) -> Iterator[Finding]:
    vn = _numbers(net.bus, "vn_kv")
    yield from _found(
        net.bus,
        "bus",
        "vn_kv",
        ~((vn >= 0.1) & (vn <= 1500)),
        "The nominal voltage is not that of a grid (0.1 to 1,500 kV).",
    )
    at = dict(zip(net.bus.index, vn, strict=True))
    for table, component, ends in (
        (net.line, "line", ("from_bus", "to_bus")),
        (net.switch[net.switch.et == "b"], "switch", ("bus", "element")),
    ):
        one, other = (np.array([at[b] for b in table[e]], dtype=float) for e in ends)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.abs(one / other - 1) > 0.05
        yield from _found(
            table,
            component,
            ends[1],
            apart,
            "It joins buses of different nominal voltage without a transformer.",
        )
    for field in ("c_nf_per_km", "g_us_per_km"):
        if field in net.line:
            value = _numbers(net.line, field)
            wrong = _on(net.line) & ~(value >= 0)
            yield from _found(net.line, "line", field, wrong, "It must be a number, not negative.")
    for component in ("line", "trafo"):
        table = net[component]
        for field in ("parallel", "df"):
            wrong = _on(table) & ~(_numbers(table, field) > 0)
            yield from _found(table, component, field, wrong, "It must be a positive number.")


def _taps(net: pandapowerNet) -> Iterator[Finding]:
    for component in ("trafo", "trafo3w"):
        table = net[component]
        if not len(table):
            continue
        low, high, position, neutral = (
            _numbers(table, f"tap_{name}") for name in ("min", "max", "pos", "neutral")
        )
        outside = _on(table) & ((position < low) | (position > high))
        yield from _found(
            table, component, "tap_pos", outside, "The tap position lies outside its range."
        )
        steps = np.abs(np.nan_to_num(_numbers(table, "tap_step_percent")))
        steps += np.abs(np.nan_to_num(_numbers(table, "tap_step_degree")))
        stepless = _on(table) & (position != neutral) & np.isfinite(position) & (steps == 0)
        yield from _found(
            table,
            component,
            "tap_step_percent",
            stepless,
            "It stands off its neutral tap, but the size of a step is missing.",
        )


_GROUP = re.compile(r"(Y|YN|D|Z|ZN)(y|yn|d|z|zn)(\d|10|11)?")


def _vector_groups(net: pandapowerNet) -> Iterator[Finding]:
    trafo = net.trafo
    shift = _numbers(trafo, "shift_degree")
    yield from _found(
        trafo, "trafo", "shift_degree", _on(trafo) & ~np.isfinite(shift), "It is not a number."
    )
    if "vector_group" not in trafo or not len(trafo):
        return
    found = [_GROUP.fullmatch(g) if isinstance(g, str) else None for g in trafo.vector_group]
    named = np.array([isinstance(g, str) and g not in ("", "None") for g in trafo.vector_group])
    unknown = _on(trafo) & named & np.array([f is None for f in found])
    yield from _found(
        trafo, "trafo", "vector_group", unknown, "It is no vector group (such as Dyn5)."
    )
    clock = np.array([float(f[3]) if f is not None and f[3] else np.nan for f in found])
    turned = (shift - 30 * clock + 180) % 360 - 180
    other = _on(trafo) & (np.abs(turned) > 1)
    yield from _found(
        trafo,
        "trafo",
        "shift_degree",
        other,
        "The angle is not that of its vector group (30 degrees for each hour).",
        Severity.WARNING,
    )


def _parallel(net: pandapowerNet) -> Iterator[Finding]:
    """Transformers between the same two nodes, which must not turn or step differently."""
    trafo = net.trafo
    if len(trafo) < 2:
        return
    closed = net.switch.closed.to_numpy(dtype=bool)
    joined: nx.Graph = nx.Graph()
    joined.add_nodes_from(net.bus.index)
    ties = net.switch[(net.switch.et == "b").to_numpy() & closed]
    joined.add_edges_from(zip(ties.bus, ties.element, strict=True))
    node = {b: i for i, part in enumerate(nx.connected_components(joined)) for b in part}
    opened = set(net.switch.element[(net.switch.et == "t").to_numpy() & ~closed])
    beside: dict[tuple[int, int], list[int]] = {}
    for i, hv, lv in zip(
        trafo.index[_on(trafo)], trafo.hv_bus[_on(trafo)], trafo.lv_bus[_on(trafo)], strict=True
    ):
        if i not in opened:
            beside.setdefault((node[hv], node[lv]), []).append(int(i))
    shift = dict(zip(trafo.index, _numbers(trafo, "shift_degree") % 360, strict=True))
    tap = dict(zip(trafo.index, np.nan_to_num(_numbers(trafo, "tap_pos")), strict=True))
    for ids in beside.values():
        if len({round(shift[i], 3) for i in ids}) > 1:
            yield Finding(
                "trafo",
                "shift_degree",
                tuple(ids),
                "Transformers in parallel turn the voltage differently, which is a short circuit.",
            )
        elif len({tap[i] for i in ids}) > 1:
            yield Finding(
                "trafo",
                "tap_pos",
                tuple(ids),
                "Transformers in parallel stand on different taps, so current circulates.",
                Severity.WARNING,
            )


def _switches(net: pandapowerNet) -> Iterator[Finding]:
    ends = {
        "l": ("line", ("from_bus", "to_bus")),
        "t": ("trafo", ("hv_bus", "lv_bus")),
        "t3": ("trafo3w", ("hv_bus", "mv_bus", "lv_bus")),
    }
    away = np.zeros(len(net.switch), dtype=bool)
    for et, (component, fields) in ends.items():
        of_kind = (net.switch.et == et).to_numpy()
        places = net[component].loc[net.switch.element[of_kind], list(fields)].to_numpy()
        buses = net.switch.bus[of_kind].to_numpy()[:, None]
        away[of_kind] = ~(places == buses).any(axis=1)
    yield from _found(
        net.switch,
        "switch",
        "bus",
        away,
        "It stands at a bus that is no end of the element it opens, so it switches nothing.",
    )
    loop = (net.switch.et == "b").to_numpy() & (net.switch.bus == net.switch.element).to_numpy()
    yield from _found(
        net.switch, "switch", "element", loop, "It joins a bus with itself, so it switches nothing."
    )


def _ratings(net: pandapowerNet) -> Iterator[Finding]:
    line, trafo = net.line, net.trafo
    yield from _found(
        line,
        "line",
        "max_i_ka",
        _on(line) & ~(_numbers(line, "max_i_ka") > 0),
        "The rated current is missing, so its loading cannot be watched.",
    )
    yield from _found(
        trafo,
        "trafo",
        "sn_mva",
        _on(trafo) & ~(_numbers(trafo, "sn_mva") > 0),
        "The rated power is missing.",
    )
    for side in ("hv", "mv", "lv"):
        field = f"sn_{side}_mva"
        wrong = _on(net.trafo3w) & ~(_numbers(net.trafo3w, field) > 0)
        yield from _found(net.trafo3w, "trafo3w", field, wrong, "The rated power is missing.")
    for component, sides in (("trafo", ("hv", "lv")), ("trafo3w", ("hv", "mv", "lv"))):
        table = net[component]
        for side in sides:
            rated = _numbers(table, f"vn_{side}_kv")
            nominal = net.bus.vn_kv.reindex(table[f"{side}_bus"]).to_numpy(dtype=float)
            with np.errstate(divide="ignore", invalid="ignore"):
                far = _on(table) & ~(np.abs(rated / nominal - 1) < 0.2)
            yield from _found(
                table,
                component,
                f"vn_{side}_kv",
                far,
                "The rated voltage does not fit the bus it stands at.",
            )


def _limits(net: pandapowerNet) -> Iterator[Finding]:
    low, high = _numbers(net.bus, "min_vm_pu"), _numbers(net.bus, "max_vm_pu")
    yield from _found(
        net.bus, "bus", "min_vm_pu", low >= high, "The voltage limits leave no room between them."
    )
    none = np.isnan(low) | np.isnan(high)
    yield from _found(
        net.bus,
        "bus",
        "max_vm_pu",
        none,
        "A voltage limit is missing, so nothing is held there.",
        Severity.WARNING,
    )
    for component in ("line", "trafo", "trafo3w"):
        table = net[component]
        wrong = _numbers(table, "max_loading_percent") <= 0
        yield from _found(
            table, component, "max_loading_percent", wrong, "The allowed loading must be positive."
        )


def _powers(net: pandapowerNet) -> Iterator[Finding]:
    for component in ("load", "sgen", "storage"):
        table = net[component]
        for field in ("p_mw", "q_mvar"):
            missing = _on(table) & np.isnan(_numbers(table, field))
            yield from _found(table, component, field, missing, "The power is not a number.")
        missing = _on(table) & np.isnan(_numbers(table, "scaling"))
        yield from _found(table, component, "scaling", missing, "The scaling is not a number.")
        negative = _on(table) & (_numbers(table, "scaling") < 0)
        yield from _found(
            table, component, "scaling", negative, "A negative scaling turns the sign of its power."
        )
    for component, doing in (("load", "produces"), ("sgen", "consumes")):
        table = net[component]
        wrong = _on(table) & (_numbers(table, "p_mw") < 0)
        yield from _found(
            table,
            component,
            "p_mw",
            wrong,
            f"It {doing}, against the sign of its table.",
            Severity.WARNING,
        )
    storage = net.storage
    yield from _found(
        storage,
        "storage",
        "max_e_mwh",
        _on(storage) & ~(_numbers(storage, "max_e_mwh") > 0),
        "The energy capacity is missing.",
        Severity.WARNING,
    )
    for column in ("const_z_p_percent", "const_i_p_percent"):
        wrong = _on(net.load) & (np.nan_to_num(_numbers(net.load, column)) != 0)
        yield from _found(
            net.load,
            "load",
            column,
            wrong,
            "Its dependence on voltage is not modelled; it is taken at its nominal power.",
            Severity.WARNING,
        )


def _unsupported(net: pandapowerNet) -> Iterator[Finding]:
    gen = net.gen
    if len(gen):
        held = _on(gen) & ~gen.slack.to_numpy(dtype=bool)
        least, most = _numbers(gen, "min_q_mvar"), _numbers(gen, "max_q_mvar")
        yield from _found(
            gen,
            "gen",
            "max_q_mvar",
            held & (np.isnan(least) | np.isnan(most)),
            "A limit is missing: it holds its voltage with whatever reactive power that takes.",
            Severity.WARNING,
        )
        yield from _found(
            gen, "gen", "min_q_mvar", held & (least > most), "Its limits leave no room between."
        )
        wrong = _on(gen) & ~((_numbers(gen, "vm_pu") > 0.5) & (_numbers(gen, "vm_pu") < 1.5))
        yield from _found(gen, "gen", "vm_pu", wrong, "The voltage it holds is implausible.")
        missing = _on(gen) & np.isnan(_numbers(gen, "p_mw") * _numbers(gen, "scaling"))
        yield from _found(gen, "gen", "p_mw", missing, "The power is not a number.")
    for component in UNSUPPORTED:
        table = net.get(component)
        if table is not None and len(table):
            yield from _found(
                table, component, "in_service", _on(table), "Such elements cannot be calculated."
            )


def _islands(net: pandapowerNet) -> Iterator[Finding]:
    if not _on(net.ext_grid).any():
        return
    dead = np.array(sorted(int(b) for b in unsupplied_buses(net, create_nxgraph(net))))
    off = set(net.bus.index[~net.bus.in_service.to_numpy(dtype=bool)])
    dark = tuple(int(b) for b in dead if b not in off)
    if dark:
        yield Finding(
            "bus", "in_service", dark, "It is not supplied by any external grid.", Severity.WARNING
        )
    for component in ("load", "sgen", "storage"):
        table = net[component]
        unfed = _on(table) & table.bus.isin([*dark, *off]).to_numpy()
        yield from _found(
            table,
            component,
            "bus",
            unfed,
            "It stands at a dead bus and is left out of the balance.",
        )
