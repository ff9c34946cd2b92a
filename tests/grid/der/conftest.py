"""Assets to try, a day in Shanghai's time, and a judge: an envelope's equations, stated anew."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from scipy.optimize import Bounds, LinearConstraint, milp

from core.sites import Asset, AssetKind
from grid.der import Conditions, envelope_of
from grid.envelope import Envelope

settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")

MIDNIGHT = np.datetime64("2026-06-20T16:00", "ns")  # 00:00 on 21 June in UTC+8
ELEMENT = {
    AssetKind.BATTERY: "storage",
    AssetKind.PV: "sgen",
    AssetKind.WIND: "sgen",
    AssetKind.CHP: "sgen",
    AssetKind.GENSET: "sgen",
}


@pytest.fixture(scope="session")
def make() -> Callable[..., Envelope]:
    """The envelope of an asset with these parameters, from local midnight, in hours by default."""

    def made(
        kind,
        parameters=None,
        *,
        steps=24,
        dt_h=1.0,
        stays=None,
        states=None,
        start=MIDNIGHT,
        zone="Asia/Shanghai",
        **profiles,
    ):
        one = Asset("one", kind, "", "", element=ELEMENT.get(kind, "load"), element_index=0)
        one.parameters.update(parameters or {})
        times = start + np.arange(steps) * np.timedelta64(int(dt_h * 3600), "s")
        flat = {n: np.broadcast_to(np.asarray(v, float), (steps,)) for n, v in profiles.items()}
        return envelope_of(one, Conditions(times, dt_h, zone, flat, states or {}, stays))

    return made


NAMES = ("raised", "lowered", "content", "spill", "under", "over", "on", "start", "up")


@pytest.fixture(scope="session")
def cheapest() -> Callable[..., SimpleNamespace | None]:
    """The cheapest schedule of one envelope alone (MILP of scipy); None where there is none.

    price: CNY/MWh of what is drawn, or paid for what is fed, (time,). Wear by depth is left out.
    """

    def solve(e: Envelope, dt_h: float, price: np.ndarray) -> SimpleNamespace | None:
        n = e.steps
        one, back, first = np.eye(n), np.eye(n, k=-1), np.eye(n)[0]
        low, high = dict.fromkeys(NAMES, np.zeros(n)), dict.fromkeys(NAMES, np.zeros(n))
        cost, held = dict.fromkeys(NAMES, np.zeros(n)), []

        def hold(least, most, **terms: np.ndarray) -> None:
            row = np.hstack([terms.get(name, np.zeros((n, n))) for name in NAMES])
            held.append(LinearConstraint(row, least, most))

        def window(steps: int) -> np.ndarray:
            return sum((np.eye(n, k=-j) for j in range(steps)), np.zeros((n, n)))

        worth = -e.fed_sign * np.asarray(price)
        cost["raised"] = dt_h * (worth + e.up_cny_per_mwh)
        cost["lowered"] = dt_h * (e.down_cny_per_mwh - worth)
        high |= {"raised": e.up_mw, "lowered": e.down_mw, "up": np.ones(n)}
        if e.exclusive:
            hold(-np.inf, 0, raised=one, up=-np.diag(e.up_mw))
            hold(-np.inf, e.down_mw, lowered=one, up=np.diag(e.down_mw))
        if (a := e.account) is not None:
            low["content"], high["content"] = np.full(n, -np.inf), np.full(n, np.inf)
            gains = {"raised": -dt_h * np.diag(a.gain_up), "lowered": dt_h * np.diag(a.gain_down)}
            given = a.inflow_mwh + first * a.keep * a.initial_mwh
            hold(given, given, content=one - np.diag(a.keep) @ back, spill=one, **gains)
            hold(a.min_mwh, np.inf, content=one, under=one)
            hold(-np.inf, a.max_mwh, content=one, over=-one)
            cost["content"] = -a.end_cny_per_mwh * np.eye(n)[-1]
            if a.breach_cny_per_mwh is not None:
                high |= {"under": np.full(n, np.inf), "over": np.full(n, np.inf)}
                cost |= dict.fromkeys(("under", "over"), np.full(n, dt_h * a.breach_cny_per_mwh))
            if a.spill_cny_per_mwh is not None:
                high["spill"] = np.full(n, np.inf)
                cost["spill"] = np.full(n, a.spill_cny_per_mwh)
        if (c := e.commitment) is not None:
            moved, full = ("lowered", e.down_mw) if c.lowers else ("raised", e.up_mw)
            was, up, down = float(c.on), round(c.min_up_h / dt_h), round(c.min_down_h / dt_h)
            stays = (c.min_up_h if c.on else c.min_down_h) - c.since_h
            fixed = np.arange(n) * dt_h < stays - 1e-9
            low["on"], high["on"] = (fixed * was, np.where(fixed, was, 1.0))
            high["start"] = np.ones(n)
            cost["start"] = np.full(n, c.start_cny)
            cost["on"] = np.full(n, dt_h * c.running_cny_per_h)
            hold(-np.inf, 0, **{moved: one, "on": -np.diag(full)})
            hold(0, np.inf, **{moved: one, "on": -c.p_on_min_mw * one})
            hold(-np.inf, was * first, on=one - back, start=-one)
            hold(-np.inf, 1 - was * first, on=back, start=one)
            hold(-np.inf, 0, on=-one, start=window(max(up, 1)))
            hold(-np.inf, 1, on=np.eye(n, k=-max(down, 1)), start=window(max(down, 1)))
            if np.isfinite(c.max_up_h):
                longest = round(c.max_up_h / dt_h)
                hold(-np.inf, longest, on=window(longest + 1))
            if c.starts_max is not None:
                hold(-np.inf, c.starts_max, start=np.ones((n, n)))
        if (r := e.ramp) is not None:
            up_mw, down_mw = dt_h * r.up_mw_per_h, dt_h * r.down_mw_per_h
            least = 0.0 if c is None else c.p_on_min_mw
            before = np.full(n, 0.0) if r.before_mw is None else first * r.before_mw
            free = np.where(first * (r.before_mw is None) > 0, np.inf, 0.0)
            jump, drop = max(least - up_mw, 0.0) * one, max(least - down_mw, 0.0)
            hold(-np.inf, up_mw + before + free, raised=one - back, start=-jump)
            stops = {"on": drop * (one - back), "start": -drop * one}
            was = 0.0 if c is None else drop * float(c.on)
            hold(-np.inf, down_mw - before + free + was * first, raised=back - one, **stops)
        costs, least, most = (np.concatenate([d[m] for m in NAMES]) for d in (cost, low, high))
        whole = np.repeat([m in ("on", "start", "up") for m in NAMES], n).astype(int)
        found = milp(costs, constraints=held, bounds=Bounds(least, most), integrality=whole)
        if found.x is None:
            return None
        parts = dict(zip(NAMES, np.split(found.x, len(NAMES)), strict=True))
        p_mw = e.base_mw + parts["raised"] - parts["lowered"]
        return SimpleNamespace(p_mw=p_mw, cost=float(found.fun), **parts)

    return solve
