"""Copies of a model in one program, one for each scenario, that share what is decided before.

    min  (1 - w) sum_k p_k cost_k + w (eta + sum_k p_k beyond_k / (1 - level))
    s.t. cost_k = c_k x_k,  beyond_k >= cost_k - eta,  beyond_k >= 0,  A_k x_k within its sides

The copies stand side by side, block-diagonal. A column that is shared exists once: what is
decided before the scenario is known cannot depend on it (non-anticipativity).

A Part is the view of one scenario: it takes and gives rows and columns as optimization.solver
does, in the positions of its own model, so that everything written for a Session works on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from optimization.program import INFINITE, Program, joined
from optimization.result import Status
from optimization.risk import RiskMeasure
from optimization.solver import Solver


class Joint:
    """One solver that holds all scenarios.

    programs: of one model each, all of one shape of blocks. shared: columns of each program that
    are one and the same, (shared,) each and in the same order. Bounds of what is shared must hold
    in all scenarios.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        probability: np.ndarray,
        shared: Sequence[np.ndarray],
        measure: RiskMeasure,
        *,
        time_limit_s: float = 600.0,
    ) -> None:
        self.probability, self.measure = probability, measure
        whole = joined({str(k): program for k, program in enumerate(programs)})
        into, width = _into([p.shape[1] for p in programs], shared)
        self.solver = Solver(_merged(whole, into, width), time_limit_s=time_limit_s)
        column_at = np.cumsum([0, *[p.shape[1] for p in programs]])
        row_at = np.cumsum([0, *[p.shape[0] for p in programs]])
        self.parts = [
            Part(self, program, into[column_at[k] : column_at[k + 1]], int(row_at[k]))
            for k, program in enumerate(programs)
        ]
        self._tail_rows = np.zeros(0, dtype=np.int64)
        self._threshold, self._beyond = self._tail_columns()

    def _tail_columns(self) -> tuple[np.ndarray, np.ndarray]:
        measure, count = self.measure, len(self.probability)
        if measure.weight == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        threshold = self.solver.add_columns(
            np.array([-INFINITE]), np.array([INFINITE]), np.array([measure.weight])
        )
        price = measure.weight * self.probability / (1.0 - measure.level)
        return threshold, self.solver.add_columns(np.zeros(count), np.full(count, INFINITE), price)

    def run(self) -> Status:
        """Solve with the costs that the parts have now."""
        self._send_costs()
        return self.solver.run()

    def costs(self) -> np.ndarray:
        """Cost of each scenario in the last solution, CNY, (scenario,)."""
        return np.array([part.objective for part in self.parts])

    def _send_costs(self) -> None:
        width = self.solver.width
        cost = np.zeros(width)
        for part, p in zip(self.parts, self.probability, strict=True):
            np.add.at(cost, part.at, (1.0 - self.measure.weight) * p * part.cost)
        own = np.setdiff1d(np.arange(width), np.concatenate([self._threshold, self._beyond]))
        self.solver.change_costs(own, cost[own])
        if self.measure.weight > 0:
            self._renew_tail(width)

    def _renew_tail(self, width: int) -> None:
        """cost_k - eta - beyond_k <= 0"""
        self.solver.delete_rows(self._tail_rows)
        count = len(self.parts)
        rows = [np.full(len(p.at), k) for k, p in enumerate(self.parts)]
        every = np.arange(count)
        row = np.concatenate([*rows, every, every])
        column = np.concatenate(
            [*[p.at for p in self.parts], np.repeat(self._threshold, count), self._beyond]
        )
        value = np.concatenate([*[p.cost for p in self.parts], np.full(2 * count, -1.0)])
        matrix = sparse.csr_array((value, (row, column)), shape=(count, width))
        matrix.eliminate_zeros()
        upper = -np.array([p.offset for p in self.parts])
        self._tail_rows = self.solver.add_rows(matrix, np.full(count, -INFINITE), upper)


class Part:
    """One scenario of a Joint, in the columns and rows of its own model.

    at: where each of its columns stands in the whole. cost: its own, not weighted, CNY per unit.
    """

    def __init__(self, joint: Joint, program: Program, at: np.ndarray, first_row: int) -> None:
        self._joint = joint
        self.at = at
        self.cost = program.cost.copy()
        self.offset = program.offset
        self._rows, self._first_row = program.shape[0], first_row

    def change_costs(self, columns: np.ndarray, cost: np.ndarray) -> None:
        """As Solver.change_costs, of this scenario; sent with the next solve."""
        self.cost[columns] = cost

    def change_bounds(self, columns: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        """As Solver.change_bounds; of a shared column for all scenarios."""
        self._joint.solver.change_bounds(self.at[columns], lower, upper)

    def add_columns(self, lower: np.ndarray, upper: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """As Solver.add_columns."""
        return self.adopt(self._joint.solver.add_columns(lower, upper, np.zeros(len(cost))), cost)

    def adopt(self, columns: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Columns of the whole become columns of this scenario too; their positions in it."""
        first = self.width
        self.at = np.concatenate([self.at, columns])
        self.cost = np.concatenate([self.cost, cost])
        return np.arange(first, first + len(columns))

    def add_rows(
        self, matrix: sparse.csr_array, lower: np.ndarray, upper: np.ndarray
    ) -> np.ndarray:
        """As Solver.add_rows."""
        matrix = sparse.csr_array(matrix)
        shape = (matrix.shape[0], self._joint.solver.width)
        moved = sparse.csr_array((matrix.data, self.at[matrix.indices], matrix.indptr), shape=shape)
        return self._joint.solver.add_rows(moved, lower, upper)

    def delete_rows(self, rows: np.ndarray) -> None:
        """As Solver.delete_rows; only rows that were added."""
        self._joint.solver.delete_rows(rows)

    def duals(self, rows: np.ndarray) -> np.ndarray:
        """As Solver.duals, per unit of probability; the tail's weight stays in them."""
        # Handles below the number of rows of the model are its own; added ones come behind all.
        at = np.where(rows < self._rows, rows + self._first_row, rows)
        mine = self._joint.parts.index(self)
        dual: np.ndarray = self._joint.solver.duals(at) / self._joint.probability[mine]
        return dual

    @property
    def values(self) -> np.ndarray:
        """Values of the columns."""
        found: np.ndarray = self._joint.solver.values[self.at]
        return found

    @property
    def objective(self) -> float:
        """Cost of this scenario in the last solution, CNY."""
        return float(self.cost @ self.values) + self.offset

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.at)


def _into(widths: Sequence[int], shared: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Where each column of programs side by side goes when shared ones exist once, and how many."""
    parts = [np.arange(widths[0])]
    width = widths[0]
    for own, common in zip(widths[1:], shared[1:], strict=True):
        at = np.full(own, -1, dtype=np.int64)
        at[common] = shared[0]
        free = at < 0
        at[free] = width + np.arange(int(free.sum()))
        width += int(free.sum())
        parts.append(at)
    return np.concatenate(parts), width


def _merged(whole: Program, into: np.ndarray, width: int) -> Program:
    """The program in which columns that go to one place are one; their costs add up."""
    size = len(into)
    take = sparse.csr_array((np.ones(size), (np.arange(size), into)), shape=(size, width))
    lower, upper = np.full(width, -INFINITE), np.full(width, INFINITE)
    np.maximum.at(lower, into, whole.lower)
    np.minimum.at(upper, into, whole.upper)
    integer = np.zeros(width, dtype=bool)
    np.logical_or.at(integer, into, whole.integer)
    return Program(
        cost=np.bincount(into, weights=whole.cost, minlength=width),
        lower=lower,
        upper=upper,
        integer=integer,
        row_lower=whole.row_lower,
        row_upper=whole.row_upper,
        matrix=sparse.csc_array(whole.matrix @ take),
        columns={name: _moved(at, into) for name, at in whole.columns.items()},
        rows=whole.rows,
    )


def _moved(at: np.ndarray, into: np.ndarray) -> np.ndarray:
    return np.where(at >= 0, into[at], -1) if len(into) else at
