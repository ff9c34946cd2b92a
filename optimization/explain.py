"""Why a resource does what it does, in words, from the prices the solver found."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from core.timeaxis import from_datetime64, zone
from optimization.devices import curtails
from optimization.extract import Solution
from optimization.fleet import Fleet
from optimization.netloop import Outcome
from optimization.problem import DispatchProblem
from optimization.result import Reason

MOST_BATTERIES = 5
MOST_OTHERS = 3
_NOTABLE_MW = 1e-3


def reasons(problem: DispatchProblem, fleet: Fleet, outcome: Outcome) -> list[Reason]:
    """A few sentences: the batteries that move most, shifted loads, what is held back."""
    if outcome.solution is None or not problem.envelopes:
        return []
    local = outcome.solution.local_cny_per_mwh
    return [
        *_batteries(problem, outcome.solution, local),
        *_shifted(problem, fleet, outcome.solution, local),
        *_held_back(problem, fleet, outcome, local),
    ]


def _batteries(problem: DispatchProblem, found: Solution, local: np.ndarray) -> list[Reason]:
    stores = [
        a
        for a, e in enumerate(problem.envelopes)
        if e.account is not None and e.account.capacity_mwh > 0
    ]
    moved = {a: float(found.lowered_mw[:, a].sum()) for a in stores}
    told: list[Reason] = []
    for a in sorted(stores, key=lambda a: -moved[a])[:MOST_BATTERIES]:
        if found.raised_mw[:, a].max() > _NOTABLE_MW:
            told.append(_charging(problem, found, local, a, int(found.raised_mw[:, a].argmax())))
        if found.lowered_mw[:, a].max() > _NOTABLE_MW:
            profit = found.lowered_mw[:, a] * local[:, a]
            told.append(_discharging(problem, found, local, a, int(profit.argmax())))
    return told


def _charging(
    problem: DispatchProblem, found: Solution, local: np.ndarray, a: int, t: int
) -> Reason:
    envelope = problem.envelopes[a]
    assert envelope.account is not None
    price = local[t, a]
    value = found.stored_cny_per_mwh[t, a] * envelope.account.gain_up[t]
    peak = _use(found, local, a, t)
    hour = _clock(problem, t)
    power = found.raised_mw[t, a]
    if peak is None:
        why_en, why_zh = "its state at the end of the horizon", "期末荷电状态要求"
    else:
        why_en, why_zh = f"the {_clock(problem, peak)} peak", f"{_clock(problem, peak)} 高峰"
    return Reason(
        envelope.asset,
        _instant(problem, t),
        f"charges {power:.2f} MW at {hour} because {price:.0f} CNY/MWh lies under its stored "
        f"value of {value:.0f} from {why_en}",
        f"{hour} 充电 {power:.2f} MW：电价 {price:.0f} CNY/MWh 低于储能价值 {value:.0f} CNY/MWh"
        f"（来自{why_zh}）",
        _binding(envelope.p_max_mw[t] - power),
    )


def _discharging(
    problem: DispatchProblem, found: Solution, local: np.ndarray, a: int, t: int
) -> Reason:
    envelope = problem.envelopes[a]
    assert envelope.account is not None
    price = local[t, a]
    value = found.stored_cny_per_mwh[t, a] * envelope.account.gain_down[t]
    value += float(np.asarray(envelope.down_cny_per_mwh)[t])
    hour = _clock(problem, t)
    power = found.lowered_mw[t, a]
    return Reason(
        envelope.asset,
        _instant(problem, t),
        f"discharges {power:.2f} MW at {hour} because {price:.0f} CNY/MWh lies over its stored "
        f"value of {value:.0f}, wear included",
        f"{hour} 放电 {power:.2f} MW：电价 {price:.0f} CNY/MWh 高于储能价值 {value:.0f} CNY/MWh"
        "（含损耗）",
        _binding(power + envelope.p_min_mw[t]),
    )


def _use(found: Solution, local: np.ndarray, a: int, t: int) -> int | None:
    """The step that gives energy stored at ``t`` its value: the dearest before the value turns."""
    later = np.arange(t + 1, len(local))
    turned = np.flatnonzero(
        np.abs(found.stored_cny_per_mwh[later, a] - found.stored_cny_per_mwh[t, a]) > 1e-3
    )
    same = later[: turned[0]] if len(turned) else later
    for steps in (same, later):
        used = steps[found.lowered_mw[steps, a] > _NOTABLE_MW]
        if len(used):
            return int(used[np.argmax(local[used, a])])
    return None


def _shifted(
    problem: DispatchProblem, fleet: Fleet, found: Solution, local: np.ndarray
) -> list[Reason]:
    """Loads that take their energy at another time than uncontrolled."""
    loads = [
        a
        for a, e in enumerate(problem.envelopes)
        if e.account is not None and e.account.capacity_mwh == 0
    ]
    change = (found.p_mw - fleet.baseline_mw)[:, : fleet.named]
    told = []
    for a in sorted(loads, key=lambda a: -float(np.abs(change[:, a]).sum()))[:MOST_OTHERS]:
        to, off = int(change[:, a].argmax()), int(change[:, a].argmin())
        if change[to, a] < _NOTABLE_MW:
            continue
        hour, other = _clock(problem, to), _clock(problem, off)
        told.append(
            Reason(
                problem.envelopes[a].asset,
                _instant(problem, to),
                f"draws {found.p_mw[to, a]:.3f} MW at {hour} instead of at {other} because "
                f"{local[to, a]:.0f} CNY/MWh lies under {local[off, a]:.0f}",
                f"{hour} 用电 {found.p_mw[to, a]:.3f} MW（由 {other} 移来）："
                f"{local[to, a]:.0f} CNY/MWh 低于 {local[off, a]:.0f} CNY/MWh",
                _binding(problem.envelopes[a].p_max_mw[to] - found.p_mw[to, a]),
            )
        )
    return told


def _held_back(
    problem: DispatchProblem, fleet: Fleet, outcome: Outcome, local: np.ndarray
) -> list[Reason]:
    """Generators that produce less than they could."""
    assert outcome.solution is not None
    found = outcome.solution
    plants = [a for a, e in enumerate(problem.envelopes) if curtails(e)]
    missing = fleet.p_max_mw - found.p_mw
    told = []
    for a in sorted(plants, key=lambda a: -float(missing[:, a].sum()))[:MOST_OTHERS]:
        t = int(missing[:, a].argmax())
        if missing[t, a] < _NOTABLE_MW:
            continue
        hour = _clock(problem, t)
        why_en, why_zh, binding = _limit_at(problem, outcome, t, a)
        told.append(
            Reason(
                problem.envelopes[a].asset,
                _instant(problem, t),
                f"holds back {missing[t, a]:.2f} MW at {hour} because {why_en}; one more MWh "
                f"there is worth {local[t, a]:.0f} CNY",
                f"{hour} 限发 {missing[t, a]:.2f} MW：{why_zh}；此处每多发 1 MWh 价值 "
                f"{local[t, a]:.0f} CNY",
                binding,
            )
        )
    return told


def _limit_at(problem: DispatchProblem, outcome: Outcome, t: int, a: int) -> tuple[str, str, str]:
    assert outcome.flow is not None
    assert outcome.solution is not None
    if outcome.solution.held_by_network[t, a]:
        return (
            "a voltage or loading limit of the network binds",
            "电网电压或负载率受限",
            "network",
        )
    if float(outcome.flow["export_mw"].values[t]) > problem.limit_mw("export")[t] - 0.1:
        return "the export limit of the substation binds", "变电站外送受限", "export_limit"
    return "exporting does not pay", "外送无收益", "price"


def _binding(room_mw: float) -> str:
    return "power" if room_mw < _NOTABLE_MW else "energy"


def _instant(problem: DispatchProblem, t: int) -> datetime:
    return from_datetime64(problem.times[t])


def _clock(problem: DispatchProblem, t: int) -> str:
    return _instant(problem, t).astimezone(zone(problem.timezone)).strftime("%H:%M")
