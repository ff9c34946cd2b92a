"""Limits held against a power flow: excesses as arrays, and violations as findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from core.findings import Finding, Severity
from grid.network import Network
from grid.sensitivity import TABLE, Quantity

VOLTAGE_TOLERANCE_PU = 1e-4
LOADING_TOLERANCE_PERCENT = 0.1
HELD_PU = 1e-6
"""A voltage this close to what a generator holds is held."""
"""What counts as held: well below what meters of a distribution grid resolve."""


@dataclass(frozen=True)
class Excess:
    """By how much a limit is exceeded, (time, element), negative where there is room left.

    side: +1 for an upper limit, -1 for a lower one. Voltages in pu, loadings in percentage
    points. What has no limit, or a voltage that the upstream grid or a generator holds, stands at
    minus infinity.
    margin: by how much inside the limit is asked for, (time, element) or 0.
    """

    quantity: Quantity
    side: int
    values: np.ndarray
    limit: np.ndarray
    tolerance: float
    margin: np.ndarray | float = 0.0

    def held(self, steps: np.ndarray, elements: np.ndarray) -> np.ndarray:
        """What is to be held there: the limit less the margin; (row,)."""
        margin = np.broadcast_to(np.asarray(self.margin), self.values.shape)[steps, elements]
        held: np.ndarray = self.limit[elements] - self.side * margin
        return held

    @property
    def violated(self) -> np.ndarray:
        """Where the limit is exceeded by more than the tolerance; (time, element)."""
        broken: np.ndarray = self.values > self.tolerance
        return broken


def loading_limits(
    network: Network, max_loading_percent: float | None
) -> dict[Quantity, np.ndarray]:
    """The limits of lines and transformers in percent; the file's own, capped if a cap is given."""
    cap = np.inf if max_loading_percent is None else max_loading_percent
    own = {
        Quantity.LINE_LOADING: network.line_max_loading_percent,
        Quantity.TRAFO_LOADING: network.trafo_max_loading_percent,
        Quantity.TRAFO3W_LOADING: network.trafo3w_max_loading_percent,
    }
    return {quantity: np.minimum(limit, cap) for quantity, limit in own.items()}


def excesses(
    network: Network,
    flow: xr.Dataset,
    *,
    max_loading_percent: float | None = None,
    margins: Mapping[Quantity, np.ndarray] | None = None,
) -> list[Excess]:
    """How far every limit is from being exceeded, for each kind of limit.

    margins: (time, element) by quantity, in its unit; limits then count as exceeded so much
    earlier.
    """
    vm = flow["vm_pu"].values
    margin = {q: (margins or {}).get(q, np.zeros(1)) for q in Quantity}
    holds = network.source_buses | (np.abs(vm - network.held_vm_pu) < HELD_PU)
    movable = ~holds & (network.admittance.node_of_bus >= 0)
    around = margin[Quantity.VM_PU]
    low = np.where(movable, network.vm_min_pu - vm + around, -np.inf)
    high = np.where(movable, vm - network.vm_max_pu + around, -np.inf)
    kinds = (
        (Quantity.VM_PU, -1, low, network.vm_min_pu, VOLTAGE_TOLERANCE_PU),
        (Quantity.VM_PU, 1, high, network.vm_max_pu, VOLTAGE_TOLERANCE_PU),
        *(
            (q, 1, flow[q.value].values - limit + margin[q], limit, LOADING_TOLERANCE_PERCENT)
            for q, limit in loading_limits(network, max_loading_percent).items()
        ),
    )
    return [Excess(*kind, margin[kind[0]]) for kind in kinds]


def violations(
    network: Network, flow: xr.Dataset, *, max_loading_percent: float | None = None
) -> list[Finding]:
    """One finding per element and limit that is exceeded at any step, the worst step named."""
    found: list[Finding] = []
    for excess in excesses(network, flow, max_loading_percent=max_loading_percent):
        found.extend(_findings(network, flow, excess))
    return found


def given_up(network: Network, flow: xr.Dataset) -> list[Finding]:
    """One finding per generator whose reactive power does not last to hold its voltage."""
    vm, times = flow["vm_pu"].values, flow["time"].values
    away = np.nan_to_num(vm - network.held_vm_pu)
    found = []
    position = network.bus_position("gen")
    for element, bus in enumerate(position.tolist()):
        off = np.abs(away[:, bus])
        steps = int((off >= HELD_PU).sum())
        on = bool(network.net.gen.in_service.to_numpy()[element])
        if not steps or not on:
            continue
        worst = int(np.argmax(off))
        limit = "most" if away[worst, bus] < 0 else "least"
        found.append(
            Finding(
                "gen",
                f"{'max' if limit == 'most' else 'min'}_q_mvar",
                (int(network.ids("gen")[element]),),
                f"It feeds in the {limit} reactive power it can and does not hold its voltage: "
                f"{vm[worst, bus]:.4f} pu at {times[worst]!s:.16} UTC instead of "
                f"{network.held_vm_pu[bus]:.4f} pu ({steps} steps in all).",
                Severity.WARNING,
            )
        )
    return found


def _findings(network: Network, flow: xr.Dataset, excess: Excess) -> Iterator[Finding]:
    component = TABLE[excess.quantity]
    of_voltage = excess.quantity is Quantity.VM_PU
    field, unit = ("vm_pu", "pu") if of_voltage else ("loading_percent", "%")
    ids = network.ids(component)
    digits = 4 if unit == "pu" else 1
    values = flow[excess.quantity.value].values
    times = flow["time"].values
    for element in np.flatnonzero(excess.violated.any(axis=0)):
        worst = int(np.argmax(excess.values[:, element]))
        steps = int(excess.violated[:, element].sum())
        relation = "above" if excess.side > 0 else "below"
        yield Finding(
            component,
            field,
            (int(ids[element]),),
            f"{values[worst, element]:.{digits}f} {unit} at {times[worst]!s:.16} UTC is {relation} "
            f"the limit of {excess.limit[element]:.{digits}f} {unit} ({steps} steps in all).",
        )
