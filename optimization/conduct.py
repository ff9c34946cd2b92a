"""What resources do over a horizon, followed from their power alone: contents, wear, starts.

The same for a plan and for the uncontrolled day, and without a solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grid.envelope import EnergyAccount
from optimization.devices import filled
from optimization.fleet import Fleet

_NOTABLE_MW = 1e-6


@dataclass(frozen=True, eq=False)
class Conduct:
    """Arrays (time, asset). raised, lowered: MW around the base. content: MWh, NaN without account.

    outside_mwh: beyond soft bounds. wear_cny: of depth, on top of the price of lowering.
    on: what is switched and on. starts: where it starts.
    """

    p_mw: np.ndarray
    raised_mw: np.ndarray
    lowered_mw: np.ndarray
    content_mwh: np.ndarray
    spilled_mwh: np.ndarray
    outside_mwh: np.ndarray
    wear_cny: np.ndarray
    on: np.ndarray
    starts: np.ndarray


def conduct(
    fleet: Fleet,
    p_mw: np.ndarray,
    *,
    on: np.ndarray | None = None,
    spilled_mwh: np.ndarray | None = None,
) -> Conduct:
    """What follows from the resources' power ``p_mw``, (time, asset).

    on, spilled_mwh: as a plan has them; else what is switched is on while it moves, and only what
    has no room is spilled.
    """
    raised = np.maximum(p_mw - fleet.base_mw, 0.0)
    lowered = np.maximum(fleet.base_mw - p_mw, 0.0)
    content, spilled = _contents(fleet, raised, lowered, spilled_mwh)
    low, high = fleet.accounts.min_mwh, fleet.accounts.max_mwh
    outside = np.nan_to_num(np.maximum(low - content, 0.0) + np.maximum(content - high, 0.0))
    switched = np.array([e.commitment is not None for e in fleet.envelopes], dtype=bool)
    lowers = np.array([bool(e.commitment and e.commitment.lowers) for e in fleet.envelopes])
    moving = np.where(lowers, lowered, raised) > _NOTABLE_MW
    running = (moving if on is None else on) & switched
    before = np.array([bool(e.commitment and e.commitment.on) for e in fleet.envelopes], dtype=bool)
    starts = running & ~np.vstack([before[None, :], running[:-1]])
    return Conduct(
        p_mw=p_mw,
        raised_mw=raised,
        lowered_mw=lowered,
        content_mwh=content,
        spilled_mwh=spilled,
        outside_mwh=outside,
        wear_cny=_wear(fleet, raised, lowered),
        on=running,
        starts=starts,
    )


def _contents(
    fleet: Fleet, raised: np.ndarray, lowered: np.ndarray, given: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    dt_h, accounts = fleet.problem.dt_h, fleet.accounts
    keep, high = accounts.keep, accounts.max_mwh
    gained = accounts.inflow_mwh + dt_h * (accounts.gain_up * raised - accounts.gain_down * lowered)
    spills = fleet.account_number(lambda x: x.spill_cny_per_mwh is not None) > 0
    content, spilled = np.zeros(raised.shape), np.zeros(raised.shape)
    now = fleet.account_number(lambda x: x.initial_mwh)
    for t in range(len(raised)):
        now = keep[t] * now + gained[t]
        if given is None:
            spilled[t] = np.where(spills, np.maximum(now - high[t], 0.0), 0.0)
        else:
            spilled[t] = given[t]
        now = now - spilled[t]
        content[t] = now
    return np.where(fleet.has_account, content, np.nan), spilled


def _wear(fleet: Fleet, raised: np.ndarray, lowered: np.ndarray) -> np.ndarray:
    wear = np.zeros(raised.shape)
    for a, envelope in enumerate(fleet.envelopes):
        account = envelope.account
        if account is not None and account.depth:
            wear[:, a] = depth_wear(account, fleet.problem.dt_h, raised[:, a], lowered[:, a])
    return wear


def depth_wear(
    account: EnergyAccount, dt_h: float, raised_mw: np.ndarray, lowered_mw: np.ndarray
) -> np.ndarray:
    """CNY in each step, (time,): the shallowest band that holds anything gives, the shallowest
    with room takes. That is the cheapest way when bands become dearer with depth (Xu et al. 2018).
    """
    size = np.array([b.share for b in account.depth]) * account.capacity_mwh
    price = np.array([b.cny_per_mwh for b in account.depth])
    band = filled(account.initial_mwh, size)
    cost = np.zeros(len(raised_mw))
    for t in range(len(raised_mw)):
        band = band * account.keep[t]
        out = dt_h * account.gain_down[t] * lowered_mw[t]
        given = _from_first(out, band)
        band = band - given
        unit = account.gain_down[t]
        cost[t] = float(price @ given) / unit if unit > 0 else 0.0
        gained = dt_h * account.gain_up[t] * raised_mw[t] + account.inflow_mwh[t]
        if gained >= 0:
            band = band + _from_first(gained, np.maximum(size - band, 0.0))
        else:
            band = band - _from_first(-gained, band[::-1])[::-1]
    return cost


def _from_first(amount: float, room: np.ndarray) -> np.ndarray:
    """``amount`` taken out of ``room`` from the first on, (band,)."""
    before = np.concatenate([[0.0], np.cumsum(room)[:-1]])
    return np.asarray(np.clip(amount - before, 0.0, room))
