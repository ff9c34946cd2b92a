"""Whether the grid carries what is held in reserve, were all of it called.

Reserve is held by power and energy of the resources. Here every step of a plan is calculated once
more on the AC grid with all products of a direction delivered in full, and where that exceeds a
limit that the plan itself keeps, the largest share that does not is searched.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from grid import powerflow
from grid.limits import excesses
from grid.sensitivity import Quantity
from optimization.diagnose import PART, stretch
from optimization.extract import Solution
from optimization.fleet import Fleet
from optimization.keyfigures import exchange_excess
from optimization.problem import DispatchProblem
from optimization.result import Given
from optimization.terms import Direction

_NOTHING_MW = 1e-6
_HALVINGS = 7
"""Of the share that can be delivered: known to 1 % then, from below."""
_Broken = dict[tuple[Quantity, int], np.ndarray]


def undeliverable(fleet: Fleet, flow: xr.Dataset, found: Solution) -> list[Given]:
    """One for each limit that full activation of up or of down reserve would break.

    flow: the power flow of ``found``. Reactive power stays as planned. Limits of the network and
    of the exchange; what the plan breaks already is left to ``unheld``.
    """
    problem = fleet.problem
    told: list[Given] = []
    for direction, sign in ((Direction.UP, 1.0), (Direction.DOWN, -1.0)):
        names = [r.name for r in problem.reserves if r.direction is direction]
        held = sum((found.reserve_mw[n] for n in names), np.zeros_like(found.p_mw))
        if not (held > _NOTHING_MW).any():
            continue
        delivered = found.p_mw + sign * fleet.fed_sign * held
        network = problem.network
        ends = [
            powerflow.drawn(network, fleet.injections(p, found.q_mvar))
            for p in (found.p_mw, delivered)
        ]
        told.extend(_of_direction(problem, flow, ends, held.sum(axis=1), " + ".join(names)))
    return told


def _of_direction(
    problem: DispatchProblem,
    plan: xr.Dataset,
    ends: list[np.ndarray],
    held_mw: np.ndarray,
    names: str,
) -> Iterator[Given]:
    """ends: power drawn at the nodes (time, node) with none and with all of ``held_mw`` (time,)."""
    kept = _broken(problem, plan)
    full = powerflow.solved_where_possible(problem.network, ends[1])
    broken = {key: over & ~kept[key] for key, over in _broken(problem, full).items()}
    if not any(over.any() for over in broken.values()):
        return
    share = _share(problem, kept, ends)
    for (quantity, side), over in broken.items():
        for element in np.flatnonzero(over.any(axis=0)).tolist():
            steps = over[:, element]
            values = full[quantity.value].values if quantity is not Quantity.EXCHANGE else None
            yield _told(problem, (quantity, side), element, steps, values, share, held_mw, names)


def _broken(problem: DispatchProblem, flow: xr.Dataset) -> _Broken:
    """Which limits a power flow exceeds or leaves without a solution, (time, element) by kind and
    side; the exchange has one element, its sides are import (+1) and export (-1)."""
    found = {
        (e.quantity, e.side): e.violated | np.isnan(e.values)
        for e in excesses(problem.network, flow, max_loading_percent=problem.max_loading_percent)
    }
    for side, over in zip((1, -1), exchange_excess(problem, flow), strict=True):
        found[Quantity.EXCHANGE, side] = ((over > 0) | np.isnan(over))[:, None]
    return found


def _share(problem: DispatchProblem, kept: _Broken, ends: list[np.ndarray]) -> np.ndarray:
    """The largest share of the reserve that breaks nothing the plan keeps, (time,)."""
    low, high = np.zeros(problem.steps), np.ones(problem.steps)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        drawn = ends[0] + middle[:, None] * (ends[1] - ends[0])
        flow = powerflow.solved_where_possible(problem.network, drawn)
        over = np.zeros(problem.steps, dtype=bool)
        for key, broken in _broken(problem, flow).items():
            over |= (broken & ~kept[key]).any(axis=1)
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return low


def _told(
    problem: DispatchProblem,
    kind: tuple[Quantity, int],
    element: int,
    steps: np.ndarray,
    values: np.ndarray | None,
    share: np.ndarray,
    held_mw: np.ndarray,
    names: str,
) -> Given:
    quantity, side = kind
    worst = int(np.where(steps, share, np.inf).argmin())
    if quantity is Quantity.EXCHANGE:
        table = subject = "substation"
        en = f"{'import' if side > 0 else 'export'} of the substation"
        zh = f"变电站{'受电' if side > 0 else '外送'}功率"
        unit, reached = "MW", ""
    else:
        table, en, zh, unit = PART[quantity]
        subject = str(int(problem.network.ids(table)[element]))
        en, zh = en.format(subject), zh.format(subject)
        assert values is not None
        value = float(values[worst, element])
        reached = f" ({value:.4g} {unit})" if np.isfinite(value) else ""
    edge_en = "above its upper" if side > 0 or quantity is Quantity.EXCHANGE else "below its lower"
    edge_zh = "上限" if side > 0 or quantity is Quantity.EXCHANGE else "下限"
    start, end, when = stretch(problem, steps)
    one = np.zeros(problem.steps, dtype=bool)
    one[worst] = True
    _, _, at = stretch(problem, one)
    percent, mw = 100.0 * share[worst], held_mw[worst]
    return Given(
        component=table,
        subject=subject,
        limit="reserve",
        amount=float(mw * (1.0 - share[worst])),
        unit="MW",
        start=start,
        end=end,
        text_en=f"Reserve {names} called in full takes the {en}{reached} {edge_en} limit at "
        f"{when}; worst at {at}, where {percent:.0f} % of {mw:.3g} MW can be called.",
        text_zh=f"备用 {names} 全部调用时，{zh}{reached}在 {when} 越过{edge_zh}；"
        f"最严重时段 {at} 仅可调用 {mw:.3g} MW 的 {percent:.0f}%。",
        hard=False,
    )
