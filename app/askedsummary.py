"""What became of that which a plan was asked beyond energy at a tariff: for summary, page, console.

Plain values, as they stand in the summary of a run: what, name, kept (None where there is nothing
to be kept), cny (what it costs, negative for what it earns), text_en, text_zh, and for calls the
id. Figures are those of the AC power flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from app.asked import Asked
from core.timeaxis import from_datetime64, zone
from optimization.problem import DispatchProblem
from optimization.result import Plan
from optimization.terms import FeederLimit, Reserve

KEPT_MW = 0.01
"""What the exchange may miss a limit by: the tolerance of the AC check."""

_SOURCES = {
    "substation": ("measured at the substation", "变电站实测"),
    "meters": ("by the sum of meters", "按计量表合计"),
    "nothing": ("not measured", "无量测"),
    "minimum": ("what is billed at least", "最低计费需量"),
    "": ("the month has just begun", "本月刚开始"),
    "left out": ("left out for the comparison", "对比中不计入"),
}


def told(problem: DispatchProblem, plan: Plan, wanted: Asked) -> list[dict[str, Any]]:
    """An item for each thing asked of ``plan``, which solves ``problem``; none without numbers.

    wanted: where the terms come from.
    """
    if plan.numbers is None:
        return []
    ids = wanted.calls_by_name
    return [
        *_peak(problem, plan, wanted.peak_source),
        *_peak_valley(problem, plan),
        *(_call(problem, plan, call, ids.get(call.name)) for call in problem.calls),
        *(_reserve(problem, plan, reserve) for reserve in problem.reserves),
        *_position(problem, plan),
        *_unserved(problem, plan),
    ]


def _item(
    what: str, name: str, kept: bool | None, cny: float, text_en: str, text_zh: str, **more: Any
) -> dict[str, Any]:
    texts = {"text_en": text_en, "text_zh": text_zh}
    return {"what": what, "name": name, "kept": kept, "cny": round(cny, 2), **texts, **more}


def _exchange(plan: Plan) -> np.ndarray:
    net: np.ndarray = plan.ac["import_mw"].values - plan.ac["export_mw"].values
    return net


def _peak(problem: DispatchProblem, plan: Plan, source: str) -> Iterator[dict[str, Any]]:
    charge = problem.peak
    if charge is None:
        return
    before, highest = charge.peak_so_far_mw, plan.planned.peak_import_mw
    beyond = max(highest - before, 0.0)
    cny = beyond * charge.cny_per_mw
    by_en, by_zh = _SOURCES.get(source, _SOURCES[""])
    en = f"The month's peak so far is {before:.2f} MW ({by_en}); this plan draws at most "
    en += f"{highest:.2f} MW"
    zh = f"本月至今最大需量 {before:.2f} MW（{by_zh}）；本计划最大受电 {highest:.2f} MW"
    if beyond > 0:
        en += f", which raises the month's charge by {cny:,.0f} CNY"
        zh += f"，需量电费增加 {cny:,.0f} 元"
    else:
        en, zh = en + ", which costs nothing more", zh + "，不增加需量电费"
    numbers = {"so_far_mw": before, "peak_import_mw": highest, "source": source}
    yield _item("peak", "", None, cny, en + ".", zh + "。", **numbers)


def _peak_valley(problem: DispatchProblem, plan: Plan) -> Iterator[dict[str, Any]]:
    target = problem.peak_valley
    if target is None:
        return
    net = _exchange(plan)
    spread = float(net.max() - net.min())
    over = max(spread - target.target_mw, 0.0)
    cny = over * target.breach_cny_per_mw
    kept = over <= KEPT_MW
    en = f"Peak to valley {spread:.2f} MW, target {target.target_mw:.2f} MW"
    zh = f"峰谷差 {spread:.2f} MW，目标 {target.target_mw:.2f} MW"
    if not kept:
        en, zh = f"{en}: missed at {cny:,.0f} CNY", f"{zh}：未达到，代价 {cny:,.0f} 元"
    yield _item("peak_valley", "", kept, cny, en + ".", zh + "。", spread_mw=spread)


def _call(
    problem: DispatchProblem, plan: Plan, call: FeederLimit, number: int | None
) -> dict[str, Any]:
    within = call.within(problem.times)
    net = _exchange(plan)[within]
    over = np.maximum(net - call.limit_mw, 0.0)
    highest, mwh = float(net.max(initial=-np.inf)), float(over.sum()) * problem.dt_h
    kept = bool(over.max(initial=0.0) <= KEPT_MW)
    cny = mwh * call.breach_cny_per_mwh
    span = "–".join(_clock(problem.timezone, t) for t in (call.start, call.end))
    en = f"Call {call.name}, {span}: at most {call.limit_mw:.2f} MW"
    zh = f"需求响应“{call.name}”，{span}：不高于 {call.limit_mw:.2f} MW"
    if kept:
        en += f", kept with {highest:.2f} MW in the steps of this plan"
        zh += f"，本计划时段内最高 {highest:.2f} MW，满足"
    else:
        worst = float(over.max())
        en += f", missed by up to {worst:.2f} MW, {mwh:.2f} MWh in all, for {cny:,.0f} CNY"
        zh += f"，最多超出 {worst:.2f} MW，共 {mwh:.2f} MWh，代价 {cny:,.0f} 元"
    numbers = {"call": number, "highest_mw": highest, "over_mwh": mwh}
    return _item("call", call.name, kept, cny, en + ".", zh + "。", **numbers)


def _reserve(problem: DispatchProblem, plan: Plan, reserve: Reserve) -> dict[str, Any]:
    held = plan.schedule[f"reserve_{reserve.name}_mw"].sum("asset").to_numpy()
    given = np.minimum(held, reserve.requirement_mw)
    missing = reserve.requirement_mw - given
    kept = bool(missing.max(initial=0.0) <= KEPT_MW)
    hours = problem.dt_h
    earned = float(given.sum()) * hours * reserve.price_cny_per_mw_h
    missed = float(missing.sum()) * hours * reserve.breach_cny_per_mw_h
    need = _range(reserve.requirement_mw)
    ways = {"up": "上调", "down": "下调"}
    en = f"Reserve {reserve.name} ({reserve.direction}, {reserve.activation_h:g} h): "
    zh = f"备用“{reserve.name}”（{ways[str(reserve.direction)]}，{reserve.activation_h:g} 小时）："
    if kept:
        en += f"{need} MW held in every step"
        zh += f"各时段均保有 {need} MW"
    else:
        short, steps = float(missing.max()), int((missing > KEPT_MW).sum())
        of = f"{steps} of {problem.steps} steps"
        en += f"of {need} MW up to {short:.2f} MW are missing in {of}, for {missed:,.0f} CNY"
        zh += f"要求 {need} MW，{steps} 个时段最多缺 {short:.2f} MW，代价 {missed:,.0f} 元"
    if earned > 0:
        en, zh = f"{en}; earns {earned:,.0f} CNY", f"{zh}；收入 {earned:,.0f} 元"
    numbers = {
        "held_mwh": float(given.sum()) * hours,
        "least_held_mw": float(given.min()),
        "reserve_cny": earned,
        "breach_cny": missed,
    }
    return _item("reserve", reserve.name, kept, missed - earned, en + ".", zh + "。", **numbers)


def _range(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f}–{high:.2f}"


def _position(problem: DispatchProblem, plan: Plan) -> Iterator[dict[str, Any]]:
    position = problem.position
    if position is None:
        return
    off = _exchange(plan) - position.committed_mw
    promised = np.isfinite(off)
    off = np.nan_to_num(off)
    above, below = np.maximum(off, 0.0), np.maximum(-off, 0.0)
    paid = above * position.above_cny_per_mwh + below * position.below_cny_per_mwh
    cny = float(np.sum(paid)) * problem.dt_h
    sums = float(above.sum()) * problem.dt_h, float(below.sum()) * problem.dt_h
    kept = bool(np.abs(off).max(initial=0.0) <= KEPT_MW)
    count = int(promised.sum())
    en = f"Promised exchange of {count} steps: "
    zh = f"承诺的联络线计划（{count} 个时段）："
    if kept:
        en, zh = en + "kept", zh + "满足"
    else:
        en += f"{sums[0]:.2f} MWh above and {sums[1]:.2f} MWh below it, {cny:,.0f} CNY"
        zh += f"高出 {sums[0]:.2f} MWh、低于 {sums[1]:.2f} MWh，代价 {cny:,.0f} 元"
    numbers = {"above_mwh": sums[0], "below_mwh": sums[1], "steps": count}
    yield _item("position", "", kept, cny, en + ".", zh + "。", **numbers)


def _unserved(problem: DispatchProblem, plan: Plan) -> Iterator[dict[str, Any]]:
    if problem.unserved is None:
        return
    mwh = plan.planned.unserved_mwh
    cny = mwh * problem.unserved.cny_per_mwh
    kept = mwh <= KEPT_MW * problem.dt_h
    en = "All load is served." if kept else f"{mwh:.2f} MWh are not served, {cny:,.0f} CNY."
    zh = "全部负荷得到供电。" if kept else f"{mwh:.2f} MWh 未供电，代价 {cny:,.0f} 元。"
    yield _item("unserved", "", kept, cny, en, zh, unserved_mwh=mwh)


def _clock(timezone: str, when: np.datetime64) -> str:
    return from_datetime64(when).astimezone(zone(timezone)).strftime("%m-%d %H:%M")
