"""Checks of a network file: each returns findings that name element, field and identifiers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph, unsupplied_buses

from core.findings import Finding, Severity


def run(net: pandapowerNet) -> list[Finding]:
    """All findings; the topology is only looked at when every reference holds."""
    dangling = list(_references(net))
    if dangling:
        return dangling
    return [
        *_sources(net),
        *_impedances(net),
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


def _references(net: pandapowerNet) -> Iterator[Finding]:
    ends = {
        "line": ("from_bus", "to_bus"),
        "trafo": ("hv_bus", "lv_bus"),
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
    for et, component in (("b", "bus"), ("l", "line"), ("t", "trafo")):
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
        trafo, "trafo", "vk_percent", _on(trafo) & ~(vk > 0), "The short-circuit voltage is zero."
    )
    over = _on(trafo) & (vk > 0) & (_numbers(trafo, "vkr_percent") > vk)
    yield from _found(
        trafo, "trafo", "vkr_percent", over, "Its real part exceeds the short-circuit voltage."
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
    for field, bus_field in (("vn_hv_kv", "hv_bus"), ("vn_lv_kv", "lv_bus")):
        rated = _numbers(trafo, field)
        nominal = net.bus.vn_kv.reindex(trafo[bus_field]).to_numpy(dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            far = _on(trafo) & ~(np.abs(rated / nominal - 1) < 0.2)
        yield from _found(
            trafo, "trafo", field, far, "The rated voltage does not fit the bus it stands at."
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
    yield from _found(
        net.bus,
        "bus",
        "vn_kv",
        ~(_numbers(net.bus, "vn_kv") > 0),
        "The nominal voltage must be positive.",
    )
    for component in ("line", "trafo"):
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
        yield from _found(
            gen, "gen", "vm_pu", held, "Voltage-holding generators cannot be calculated; use sgen."
        )
    yield from _found(
        net.trafo3w,
        "trafo3w",
        "max_loading_percent",
        _on(net.trafo3w),
        "It is calculated, but its loading is not watched.",
        Severity.WARNING,
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
