"""How far the exchange may turn out from its expected course, from forecast quantiles.

The cheapest way to plan for errors: one plan, a few more columns a step. What it leaves out is
that limits can be broken (optimization/margins.py) and that later steps will be decided when more
is known (optimization/stochastic.py).
"""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from optimization.outlook import Outlook
from optimization.problem import DispatchProblem
from optimization.scenarios import Scenarios
from optimization.terms import ExchangeSpread

CASES = 7


def exchange_spread(
    problem: DispatchProblem, outlook: Outlook, drawn: Scenarios, *, cases: int = CASES
) -> ExchangeSpread:
    """``cases`` equally likely offsets of the exchange at each step.

    drawn: courses of the outlook's series, equally likely; the sum of loads less plants is
    sorted at each step, and each case is the mean of one part of it, so that the mean stays.
    Offsets count from the medians. Losses that errors cause, and plants that are held back while
    the sun turns out stronger, are left out. Raises ConfigurationError for fewer courses than
    cases.
    """
    if not 1 <= cases <= len(drawn):
        raise ConfigurationError(f"{len(drawn)} courses do not make {cases} cases.")
    network = problem.network
    drawn_per_mw = {
        (table, int(element)): sign * float(factor)
        for table, sign in (("load", 1.0), ("sgen", -1.0))
        for element, factor in zip(network.ids(table), network.in_use(table), strict=True)
    }
    series = zip(outlook.table, outlook.element, strict=True)
    effect = np.array([drawn_per_mw.get(place, 0.0) for place in series])
    off = np.sort((drawn.power_mw - outlook.at_level(0.5)) @ effect, axis=0)
    parts = np.array_split(off, cases)
    share = np.array([len(part) for part in parts]) / len(off)
    return ExchangeSpread(np.stack([part.mean(axis=0) for part in parts], axis=1), share)
