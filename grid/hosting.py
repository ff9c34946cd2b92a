"""Hosting capacity: how much more generation or load a feeder takes before a limit breaks.

Definitions: the hosting capacity of a bus is the largest power added there for which every
voltage and every loading keeps its limit in all steps (Bollen and Hassan, Integration of
Distributed Generation in the Power System, 2011). Of many plants the placement decides too: over
random placements, the minimum hosting capacity is the largest total with which none breaks a
limit, the maximum the largest with which one still does not (EPRI, Stochastic Analysis to
Determine Feeder Hosting Capacity for Distributed Solar PV, report 1026640, 2012).

All candidates are scenarios of one batch of AC power flows. A scenario without solution counts as
a broken limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from core.errors import PowerFlowError
from grid import powerflow
from grid.limits import Excess, excesses
from grid.network import Network
from grid.sensitivity import TABLE

_ROWS_AT_ONCE = 20_000
"""Scenarios of one batch; with a hundred buses some 100 MB."""


@dataclass(frozen=True)
class Unit:
    """What is added, per MW of it.

    p_mw: power fed into the bus in each step, shape (time,): a PV plant's output (0..1), or a
    load's draw with a negative sign. q_mvar: likewise, positive fed in.
    """

    p_mw: np.ndarray
    q_mvar: np.ndarray


def unit(profile: np.ndarray, *, load: bool = False, cos_phi: float = 1.0) -> Unit:
    """A plant that feeds in, or with ``load`` one that draws, by ``profile`` per MW, (time,).

    cos_phi: power factor; a plant below 1 draws reactive power, as a load does.
    """
    if not 0 < cos_phi <= 1:
        raise PowerFlowError("A power factor lies above 0 and is no more than 1.")
    shape = np.asarray(profile, dtype=float)
    if not np.isfinite(shape).all():
        raise PowerFlowError("The profile of what is added has values that are not numbers.")
    reactive = np.abs(shape) * np.tan(np.arccos(cos_phi))
    return Unit(-shape if load else shape, -reactive)


def capacity(
    network: Network,
    injections: xr.Dataset,
    added: Unit,
    *,
    buses: np.ndarray | None = None,
    max_mw: float = 10.0,
    tolerance_mw: float = 0.01,
    max_loading_percent: float | None = None,
) -> xr.Dataset:
    """What each bus alone takes more of, by bisection; over ``bus`` (identifiers, all if None).

    injections: what flows anyway, as for powerflow.run; max_mw: where the search ends.
    Returns capacity_mw, at most ``tolerance_mw`` below the true one (NaN at dead buses; 0 where a
    limit is broken before anything is added), and what breaks first above it: limit (vm_pu,
    line_loading_percent, trafo_loading_percent, trafo3w_loading_percent, none
    where max_mw is taken, no_solution),
    side (-1 a lower limit, +1 an upper one), element (its identifier) and step.
    """
    ids = network.buses if buses is None else np.asarray(buses)
    case = _Case.of(network, injections, added, max_loading_percent)
    node = network.admittance.node_of_bus[network.net.bus.index.get_indexer(ids)]
    alive = np.flatnonzero(node >= 0)
    if (network.net.bus.index.get_indexer(ids) < 0).any():
        raise PowerFlowError("A bus whose hosting capacity is asked for does not exist.")
    low, high = np.zeros(len(ids)), np.full(len(ids), float(max_mw))
    broken_before = case.broken(np.zeros((1, network.admittance.nodes)))[0]
    if broken_before:
        high[:] = 0.0
    elif len(alive):
        fits = ~case.broken(_at_nodes(case, node[alive], high[alive]))
        low[alive[fits]] = max_mw
        open_ = alive[~fits]
        while len(open_) and (high[open_] - low[open_]).max() > tolerance_mw:
            middle = (low[open_] + high[open_]) / 2
            broken = case.broken(_at_nodes(case, node[open_], middle))
            high[open_[broken]], low[open_[~broken]] = middle[broken], middle[~broken]
    return _capacities(case, ids, node, low, high)


def placements(
    network: Network,
    injections: xr.Dataset,
    added: Unit,
    rng: np.random.Generator,
    *,
    buses: np.ndarray,
    plant_mw: float,
    levels_mw: np.ndarray,
    draws: int = 100,
    max_loading_percent: float | None = None,
) -> xr.Dataset:
    """How often random placements of equal plants keep all limits, by penetration.

    buses: where a plant may stand, by identifier; a bus may get several. A draw puts one plant
    after the other, so that a higher level has the plants of the lower ones and some more.
    Returns clean_share (level), the share of draws without a broken limit at ``levels_mw`` (rounded
    to whole plants), clean (draw, level), and as attributes min_hosting_mw and max_hosting_mw: the
    highest level at which all draws, and at which any draw, keep the limits (0 where none does).
    """
    position = network.net.bus.index.get_indexer(np.asarray(buses))
    node = network.admittance.node_of_bus[position]
    if (position < 0).any() or (node < 0).any() or not len(node):
        raise PowerFlowError("Plants can only be placed at buses that exist and are supplied.")
    case = _Case.of(network, injections, added, max_loading_percent)
    counts = np.rint(np.asarray(levels_mw, dtype=float) / plant_mw).astype(int)
    order = rng.integers(0, len(node), (draws, int(counts.max(initial=0))))
    sizes = np.zeros((draws, len(counts), network.admittance.nodes))
    for draw in range(draws):
        for level, count in enumerate(counts):
            np.add.at(sizes[draw, level], node[order[draw, :count]], plant_mw)
    broken = case.broken(sizes.reshape(-1, network.admittance.nodes)).reshape(draws, len(counts))
    clean = ~broken
    levels = counts * plant_mw
    return xr.Dataset(
        {
            "clean_share": (("level",), clean.mean(axis=0)),
            "clean": (("draw", "level"), clean),
        },
        coords={"level": ("level", levels, {"units": "MW"})},
        attrs={
            "min_hosting_mw": float(levels[clean.all(axis=0)].max(initial=0.0)),
            "max_hosting_mw": float(levels[clean.any(axis=0)].max(initial=0.0)),
        },
    )


@dataclass(frozen=True)
class _Case:
    """What flows anyway, and how something added changes it."""

    network: Network
    base_mva: np.ndarray
    fed_mva: np.ndarray
    max_loading_percent: float | None

    @classmethod
    def of(
        cls,
        network: Network,
        injections: xr.Dataset,
        added: Unit,
        max_loading_percent: float | None,
    ) -> _Case:
        steps = injections.sizes["time"]
        if added.p_mw.shape != (steps,) or added.q_mvar.shape != (steps,):
            raise PowerFlowError(f"What is added needs a value for each of {steps} steps.")
        base = powerflow.drawn(network, injections)
        return cls(network, base, added.p_mw + 1j * added.q_mvar, max_loading_percent)

    def excesses(self, sizes_mw: np.ndarray) -> list[Excess]:
        """Excesses of the scenarios (candidate times step) of what is added, (candidate, node)."""
        more = sizes_mw[:, None, :] * self.fed_mva[None, :, None]
        drawn = (self.base_mva[None] - more).reshape(-1, self.base_mva.shape[1])
        flow = powerflow.solved_where_possible(self.network, drawn)
        return excesses(self.network, flow, max_loading_percent=self.max_loading_percent)

    def broken(self, sizes_mw: np.ndarray) -> np.ndarray:
        """Whether any limit is broken in any step, for each candidate; (candidate,)."""
        steps = len(self.base_mva)
        at_once = max(1, _ROWS_AT_ONCE // steps)
        found = []
        for first in range(0, len(sizes_mw), at_once):
            part = sizes_mw[first : first + at_once]
            over = np.zeros(len(part) * steps, dtype=bool)
            for excess in self.excesses(part):
                over |= (excess.violated | np.isnan(excess.values)).any(axis=1)
            found.append(over.reshape(len(part), steps).any(axis=1))
        return np.concatenate(found) if found else np.zeros(0, dtype=bool)


def _at_nodes(case: _Case, node: np.ndarray, size_mw: np.ndarray) -> np.ndarray:
    """One candidate for each node: that much there and nothing elsewhere."""
    sizes = np.zeros((len(node), case.base_mva.shape[1]))
    sizes[np.arange(len(node)), node] = size_mw
    return sizes


def _capacities(
    case: _Case, ids: np.ndarray, node: np.ndarray, low: np.ndarray, high: np.ndarray
) -> xr.Dataset:
    limit = np.full(len(ids), "none", dtype=object)
    side, element, step = (np.full(len(ids), v) for v in (0, -1, -1))
    # The limit that breaks is the one broken at the upper end of the last interval.
    for i in np.flatnonzero((node >= 0) & ((high > low) | (high == 0))):
        limit[i], side[i], element[i], step[i] = _binding(case, int(node[i]), float(high[i]))
    return xr.Dataset(
        {
            "capacity_mw": ("bus", np.where(node >= 0, low, np.nan), {"units": "MW"}),
            "limit": ("bus", limit),
            "side": ("bus", side),
            "element": ("bus", element),
            "step": ("bus", step),
        },
        coords={"bus": ids},
    )


def _binding(case: _Case, node: int, size_mw: float) -> tuple[str, int, int, int]:
    """The limit exceeded most, as a multiple of its tolerance."""
    worst, answer = 1.0, ("none", 0, -1, -1)
    for excess in case.excesses(_at_nodes(case, np.array([node]), np.array([size_mw]))):
        if not excess.values.size:
            continue
        if np.isnan(excess.values).any():
            return "no_solution", 0, -1, int(np.argmax(np.isnan(excess.values).any(axis=1)))
        relative = excess.values / excess.tolerance
        step, element = np.unravel_index(int(np.argmax(relative)), relative.shape)
        if relative[step, element] > worst:
            worst = float(relative[step, element])
            ids = case.network.ids(TABLE[excess.quantity])
            answer = str(excess.quantity), excess.side, int(ids[element]), int(step)
    return answer
