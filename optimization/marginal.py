"""What one more MWh drawn at a bus costs and emits, by the duals of a plan.

At an optimum with a basis B of the solver's rows, one more unit on the right side of a row changes
the basic columns by B^-1 and any linear quantity e of the columns by y = B^-T e_B: for the cost
these are the duals, for the emissions (import intensity, fuel, hours of running) their duals. One
more MW drawn at a bus moves the right sides of the exchange tangents and of the network rows of
its step, so that

    marginal(t, bus) = sum over rows at t of  y * (-d exchange / d fed)      for the exchange
                                           +  y * (d limit / d fed)          for network limits

The answer is exact for the basis and with integers held: who would really answer one more MWh. At
a degenerate optimum several bases answer; then it is that of one of them, and holds for a change
in one direction. Local marginal prices of energy are the same sum with the duals of the cost
(Schweppe et al., Spot Pricing of Electricity, 1988); marginal emissions by the same duals: Ruiz
and Rudkevich, "Analysis of Marginal Carbon Intensities in Constrained Power Networks", HICSS 2010.
"""

from __future__ import annotations

import numpy as np

from optimization.optimum import Optimum


def marginal_kgco2e(found: Optimum) -> np.ndarray:
    """Emissions of one more MWh drawn at each bus, kgCO2e/MWh, (time, bus).

    Buses in the order of Network.buses; those without supply stand at 0. Positive where drawing
    more emits more; it may exceed the intensity of imports (losses) and fall below 0 (a network
    limit that lets cleaner power through). NaN where the solver had no basis.
    """
    return _at_buses(found, found.tangent_emission_duals, found.limit_emission_duals)


def marginal_cny(found: Optimum) -> np.ndarray:
    """Cost of one more MWh drawn at each bus, CNY/MWh as weighted in the objective, (time, bus)."""
    return _at_buses(found, found.tangent_duals, found.limit_duals)


def of_resources(found: Optimum, at_buses: np.ndarray) -> np.ndarray:
    """What ``marginal_kgco2e`` or ``marginal_cny`` gives where the resources stand, (time, asset).

    The problem's own resources, in the order of its envelopes.
    """
    fleet = found.model.fleet
    picked: np.ndarray = at_buses[:, fleet.bus_position[: fleet.named]]
    return picked


def _at_buses(found: Optimum, of_exchange: np.ndarray, of_limits: np.ndarray) -> np.ndarray:
    problem = found.model.problem
    marginal = np.zeros((problem.steps, len(problem.network.buses)))
    exchange, limits = found.tangents, found.limits.tangents
    np.add.at(marginal, exchange.steps, -of_exchange[:, None] * exchange.per_mw)
    scaled = (of_limits * found.limit_factor)[:, None]
    np.add.at(marginal, limits.steps, scaled * limits.per_mw)
    return marginal / problem.dt_h
