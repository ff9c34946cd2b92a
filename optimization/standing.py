"""Where the simplex begins when there is no plan before: a basis that knows what an account is."""

from __future__ import annotations

import numpy as np

from optimization.model import Model
from optimization.solver import BASIC, LOWER

CHEAP = 0.3
"""Share of the steps that are cheaper than the one at which an account makes up its balance."""


def standing(
    model: Model, rows: int, columns: int, exchange: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Marks of so many columns and rows: accounts hold their content, all exchange is import.

    exchange: positions of the rows of the exchange, one for each step. From a basis of slacks the
    simplex first brings each content in, which is two thirds of its iterations. Here the content
    of each step follows from the one before; the last one stands at its bound, and the resource
    is free to move at a rather cheap step instead.
    """
    at_columns = np.full(columns, LOWER, dtype=np.int8)
    at_rows = np.full(rows, BASIC, dtype=np.int8)
    content, raised = model.devices.content, model.devices.raised
    energy = model.program.rows["energy"]
    at_columns[content[content >= 0]] = BASIC
    at_rows[energy[energy >= 0]] = LOWER
    at_columns[model.exchange.imported] = BASIC
    at_rows[exchange] = LOWER
    order = np.argsort(model.problem.import_total_cny_per_mwh, kind="stable")
    free, last = raised[order[int(CHEAP * len(order))]], content[-1]
    ends = np.flatnonzero((last >= 0) & (free >= 0))
    ends = ends[np.isfinite(model.program.lower[last[ends]])]
    at_columns[last[ends]] = LOWER
    at_columns[free[ends]] = BASIC
    return at_columns, at_rows
