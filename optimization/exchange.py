"""Columns and rows of the exchange with the upstream grid, and of the terms of a problem.

Index maps are (time,) unless said otherwise. Exchange means import less export.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimization.devices import Devices
from optimization.fleet import Fleet
from optimization.program import INFINITE, Builder
from optimization.terms import Direction, Reserve

TIE_CNY_PER_MWH = 1e-3
"""Keeps import and export from rising together where their prices are one."""
HELD_CNY_PER_MWH = 1e4
"""Price on leaving a step that is committed: above any tariff, below what breaks a limit."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """Index maps: imported, exported and what of them exceeds the limits; MW, (time,)."""

    imported: np.ndarray
    exported: np.ndarray
    over_import: np.ndarray
    over_export: np.ndarray
    cases: tuple[tuple[float, np.ndarray], ...] = ()
    """Share and import of each case of the spread, where there is one."""

    @property
    def net(self) -> tuple[tuple[np.ndarray, float], ...]:
        """Columns and coefficients of import less export."""
        return (self.imported, 1.0), (self.exported, -1.0)


def add_exchange(builder: Builder, fleet: Fleet, penalty_cny_per_mwh: float) -> Exchange:
    """Import and export with soft limits; their prices are set when an operating point is known."""
    problem = fleet.problem
    every = np.ones(problem.steps, dtype=bool)
    price = penalty_cny_per_mwh * problem.dt_h
    imported, exported = builder.columns("imported", every), builder.columns("exported", every)
    over = []
    for side, columns in (("import", imported), ("export", exported)):
        limit = problem.limit_mw(side)
        limited = np.isfinite(limit)
        beyond = builder.columns(f"over {side}", limited, cost=price)
        rows = builder.rows(f"{side} limit", limited, upper=limit)
        builder.entries(rows, columns, 1.0)
        builder.entries(rows, beyond, -1.0)
        over.append(beyond)
    over_import, over_export = over
    cases = _cases(builder, fleet, imported, exported)
    return Exchange(imported, exported, over_import, over_export, cases)


def _cases(
    builder: Builder, fleet: Fleet, imported: np.ndarray, exported: np.ndarray
) -> tuple[tuple[float, np.ndarray], ...]:
    """imported in this case >= imported - exported + offset"""
    spread = fleet.problem.spread
    if spread is None:
        return ()
    every = np.ones(fleet.problem.steps, dtype=bool)
    found = []
    for k, share in enumerate(spread.share.tolist()):
        in_case = builder.columns(f"imported in case {k}", every)
        rows = builder.rows(f"case {k}", every, lower=spread.offset_mw[:, k])
        for columns, value in ((in_case, 1.0), (imported, -1.0), (exported, 1.0)):
            builder.entries(rows, columns, value)
        found.append((share, in_case))
    return tuple(found)


def exchange_costs(
    exchange: Exchange, buy: np.ndarray, sell: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Columns and their prices, CNY/MWh, for these prices of import and export, (time,).

    With cases all that is drawn costs what selling would have earned, and each case pays what
    buying costs beyond that for what it imports: in all the expected bill, but for a constant.
    """
    if not exchange.cases:
        return [(exchange.imported, buy), (exchange.exported, -sell)]
    return [
        (exchange.imported, sell + TIE_CNY_PER_MWH),
        (exchange.exported, -sell + TIE_CNY_PER_MWH),
        *((columns, share * (buy - sell)) for share, columns in exchange.cases),
    ]


def add_terms(
    builder: Builder, fleet: Fleet, devices: Devices, exchange: Exchange
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The terms that the problem asks for; returns (held, missing) columns of each reserve.

    held: (time, asset); missing: (time,).
    """
    _peak(builder, fleet, exchange)
    _peak_valley(builder, fleet, exchange)
    _calls(builder, fleet, exchange)
    _position(builder, fleet, exchange)
    _change(builder, fleet, devices)
    return _reserves(builder, fleet, devices)


def _peak(builder: Builder, fleet: Fleet, exchange: Exchange) -> None:
    """peak >= import, peak >= the peak so far; what goes beyond that costs.

    Each case of a spread has its own peak, as if it stayed as far off all day: on average those
    are somewhat too high.
    """
    charge = fleet.problem.peak
    if charge is None:
        return
    price = fleet.problem.weights.peak * charge.cny_per_mw
    builder.offset -= price * charge.peak_so_far_mw
    courses = [(f"peak of case {k}", *case) for k, case in enumerate(exchange.cases)]
    for name, share, imported in courses or [("peak", 1.0, exchange.imported)]:
        peak = builder.columns(
            name, np.ones(1, bool), lower=charge.peak_so_far_mw, cost=share * price
        )
        rows = builder.rows(name, np.ones(fleet.problem.steps, bool), upper=0.0)
        builder.entries(rows, imported, 1.0)
        builder.entries(rows, peak, -1.0)


def _peak_valley(builder: Builder, fleet: Fleet, exchange: Exchange) -> None:
    """highest - lowest exchange - over <= target"""
    target = fleet.problem.peak_valley
    if target is None:
        return
    one, every = np.ones(1, bool), np.ones(fleet.problem.steps, bool)
    high = builder.columns("highest exchange", one, lower=-INFINITE)
    low = builder.columns("lowest exchange", one, lower=-INFINITE)
    price = fleet.problem.weights.peak * target.breach_cny_per_mw
    over = builder.columns("over peak-valley", one, cost=price)
    spread = builder.rows("peak-valley", one, upper=target.target_mw)
    for columns, value in ((high, 1.0), (low, -1.0), (over, -1.0)):
        builder.entries(spread, columns, value)
    above = builder.rows("below the highest", every, upper=0.0)
    below = builder.rows("above the lowest", every, lower=0.0)
    for columns, value in exchange.net:
        builder.entries(above, columns, value)
        builder.entries(below, columns, value)
    builder.entries(above, high, -1.0)
    builder.entries(below, low, -1.0)


def _calls(builder: Builder, fleet: Fleet, exchange: Exchange) -> None:
    problem = fleet.problem
    for call in problem.calls:
        within = call.within(problem.times)
        price = problem.weights.money * problem.dt_h * call.breach_cny_per_mwh
        over = builder.columns(f"over call {call.name}", within, cost=price)
        rows = builder.rows(f"call {call.name}", within, upper=call.limit_mw)
        for columns, value in (*exchange.net, (over, -1.0)):
            builder.entries(rows, columns, value)


def _position(builder: Builder, fleet: Fleet, exchange: Exchange) -> None:
    """exchange - above + below = committed"""
    problem, position = fleet.problem, fleet.problem.position
    if position is None:
        return
    promised = np.isfinite(position.committed_mw)
    unit = problem.weights.money * problem.dt_h
    above = builder.columns("above position", promised, cost=unit * position.above_cny_per_mwh)
    below = builder.columns("below position", promised, cost=unit * position.below_cny_per_mwh)
    at = np.where(promised, position.committed_mw, 0.0)
    rows = builder.rows("position", promised, lower=at, upper=at)
    for columns, value in (*exchange.net, (above, -1.0), (below, 1.0)):
        builder.entries(rows, columns, value)


def _change(builder: Builder, fleet: Fleet, devices: Devices) -> None:
    """raised - lowered - more + less = before - base"""
    problem, change = fleet.problem, fleet.problem.change
    if change is None:
        return
    before = np.full((problem.steps, fleet.size), np.nan)
    before[:, : fleet.named] = change.p_mw
    before = np.clip(before, fleet.p_min_mw, fleet.p_max_mw)
    movable = (devices.raised >= 0) | (devices.lowered >= 0)
    planned = np.isfinite(before) & movable & (fleet.p_max_mw - fleet.p_min_mw > 0)
    price = np.broadcast_to(np.asarray(change.cny_per_mwh, dtype=float), (problem.steps,))
    if change.held is not None:
        price = np.where(change.held, HELD_CNY_PER_MWH, price)
    cost = problem.dt_h * price[:, None]
    more = builder.columns("more than before", planned, cost=cost)
    less = builder.columns("less than before", planned, cost=cost)
    at = np.where(planned, before, 0.0) - fleet.base_mw
    rows = builder.rows("change", planned, lower=at, upper=at)
    for columns, value in (
        (devices.raised, 1.0),
        (devices.lowered, -1.0),
        (more, -1.0),
        (less, 1.0),
    ):
        builder.entries(rows, columns, value)


def _reserves(
    builder: Builder, fleet: Fleet, devices: Devices
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reserve held by each resource, its power and its energy.

        raising:   raised - lowered + held <= up,   content + gain_up * activation * held <= most
        lowering:  lowered - raised + held <= down, content - gain_down * activation * held >= least

    Reserve up is given by raising what feeds in and by lowering what draws. Products of one
    direction share the room. The energy must be there at the beginning and at the end of a step.
    """
    columns = {r.name: _held(builder, fleet, devices, r) for r in fleet.problem.reserves}
    for direction in Direction:
        products = [r for r in fleet.problem.reserves if r.direction is direction]
        if products:
            raises = (fleet.fed_sign > 0) == (direction is Direction.UP)
            held = [(columns[r.name][0], r.activation_h) for r in products]
            _power_room(builder, fleet, devices, direction, raises, [h for h, _ in held])
            _energy_room(builder, fleet, devices, direction, raises, held)
    return columns


def _held(
    builder: Builder, fleet: Fleet, devices: Devices, reserve: Reserve
) -> tuple[np.ndarray, np.ndarray]:
    problem = fleet.problem
    steps = problem.steps
    asked = np.array(
        [
            a < fleet.named and (reserve.assets is None or e.asset in reserve.assets)
            for a, e in enumerate(fleet.envelopes)
        ],
        dtype=bool,
    )
    movable = (devices.raised >= 0) | (devices.lowered >= 0)
    held = builder.columns(f"reserve {reserve.name}", movable & asked)
    unit = problem.weights.money * problem.dt_h
    price = unit * (reserve.price_cny_per_mw_h + reserve.breach_cny_per_mw_h)
    needed = np.broadcast_to(reserve.requirement_mw, steps)
    missing = builder.columns(
        f"reserve {reserve.name} missing", np.ones(steps, bool), upper=needed, cost=price
    )
    builder.offset -= unit * reserve.price_cny_per_mw_h * float(needed.sum())
    rows = builder.rows(f"reserve {reserve.name}", np.ones(steps, bool), lower=needed)
    builder.entries(rows[:, None], held, 1.0)
    builder.entries(rows, missing, 1.0)
    return held, missing


def _power_room(
    builder: Builder,
    fleet: Fleet,
    devices: Devices,
    direction: Direction,
    raises: np.ndarray,
    held: list[np.ndarray],
) -> None:
    any_held = np.any([h >= 0 for h in held], axis=0)
    room = np.where(raises, fleet.up_mw, fleet.down_mw)
    rows = builder.rows(f"room {direction}", any_held, upper=room)
    sign = np.where(raises, 1.0, -1.0)
    builder.entries(rows, devices.raised, sign)
    builder.entries(rows, devices.lowered, -sign)
    # What is switched gives reserve only while it is on, and keeps its least power meanwhile.
    switched = any_held & (devices.on >= 0)
    lowers = np.array([bool(e.commitment and e.commitment.lowers) for e in fleet.envelopes])
    most = np.where(lowers, fleet.down_mw, fleet.up_mw)
    least = np.array([e.commitment.p_on_min_mw if e.commitment else 0.0 for e in fleet.envelopes])
    with_it = raises != lowers
    running = builder.rows(f"room {direction} while on", switched, upper=0.0)
    power = np.where(lowers, devices.lowered, devices.raised)
    builder.entries(running, power, np.where(with_it, 1.0, -1.0))
    builder.entries(running, devices.on, np.where(with_it, -most, least))
    for columns in held:
        builder.entries(rows, columns, 1.0)
        builder.entries(running, columns, 1.0)


def _energy_room(
    builder: Builder,
    fleet: Fleet,
    devices: Devices,
    direction: Direction,
    raises: np.ndarray,
    held: list[tuple[np.ndarray, float]],
) -> None:
    any_held = np.any([h >= 0 for h, _ in held], axis=0) & (devices.content >= 0)
    sign = np.where(raises, 1.0, -1.0)
    gain = np.where(raises, fleet.accounts.gain_up, fleet.accounts.gain_down)
    low, high = fleet.accounts.min_mwh, fleet.accounts.max_mwh
    initial = fleet.account_number(lambda x: x.initial_mwh)
    limit = np.where(raises, high, -low)
    outside = np.where(raises, devices.beyond, devices.short)  # gives nothing, forbids nothing
    for when in ("start", "end"):
        content, broken, upper = devices.content, outside, limit
        if when == "start":
            content, broken = _one_later(devices.content), _one_later(outside)
            upper = np.vstack([np.maximum(limit[0] - sign * initial, 0.0), limit[:-1]])
        rows = builder.rows(f"energy {direction} at {when}", any_held, upper=upper)
        builder.entries(rows, content, sign)
        builder.entries(rows, broken, -1.0)
        for columns, activation_h in held:
            builder.entries(rows, columns, gain * activation_h)


def _one_later(at: np.ndarray) -> np.ndarray:
    """An index map in which each step names what the step before it has."""
    return np.vstack([np.full((1, at.shape[1]), -1), at[:-1]])
