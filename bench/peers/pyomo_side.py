"""The case in Pyomo with appsi_highs, written for speed: linear expressions from ready lists.

``python -m bench.peers.pyomo_side CASE.npz ANSWER.npz``; Pyomo is in the project's own environment.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.appsi.solvers.highs import Highs
from pyomo.core.expr.numeric_expr import LinearExpression

from bench.peers.case import WARM_UP_DEVICES, Case, Schedule, curtailed_if_all, make
from bench.peers.side import arguments, repeated


def build(case: Case) -> pyo.ConcreteModel:
    """Variables indexed by device * steps + step, constraints as linear expressions."""
    dt_h, steps = float(case.dt_h), case.steps
    model = pyo.ConcreteModel()
    stored_low = np.zeros((len(case.power_mw), steps))
    stored_high = np.repeat(case.capacity_mwh[:, np.newaxis], steps, axis=1)
    stored_low[:, -1] = stored_high[:, -1] = case.initial_mwh
    power = np.repeat(case.power_mw, steps)
    model.imported = _variables(np.zeros(steps), np.full(steps, case.import_limit_mw))
    model.exported = _variables(np.zeros(steps), np.full(steps, case.export_limit_mw))
    model.charge = _variables(np.zeros(power.size), power)
    model.discharge = _variables(np.zeros(power.size), power)
    model.stored = _variables(stored_low.ravel(), stored_high.ravel())
    available = case.available_mw.T.ravel()
    model.produced = _variables(np.zeros(available.size), available)
    draw = np.repeat(case.draw_max_mw, steps)
    model.drawn = _variables(np.zeros(draw.size), draw)
    model.taken = _variables(case.late_mwh.T.ravel(), case.early_mwh.T.ravel())
    model.storage = pyo.Constraint(range(power.size))
    keep = float(case.keep)
    for battery in range(len(case.power_mw)):
        into = -dt_h * float(case.efficiency[battery])
        out = dt_h / float(case.efficiency[battery])
        for t in range(steps):
            i = battery * steps + t
            coefficients = [1.0, into, out]
            variables = [model.stored[i], model.charge[i], model.discharge[i]]
            right = 0.0 if t else keep * float(case.initial_mwh[battery])
            if t:
                coefficients.append(-keep)
                variables.append(model.stored[i - 1])
            model.storage[i] = _equation(coefficients, variables, right)
    model.shifting = pyo.Constraint(range(draw.size))
    for i in range(draw.size):
        coefficients, variables = [1.0, -dt_h], [model.taken[i], model.drawn[i]]
        if i % steps:
            coefficients.append(-1.0)
            variables.append(model.taken[i - 1])
        model.shifting[i] = _equation(coefficients, variables, 0.0)
    model.substation = pyo.Constraint(range(steps))
    for t in range(steps):
        coefficients, variables = [1.0, -1.0], [model.imported[t], model.exported[t]]
        for component, sign in (
            (model.charge, -1.0),
            (model.discharge, 1.0),
            (model.produced, 1.0),
            (model.drawn, -1.0),
        ):
            own = [component[i] for i in range(t, len(component), steps)]
            variables += own
            coefficients += [sign] * len(own)
        model.substation[t] = _equation(coefficients, variables, float(case.base_mw[t]))
    _add_objective(model, case)
    return model


def _variables(low: np.ndarray, high: np.ndarray) -> pyo.Var:
    bounds = list(zip(low.tolist(), high.tolist(), strict=True))
    return pyo.Var(range(len(bounds)), bounds=lambda _model, i: bounds[i])


def _equation(
    coefficients: list[float], variables: list[Any], right: float
) -> tuple[float, Any, float]:
    body = LinearExpression(constant=0.0, linear_coefs=coefficients, linear_vars=variables)
    return right, body, right


def _add_objective(model: pyo.ConcreteModel, case: Case) -> None:
    dt_h, steps = float(case.dt_h), case.steps
    coefficients: list[float] = []
    variables: list[Any] = []
    for component, price in (
        (model.imported, case.buy_cny_per_mwh),
        (model.exported, -case.sell_cny_per_mwh),
        (model.discharge, np.repeat(case.wear_cny_per_mwh, steps)),
        (model.produced, -np.repeat(case.curtail_cny_per_mwh, steps)),
    ):
        coefficients += (dt_h * price).tolist()
        variables += list(component.values())
    model.cost = pyo.Objective(
        expr=LinearExpression(constant=0.0, linear_coefs=coefficients, linear_vars=variables)
    )


def solve(case: Case, options: dict[str, str]) -> tuple[pyo.ConcreteModel, float, float]:
    """The solved model, the seconds to build it and hand it over, and those of everything."""
    start = time.perf_counter()
    model = build(case)
    # All variables of the model at once; found one constraint at a time they cost seconds.
    solver = Highs(only_child_vars=True)
    solver.highs_options = {"threads": 1, **options}
    solver.set_instance(model)
    build_s = time.perf_counter() - start
    solver.solve(model)
    return model, build_s, time.perf_counter() - start


def main() -> None:
    """Solve the case; what is loaded at the first use is not counted."""
    asked = arguments(__doc__)
    case = Case.load(asked.case)
    solve(make(WARM_UP_DEVICES), asked.option)
    model, build_s, total_s = repeated(lambda: solve(case, asked.option), asked.repeat)
    answer = Schedule(
        *(
            np.array([v.value for v in component.values()]).reshape(-1, case.steps).T
            for component in (model.charge, model.discharge, model.produced, model.drawn)
        )
    )
    answer.save(
        asked.answer,
        objective=float(pyo.value(model.cost)) + curtailed_if_all(case),
        build_s=build_s,
        total_s=total_s,
    )


if __name__ == "__main__":
    main()
