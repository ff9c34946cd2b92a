"""HiGHS kept alive: a program is handed over once, then edited and solved from where it stands.

Rows are named by handles that stay valid when others are deleted; the rows of the program have the
handles 0, 1, ... in its own order. Columns are never deleted; those added later follow behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import highspy
import numpy as np
from scipy import sparse

from optimization.program import Program
from optimization.result import Status

_STATUS = {
    highspy.HighsModelStatus.kOptimal: Status.OPTIMAL,
    highspy.HighsModelStatus.kModelEmpty: Status.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: Status.UNBOUNDED,
    highspy.HighsModelStatus.kUnboundedOrInfeasible: Status.INFEASIBLE,
    highspy.HighsModelStatus.kTimeLimit: Status.TIME_LIMIT,
}
LOWER, BASIC, UPPER, FREE = (
    int(status)
    for status in (
        highspy.HighsBasisStatus.kLower,
        highspy.HighsBasisStatus.kBasic,
        highspy.HighsBasisStatus.kUpper,
        highspy.HighsBasisStatus.kZero,
    )
)
"""Marks of a column or row: at its lower bound, basic, at its upper bound, without bounds."""
MIP_GAP = 1e-4
"""Relative distance to the bound at which a search over integers ends."""
_ABS_GAP = 1e-6
_WHOLE = 1e-6


class Solver:
    """One HiGHS instance that holds one program."""

    def __init__(
        self, program: Program, *, time_limit_s: float = 120.0, mip_gap: float = MIP_GAP
    ) -> None:
        self._highs = highspy.Highs()
        self._highs.silent()
        self._option("threads", 1)
        self._time_limit_s = time_limit_s
        self._mip_gap = mip_gap
        self._option("mip_rel_gap", mip_gap)
        self._option("mip_abs_gap", _ABS_GAP)
        self._kept: tuple[np.ndarray, np.ndarray, np.ndarray, float] | None = None
        self._followed = np.zeros(0)
        self._followed_duals = np.zeros(0)
        self._hint: np.ndarray | None = None
        self._proven = -np.inf
        self.load(program)

    def load(self, program: Program) -> None:
        """Take another program in place of the one held; the basis is lost."""
        rows, columns = program.shape
        matrix = program.matrix
        self._highs.passModel(
            columns,
            rows,
            matrix.nnz,
            int(highspy.MatrixFormat.kColwise),
            int(highspy.ObjSense.kMinimize),
            program.offset,
            program.cost,
            program.lower,
            program.upper,
            program.row_lower,
            program.row_upper,
            matrix.indptr.astype(np.int32),
            matrix.indices.astype(np.int32),
            matrix.data,
            program.integer.astype(np.int32),
        )
        self._handles = np.arange(rows)
        self._next_handle = rows
        self._integer = np.flatnonzero(program.integer)
        self._cost = program.cost.copy()
        self._lower = program.lower.copy()
        self._upper = program.upper.copy()
        self._hint = None  # of another program
        self._proven = -np.inf
        self._clear()

    # --- edits ---------------------------------------------------------------------------------

    def change_costs(self, columns: np.ndarray, cost: np.ndarray) -> None:
        """Set the cost of ``columns``."""
        if not np.array_equal(self._cost[columns], np.broadcast_to(cost, columns.shape)):
            self._cost[columns] = cost
            self._proven = -np.inf
            self._highs.changeColsCost(columns.size, _int(columns), _float(cost, columns.size))

    def change_bounds(self, columns: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        """Set the bounds of ``columns``."""
        if columns.size:
            if np.any(lower < self._lower[columns]) or np.any(upper > self._upper[columns]):
                self._proven = -np.inf
            self._lower[columns], self._upper[columns] = lower, upper
            self._send_bounds(columns, self._lower[columns], self._upper[columns])

    def change_sides(self, rows: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        """Set the sides of the rows with these handles."""
        if rows.size:
            places = _int(self.places(rows))
            held = self._highs.getLp()
            before_lower = np.asarray(held.row_lower_)[places]
            before_upper = np.asarray(held.row_upper_)[places]
            if np.any(lower < before_lower) or np.any(upper > before_upper):
                self._proven = -np.inf
            self._highs.changeRowsBounds(
                rows.size, places, _float(lower, rows.size), _float(upper, rows.size)
            )

    def add_columns(self, lower: np.ndarray, upper: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Continuous columns that stand in no row yet; returns their positions."""
        count, first = len(lower), self.width
        if count:
            if np.any(np.asarray(cost) < 0) or np.any(np.asarray(lower) < 0):
                self._proven = -np.inf  # they might save something
            empty = np.zeros(0)
            self._highs.addCols(
                count, _float(cost, count), _float(lower, count), _float(upper, count),
                0, np.zeros(count, dtype=np.int32), _int(empty), empty,
            )  # fmt: skip
            self._cost = np.concatenate([self._cost, np.broadcast_to(cost, count)])
            self._lower = np.concatenate([self._lower, np.broadcast_to(lower, count)])
            self._upper = np.concatenate([self._upper, np.broadcast_to(upper, count)])
        return np.arange(first, first + count)

    def add_rows(
        self, matrix: sparse.csr_array, lower: np.ndarray, upper: np.ndarray
    ) -> np.ndarray:
        """Rows over the columns held; returns their handles."""
        count = matrix.shape[0]
        if count:
            self._highs.addRows(
                count, _float(lower, count), _float(upper, count), matrix.nnz,
                _int(matrix.indptr), _int(matrix.indices), _float(matrix.data, matrix.nnz),
            )  # fmt: skip
        handles = self._next_handle + np.arange(count)
        self._next_handle += count
        self._handles = np.concatenate([self._handles, handles])
        return handles

    def delete_rows(self, rows: Sequence[int] | np.ndarray) -> None:
        """Take the rows with these handles out."""
        if len(rows):
            self._proven = -np.inf
            places = np.sort(self.places(np.asarray(rows)))
            self._highs.deleteRows(len(places), _int(places))
            self._handles = np.delete(self._handles, places)

    def follow(self, cost: np.ndarray) -> None:
        """Ask for the duals of another cost of the columns, such as emissions, in every solve.

        Columns added later count nothing. See ``followed_duals``.
        """
        self._followed = cost

    # --- solving -------------------------------------------------------------------------------

    def run(self) -> Status:
        """Solve from the last basis.

        With integer columns the duals are those of the linear program in which the integers are
        held at their values. The search over integers, which costs many times a linear solve, is
        spared where integers next to the linear optimum, or those of the last search, are as good
        as it promises: within the gap above what is proven to be the least cost. A search that
        runs out of time counts as optimal when it has found integers that fit.
        """
        self._clear()
        if not self._integer.size:
            return self._linear()
        status = self._next_to_the_linear_optimum()
        if status is not None:
            return status
        hint = self._hint
        if hint is not None:
            self._highs.setSolution(self._integer.size, _int(self._integer), hint)
        # A presolve would throw away the basis of the linear optimum, which is worth more here.
        self._option("presolve", "off")
        self._search()
        self._option("presolve", "choose")
        status = self._status()
        if status is not Status.OPTIMAL and not self._has_plan(status):
            return status
        chosen = np.round(np.asarray(self._highs.getSolution().col_value)[self._integer])
        self._hint = chosen
        self._proven = max(self._proven, float(self._highs.getInfo().mip_dual_bound))
        return self._with_integers_held(chosen)

    def _next_to_the_linear_optimum(self) -> Status | None:
        """OPTIMAL at integers proven good enough, why there are none, or None: to be searched."""
        bound = self._integer
        kinds = np.zeros(bound.size, dtype=np.uint8)
        self._highs.changeColsIntegrality(bound.size, _int(bound), kinds)
        status = self._linear()
        relaxed = np.asarray(self._highs.getSolution().col_value)[bound]
        linear = float(self._highs.getInfo().objective_function_value)
        self._highs.changeColsIntegrality(bound.size, _int(bound), kinds + 1)
        if status is not Status.OPTIMAL:
            return status if status is Status.INFEASIBLE else None
        # What a search has proven holds on while the program is only narrowed, by rows and bounds.
        least = max(self._proven, linear)
        best = np.inf
        for chosen in self._candidates(relaxed):
            self._clear()
            if self._with_integers_held(chosen) is not Status.OPTIMAL:
                continue
            found = self.objective
            if found < best:
                best, self._hint = found, chosen
            if found - least <= max(self._mip_gap * abs(found), _ABS_GAP):
                return Status.OPTIMAL
        self._clear()
        return None

    def _candidates(self, relaxed: np.ndarray) -> list[np.ndarray]:
        """Integers to try: those of the last search, then the neighbours of a linear optimum."""
        found = [] if self._hint is None else [self._hint]
        near = _neighbours(relaxed)
        return found + [n for n in near if not found or not np.array_equal(n, found[0])]

    def _has_plan(self, status: Status) -> bool:
        """Out of time, but with integers that fit: better than no plan at all."""
        feasible = highspy.SolutionStatus.kSolutionStatusFeasible
        known = self._highs.getInfo().primal_solution_status
        return status is Status.TIME_LIMIT and known == int(feasible)

    def _linear(self) -> Status:
        self._search()
        status = self._status()
        if status is Status.ERROR:  # a basis that leads nowhere: from the beginning, once
            self._highs.clearSolver()
            self._search()
            status = self._status()
        return status

    def _with_integers_held(self, chosen: np.ndarray) -> Status:
        bound = self._integer
        kinds = np.zeros(bound.size, dtype=np.uint8)
        self._highs.changeColsIntegrality(bound.size, _int(bound), kinds)
        self._send_bounds(bound, chosen, chosen)
        status = self._linear()
        self._solution()
        self._highs.changeColsIntegrality(bound.size, _int(bound), kinds + 1)
        self._send_bounds(bound, self._lower[bound], self._upper[bound])
        return status

    def _search(self) -> None:
        # HiGHS counts the seconds of all its solves; the limit is meant for each.
        self._option("time_limit", self._highs.getRunTime() + self._time_limit_s)
        self._highs.run()

    def _status(self) -> Status:
        return _STATUS.get(self._highs.getModelStatus(), Status.ERROR)

    def _clear(self) -> None:
        self._kept = None

    def _solution(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        if self._kept is None:
            solution, info = self._highs.getSolution(), self._highs.getInfo()
            self._kept = (
                np.asarray(solution.col_value),
                np.asarray(solution.col_dual),
                np.asarray(solution.row_dual),
                float(info.objective_function_value),
            )
            self._followed_duals = self._transposed(self._followed)
        return self._kept

    # --- the last solve ------------------------------------------------------------------------

    @property
    def values(self) -> np.ndarray:
        """Values of the columns."""
        return self._solution()[0]

    @property
    def reduced_costs(self) -> np.ndarray:
        """Change of the optimum per unit of a column's bound that binds, 0 where none does."""
        return self._solution()[1]

    def duals(self, rows: np.ndarray) -> np.ndarray:
        """Change of the optimum per unit of the side of the rows with these handles."""
        return np.asarray(self._solution()[2][self.places(rows)])

    def followed_duals(self, rows: np.ndarray) -> np.ndarray:
        """Change of the cost given to ``follow`` per unit of the side of these rows, (row,).

        With the basis of the last solve and the integers held; NaN where there is no basis.
        """
        self._solution()
        return np.asarray(self._followed_duals[self.places(rows)])

    @property
    def objective(self) -> float:
        """Cost of the last solution."""
        return self._solution()[3]

    @property
    def width(self) -> int:
        """The number of columns held."""
        return len(self._lower)

    @property
    def iterations(self) -> int:
        """Simplex iterations of the last linear solve."""
        return int(self._highs.getInfo().simplex_iteration_count)

    def basis(self) -> tuple[np.ndarray, np.ndarray]:
        """Marks of the columns and of the rows in the order of ``handles``, as integers.

        Put together from numbers: HiGHS's own lists of statuses take forty times as long to read.
        Where there is no basis, rows are basic.
        """
        state, basic = self._highs.getBasicVariables()
        model, solution = self._highs.getLp(), self._highs.getSolution()
        columns = _nearest(self.values, self._lower, self._upper)
        rows = _nearest(solution.row_value, model.row_lower_, model.row_upper_)
        if state != highspy.HighsStatus.kOk:
            return columns, np.full_like(rows, BASIC)
        basic = np.asarray(basic)
        columns[basic[basic >= 0]] = BASIC
        rows[-1 - basic[basic < 0]] = BASIC
        return columns, rows

    def set_basis(self, columns: np.ndarray, rows: np.ndarray) -> None:
        """Begin the next solve there; what does not fit together is completed by HiGHS."""
        basis = highspy.HighsBasis()
        basis.col_status = [_BASIS[s] for s in columns.tolist()]
        basis.row_status = [_BASIS[s] for s in rows.tolist()]
        basis.valid = True
        basis.alien = True
        self._highs.setBasis(basis)

    @property
    def handles(self) -> np.ndarray:
        """Handles of the rows in the order in which HiGHS holds them."""
        return self._handles

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the rows with these handles stand in ``handles``."""
        return np.searchsorted(self._handles, rows)  # handles only ever grow

    @property
    def highs(self) -> highspy.Highs:
        """The HiGHS instance itself, for reading (tableau, rays, the model)."""
        return self._highs

    def _transposed(self, cost: np.ndarray) -> np.ndarray:
        """y with B' y = cost of the basic columns, B the basis: the duals of that cost."""
        rows = len(self._handles)
        if not cost.size or not rows:
            return np.zeros(rows)
        state, basic = self._highs.getBasicVariables()
        if state != highspy.HighsStatus.kOk:
            return np.full(rows, np.nan)
        basic = np.asarray(basic)
        inside = (basic >= 0) & (basic < cost.size)
        right = np.zeros(rows)
        right[inside] = cost[basic[inside]]
        state, duals = self._highs.getBasisTransposeSolve(right)
        return np.asarray(duals) if state == highspy.HighsStatus.kOk else np.full(rows, np.nan)

    def _send_bounds(self, columns: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        size = columns.size
        self._highs.changeColsBounds(size, _int(columns), _float(lower, size), _float(upper, size))

    def _option(self, name: str, value: object) -> None:
        self._highs.setOptionValue(name, value)


def _neighbours(relaxed: np.ndarray) -> list[np.ndarray]:
    """Integers to try around a linear optimum: the nearest, then those above."""
    nearest = np.round(relaxed)
    if np.abs(relaxed - nearest).max() <= _WHOLE:
        return [nearest]
    above = np.ceil(relaxed - _WHOLE)
    return [nearest] if np.array_equal(nearest, above) else [nearest, above]


def _nearest(
    values: Sequence[float] | np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """The bound that each value stands at."""
    values, lower, upper = np.asarray(values), np.asarray(lower), np.asarray(upper)
    marks = np.where(values - lower > upper - values, UPPER, LOWER).astype(np.int8)
    marks[np.isneginf(lower) & np.isposinf(upper)] = FREE
    return marks


_BASIS = {int(s): s for s in highspy.HighsBasisStatus.__members__.values()}


def _int(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.int32)


def _float(values: np.ndarray | float, count: int) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(values, count), dtype=np.float64)
