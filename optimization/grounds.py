"""What decides on every resource at every step, as arrays out of the duals of a plan.

For a column x that moves a resource the optimum asks (c its cost, A its coefficients, y the duals)

    c - A' y = d,    d = 0 between its bounds, d >= 0 at the lower, d <= 0 at the upper one

and A' y falls apart by blocks of rows: the price where the resource stands, the value of what it
stores, and everything else that pushes it on or holds it back. Per MWh raised:

    gain_up * stored + s * local - own_up + push_up = bound_up          (s = 1 feeding, -1 drawing)

and per MWh lowered the same with -gain_down, -s. Sentences (optimization/explain) are read off
these numbers, so that each can be checked against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from grid.sensitivity import TABLE, Quantity
from optimization.devices import SIDES, curtails, prices, whole_steps
from optimization.limitcodes import WORDS, Limit, of_block
from optimization.marginal import marginal_cny, marginal_kgco2e
from optimization.optimum import Optimum
from optimization.program import spread

TOLERANCE_CNY_PER_MWH = 0.01
"""Prices closer than this count as equal; the tie-break of accounts lies below it."""
MOVES_MW = 1e-6
_DEPTH = "bands give what is lowered"
_ALREADY = ("energy", _DEPTH)


class Use:
    """Where the value of what is stored comes from; ``use_step`` says when."""

    NONE, GIVEN, NEED, END, TAKEN, FULL = range(6)


def grounds(found: Optimum) -> xr.Dataset:
    """Everything that a sentence on a resource and step needs, (time, asset) unless said otherwise.

    raised_mw, lowered_mw, p_mw, up_mw, down_mw: what it does and could do. content_mwh; on: 1 and
    0 for what is switched, else -1. local_cny_per_mwh: one more MWh drawn where it stands, of
    which network_cny_per_mwh by limits of the network. stored_cny_per_mwh: value of one more MWh
    of content; gain_up, gain_down: content per MWh raised and lowered; NaN without an account.
    own_, push_, bound_up_ and _down_cny_per_mwh: see the module. limit_up, limit_down: what
    pushes most. binding: what decides (limitcodes.Limit), with binding_cny_per_mwh, what one more
    MW for an hour of it would be worth, and binding_element, a place in ``element``, -1 for none.
    use, use_step: where the stored value comes from (Use). run_saves_cny, run_start_cny: of the
    run a step belongs to, its saving at these prices and the cost of its start.
    q_mvar and q_network_, q_losses_, q_own_, q_bound_cny_per_mvarh, q_element: reactive power, NaN
    where it cannot be chosen. price_cny_per_mwh, price_limit, price_extra_cny_per_mwh and
    price_asset, (time,): the price at the substation and what sets it; the extra is the part on
    top of the tariff. reserve_NAME_mw, reserve_NAME_cny_per_mw_h (time,): reserve held, its worth.
    marginal_cny_per_mwh, marginal_kgco2e_per_mwh: of every bus, (time, bus); optimization.marginal.
    """
    return xr.Dataset(
        {
            **_moves(found),
            **_resources(found),
            **_price(found),
            **_reserves(found),
            "marginal_cny_per_mwh": (("time", "bus"), marginal_cny(found)),
            "marginal_kgco2e_per_mwh": (("time", "bus"), marginal_kgco2e(found)),
        },
        coords={
            "time": found.model.problem.times,
            "asset": [e.asset for e in found.model.problem.envelopes],
            "bus": found.model.problem.network.buses,
            "element": np.array(_elements(found), dtype=np.str_),
        },
        attrs={
            "timezone": found.model.problem.timezone,
            "dt_h": found.model.problem.dt_h,
            "limits": {str(int(limit)): [limit.label, *WORDS[limit]] for limit in Limit},
        },
    )


def _moves(found: Optimum) -> dict[str, tuple[tuple[str, str], np.ndarray]]:
    problem, fleet, devices = found.model.problem, found.model.fleet, found.model.devices
    dt_h = problem.dt_h
    raised = spread(devices.raised, found.values, 0.0)
    lowered = spread(devices.lowered, found.values, 0.0)
    network, element = _network_part(found)
    local = _exchange_part(found) + network
    stored = spread(found.model.program.rows["energy"], -found.duals, 0.0)
    gain_up, gain_down = fleet.accounts.gain_up, fleet.accounts.gain_down
    up, down = (_pushes(found, at) for at in (devices.raised, devices.lowered))
    own_up, own_down = prices(fleet)
    up.pop(_DEPTH, None)
    own_down = own_down - down.pop(_DEPTH, 0.0)
    circle = _circle_part(found)
    up[Limit.CIRCLE], down[Limit.CIRCLE] = circle, -circle
    push_up, push_down = sum(up.values()), sum(down.values())
    # The tie-break is left out of the own price, so bounds are exact to it.
    bound_up = -spread(devices.raised, found.reduced_costs, 0.0) / dt_h
    bound_down = -spread(devices.lowered, found.reduced_costs, 0.0) / dt_h
    on = np.where(devices.on >= 0, np.round(spread(devices.on, found.values, -1.0)), -1.0)
    binding, worth = _binding(found, raised, lowered, (up, down), (bound_up, bound_down), network)
    binding = _of_commitment(found, on, binding)
    use, use_step = _uses(found, raised, lowered, local)
    saves, starts = _runs(found, on, raised, lowered, local, stored, (own_up, own_down))
    account = np.broadcast_to(fleet.has_account, raised.shape)
    content = spread(devices.content, found.values, np.nan)
    arrays = {
        "p_mw": fleet.base_mw + raised - lowered,
        "raised_mw": raised,
        "lowered_mw": lowered,
        "up_mw": fleet.up_mw,
        "down_mw": fleet.down_mw,
        "content_mwh": content,
        "on": on,
        "local_cny_per_mwh": local,
        "network_cny_per_mwh": network,
        "stored_cny_per_mwh": np.where(account, stored, np.nan),
        "gain_up": np.where(account, gain_up, np.nan),
        "gain_down": np.where(account, gain_down, np.nan),
        "own_up_cny_per_mwh": own_up,
        "own_down_cny_per_mwh": own_down,
        "push_up_cny_per_mwh": push_up,
        "push_down_cny_per_mwh": push_down,
        "limit_up": _leading(up, raised.shape),
        "limit_down": _leading(down, raised.shape),
        "bound_up_cny_per_mwh": bound_up,
        "bound_down_cny_per_mwh": bound_down,
        "binding": binding,
        "binding_cny_per_mwh": worth,
        "binding_element": np.where(binding == Limit.NETWORK, element, -1),
        "use": use,
        "use_step": use_step,
        "run_saves_cny": saves,
        "run_start_cny": starts,
        **_reactive(found),
    }
    small = {"on", "limit_up", "limit_down", "binding", "use"}
    placed = {"use_step", "binding_element", "q_element"}
    kept = {}
    for name, array in arrays.items():
        kind = np.int8 if name in small else np.int32 if name in placed else np.float64
        kept[name] = (("time", "asset"), np.asarray(array)[:, : fleet.named].astype(kind))
    return kept


def _resources(found: Optimum) -> dict[str, tuple[str, np.ndarray]]:
    """What stays the same over the horizon, (asset,)."""
    own = found.model.problem.envelopes
    texts = {
        "kind": [str(e.kind) for e in own],
        "table": [e.element for e in own],
        "soft_kind": [e.soft_kind for e in own],
        "carrier": [e.account.carrier if e.account else "" for e in own],
    }
    numbers = {
        "capacity_mwh": [e.account.capacity_mwh if e.account else 0.0 for e in own],
        "curtails": [float(curtails(e)) for e in own],
        "temp_reference_degc": [e.settings.get("temp_reference_degc", np.nan) for e in own],
        "c_mwh_per_k": [e.settings.get("c_mwh_per_k", np.nan) for e in own],
    }
    return {
        **{name: ("asset", np.array(values, dtype=np.str_)) for name, values in texts.items()},
        **{name: ("asset", np.array(values, dtype=float)) for name, values in numbers.items()},
    }


# --- what acts on the columns of the resources -------------------------------------------------


def _exchange_part(found: Optimum) -> np.ndarray:
    """Part of the local price that the exchange makes, losses included, (time, asset)."""
    return _summed(
        found, found.tangents.steps, -found.tangent_duals[:, None], found.tangent_effect_mw
    )


def _network_part(found: Optimum) -> tuple[np.ndarray, np.ndarray]:
    """Part of the local price that limits of the network make, and which makes most."""
    acting = found.limit_duals[:, None] * found.limit_effect_mw
    total = _summed(
        found, found.limits.tangents.steps, found.limit_duals[:, None], found.limit_effect_mw
    )
    best, strength = np.full(total.shape, -1), np.full(total.shape, 1e-12)
    names = _element_of_limit(found)
    for row, step in enumerate(found.limits.tangents.steps.tolist()):
        stronger = np.abs(acting[row]) > strength[step]
        best[step, stronger] = names[row]
        strength[step, stronger] = np.abs(acting[row, stronger])
    return total, best


def _summed(
    found: Optimum, steps: np.ndarray, duals: np.ndarray, effect_mw: np.ndarray
) -> np.ndarray:
    fleet = found.model.fleet
    total = np.zeros((found.model.problem.steps, fleet.size))
    np.add.at(total, steps, duals * effect_mw)
    return fleet.fed_sign * total / found.model.problem.dt_h


def _pushes(found: Optimum, columns: np.ndarray) -> dict[Limit | str, np.ndarray]:
    """What each kind of limit adds to the worth of one more unit of ``columns``, CNY/MWh."""
    pushes: dict[Limit | str, np.ndarray] = {}
    for limit, added in _by_block(found, columns):
        pushes[limit] = pushes.get(limit, 0.0) + added
    return pushes


def _by_block(found: Optimum, columns: np.ndarray) -> Iterator[tuple[Limit | str, np.ndarray]]:
    program, dt_h = found.model.program, found.model.problem.dt_h
    transposed = program.matrix.T.tocsr()
    for name, at in program.rows.items():
        limit: Limit | str | None = name if name == _DEPTH else of_block(name)
        rows = at[at >= 0]
        if limit is None or not np.any(found.duals[rows]):
            continue
        only = np.zeros(program.shape[0])
        only[rows] = found.duals[rows]
        yield limit, spread(columns, transposed @ only, 0.0) / dt_h


def _circle_part(found: Optimum) -> np.ndarray:
    added = np.zeros((found.model.problem.steps, found.model.fleet.size))
    for (t, a, side), dual in found.circle_duals.items():
        added[t, a] += np.cos(side * 2 * np.pi / SIDES) * dual / found.model.problem.dt_h
    return added


def _leading(pushes: dict[Limit | str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The limit that pushes most, either way; PRICE where none does."""
    leading, strength = np.full(shape, int(Limit.PRICE)), np.full(shape, TOLERANCE_CNY_PER_MWH)
    for limit, added in pushes.items():
        stronger = np.abs(added) > strength
        leading[stronger] = int(limit)
        strength = np.where(stronger, np.abs(added), strength)
    return leading


def _elements(found: Optimum) -> list[str]:
    """``table:side:id`` of the elements whose limits stand in the model, each once.

    ``:up`` or ``:down`` behind it where the limit is that of the grid with the reserve called.
    """
    return sorted({_element_name(found, row) for row in range(len(found.limits))})


def _element_name(found: Optimum, row: int) -> str:
    limits, network = found.limits, found.model.problem.network
    quantity, activated = limits.quantity[row], int(limits.activated[row])
    side = "max" if limits.side[row] > 0 else "min"
    with_reserve = {1: ":up", -1: ":down"}.get(activated, "")
    if quantity is Quantity.EXCHANGE:
        return f"substation:{side}:0{with_reserve}"
    table = TABLE[quantity]
    return f"{table}:{side}:{int(network.ids(table)[limits.element[row]])}{with_reserve}"


def _element_of_limit(found: Optimum) -> list[int]:
    places = {name: place for place, name in enumerate(_elements(found))}
    return [places[_element_name(found, row)] for row in range(len(found.limits))]


# --- what binds --------------------------------------------------------------------------------


def _binding(
    found: Optimum,
    raised: np.ndarray,
    lowered: np.ndarray,
    pushes: tuple[dict[Limit | str, np.ndarray], dict[Limit | str, np.ndarray]],
    bounds: tuple[np.ndarray, np.ndarray],
    network: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The limit worth most at each step, and what it is worth; PRICE where none binds."""
    fleet = found.model.fleet
    more, less = (np.maximum(bound, 0.0) for bound in bounds)
    empty, full = _content_bounds(found)
    candidates: list[tuple[Limit, np.ndarray]] = [
        (Limit.MOST_POWER, np.where(lowered <= MOVES_MW, more, 0.0)),
        (Limit.LEAST_POWER, np.where(raised <= MOVES_MW, less, 0.0)),
        (Limit.LEAST_ENERGY, empty),
        (Limit.MOST_ENERGY, full),
        (Limit.NETWORK, np.abs(network)),
    ]
    moving_down = lowered > MOVES_MW
    up, down = pushes
    for limit in sorted({k for k in (*up, *down) if isinstance(k, Limit)}):
        zero = np.zeros(raised.shape)
        either = np.where(moving_down, np.abs(down.get(limit, zero)), np.abs(up.get(limit, zero)))
        at_rest = (raised <= MOVES_MW) & ~moving_down
        either = np.where(at_rest, np.maximum(either, np.abs(down.get(limit, zero))), either)
        candidates.append((limit, either))
    binding = np.full(raised.shape, int(Limit.PRICE))
    worth = np.full(raised.shape, TOLERANCE_CNY_PER_MWH)
    for limit, strength in candidates:
        stronger = strength > worth
        binding[stronger] = int(limit)
        worth = np.where(stronger, strength, worth)
    nothing = (fleet.up_mw <= MOVES_MW) & (fleet.down_mw <= MOVES_MW)
    binding[nothing] = int(Limit.NOTHING_THERE)
    closed = (binding == Limit.MOST_POWER) & (raised < fleet.up_mw - MOVES_MW)
    closed |= (binding == Limit.LEAST_POWER) & (lowered < fleet.down_mw - MOVES_MW)
    binding[closed] = int(Limit.EXCLUSIVE)
    worth = np.where((binding == Limit.PRICE) | nothing, 0.0, worth)
    return binding, worth


def _content_bounds(found: Optimum) -> tuple[np.ndarray, np.ndarray]:
    """Worth of one MWh less of the lower and more of the upper energy bound, >= 0, (t, a)."""
    content, soft = found.model.devices.content, found.model.program.rows["soft bounds"]
    acting = spread(content, found.reduced_costs, 0.0) + spread(soft, found.duals, 0.0)
    return np.maximum(acting, 0.0), np.maximum(-acting, 0.0)


def _of_commitment(found: Optimum, on: np.ndarray, binding: np.ndarray) -> np.ndarray:
    """Say which rule of switching it is where the state on or off or the least power binds."""
    fleet, dt_h = found.model.fleet, found.model.problem.dt_h
    told = binding.copy()
    for a, envelope in enumerate(fleet.envelopes):
        unit = envelope.commitment
        if unit is None:
            continue
        before = bool(unit.on)
        states = np.concatenate([[before], on[:, a] > 0.5])
        since = _steps_in_state(states, whole_steps(unit.since_h, dt_h))
        least = whole_steps(unit.min_up_h, dt_h), whole_steps(unit.min_down_h, dt_h)
        longest = unit.max_up_h / dt_h - 1e-9
        started = int(np.sum(states[1:] & ~states[:-1]))
        # How long the state before a change had lasted.
        ran = [whole_steps(unit.since_h, dt_h), *[n + 1 for n in since[:-1]]]
        for t in range(len(on)):
            held = since[t] > 0  # the state did not change at this step
            if told[t, a] == Limit.LEAST_ON and held and since[t] < least[0]:
                told[t, a] = Limit.MIN_UP
            if told[t, a] != Limit.STATE or on[t, a] > 0.5:
                continue
            if held and since[t] < least[1]:
                told[t, a] = Limit.MIN_DOWN
            elif not held and ran[t] >= longest:
                told[t, a] = Limit.LONGEST_RUN
            elif unit.starts_max is not None and started >= unit.starts_max:
                told[t, a] = Limit.STARTS
    return told


def _steps_in_state(states: np.ndarray, before: int) -> list[int]:
    """For how many steps each step's state has lasted when the step begins; 0: it changes there."""
    lasted, since = before, []
    for was, now in pairwise(states.tolist()):
        lasted = lasted if was == now else 0
        since.append(lasted)
        lasted += 1
    return since


# --- where the value of what is stored comes from ----------------------------------------------


def _uses(
    found: Optimum, raised: np.ndarray, lowered: np.ndarray, local: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Use and its step, see Use; energy has one value as long as no energy bound binds."""
    fleet = found.model.fleet
    use, at = np.zeros(raised.shape, dtype=int), np.full(raised.shape, -1)
    empty, full = _content_bounds(found)
    worth = found.model.problem.weights.money * fleet.account_number(lambda x: x.end_cny_per_mwh)
    last, nothing = len(raised) - 1, np.full(fleet.size, -1)
    given, taken, end, column = nothing, nothing, nothing, np.arange(fleet.size)
    dearest, cheapest = np.full(fleet.size, -np.inf), np.full(fleet.size, np.inf)
    # Backwards, so that the best use after a step and before its end is known when it is met.
    for t in range(last, -1, -1):
        ends = (empty[t] + full[t] > TOLERANCE_CNY_PER_MWH) | (t == last)
        end = np.where(ends, t, end)
        given, dearest = np.where(ends, -1, given), np.where(ends, -np.inf, dearest)
        taken, cheapest = np.where(ends, -1, taken), np.where(ends, np.inf, cheapest)
        choices: list[tuple[int, np.ndarray, np.ndarray]] = [
            (Use.FULL, full[end, column] > TOLERANCE_CNY_PER_MWH, end),
            (Use.TAKEN, taken >= 0, taken),
            (Use.END, (end == last) & (worth > 0), end),
            (Use.NEED, empty[end, column] > TOLERANCE_CNY_PER_MWH, end),
            (Use.GIVEN, given >= 0, given),
        ]
        for kind, holds, step in choices:  # the later one counts more
            use[t, holds], at[t, holds] = kind, step[holds]
        dearer = (lowered[t] > MOVES_MW) & (local[t] >= dearest)
        given, dearest = np.where(dearer, t, given), np.where(dearer, local[t], dearest)
        cheaper = (raised[t] > MOVES_MW) & (local[t] <= cheapest)
        taken, cheapest = np.where(cheaper, t, taken), np.where(cheaper, local[t], cheapest)
    use[:, ~fleet.has_account], at[:, ~fleet.has_account] = Use.NONE, -1
    return use, at


def _runs(
    found: Optimum,
    on: np.ndarray,
    raised: np.ndarray,
    lowered: np.ndarray,
    local: np.ndarray,
    stored: np.ndarray,
    own: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Of the run that each step belongs to: its saving without its start, and the start, CNY.

    Where it is off: what the steps around would save in which full power would pay, and a start.
    NaN for what is never switched. A run that had begun before the horizon starts for nothing.
    """
    fleet, problem = found.model.fleet, found.model.problem
    sign, weights = fleet.fed_sign, problem.weights
    gains = fleet.accounts.gain_up, fleet.accounts.gain_down
    earn_up = gains[0] * stored + sign * local - own[0]
    earn_down = -gains[1] * stored - sign * local - own[1]
    saves, starts = np.full(raised.shape, np.nan), np.full(raised.shape, np.nan)
    for a, envelope in enumerate(fleet.envelopes):
        unit = envelope.commitment
        if unit is None:
            continue
        carbon = weights.carbon * problem.carbon_cny_per_kg * unit.running_kgco2e_per_h
        running = weights.money * unit.running_cny_per_h + carbon
        earn, most = (
            (earn_down[:, a], fleet.down_mw[:, a])
            if unit.lowers
            else (earn_up[:, a], fleet.up_mw[:, a])
        )
        is_on = on[:, a] > 0.5
        moved = raised[:, a] * earn_up[:, a] + lowered[:, a] * earn_down[:, a] - running
        could = earn * most - running
        value = problem.dt_h * np.where(is_on, moved, could)
        pays = is_on | (could > 0)
        label = np.where(is_on, 1, np.where(pays, 2, 0))
        edges = np.flatnonzero(np.diff(label)) + 1
        for part in np.split(np.arange(len(label)), edges):
            free = bool(is_on[part[0]] and part[0] == 0 and unit.on)
            saves[part, a] = value[part].sum() if pays[part[0]] else value[part]
            starts[part, a] = 0.0 if free else weights.money * unit.start_cny
    return saves, starts


# --- reactive power, price, reserves -----------------------------------------------------------


def _reactive(found: Optimum) -> dict[str, np.ndarray]:
    """Reactive power and what it is worth, per Mvarh in the direction it takes."""
    fleet, devices, problem = found.model.fleet, found.model.devices, found.model.problem
    shape, dt_h = devices.q_raised.shape, problem.dt_h
    up = spread(devices.q_raised, found.values, 0.0)
    down = spread(devices.q_lowered, found.values, 0.0)
    direction = np.where(up >= down, 1.0, -1.0)
    losses, network = np.zeros(shape), np.zeros(shape)
    element, strength = np.full(shape, -1), np.full(shape, TOLERANCE_CNY_PER_MWH)
    names = _element_of_limit(found)
    if fleet.has_reactive.any():
        _, per_mvar = found.tangents.effects(fleet)
        np.add.at(losses, found.tangents.steps, -found.tangent_duals[:, None] * -per_mvar)
        _, per_mvar = found.limits.tangents.effects(fleet)
        acting = (found.limit_duals * found.limit_factor)[:, None] * per_mvar
        np.add.at(network, found.limits.tangents.steps, acting)
        for row, step in enumerate(found.limits.tangents.steps.tolist()):
            stronger = np.abs(acting[row]) / dt_h > strength[step]
            element[step, stronger] = names[row]
            strength[step, stronger] = np.abs(acting[row, stronger]) / dt_h
    own = fleet.stack(lambda e: e.reactive.cny_per_mvarh if e.reactive else 0.0)
    reduced = np.where(
        direction > 0,
        spread(devices.q_raised, found.reduced_costs, 0.0),
        spread(devices.q_lowered, found.reduced_costs, 0.0),
    )
    chosen = np.broadcast_to(fleet.has_reactive, shape)
    values = {
        "q_mvar": up - down,
        "q_losses_cny_per_mvarh": -direction * losses / dt_h,
        "q_network_cny_per_mvarh": direction * network / dt_h,
        "q_own_cny_per_mvarh": problem.weights.money * own,
        "q_bound_cny_per_mvarh": -reduced / dt_h,
    }
    return {**{n: np.where(chosen, v, np.nan) for n, v in values.items()}, "q_element": element}


def _price(found: Optimum) -> dict[str, tuple[str, np.ndarray]]:
    """The price at the substation and what sets it, (time,)."""
    exchange, problem = found.model.exchange, found.model.problem
    steps, dt_h = problem.steps, problem.dt_h
    price = np.zeros(steps)
    np.add.at(price, found.tangents.steps, found.tangent_duals / dt_h)
    imported, exported = found.values[exchange.imported], found.values[exchange.exported]
    buys, sells = imported > MOVES_MW, (exported > MOVES_MW) & (imported <= MOVES_MW)
    set_by = np.where(buys, int(Limit.IMPORT), int(Limit.RESOURCE))
    set_by = np.where(sells, int(Limit.EXPORT), set_by)
    extra = np.zeros(steps)
    strongest = np.full(steps, TOLERANCE_CNY_PER_MWH)
    columns = np.where(sells, exchange.exported, exchange.imported)
    for limit, added in _by_block(found, columns):
        if not isinstance(limit, Limit):
            continue
        part = np.where(sells, added, -added)
        part = np.where(buys | sells, part, 0.0)
        extra += part
        stronger = np.abs(part) > strongest
        set_by = np.where(stronger, int(limit), set_by)
        strongest = np.where(stronger, np.abs(part), strongest)
    asset = np.where(set_by == Limit.RESOURCE, _free_resource(found), -1)
    return {
        "price_cny_per_mwh": ("time", price),
        "price_limit": ("time", set_by.astype(np.int8)),
        "price_extra_cny_per_mwh": ("time", extra),
        "price_asset": ("time", asset.astype(np.int32)),
    }


def _free_resource(found: Optimum) -> np.ndarray:
    """A resource at each step that stands between its bounds and so answers to the price; or -1."""
    fleet, devices = found.model.fleet, found.model.devices
    room = np.zeros(devices.raised.shape)
    for columns, most in ((devices.raised, fleet.up_mw), (devices.lowered, fleet.down_mw)):
        value = spread(columns, found.values, 0.0)
        free = np.abs(spread(columns, found.reduced_costs, 1.0)) < TOLERANCE_CNY_PER_MWH
        room = np.maximum(room, np.where(free, np.minimum(value, most - value), 0.0))
    room = room[:, : fleet.named]
    if not fleet.named:
        return np.full(len(room), -1)
    best = room.argmax(axis=1)
    return np.where(room.max(axis=1) > MOVES_MW, best, -1)


def _reserves(found: Optimum) -> dict[str, tuple[Sequence[str], np.ndarray]]:
    named = found.model.fleet.named
    arrays: dict[str, tuple[Sequence[str], np.ndarray]] = {}
    for name, (held, _) in found.model.reserves.items():
        worth = found.duals[found.model.program.rows[f"reserve {name}"]] / found.model.problem.dt_h
        arrays[f"reserve_{name}_mw"] = (
            ("time", "asset"),
            spread(held, found.values, 0.0)[:, :named],
        )
        arrays[f"reserve_{name}_cny_per_mw_h"] = (("time",), worth)
    return arrays
