"""The dispatch model of a problem as a program with index maps; docs/dispatch.md has the equations.

What depends on the operating point (exchange tangents, network rows, circles of inverters) is not
in here: optimization/session adds it to the solver that holds the program.

Limits of the exchange and of the network are soft at a price that nothing else reaches: a limit
that cannot be held becomes a finding instead of an infeasible model. Hard are the bounds of single
resources; for those with an account Envelope.conflicts decides beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from optimization.devices import Devices, add_devices
from optimization.exchange import Exchange, add_exchange, add_terms
from optimization.fleet import Fleet
from optimization.problem import DispatchProblem
from optimization.program import Builder, Program

PENALTY_FACTOR = 50.0
"""Price of breaking a limit, in units of the highest price of the tariff."""
ABOVE_OTHERS = 3.0
"""The same in units of the highest price of anything else that can be broken."""


@dataclass(frozen=True, eq=False)
class Model:
    """A built model: the program and where everything stands in it.

    devices, exchange: index maps by class of column. reserves: (held, missing) by product.
    penalty_cny_per_mwh: the price of breaking a limit of exchange or network.
    """

    problem: DispatchProblem
    fleet: Fleet
    program: Program
    devices: Devices
    exchange: Exchange
    reserves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    penalty_cny_per_mwh: float

    @property
    def at_rest_mw(self) -> np.ndarray:
        """Power when every column is 0, (time, asset)."""
        return self.fleet.base_mw


def build(problem: DispatchProblem, fleet: Fleet | None = None) -> Model:
    """The model of ``problem`` without what depends on an operating point; see Model."""
    fleet = fleet or Fleet(problem)
    builder = Builder()
    penalty = penalty_cny_per_mwh(fleet)
    devices = add_devices(builder, fleet)
    exchange = add_exchange(builder, fleet, penalty)
    reserves = add_terms(builder, fleet, devices, exchange)
    return Model(
        problem=problem,
        fleet=fleet,
        program=builder.program(),
        devices=devices,
        exchange=exchange,
        reserves=MappingProxyType(reserves),
        penalty_cny_per_mwh=penalty,
    )


def penalty_cny_per_mwh(fleet: Fleet) -> float:
    """A price above all others, for each MW and hour beyond a limit.

    A peak is paid for once, a broken limit step by step: one step alone has to outweigh the peak,
    or a plan would overload the grid for a quarter-hour to save a month's charge.
    """
    problem = fleet.problem
    tariff = max(
        1.0,
        float(np.abs(problem.import_total_cny_per_mwh).max()),
        float(np.abs(problem.export_total_cny_per_mwh).max()),
    )
    others = [c.breach_cny_per_mwh for c in problem.calls]
    others += [r.breach_cny_per_mw_h + r.price_cny_per_mw_h for r in problem.reserves]
    if problem.peak is not None:
        others.append(problem.weights.peak * problem.peak.cny_per_mw / problem.dt_h)
    if problem.peak_valley is not None:
        others.append(problem.weights.peak * problem.peak_valley.breach_cny_per_mw / problem.dt_h)
    if problem.position is not None:
        sides = (problem.position.above_cny_per_mwh, problem.position.below_cny_per_mwh)
        others += [problem.weights.money * float(np.max(side)) for side in sides]
    for prices in (fleet.up_cny_per_mwh, fleet.down_cny_per_mwh):
        others.append(float(prices.max(initial=0.0)))
    others += [
        e.account.breach_cny_per_mwh
        for e in fleet.envelopes
        if e.account is not None and e.account.breach_cny_per_mwh is not None
    ]
    return max(PENALTY_FACTOR * tariff, ABOVE_OTHERS * max(others, default=0.0))


def emission_costs(model: Model) -> np.ndarray:
    """Emissions of one unit of each column of the program, kgCO2e, (column,).

    Those of imports by the intensity of the hour, of all cases where there is a spread, and of
    what is raised and of running: as in KeyFigures.emissions_kgco2e.
    """
    problem, fleet = model.problem, model.fleet
    costs = np.zeros(model.program.shape[1])
    imports = model.exchange.cases or ((1.0, model.exchange.imported),)
    for share, columns in imports:
        costs[columns] = share * problem.dt_h * problem.kgco2e_per_mwh
    emitted = [e.up_kgco2e_per_mwh for e in fleet.envelopes]
    running = [e.commitment.running_kgco2e_per_h if e.commitment else 0.0 for e in fleet.envelopes]
    for columns, kg in ((model.devices.raised, emitted), (model.devices.on, running)):
        there = columns >= 0
        costs[columns[there]] = problem.dt_h * np.broadcast_to(kg, columns.shape)[there]
    return costs
