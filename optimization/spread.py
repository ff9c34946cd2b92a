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
    sign = np.array([1.0 if table == "load" else -1.0 for table in outlook.table])
    for table in ("load", "sgen"):
        working = dict(zip(problem.network.ids(table), problem.network.in_use(table), strict=True))
        for i, (own, element) in enumerate(zip(outlook.table, outlook.element, strict=True)):
            if own == table and not working.get(element, False):
                sign[i] = 0.0
    off = np.sort((drawn.power_mw - outlook.at_level(0.5)) @ sign, axis=0)
    parts = [part.mean(axis=0) for part in np.array_split(off, cases)]
    share = np.array([len(part) for part in np.array_split(off, cases)]) / len(off)
    return ExchangeSpread(np.stack(parts, axis=1), share)
