"""What a schedule costs when other courses of the day come than it was made for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from grid import powerflow
from grid.limits import excesses
from optimization.conduct import conduct
from optimization.devices import curtails
from optimization.fleet import Fleet
from optimization.keyfigures import exchange_excess, key_figures
from optimization.outlook import Outlook, realised
from optimization.problem import DispatchProblem
from optimization.result import KeyFigures
from optimization.risk import cvar
from optimization.scenarios import Scenarios

_NOT_HELD_BACK_MW = 1e-4


@dataclass(frozen=True, eq=False)
class Executed:
    """One schedule in several courses. total_cny, violations: (scenario,), on the AC grid."""

    figures: tuple[KeyFigures, ...]
    probability: np.ndarray

    @property
    def total_cny(self) -> np.ndarray:
        """Cost of each course, without a price on broken limits."""
        return np.array([f.total_cny for f in self.figures])

    @property
    def violations(self) -> np.ndarray:
        """(step, element) pairs beyond a limit in each course."""
        return np.array([f.violations for f in self.figures])

    @property
    def expected_cny(self) -> float:
        """Expected cost."""
        return float(self.total_cny @ self.probability)

    @property
    def broken(self) -> float:
        """Probability that some limit is broken at some step."""
        return float((self.violations > 0) @ self.probability)

    def cvar_cny(self, level: float) -> float:
        """Mean of the dearest 1 - level of the cases."""
        return cvar(self.total_cny, self.probability, level)


def executed(
    problem: DispatchProblem, outlook: Outlook, p_mw: np.ndarray, scenarios: Scenarios
) -> Executed:
    """The schedule ``p_mw`` (time, asset) of ``problem`` carried out in each course, on AC.

    Resources follow the schedule. Of those that only curtail, one that was to be held back below
    its forecast gives no more than scheduled, any other gives what there is, as app/dispatcher
    asks for it. The upstream grid makes up the difference. Raises PowerFlowError for a course
    that has no power flow.
    """
    done = carried_out(problem, outlook, p_mw, scenarios)
    figures = [key_figures(fleet, flow, conduct(fleet, power)) for fleet, power, flow in done]
    return Executed(tuple(figures), scenarios.probability)


def broken_steps(
    problem: DispatchProblem, outlook: Outlook, p_mw: np.ndarray, scenarios: Scenarios
) -> np.ndarray:
    """Limits broken at each step of each course by the schedule, (scenario, time)."""
    done = carried_out(problem, outlook, p_mw, scenarios)
    return np.array([_broken(fleet.problem, flow) for fleet, _, flow in done])


def carried_out(
    problem: DispatchProblem, outlook: Outlook, p_mw: np.ndarray, scenarios: Scenarios
) -> list[tuple[Fleet, np.ndarray, xr.Dataset]]:
    """Of each course the fleet, what it does (time, asset) and the power flow, in one batch."""
    open_ended = _open_ended(problem, p_mw)
    fleets = [Fleet(realised(problem, outlook, course)) for course in scenarios.power_mw]
    powers = [followed(fleet, p_mw, open_ended) for fleet in fleets]
    given = [fleet.injections(power) for fleet, power in zip(fleets, powers, strict=True)]
    flow = powerflow.run(problem.network, xr.concat(given, dim="time", join="exact"))
    steps = problem.steps
    return [
        (fleet, power, flow.isel(time=slice(k * steps, (k + 1) * steps)))
        for k, (fleet, power) in enumerate(zip(fleets, powers, strict=True))
    ]


def _broken(problem: DispatchProblem, flow: xr.Dataset) -> np.ndarray:
    """Limits broken at each step, (time,)."""
    over_import, over_export = exchange_excess(problem, flow)
    broken = (over_import > 0).astype(int) + (over_export > 0)
    for excess in excesses(problem.network, flow, max_loading_percent=problem.max_loading_percent):
        broken += excess.violated.sum(axis=1)
    return broken


def followed(fleet: Fleet, p_mw: np.ndarray, open_ended: np.ndarray) -> np.ndarray:
    """What is done of a schedule within what is possible now, loads that may be shed included."""
    whole = fleet.base_mw.copy()
    whole[:, : fleet.named] = np.where(open_ended, np.inf, p_mw)
    power: np.ndarray = np.clip(whole, fleet.p_min_mw, fleet.p_max_mw)
    return power


def _open_ended(problem: DispatchProblem, p_mw: np.ndarray) -> np.ndarray:
    """Where a resource that only curtails is not held back, (time, asset)."""
    most = np.column_stack([e.p_max_mw for e in problem.envelopes])
    free = np.array([curtails(e) for e in problem.envelopes], dtype=bool)
    found: np.ndarray = free & (p_mw >= most - _NOT_HELD_BACK_MW)
    return found
