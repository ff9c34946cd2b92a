"""How a plan takes forecast errors into account: the quantiles, the plan, what is told of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from app import keys
from app.plankinds import INTRADAY
from app.riskchoice import DRAWN, Risk, RiskKind
from app.wiring import City
from core.sites import Asset, AssetKind
from core.timeaxis import floor_to, from_datetime64, to_datetime64
from grid.powerflow import values
from optimization import margins, stochastic
from optimization.devices import curtails
from optimization.execution import Executed, executed
from optimization.outlook import Outlook
from optimization.planner import plan as plan_plain
from optimization.problem import DispatchProblem
from optimization.result import Plan, Status
from optimization.risk import RiskMeasure
from optimization.scenarios import draw, reduce
from optimization.spread import exchange_spread
from optimization.terms import ExchangeSpread
from store import forecasts
from store.database import Connection

Planner = Callable[..., Plan]
"""optimization.planner.plan, or what can be called like it."""

JUDGED = 30
"""Scenarios that a plan is judged by."""
INTRADAY_HOURS = 1.0
"""What of an intraday plan is decided now; the rest is planned again before it comes."""
ROOM = 1.25
"""Highest power thought possible, in units of the highest quantile, where no size is known."""


def outlook(
    connection: Connection, city: City, known_at: datetime, problem: DispatchProblem
) -> Outlook | None:
    """The forecast quantiles known at ``known_at``, for the steps of ``problem``.

    What has been measured, or was never forecast, is certain. Loads that are dispatched keep the
    demand they were planned with. None where there are no quantiles at all.
    """
    decided = {(e.element, e.element_index) for e in problem.envelopes if not curtails(e)}
    assets = [
        a
        for a in city.site.assets
        if a.element in ("load", "sgen") and (a.element, a.element_index) not in decided
    ]
    if not assets:
        return None
    resolution = city.site.plan_resolution
    start, end = problem.times[0], problem.times[-1] + np.timedelta64(resolution)
    known = forecasts.read(
        connection,
        [keys.of(city.site.id, a.id, "p_mw") for a in assets],
        from_datetime64(start),
        from_datetime64(end),
        as_of=known_at,
    )
    if known.sizes.get("quantile", 0) < 2:
        return None
    given = known.transpose("time", "series", "quantile").reindex(time=problem.times).to_numpy()
    expected = np.stack([_expected(problem, a) for a in assets], axis=1)[..., None]
    open_ = (problem.times >= to_datetime64(floor_to(known_at, resolution)))[:, None, None]
    complete = np.isfinite(given).all(axis=-1, keepdims=True)
    quantiles = np.where(open_ & complete, given, expected)
    quantiles = np.maximum(quantiles, np.minimum(expected.min(axis=0), 0.0)[None])
    return Outlook(
        levels=known["quantile"].to_numpy(),
        values=quantiles,
        table=tuple(str(a.element) for a in assets),
        element=tuple(int(a.element_index or 0) for a in assets),
        group=tuple(_group(a) for a in assets),
        lower=np.minimum(quantiles.min(axis=(0, 2)), 0.0),
        upper=np.array(
            [_size(a, float(q)) for a, q in zip(assets, quantiles.max(axis=(0, 2)), strict=True)]
        ),
    )


@dataclass(frozen=True)
class Planned:
    """A plan, and what the way it was made says of itself; plain values."""

    plan: Plan
    about: dict[str, Any]


def plan(
    problem: DispatchProblem,
    ahead: Outlook | None,
    risk: Risk,
    *,
    kind: str,
    seed: int,
    progress: Callable[[str], None] | None = None,
    planner: Planner = plan_plain,
) -> Planned:
    """Plan ``problem`` as ``risk`` asks, and compare with the plain plan in the same scenarios.

    seed: of the scenarios; the same gives the same plan. planner: makes the plain plan, such as one
    that begins at the plan before.
    """
    about: dict[str, Any]
    if risk.kind is RiskKind.NONE or ahead is None:
        about = {"kind": str(RiskKind.NONE)}
        if risk.kind is not RiskKind.NONE:
            about["asked"] = str(risk.kind)
            about["text_en"] = "No forecast quantiles are known, so the plan stands on one course."
            about["text_zh"] = "没有可用的预测分位数，计划按单一预测制定。"
        return Planned(planner(problem, progress=progress), about)
    drawn = draw(ahead, DRAWN, np.random.default_rng(seed), dt_h=problem.dt_h)
    if risk.kind is RiskKind.EXPECTED:
        spread = exchange_spread(problem, ahead, drawn)
        found = planner(replace(problem, spread=spread), progress=progress)
        return Planned(found, _expecting(found, spread))
    about = {"kind": str(risk.kind), "level": risk.level}
    if risk.kind is RiskKind.MARGIN:
        made = margins.plan(problem, ahead, risk.level, progress=progress)
        found, plain = made.plan, made.plain
        if made.margins is not None:
            about["exchange_margin_mw"] = float(made.margins.exchange_mw.max())
    else:
        plain = planner(problem, progress=progress)
        several = stochastic.plan(
            problem,
            ahead,
            reduce(drawn, risk.scenarios),
            first_stage=stochastic.FirstStage(INTRADAY_HOURS if kind == INTRADAY else None),
            measure=RiskMeasure(level=risk.level),
            progress=progress,
        )
        found = several.plan
        found.notes.extend(several.notes)
        if found.status is Status.OPTIMAL:
            about |= several.summary()
    if found.status is Status.OPTIMAL and plain.status is Status.OPTIMAL:
        judges = reduce(drawn, JUDGED)
        ours, without = (
            executed(problem, ahead, _powers(problem, p), judges) for p in (found, plain)
        )
        about |= _compared(ours, without, risk)
    return Planned(found, about)


def _expecting(found: Plan, spread: ExchangeSpread) -> dict[str, Any]:
    """What the errors are expected to cost under a plan made for the expected bill."""
    about: dict[str, Any] = {"kind": str(RiskKind.EXPECTED), "cases": len(spread.share)}
    if found.numbers is None:
        return about
    wide = float(np.ptp(spread.offset_mw, axis=1).max())
    error = found.planned.error_cny
    about |= {"error_cny": error, "spread_mw": wide}
    about["text_en"] = (
        f"Planned for the least expected bill: the exchange may turn out within {wide:.2f} MW at "
        f"the widest, which is expected to add {error:,.0f} CNY."
    )
    about["text_zh"] = (
        f"按期望费用最低制定：交换功率的预测偏差最宽为 {wide:.2f} MW，"
        f"预计增加费用 {error:,.0f} 元。"
    )
    return about


def _compared(ours: Executed, plain: Executed, risk: Risk) -> dict[str, Any]:
    more = ours.expected_cny - plain.expected_cny
    numbers = {
        "expected_cny": ours.expected_cny,
        "plain_expected_cny": plain.expected_cny,
        "premium_cny": more,
        "cvar_cny": ours.cvar_cny(risk.level),
        "plain_cvar_cny": plain.cvar_cny(risk.level),
        "limit_broken_probability": ours.broken,
        "plain_limit_broken_probability": plain.broken,
    }
    way = {
        RiskKind.MARGIN: ("margins", "安全裕度"),
        RiskKind.CVAR: ("scenarios with CVaR", "多场景与条件风险价值（CVaR）"),
    }[risk.kind]
    text_en = (
        f"Planned with {way[0]} at {risk.level:g}: expected cost {more:+,.0f} CNY against the "
        f"plain plan, a limit broken in {ours.broken:.0%} instead of {plain.broken:.0%} of the "
        "scenarios."
    )
    text_zh = (
        f"按{way[1]}制定，水平 {risk.level:g}：期望成本比普通计划 {more:+,.0f} 元，"
        f"出现越限的场景由 {plain.broken:.0%} 变为 {ours.broken:.0%}。"
    )
    return {**numbers, "text_en": text_en, "text_zh": text_zh}


def _powers(problem: DispatchProblem, found: Plan) -> np.ndarray:
    names = [e.asset for e in problem.envelopes]
    p_mw = found.schedule["p_mw"].sel(asset=names).transpose("time", "asset")
    return np.asarray(p_mw.to_numpy())


def _expected(problem: DispatchProblem, asset: Asset) -> np.ndarray:
    """What the problem expects of the element of ``asset``, (time,)."""
    table = str(asset.element)
    place = problem.network.ids(table).tolist().index(asset.element_index)
    return np.asarray(values(problem.network, problem.injections, table, "p_mw")[:, place])


def _group(asset: Asset) -> str:
    """Errors of plants under one sky or in one wind go together, and those of loads."""
    return str(asset.kind) if asset.element == "sgen" else "load"


def _size(asset: Asset, highest_mw: float) -> float:
    """The most ``asset`` can do; a plant no more than its modules or its rating."""
    sizes = [asset.parameters.get(name) for name in ("pdc0_mw", "p_max_mw")]
    known = [float(s) for s in sizes if isinstance(s, int | float)]
    room = ROOM * max(highest_mw, 0.0)
    if asset.kind is AssetKind.PV and known:
        return max(known[0], highest_mw)
    return room
