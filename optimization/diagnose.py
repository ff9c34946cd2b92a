"""What must give on a day that cannot be held: the fewest limits, by how much and when.

Limits of the network, of the exchange and of calls are soft in the model: what of them is left
open is read off the plan. Hard are the limits of single resources: their rows and bounds touch no
other resource (what does, is soft), so that a day without solution falls apart by resource. For
each of them

    min  sum over groups g of weight_g z_g    s.t.  row_lower - M s_r <= A x <= row_upper + M s_r,
    0 <= s_r <= z_g for the rows r of group g,  z_g in {0, 1},  x on the resource's other rows

finds the smallest set of groups that must give (an irreducible one by the minimum cardinality;
Chinneck, Feasibility and Infeasibility in Optimization, 2008, chapter 7), and among equals what
matters least: energy and comfort give before the limits that protect a machine. A second program
with these groups alone open finds by how much. What no one can change, ratings and the balance of
energy, never gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import highspy
import numpy as np
import xarray as xr
from scipy import sparse

from core.errors import VerdigridError
from core.timeaxis import from_datetime64, zone
from grid.envelope import Envelope
from grid.limits import excesses
from grid.sensitivity import Quantity
from optimization.conduct import Conduct
from optimization.devices import add_devices, whole_steps
from optimization.fleet import Fleet
from optimization.keyfigures import exchange_excess
from optimization.limitcodes import WORDS, Limit
from optimization.problem import DispatchProblem
from optimization.program import Builder, Program
from optimization.result import Given

_CLOSED = 1e-7
_ROOM = 1e-6
"""Share by which a relaxed bound is opened further than needed, against rounding."""
_TIME_LIMIT_S = 30.0
IMPORTANCE: tuple[Limit, ...] = (
    Limit.LEAST_ENERGY,
    Limit.MOST_ENERGY,
    Limit.STARTS,
    Limit.LONGEST_RUN,
    Limit.MIN_DOWN,
    Limit.MIN_UP,
    Limit.RAMP_UP,
    Limit.RAMP_DOWN,
    Limit.LEAST_ON,
)
"""What may give, the least important first; a tie between sets of one size is decided by it."""
_TIE = 0.01
_ROWS = {
    "least power while on": Limit.LEAST_ON,
    "stays on": Limit.MIN_UP,
    "stays off": Limit.MIN_DOWN,
    "longest run": Limit.LONGEST_RUN,
    "starts": Limit.STARTS,
    "ramp up": Limit.RAMP_UP,
    "ramp down": Limit.RAMP_DOWN,
}
_ENERGY_EN = {
    "ev_charger": ("its energy at departure", "what its battery holds"),
    "battery": ("its least state of charge", "its highest state of charge"),
}
_ENERGY_ZH = {
    "ev_charger": ("离开时所需电量", "电池可容电量"),
    "battery": ("最低荷电状态", "最高荷电状态"),
}


# --- what single resources cannot keep ---------------------------------------------------------


def relaxed(problem: DispatchProblem) -> tuple[DispatchProblem, list[Given]]:
    """``problem`` with the fewest limits of its resources opened, as far as needed, and which.

    Returns the problem itself and nothing where every resource can keep its limits.
    """
    envelopes, given = [], []
    for envelope in problem.envelopes:
        opened, own = _relaxed(problem, envelope)
        envelopes.append(opened)
        given.extend(own)
    return (replace(problem, envelopes=tuple(envelopes)) if given else problem), given


def minimal_set(problem: DispatchProblem, envelope: Envelope) -> tuple[Limit, ...]:
    """The smallest set of limits of ``envelope`` that must give, the least important first."""
    elastic = _Elastic(problem, envelope)
    return tuple(sorted(elastic.fewest(), key=IMPORTANCE.index))


def can_keep(problem: DispatchProblem, envelope: Envelope, open_: Sequence[Limit] = ()) -> bool:
    """Whether there is a schedule of ``envelope`` that breaks at most the limits in ``open_``."""
    return _Elastic(problem, envelope).amounts(open_) is not None


def _relaxed(problem: DispatchProblem, envelope: Envelope) -> tuple[Envelope, list[Given]]:
    simple = envelope.commitment is None and envelope.ramp is None
    if simple and not envelope.conflicts(problem.dt_h):
        return envelope, []
    elastic = _Elastic(problem, envelope)
    limits = elastic.fewest()
    if not limits:
        return envelope, []
    broken = elastic.amounts(limits)
    assert broken is not None
    opened = envelope
    given = []
    for limit in sorted(limits, key=IMPORTANCE.index):
        opened, amount, unit, where = _opened(problem, opened, limit, broken)
        given.append(_given(problem, envelope, limit, amount, unit, where))
    return opened, given


@dataclass(frozen=True, eq=False)
class _Broken:
    """By how much each group is broken, and the schedule that does so; arrays (time,)."""

    by: dict[Limit, np.ndarray]
    content_mwh: np.ndarray
    p_mw: np.ndarray
    power_mw: np.ndarray
    on: np.ndarray


class _Elastic:
    """The program of one resource in which groups of limits may give."""

    def __init__(self, problem: DispatchProblem, envelope: Envelope) -> None:
        alone = replace(
            problem, envelopes=(envelope,), change=None, reserves=(), unserved=None, position=None
        )
        self.fleet = Fleet(alone)
        builder = Builder()
        self.devices = add_devices(builder, self.fleet)
        self.program: Program = builder.program()
        self.steps = problem.steps
        self.envelope = envelope
        self._build()

    def _build(self) -> None:
        """Rows with slacks on both sides; bounds that may give become rows first."""
        program = self.program
        rows, columns = program.shape
        lower, upper = program.lower.copy(), program.upper.copy()
        parts: list[tuple[Limit, int, float]] = []  # group, row, sign of the slack
        for name, limit in _ROWS.items():
            at = program.rows.get(name)
            if at is None:
                continue
            places = at[at >= 0].tolist()
            for sign, side in ((1.0, program.row_lower), (-1.0, program.row_upper)):
                parts += [(limit, p, sign) for p in places if np.isfinite(side[p])]
        extra: list[tuple[int, float, float]] = []  # column, lower, upper of a new row
        self.step_of_extra: list[int] = []

        def bound(column: int, step: int) -> int:
            extra.append((column, float(lower[column]), float(upper[column])))
            self.step_of_extra.append(step)
            return rows + len(extra) - 1

        for step, column in enumerate(self.devices.content[:, 0].tolist()):
            if column >= 0 and (np.isfinite(lower[column]) or np.isfinite(upper[column])):
                row = bound(column, step)
                parts += [(Limit.LEAST_ENERGY, row, 1.0), (Limit.MOST_ENERGY, row, -1.0)]
                lower[column], upper[column] = -np.inf, np.inf
        for step, (column, limit) in enumerate(self._forced()):
            row = bound(column, step)
            parts.append((limit, row, 1.0 if limit is Limit.MIN_UP else -1.0))
            lower[column], upper[column] = 0.0, 1.0
        added = sparse.csc_array(
            (
                np.ones(len(extra)),
                (np.arange(len(extra)), np.array([c for c, _, _ in extra], dtype=int)),
            ),
            shape=(len(extra), columns),
        )
        size = len(parts)
        slack = sparse.csc_array(
            (
                np.array([s for _, _, s in parts]),
                (np.array([r for _, r, _ in parts], dtype=int), np.arange(size)),
            ),
            shape=(rows + len(extra), size),
        )
        self.groups = [limit for limit, _, _ in parts]
        self.of_row = np.array([row for _, row, _ in parts], dtype=int)
        self.matrix = sparse.hstack([sparse.vstack([program.matrix, added]), slack]).tocsc()
        self.row_lower = np.concatenate([program.row_lower, [low for _, low, _ in extra]])
        self.row_upper = np.concatenate([program.row_upper, [high for _, _, high in extra]])
        self.lower, self.upper = lower, upper
        self.extra_first = rows
        self.columns = columns
        self.most = self._most()

    def _forced(self) -> list[tuple[int, Limit]]:
        """Columns of ``on`` that are held by what began before the horizon, and by which rule."""
        unit = self.envelope.commitment
        if unit is None:
            return []
        least = unit.min_up_h if unit.on else unit.min_down_h
        rest = whole_steps(max(least - unit.since_h, 0.0), self.fleet.problem.dt_h)
        columns = self.devices.on[:rest, 0]
        power = self.fleet.down_mw if unit.lowers else self.fleet.up_mw
        able = power[:rest, 0] >= unit.p_on_min_mw - 1e-12
        rule = Limit.MIN_UP if unit.on else Limit.MIN_DOWN
        return [(int(c), rule) for c, can in zip(columns, able, strict=True) if can]

    def _most(self) -> np.ndarray:
        """How far each slack may go at most: nothing needs more than the resource can move."""
        fleet, dt_h = self.fleet, self.fleet.problem.dt_h
        account = self.envelope.account
        energy = 1.0
        if account is not None:
            flow = account.gain_up * self.envelope.up_mw + account.gain_down * self.envelope.down_mw
            energy += abs(account.initial_mwh) + float(np.abs(account.inflow_mwh).sum())
            energy += dt_h * float(flow.sum())
            energy += float(np.abs([account.min_mwh, account.max_mwh]).max())
        power = 1.0 + float((fleet.up_mw + fleet.down_mw).max() + np.abs(fleet.base_mw).max())
        if self.envelope.ramp is not None:
            power += abs(self.envelope.ramp.before_mw or 0.0)
        sizes = {Limit.LEAST_ENERGY: energy, Limit.MOST_ENERGY: energy}
        sizes |= {Limit.RAMP_UP: 2 * power, Limit.RAMP_DOWN: 2 * power, Limit.LEAST_ON: power}
        return np.array([sizes.get(limit, float(self.steps + 1)) for limit in self.groups])

    def fewest(self) -> set[Limit]:
        """The smallest set of groups that must give; see the module."""
        present = sorted(set(self.groups), key=IMPORTANCE.index)
        count = len(present)
        slacks = len(self.groups)
        weights = np.array([1.0 + _TIE * IMPORTANCE.index(g) for g in present])
        link = sparse.lil_array((slacks, self.columns + slacks + count))
        for i, group in enumerate(self.groups):
            link[i, self.columns + i] = 1.0
            link[i, self.columns + slacks + present.index(group)] = -self.most[i]
        wide = sparse.hstack([self.matrix, sparse.csc_array((self.matrix.shape[0], count))])
        solved = _solve(
            np.concatenate([np.zeros(self.columns + slacks), weights]),
            sparse.csc_array(sparse.vstack([wide, link.tocsc()])),
            np.concatenate([self.row_lower, np.full(slacks, -np.inf)]),
            np.concatenate([self.row_upper, np.zeros(slacks)]),
            np.concatenate([self.lower, np.zeros(slacks + count)]),
            np.concatenate([self.upper, self.most, np.ones(count)]),
            np.concatenate(
                [self.program.integer, np.zeros(slacks, bool), np.ones(count, dtype=bool)]
            ),
        )
        if solved is not None:
            chosen = {g for g, z in zip(present, solved[-count:], strict=True) if z > 0.5}
            chosen = chosen if count else set()
            if self.amounts(chosen) is not None:
                return chosen
        return self._tried(present)

    def _tried(self, present: list[Limit]) -> set[Limit]:
        """The same by trying one set after the other, where rounding misled the search."""
        for size in range(len(present) + 1):
            for chosen in combinations(present, size):
                if self.amounts(chosen) is not None:
                    return set(chosen)
        raise VerdigridError(f"Nothing that may give lets {self.envelope.asset} have a schedule.")

    def amounts(self, open_: Sequence[Limit] | set[Limit]) -> _Broken | None:
        """The least total by which the groups in ``open_`` give; None where that is not enough."""
        slacks = len(self.groups)
        free = np.array([g in open_ for g in self.groups], dtype=bool)
        cost = np.concatenate([np.zeros(self.columns), 1.0 / self.most])
        solved = _solve(
            cost,
            self.matrix,
            self.row_lower,
            self.row_upper,
            np.concatenate([self.lower, np.zeros(slacks)]),
            np.concatenate([self.upper, np.where(free, self.most, 0.0)]),
            np.concatenate([self.program.integer, np.zeros(slacks, dtype=bool)]),
        )
        if solved is None:
            return None
        slack = solved[self.columns :]
        return _Broken(
            by={g: self._by_step(g, slack) for g in open_},
            content_mwh=self._values(self.devices.content, solved, np.nan),
            p_mw=self.envelope.base_mw
            + self._values(self.devices.raised, solved, 0.0)
            - self._values(self.devices.lowered, solved, 0.0),
            power_mw=self._values(self.devices.raised, solved, 0.0)
            + self._values(self.devices.lowered, solved, 0.0),
            on=self._values(self.devices.on, solved, 0.0) > 0.5,
        )

    def _values(self, at: np.ndarray, solved: np.ndarray, missing: float) -> np.ndarray:
        return np.where(at[:, 0] >= 0, solved[at[:, 0]], missing)

    def _by_step(self, group: Limit, slack: np.ndarray) -> np.ndarray:
        """How much a group gives at each step, (time,)."""
        step_of = np.full(self.matrix.shape[0], 0)
        for at in self.program.rows.values():
            if at.shape and at.shape[0] == self.steps:
                t, *_ = np.nonzero(at >= 0)
                step_of[at[at >= 0]] = t
        step_of[self.extra_first :] = self.step_of_extra
        by = np.zeros(self.steps)
        for i, own in enumerate(self.groups):
            if own is group:
                by[step_of[self.of_row[i]]] = max(by[step_of[self.of_row[i]]], slack[i])
        return np.where(by > _CLOSED, by, 0.0)


def _solve(
    cost: np.ndarray,
    matrix: sparse.csc_array,
    row_lower: np.ndarray,
    row_upper: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    integer: np.ndarray,
) -> np.ndarray | None:
    """The minimum's columns, to optimality; None where there is none."""
    highs = highspy.Highs()
    highs.silent()
    for name, value in (
        ("threads", 1),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 1e-6),
        ("mip_feasibility_tolerance", 1e-9),
        ("primal_feasibility_tolerance", 1e-9),
        ("time_limit", _TIME_LIMIT_S),
    ):
        highs.setOptionValue(name, value)
    rows, columns = matrix.shape
    highs.passModel(
        columns, rows, matrix.nnz, int(highspy.MatrixFormat.kColwise),
        int(highspy.ObjSense.kMinimize), 0.0, cost, lower, upper, row_lower, row_upper,
        matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32), matrix.data.astype(float),
        integer.astype(np.int32),
    )  # fmt: skip
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return np.asarray(highs.getSolution().col_value)


def _opened(
    problem: DispatchProblem, envelope: Envelope, limit: Limit, broken: _Broken
) -> tuple[Envelope, float, str, np.ndarray]:
    """``envelope`` with ``limit`` opened as far as it is broken; how much, unit and where."""
    by, dt_h = broken.by[limit], problem.dt_h
    account, unit, ramp = envelope.account, envelope.commitment, envelope.ramp
    amount, where = float(by.max(initial=0.0)), by > 0.0
    if limit in (Limit.LEAST_ENERGY, Limit.MOST_ENERGY):
        assert account is not None
        room = np.where(where, by + _ROOM * (1.0 + by), 0.0)
        if limit is Limit.LEAST_ENERGY:
            account = replace(account, min_mwh=account.min_mwh - room)
        else:
            account = replace(account, max_mwh=account.max_mwh + room)
        return replace(envelope, account=account), amount, "MWh", where
    if limit in (Limit.RAMP_UP, Limit.RAMP_DOWN):
        assert ramp is not None
        more = amount / dt_h * (1 + _ROOM) + _ROOM
        if limit is Limit.RAMP_UP:
            ramp = replace(ramp, up_mw_per_h=ramp.up_mw_per_h + more)
        else:
            ramp = replace(ramp, down_mw_per_h=ramp.down_mw_per_h + more)
        return replace(envelope, ramp=ramp), amount / dt_h, "MW/h", where
    assert unit is not None
    states = np.concatenate([[unit.on], broken.on])
    lengths = _lengths(states, unit.since_h, dt_h)
    if limit is Limit.LEAST_ON:
        least = float(np.min(broken.power_mw[broken.on], initial=unit.p_on_min_mw))
        unit = replace(unit, p_on_min_mw=max(least - _ROOM, 0.0))
        return replace(envelope, commitment=unit), amount, "MW", where
    if limit is Limit.STARTS:
        starts = int(np.sum(~states[:-1] & states[1:]))
        unit = replace(unit, starts_max=starts)
        return replace(envelope, commitment=unit), amount, "", broken.on
    if limit is Limit.LONGEST_RUN:
        longest = max(h for h, is_on, _ in lengths if is_on)
        missing = min(longest - unit.max_up_h, problem.steps * dt_h)
        unit = replace(unit, max_up_h=longest + _ROOM)
        return replace(envelope, commitment=unit), missing, "h", where
    is_on = limit is Limit.MIN_UP
    least_h = unit.min_up_h if is_on else unit.min_down_h
    ended = [h for h, state, over in lengths if state is is_on and over]
    shortest = min([least_h, *ended])
    change = {"min_up_h" if is_on else "min_down_h": shortest}
    unit = replace(unit, **change)  # type: ignore[arg-type]
    return replace(envelope, commitment=unit), least_h - shortest, "h", where


def _lengths(states: np.ndarray, since_h: float, dt_h: float) -> list[tuple[float, bool, bool]]:
    """Hours, state and whether it ended within the horizon, of each stretch of one state."""
    found = []
    edges = np.flatnonzero(np.diff(states.astype(int))) + 1
    for i, part in enumerate(np.split(np.arange(len(states)), edges)):
        hours = len(part) * dt_h
        if i == 0:
            hours += since_h - dt_h
        found.append((hours, bool(states[part[0]]), part[-1] < len(states) - 1))
    return found


def _given(
    problem: DispatchProblem,
    envelope: Envelope,
    limit: Limit,
    amount: float,
    unit: str,
    where: np.ndarray,
) -> Given:
    kind = str(envelope.kind)
    en, zh = WORDS[limit]
    if limit in (Limit.LEAST_ENERGY, Limit.MOST_ENERGY):
        side = 0 if limit is Limit.LEAST_ENERGY else 1
        en, zh = _ENERGY_EN.get(kind, (en, en))[side], _ENERGY_ZH.get(kind, (zh, zh))[side]
    start, end, when = stretch(problem, where)
    en = en.removeprefix("its ")
    by_en = f" by {amount:.3g} {unit}".rstrip() if amount > 0 else ""
    by_zh = f" {amount:.3g} {unit}".rstrip() if amount > 0 else ""
    return Given(
        component=kind,
        subject=envelope.asset,
        limit=limit.label,
        amount=amount,
        unit=unit,
        start=start,
        end=end,
        text_en=f"The {en} of {envelope.asset} must give{by_en} at {when}: no schedule keeps it.",
        text_zh=f"{envelope.asset} 的{zh}须在 {when} 放宽{by_zh}：没有可满足的方案。",
        hard=True,
    )


# --- what the plan could not hold --------------------------------------------------------------

PART = {
    Quantity.VM_PU: ("bus", "voltage at bus {}", "母线 {} 电压", "pu"),
    Quantity.LINE_LOADING: ("line", "loading of line {}", "线路 {} 负载率", "%"),
    Quantity.TRAFO_LOADING: ("trafo", "loading of transformer {}", "变压器 {} 负载率", "%"),
    Quantity.TRAFO3W_LOADING: (
        "trafo3w",
        "loading of three-winding transformer {}",
        "三绕组变压器 {} 负载率",
        "%",
    ),
}


def left_open(fleet: Fleet, flow: xr.Dataset, done: Conduct) -> list[Given]:
    """What a plan breaks because no schedule of the resources was found that holds it.

    Limits of the network and of the exchange on the AC grid, calls, energy bounds that may be
    broken at a price, load that is not served.
    """
    return [*_network_open(fleet, flow), *_exchange_open(fleet, flow), *_soft_open(fleet, done)]


def _network_open(fleet: Fleet, flow: xr.Dataset) -> list[Given]:
    problem, network = fleet.problem, fleet.problem.network
    found = []
    for excess in excesses(network, flow, max_loading_percent=problem.max_loading_percent):
        table, en, zh, unit = PART[excess.quantity]
        for element in np.flatnonzero(excess.violated.any(axis=0)).tolist():
            index = int(network.ids(table)[element])
            over = np.where(excess.violated[:, element], excess.values[:, element], 0.0)
            side = ("above", "上限") if excess.side > 0 else ("below", "下限")
            limit = float(np.broadcast_to(excess.limit, (len(network.ids(table)),))[element])
            what = f"{en.format(index)} {side[0]} {limit:g} {unit}"
            what_zh = f"{zh.format(index)}{side[1]} {limit:g} {unit}"
            found.append(_soft(problem, table, str(index), "network", over, unit, what, what_zh))
    return found


def _exchange_open(fleet: Fleet, flow: xr.Dataset) -> list[Given]:
    problem = fleet.problem
    over_import, over_export = exchange_excess(problem, flow)
    net = flow["import_mw"].values - flow["export_mw"].values
    found = [
        ("import_limit", over_import, "import limit of the substation", "变电站受电上限"),
        ("export_limit", over_export, "export limit of the substation", "变电站外送上限"),
    ]
    for call in problem.calls:
        over = np.where(call.within(problem.times), net - call.limit_mw, 0.0)
        over = np.where(over > 0.01, over, 0.0)
        found.append(("call", over, f"call {call.name}", f"需求响应指令 {call.name}"))
    return [
        _soft(problem, "substation", name, name, over, "MW", en, zh)
        for name, over, en, zh in found
        if over.any()
    ]


def _soft_open(fleet: Fleet, done: Conduct) -> list[Given]:
    problem, found = fleet.problem, []
    for a, envelope in enumerate(fleet.envelopes):
        shed = a >= fleet.named
        over = done.lowered_mw[:, a] if shed else done.outside_mwh[:, a]
        over = np.where(over > 1e-4, over, 0.0)
        account = envelope.account
        soft = account is not None and account.breach_cny_per_mwh is not None and not account.bought
        if not over.any() or not (shed or soft):
            continue
        if shed:
            index = str(envelope.element_index)
            what, zh = f"supply of load {index}", f"负荷 {index} 供电"
            found.append(_soft(problem, "load", index, "unserved", over, "MW", what, zh))
            continue
        en = envelope.soft_kind or "energy bounds"
        words = {
            "comfort": "室温舒适区间",
            "energy at departure": "离开时所需电量",
            "reservoir level": "水池水位",
        }
        what, zh = f"{en} of {envelope.asset}", f"{envelope.asset} 的{words.get(en, '能量区间')}"
        kind = str(envelope.kind)
        found.append(_soft(problem, kind, envelope.asset, "energy", over, "MWh", what, zh))
    return found


def _soft(
    problem: DispatchProblem,
    component: str,
    subject: str,
    limit: str,
    over: np.ndarray,
    unit: str,
    en: str,
    zh: str,
) -> Given:
    start, end, when = stretch(problem, over > 0)
    most = float(over.max())
    return Given(
        component=component,
        subject=subject,
        limit=limit,
        amount=most,
        unit=unit,
        start=start,
        end=end,
        text_en=f"The {en} gives by {most:.3g} {unit} at {when}: no schedule was found that "
        "holds it.",
        text_zh=f"{zh}在 {when} 越限 {most:.3g} {unit}：未找到可满足的方案。",
        hard=False,
    )


def stretch(
    problem: DispatchProblem, where: np.ndarray
) -> tuple[np.datetime64, np.datetime64, str]:
    """First and last time of the steps, and their stretches in local time, such as 18:00-20:00."""
    step = np.timedelta64(round(problem.dt_h * 3.6e12), "ns")
    at = np.flatnonzero(where)
    if not len(at):
        at = np.arange(problem.steps)
    tz = zone(problem.timezone)

    def clock(t: np.datetime64) -> str:
        return from_datetime64(t).astimezone(tz).strftime("%H:%M")

    parts = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    said = [f"{clock(problem.times[p[0]])}-{clock(problem.times[p[-1]] + step)}" for p in parts[:3]]
    more = ", ..." if len(parts) > len(said) else ""
    return problem.times[at[0]], problem.times[at[-1]] + step, ", ".join(said) + more
