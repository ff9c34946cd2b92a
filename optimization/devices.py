"""Columns and rows of the resources: power, energy accounts, wear, commitment, ramps, reactive.

Each function adds what one part of grid.envelope.Envelope asks for, for all resources at once.
Index maps are (time, asset), those of wear (time, asset, band).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grid.envelope import Commitment, Envelope
from optimization.fleet import Fleet
from optimization.program import INFINITE, Builder

TIE_BREAK_CNY_PER_MWH = 1e-3
"""Charged on each MWh moved, rising to twice that over the horizon: free energy goes in early."""
TINY_MW = 1e-12
SIDES = 32
"""Sides of the polygon around the circle of apparent power: its corners lie 0.48 % outside."""


@dataclass(frozen=True, eq=False)
class Devices:
    """Index maps of the resources' columns; -1 where there is none.

    raised, lowered: MW. content: MWh at the end of the step. spilled: MWh in the step.
    short, beyond: MWh that the content lies under or over its soft bounds. on, start: 0 or 1.
    q_raised, q_lowered: Mvar. band_content, band_lowered: MWh and MW, (time, asset, band).
    """

    raised: np.ndarray
    lowered: np.ndarray
    content: np.ndarray
    spilled: np.ndarray
    short: np.ndarray
    beyond: np.ndarray
    on: np.ndarray
    start: np.ndarray
    q_raised: np.ndarray
    q_lowered: np.ndarray
    band_content: np.ndarray
    band_lowered: np.ndarray


def add_devices(builder: Builder, fleet: Fleet) -> Devices:
    """All columns and rows of the resources of ``fleet``."""
    raised, lowered = _power(builder, fleet)
    content, spilled, short, beyond = _accounts(builder, fleet, raised, lowered)
    band_content, band_lowered = _depth(builder, fleet, lowered, content, spilled)
    on, start = _commitment(builder, fleet, raised, lowered)
    q_raised, q_lowered = _reactive(builder, fleet)
    devices = Devices(
        raised, lowered, content, spilled, short, beyond, on, start, q_raised, q_lowered,
        band_content, band_lowered,
    )  # fmt: skip
    _ramps(builder, fleet, devices)
    return devices


def prices(fleet: Fleet) -> tuple[np.ndarray, np.ndarray]:
    """Price of each MWh raised and lowered as weighted in the objective, (time, asset)."""
    problem, weights = fleet.problem, fleet.problem.weights
    carbon = weights.carbon * problem.carbon_cny_per_kg
    emitted = np.array([e.up_kgco2e_per_mwh for e in fleet.envelopes], dtype=float)
    up = weights.money * fleet.up_cny_per_mwh + carbon * emitted
    kinds = np.array(
        [_weight(fleet, a, envelope) for a, envelope in enumerate(fleet.envelopes)], dtype=float
    )
    return up, kinds * fleet.down_cny_per_mwh


def _weight(fleet: Fleet, a: int, envelope: Envelope) -> float:
    weights = fleet.problem.weights
    if a >= fleet.named:
        return weights.discomfort
    return weights.curtailment if curtails(envelope) else weights.money


def curtails(envelope: Envelope) -> bool:
    """Whether lowering means producing less than sun or wind would give."""
    return envelope.element == "sgen" and envelope.account is None and envelope.commitment is None


def tie_break(steps: int) -> np.ndarray:
    """The small cost of moving energy, (time,), CNY/MWh."""
    return TIE_BREAK_CNY_PER_MWH * (1.0 + np.arange(steps) / steps)


def _power(builder: Builder, fleet: Fleet) -> tuple[np.ndarray, np.ndarray]:
    dt_h = fleet.problem.dt_h
    tie = np.where(fleet.has_account, tie_break(fleet.problem.steps)[:, None], 0.0)
    up_price, down_price = prices(fleet)
    # A column stands at all steps where it stands at one: a horizon that moves on keeps its shape.
    can_raise = np.broadcast_to((fleet.up_mw > TINY_MW).any(axis=0), fleet.up_mw.shape)
    can_lower = np.broadcast_to((fleet.down_mw > TINY_MW).any(axis=0), fleet.down_mw.shape)
    raised = builder.columns("raised", can_raise, upper=fleet.up_mw, cost=dt_h * (up_price + tie))
    lowered = builder.columns(
        "lowered", can_lower, upper=fleet.down_mw, cost=dt_h * (down_price + tie)
    )
    return raised, lowered


def _accounts(
    builder: Builder, fleet: Fleet, raised: np.ndarray, lowered: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """content_t = keep content_{t-1} + inflow + dt (gains) - spilled; hard or soft bounds."""
    steps, dt_h = fleet.problem.steps, fleet.problem.dt_h
    held = fleet.has_account
    exists = np.broadcast_to(held, (steps, fleet.size))
    accounts = fleet.accounts
    low, high = accounts.min_mwh, accounts.max_mwh
    low = np.minimum(low, high)  # crossed by rounding only; real conflicts were reported before
    breach = fleet.account_number(lambda x: _or_nan(x.breach_cny_per_mwh), np.nan)
    spill = fleet.account_number(lambda x: _or_nan(x.spill_cny_per_mwh), np.nan)
    soft, spills = exists & ~np.isnan(breach), exists & ~np.isnan(spill)
    worth = np.zeros((steps, fleet.size))
    worth[-1] = fleet.account_number(lambda x: x.end_cny_per_mwh)
    content = builder.columns(
        "content",
        exists,
        lower=np.where(soft, -INFINITE, low),
        upper=np.where(soft, INFINITE, high),
        cost=-fleet.problem.weights.money * worth,
    )
    spilled = builder.columns("spilled", spills, cost=spill)
    price = fleet.problem.weights.discomfort * dt_h * breach
    short = builder.columns("short", soft, cost=price)
    beyond = builder.columns("beyond", soft, cost=price)
    bounds = builder.rows("soft bounds", soft, lower=low, upper=high)
    for columns, value in ((content, 1.0), (short, 1.0), (beyond, -1.0)):
        builder.entries(bounds, columns, value)
    keep, right = accounts.keep, accounts.inflow_mwh.copy()
    right[0] += keep[0] * fleet.account_number(lambda x: x.initial_mwh)
    rows = builder.rows("energy", exists, lower=right, upper=right)
    builder.entries(rows, content, 1.0)
    builder.entries(rows[1:], content[:-1], -keep[1:])
    builder.entries(rows, raised, -dt_h * accounts.gain_up)
    builder.entries(rows, lowered, dt_h * accounts.gain_down)
    builder.entries(rows, spilled, 1.0)
    return content, spilled, short, beyond


def _depth(
    builder: Builder,
    fleet: Fleet,
    lowered: np.ndarray,
    content: np.ndarray,
    spilled: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Content by bands of depth, and what is lowered out of each.

        content = sum of bands, lowered = sum over bands,
        band_t >= keep band_{t-1} - dt gain_down lowered_band_t - spilled_t + min(inflow_t, 0)

    Where energy drains without being lowered, a band may lose it without wear. The first bands
    are the shallow ones: what is stored at the beginning fills the deepest first.
    """
    steps, dt_h = fleet.problem.steps, fleet.problem.dt_h
    bands = [e.account.depth if e.account is not None else () for e in fleet.envelopes]
    most = max((len(b) for b in bands), default=0)
    shape = (steps, fleet.size, most)
    share, price, start = (np.zeros((fleet.size, most)) for _ in range(3))
    exists = np.zeros((fleet.size, most), dtype=bool)
    for a, (envelope, own) in enumerate(zip(fleet.envelopes, bands, strict=True)):
        if not own or envelope.account is None:
            continue
        n = len(own)
        share[a, :n] = [b.share * envelope.account.capacity_mwh for b in own]
        price[a, :n] = [b.cny_per_mwh for b in own]
        start[a, :n] = filled(envelope.account.initial_mwh, share[a, :n])
        exists[a, :n] = True
    full = np.broadcast_to(exists, shape)
    money = fleet.problem.weights.money
    # What lies beyond the capacity (a state above it at the beginning) counts as shallow.
    size = np.where(np.arange(most) == 0, INFINITE, share)
    band = builder.columns("band content", full, upper=np.broadcast_to(size, shape))
    out = builder.columns("band lowered", full, cost=np.broadcast_to(money * dt_h * price, shape))
    where = exists.any(axis=1) if most else np.zeros(fleet.size, dtype=bool)
    any_band = np.broadcast_to(where, (steps, fleet.size))
    total = builder.rows("bands hold the content", any_band, lower=0.0, upper=0.0)
    builder.entries(total[..., None], band, 1.0)
    builder.entries(total, content, -1.0)
    drawn = builder.rows("bands give what is lowered", any_band, lower=0.0, upper=0.0)
    builder.entries(drawn[..., None], out, 1.0)
    builder.entries(drawn, lowered, -1.0)
    if not any_band.any():  # what follows reads every account
        builder.rows("bands change", full)
        return band, out
    keep = fleet.accounts.keep[..., None]
    drain = np.minimum(fleet.accounts.inflow_mwh, 0.0)[..., None]
    right = np.broadcast_to(drain, shape).copy()
    right[0] += keep[0] * start
    change = builder.rows("bands change", full, lower=right)
    builder.entries(change, band, 1.0)
    builder.entries(change[1:], band[:-1], -keep[1:])
    builder.entries(change, out, dt_h * fleet.accounts.gain_down[..., None])
    builder.entries(change, spilled[..., None], 1.0)
    return band, out


def filled(content_mwh: float, size_mwh: np.ndarray) -> np.ndarray:
    """``content_mwh`` laid into bands from the deepest (last) to the shallowest, (band,)."""
    below = np.concatenate([np.cumsum(size_mwh[::-1])[::-1][1:], [0.0]])
    inside = np.clip(content_mwh - below, 0.0, size_mwh)
    inside[0] = max(content_mwh - below[0], 0.0)
    return np.asarray(inside)


def _commitment(
    builder: Builder, fleet: Fleet, raised: np.ndarray, lowered: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """On and start of what is switched; the turn-on inequalities of Rajan and Takriti (2005).

        start_t >= on_t - on_{t-1},  p_on_min on <= power <= most on,
        sum of starts within min up <= on_t,  sum within min down <= 1 - on_{t - min down}

    ("Minimum up/down polytopes of the unit commitment problem with start-up costs", IBM Research
    Report RC23628.) With on at 0 or 1 these hold start at 0 or 1 too.
    """
    steps, dt_h = fleet.problem.steps, fleet.problem.dt_h
    switched = np.array([e.commitment is not None for e in fleet.envelopes], dtype=bool)
    exists = np.broadcast_to(switched, (steps, fleet.size))
    units = {a: e.commitment for a, e in enumerate(fleet.envelopes) if e.commitment is not None}

    def each(get: Callable[[Commitment], float]) -> np.ndarray:
        return np.array([get(units[a]) if a in units else 0.0 for a in range(fleet.size)])

    lowers = each(lambda c: float(c.lowers)).astype(bool)
    power = np.where(lowers, lowered, raised)
    most = np.where(lowers, fleet.down_mw, fleet.up_mw)
    least = np.broadcast_to(each(lambda c: c.p_on_min_mw), most.shape)
    weights = fleet.problem.weights
    running = weights.money * each(lambda c: c.running_cny_per_h)
    running += (
        weights.carbon * fleet.problem.carbon_cny_per_kg * each(lambda c: c.running_kgco2e_per_h)
    )
    low, high = _forced(units, most >= least - TINY_MW, dt_h)
    on = builder.columns("on", exists, lower=low, upper=high, cost=dt_h * running, integer=True)
    start = builder.columns(
        "start", exists, upper=1.0, cost=weights.money * each(lambda c: c.start_cny)
    )
    upper = builder.rows("power only while on", exists & (power >= 0), upper=0.0)
    builder.entries(upper, power, 1.0)
    builder.entries(upper, on, -most)
    needs = exists & (least > 0)
    lower = builder.rows("least power while on", needs, lower=0.0)
    builder.entries(lower, power, 1.0)
    builder.entries(lower, on, -least)
    before = each(lambda c: float(c.on))
    right = np.zeros((steps, fleet.size))
    right[0] = -before
    turns = builder.rows("start", exists, lower=right)
    builder.entries(turns, start, 1.0)
    builder.entries(turns, on, -1.0)
    builder.entries(turns[1:], on[:-1], 1.0)
    stays = builder.rows("stays on", exists, upper=0.0)
    builder.entries(stays, on, -1.0)
    up = np.maximum(each(lambda c: whole_steps(c.min_up_h, dt_h)), 1).astype(int)
    down = np.maximum(each(lambda c: whole_steps(c.min_down_h, dt_h)), 1).astype(int)
    # t - min down is the last step before the horizon there; what lies before that says nothing.
    away = np.where(np.arange(steps)[:, None] == down - 1, 1.0 - before, 1.0)
    rests = builder.rows("stays off", exists, upper=away)
    for a in units:
        for k in range(min(int(up[a]), steps)):
            builder.entries(stays[k:, a], start[: steps - k, a], 1.0)
        for k in range(min(int(down[a]), steps)):
            builder.entries(rests[k:, a], start[: steps - k, a], 1.0)
        if down[a] < steps:
            builder.entries(rests[down[a] :, a], on[: steps - down[a], a], 1.0)
    _longest(builder, units, on, dt_h)
    few = np.array([c.starts_max is not None for c in units.values()], dtype=bool)
    most_starts = [float(c.starts_max or 0) for c in units.values()]
    limit = builder.rows("starts", few, upper=np.array(most_starts).reshape(few.shape))
    for row, a in zip(limit.tolist(), units, strict=True):
        builder.entries(np.full(steps, row), start[:, a], 1.0)
    return on, start


def _forced(
    units: dict[int, Commitment], able: np.ndarray, dt_h: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of ``on`` by what it has begun before the horizon, and where it is not able to run."""
    low, high = np.zeros(able.shape), np.where(able, 1.0, 0.0)
    for a, unit in units.items():
        least = unit.min_up_h if unit.on else unit.min_down_h
        rest = whole_steps(max(least - unit.since_h, 0.0), dt_h)
        if unit.on:
            low[:rest, a] = 1.0
        else:
            high[:rest, a] = 0.0
    return np.minimum(low, high), high


def _longest(builder: Builder, units: dict[int, Commitment], on: np.ndarray, dt_h: float) -> None:
    """No more than max_up_h on in any stretch one step longer, what ran before included."""
    steps = len(on)
    bounded = {a: int(u.max_up_h / dt_h + 1e-9) for a, u in units.items()
               if np.isfinite(u.max_up_h)}  # fmt: skip
    exists = np.zeros((steps, len(bounded)), dtype=bool)
    upper = np.zeros((steps, len(bounded)))
    for i, (a, most) in enumerate(bounded.items()):
        unit = units[a]
        ran = min(whole_steps(unit.since_h, dt_h), most) if unit.on else 0
        ends = np.arange(steps)
        exists[:, i] = ends + ran >= most
        upper[:, i] = most - np.clip(most - ends, 0, ran)
    rows = builder.rows("longest run", exists, upper=upper)
    for i, (a, most) in enumerate(bounded.items()):
        for k in range(min(most + 1, steps)):
            builder.entries(rows[k:, i], on[: steps - k, a], 1.0)


def whole_steps(hours: float, dt_h: float) -> int:
    """The least number of steps that last ``hours``; many for ever."""
    return int(np.ceil(min(hours / dt_h, 1e6) - 1e-9))


def _ramps(builder: Builder, fleet: Fleet, devices: Devices) -> None:
    """p_t - p_{t-1} within the ramps; a start or stop may take the step to or from p_on_min."""
    steps, dt_h = fleet.problem.steps, fleet.problem.dt_h
    ramped = np.array([e.ramp is not None for e in fleet.envelopes], dtype=bool)
    if not ramped.any():
        return
    before, rise, fall, jump = (np.zeros(fleet.size) for _ in range(4))
    lowers = np.zeros(fleet.size, dtype=bool)
    exists = np.broadcast_to(ramped, (steps, fleet.size)).copy()
    for a, envelope in enumerate(fleet.envelopes):
        if envelope.ramp is None:
            continue
        rise[a] = envelope.ramp.up_mw_per_h * dt_h
        fall[a] = envelope.ramp.down_mw_per_h * dt_h
        exists[0, a] = envelope.ramp.before_mw is not None
        before[a] = envelope.ramp.before_mw or 0.0
        if envelope.commitment is not None:
            jump[a], lowers[a] = envelope.commitment.p_on_min_mw, envelope.commitment.lowers
    base = np.diff(fleet.base_mw, axis=0, prepend=before[None, :])
    up = builder.rows("ramp up", exists & np.isfinite(rise), upper=rise - base)
    down = builder.rows("ramp down", exists & np.isfinite(fall), upper=fall + base)
    for rows, sign in ((up, 1.0), (down, -1.0)):
        builder.entries(rows, devices.raised, sign)
        builder.entries(rows, devices.lowered, -sign)
        builder.entries(rows[1:], devices.raised[:-1], -sign)
        builder.entries(rows[1:], devices.lowered[:-1], sign)
    # Raising starts upwards and stops downwards; where it is lowering that starts, the other way.
    over_rise, over_fall = np.maximum(jump - rise, 0.0), np.maximum(jump - fall, 0.0)
    starting = np.where(lowers, down, up)
    stopping = np.where(lowers, up, down)
    builder.entries(starting, devices.start, -np.where(lowers, over_fall, over_rise))
    over = np.where(lowers, over_rise, over_fall)
    # stop_t = start_t - on_t + on_{t-1}
    builder.entries(stopping, devices.start, -over)
    builder.entries(stopping, devices.on, over)
    builder.entries(stopping[1:], devices.on[:-1], -over)
    was_on = np.array([float(e.commitment.on) if e.commitment else 0.0 for e in fleet.envelopes])
    builder.add_side(stopping[0], over * was_on)


def _reactive(builder: Builder, fleet: Fleet) -> tuple[np.ndarray, np.ndarray]:
    """Reactive power either way; the circle is cut off where a solution leaves it (see Circle)."""
    steps = fleet.problem.steps
    exists = np.broadcast_to(fleet.has_reactive, (steps, fleet.size))
    own = [e.reactive for e in fleet.envelopes]
    most = np.array([min(r.q_max_mvar, r.sn_mva) if r else 0.0 for r in own])
    price = np.array([r.cny_per_mvarh if r else 0.0 for r in own])
    cost = fleet.problem.weights.money * fleet.problem.dt_h * price
    raised = builder.columns("q raised", exists, upper=most, cost=cost)
    lowered = builder.columns("q lowered", exists, upper=most, cost=cost)
    return raised, lowered


def _or_nan(price: float | None) -> float:
    return float("nan") if price is None else price
