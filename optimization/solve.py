"""HiGHS behind Pyomo's persistent interface: the model is handed over once, then edited."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.appsi.base import TerminationCondition
from pyomo.contrib.appsi.solvers.highs import Highs

from optimization.dispatch import Dispatch
from optimization.result import Status

_STATUS = {
    TerminationCondition.optimal: Status.OPTIMAL,
    TerminationCondition.infeasible: Status.INFEASIBLE,
    TerminationCondition.unbounded: Status.UNBOUNDED,
    TerminationCondition.infeasibleOrUnbounded: Status.INFEASIBLE,
    TerminationCondition.maxTimeLimit: Status.TIME_LIMIT,
}


class Solver:
    """One solver instance holding one dispatch model; edits go through the methods here."""

    def __init__(self, dispatch: Dispatch, *, time_limit_s: float = 120.0) -> None:
        self._dispatch = dispatch
        # All variables of the model at once; found one constraint at a time they cost seconds.
        self._highs = Highs(only_child_vars=True)
        self._highs.config.load_solution = False
        self._highs.config.time_limit = time_limit_s
        update = self._highs.update_config
        update.check_for_new_or_removed_constraints = False
        update.check_for_new_or_removed_vars = False
        update.check_for_new_or_removed_params = False
        update.check_for_new_objective = False
        update.update_constraints = False
        update.update_vars = False
        update.update_params = False
        update.update_named_expressions = False
        update.update_objective = False
        update.treat_fixed_vars_as_params = False
        self._highs.highs_options = {"threads": 1}
        self._highs.set_instance(dispatch.model)

    def drop(self, constraints: list) -> None:
        """Take constraints out, before the model forgets them."""
        if constraints:
            self._highs.remove_constraints(constraints)

    def add(self, constraints: list) -> None:
        """Take constraints in."""
        if constraints:
            self._highs.add_constraints(constraints)

    def add_rows(self, first: int) -> None:
        """Take over the network rows of the dispatch from number ``first`` on."""
        model, count = self._dispatch.model, self._dispatch.rows
        if first == count:
            return
        self._highs.add_variables([model.slack[r] for r in range(first, count)])
        self._highs.add_constraints([model.network[r] for r in range(first, count)])
        self._dispatch.price_slack()
        self._highs.set_objective(model.objective)

    def refresh(self, variables: list | None = None) -> None:
        """Take over changed prices and, where given, changed bounds."""
        self._highs.update_params()
        if variables:
            self._highs.update_variables(variables)

    def run(self, timer: Callable[[], float]) -> tuple[Status, float]:
        """Solve; the status and the seconds HiGHS took (the interface's own work included)."""
        start = timer()
        results = self._highs.solve(self._dispatch.model)
        status = _STATUS.get(results.termination_condition, Status.ERROR)
        return status, timer() - start

    def values(self, component: pyo.Var) -> np.ndarray:
        """Primal values of an indexed variable in the order of its index."""
        variables = list(component.values())
        primal = self._highs.get_primals(variables)
        return np.array([primal[v] for v in variables], dtype=float)

    def duals(self, constraints: list) -> np.ndarray:
        """Dual values: change of cost per unit of a constraint's right side."""
        dual = self._highs.get_duals(constraints)
        return np.array([dual[c] for c in constraints], dtype=float)

    def linear_program(self) -> object:
        """The model as HiGHS holds it (highspy.HighsLp), to be solved elsewhere."""
        return self._highs._solver_model.getLp()
